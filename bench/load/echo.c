/* Sends messages to an echo server and waits for each to come back whole.
 *
 * Arguments: port, process id of the server, connections, bytes a message, seconds. After a moment
 * of warming up it counts for so long, and prints messages, seconds, the server's seconds of CPU
 * and its own. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct connection {
    int fd;
    size_t unsent, awaited;
};

static char out[1 << 20], in[1 << 20];
static size_t message;
static int loop;

static double now(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time))
        return 0;
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void watch(struct connection *it, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (it->unsent ? EPOLLOUT : 0), .data.ptr = it};
    epoll_ctl(loop, operation, it->fd, &event);
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* Send what can be sent; 1 if it is not all. */
static int push(struct connection *it)
{
    while (it->unsent) {
        ssize_t sent = send(it->fd, out, it->unsent, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN)
                fail("send");
            return 1;
        }
        it->unsent -= sent;
    }
    return 0;
}

/* Read what has come; 1 if that was the end of a message. */
static int pull(struct connection *it)
{
    ssize_t got = recv(it->fd, in, sizeof in, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN))
        fail("recv");
    if (got > 0)
        it->awaited -= got;
    return it->awaited == 0;
}

static long serve(int ready, struct epoll_event *events)
{
    long done = 0;
    for (int i = 0; i < ready; i++) {
        struct connection *it = events[i].data.ptr;
        int waited = it->unsent > 0;
        if (events[i].events & EPOLLIN && pull(it)) {
            done++;
            it->unsent = it->awaited = message;
        }
        if (push(it) != waited)
            watch(it, EPOLL_CTL_MOD);
    }
    return done;
}

static void open_all(int port, int count)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons(port)};
    for (int i = 0, on = 1; i < count; i++) {
        struct connection *it = calloc(1, sizeof *it);
        it->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(it->fd, (struct sockaddr *)&address, sizeof address))
            fail("connect");
        setsockopt(it->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(it->fd, F_SETFL, O_NONBLOCK);
        it->unsent = it->awaited = message;
        push(it);
        watch(it, EPOLL_CTL_ADD);
    }
}

int main(int argc, char **argv)
{
    if (argc < 6)
        return 2;
    int port = atoi(argv[1]), count = atoi(argv[3]);
    double seconds = atof(argv[5]);
    struct epoll_event events[1024];
    struct rlimit files;
    clockid_t server;

    message = atol(argv[4]);
    memset(out, 'x', sizeof out);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    loop = epoll_create1(0);
    if (clock_getcpuclockid(atoi(argv[2]), &server))
        fail("the server's clock");
    open_all(port, count);
    for (double end = now(CLOCK_MONOTONIC) + 0.3; now(CLOCK_MONOTONIC) < end;)
        serve(epoll_wait(loop, events, 1024, 1000), events);

    double begin = now(CLOCK_MONOTONIC), cpu = now(server), own = now(CLOCK_PROCESS_CPUTIME_ID);
    double end = begin;
    long done = 0;
    while (end < begin + seconds) {
        done += serve(epoll_wait(loop, events, 1024, 1000), events);
        end = now(CLOCK_MONOTONIC);
    }
    printf("%ld %.6f %.6f %.6f\n", done, end - begin, now(server) - cpu,
           now(CLOCK_PROCESS_CPUTIME_ID) - own);
    return 0;
}
