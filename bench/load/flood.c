/* Sends UDP datagrams of so many bytes to a port of 127.0.0.1 at a rate, and prints how many were
 * sent, and in how many seconds.
 *
 * Arguments: port, datagrams a second, seconds, bytes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { AT_ONCE = 20 };

static double now(void)
{
    struct timespec time;
    if (clock_gettime(CLOCK_MONOTONIC, &time))
        return 0;
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    static char data[1500];
    struct sockaddr_in to = {.sin_family = AF_INET};
    struct mmsghdr messages[AT_ONCE];
    struct iovec part = {.iov_base = data};
    if (argc != 5)
        return 2;
    to.sin_port = htons(atoi(argv[1]));
    double rate = atof(argv[2]), total = rate * atof(argv[3]), sent = 0;
    part.iov_len = atoi(argv[4]);
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    /* Somebody listens there, so that no errors come back; what it gets is thrown away. */
    int listener = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
    int little = 1;
    setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    if (bind(listener, (struct sockaddr *)&to, sizeof to) ||
        connect(sender, (struct sockaddr *)&to, sizeof to))
        return 1;
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < AT_ONCE; i++) {
        messages[i].msg_hdr.msg_iov = &part;
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    double began = now();
    while (sent < total) {
        double ahead = sent / rate - (now() - began);
        if (ahead > 0) {
            struct timespec pause = {0, (long)(ahead * 1e9)};
            nanosleep(&pause, NULL);
        }
        int done = sendmmsg(sender, messages, AT_ONCE, 0);
        if (done > 0)
            sent += done;
    }
    printf("%.0f %.3f\n", sent, now() - began);
    return 0;
}
