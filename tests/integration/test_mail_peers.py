"""The mail relay between programs of other people's making, which take mail, send it, or misbehave.

smtp-sink with each of the faults that it can make, a whole Postfix as sender and as next hop,
smtp-source, nmap's scripts. Nothing is lost, nothing is relayed for strangers, a fault for now
becomes a deferral, and one for good a bounce.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import smtplib
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from netserve.testing.process import free_port, wait_until
from netserve.testing.programs import missing, require_program
from tests.integration.crash.nursery import Forked, Nursery, nursery

pytestmark = pytest.mark.slow

SINKS = {
    # Refused for now.
    "soft-connect": (["-r", "connect"], "deferred"),
    "soft-hello": (["-r", "ehlo,helo"], "deferred"),
    "soft-mail": (["-r", "mail"], "deferred"),
    "soft-rcpt": (["-r", "rcpt"], "deferred"),
    "soft-data": (["-r", "data"], "deferred"),
    "soft-end": (["-r", "."], "deferred"),
    "soft-text": (["-r", "rcpt", "-b", "452 4.2.2 full"], "deferred"),
    # Refused for good; what is not about a message is not about a message.
    "hard-connect": (["-f", "connect"], "deferred"),
    "hard-hello": (["-f", "ehlo,helo"], "deferred"),
    "hard-mail": (["-f", "mail"], "failed"),
    "hard-rcpt": (["-f", "rcpt"], "failed"),
    "hard-data": (["-f", "data"], "failed"),
    "hard-end": (["-f", "."], "failed"),
    "hard-text": (["-f", "rcpt", "-B", "554 5.7.1 not you"], "failed"),
    "hard-one-by-one": (["-p", "-f", "rcpt"], "failed"),
    # Connections that end.
    "drop-connect": (["-q", "connect"], "deferred"),
    "drop-hello": (["-q", "ehlo"], "deferred"),
    "drop-mail": (["-q", "mail"], "deferred"),
    "drop-rcpt": (["-q", "rcpt"], "deferred"),
    "drop-data": (["-q", "data"], "deferred"),
    "drop-end": (["-q", "."], "deferred"),
    "bye-connect": (["-Q", "connect"], "deferred"),
    "bye-hello": (["-Q", "ehlo"], "deferred"),
    "bye-mail": (["-Q", "mail"], "deferred"),
    "bye-rcpt": (["-Q", "rcpt"], "deferred"),
    "bye-data": (["-Q", "data"], "deferred"),
    "bye-end": (["-Q", "."], "deferred"),
    # Servers that are slow, or know little.
    "no-ehlo": (["-f", "ehlo"], "delivered"),
    "no-esmtp": (["-e"], "delivered"),
    "no-codes": (["-E"], "delivered"),
    "no-pipelining": (["-p"], "delivered"),
    "no-dsn": (["-N"], "delivered"),
    "no-8bit": (["-8"], "delivered"),
    "no-auth": (["-a"], "delivered"),
    "no-extras": (["-C", "-F", "-e", "-p"], "delivered"),
    "slow-mail": (["-p", "-W", "mail:1"], "delivered"),
    "slow-data": (["-w", "1"], "delivered"),
    "slow-end": (["-W", ".:1"], "delivered"),
    "small-window": (["-T", "1000"], "delivered"),
    "logs": (["-s", "mail,rcpt"], "delivered"),
}
"""Name -> the options of smtp-sink, and what becomes of mail for it."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Nursery]:
    with nursery() as made:
        yield made


def configure(folder: Path, port: int, routes: Sequence[str], more: str = "") -> Path:
    """A relay that keeps mail for box.test in a Maildir, with these routes behind it."""
    config = folder / "config.yaml"
    lines = "\n".join(f"      - {route}" for route in routes)
    config.write_text(
        "netserve: {state: ./var}\n"
        "services:\n"
        "  mail:\n"
        "    protocol: smtp-relay\n"
        f"    listen: tcp:{port}:interface=127.0.0.1\n"
        "    hostname: relay.test\n"
        f"    {more or 'retry: {first: 1h, longest: 1h}'}\n"
        "    routes:\n"
        "      - match: {recipient: '*@box.test'}\n"
        "        deliver: {maildir: ./box}\n"
        f"{lines}\n"
    )
    return config


def to_domain(domain: str, port: int) -> str:
    """A route for a domain to a port of this machine."""
    return (
        f"{{match: {{recipient: '*@{domain}'}},"
        f" deliver: {{smarthost: '127.0.0.1:{port}', tls: none}}}}"
    )


def mails(folder: Path) -> list[bytes]:
    """What is in the Maildir."""
    return [path.read_bytes() for path in folder.glob("box/new/*")]


@contextmanager
def sink(folder: Path, port: int, options: Sequence[str]) -> Iterator[Path]:
    """Postfix's test server; what it took stands in the file."""
    taken = folder / f"taken-{port}"
    command = [require_program("smtp-sink"), "-u", "root", *options, "-D", taken]
    process = subprocess.Popen(
        [*command, f"127.0.0.1:{port}", "100"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield taken
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def outcomes(forks: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One mail to each sink: name -> what the log says of it, with `taken` and `bounced` behind."""
    if os.geteuid() != 0:
        missing("smtp-sink is told to stay root")
    folder = tmp_path_factory.mktemp("sinks")
    free: set[int] = set()
    while len(free) <= len(SINKS):
        free.add(free_port())
    port = free.pop()
    ports = dict(zip(SINKS, free, strict=True))
    routes = [to_domain(f"{name}.test", at) for name, at in ports.items()]
    config = configure(folder, port, routes)
    with ExitStack() as stack:
        taken = {
            name: stack.enter_context(sink(folder, ports[name], options))
            for name, (options, _) in SINKS.items()
        }
        process = stack.enter_context(forks.running(config, folder / "log"))
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            for name in SINKS:
                text = f"Subject: {name}\r\n\r\nto {name}\r\n"
                client.sendmail("me@box.test", f"you@{name}.test", text)
        bounces = sum(kind == "failed" for _, kind in SINKS.values())
        wait_until(lambda: all(told(process, name) for name in SINKS), seconds=60)
        wait_until(lambda: len(mails(folder)) >= bounces, seconds=60)
        yield {
            name: " ".join(
                [
                    told(process, name),
                    "taken" if is_there(path, name) else "not-taken",
                    "bounced"
                    if any(f"you@{name}.test".encode() in m for m in mails(folder))
                    else "",
                ]
            )
            for name, path in taken.items()
        }


def told(process: Forked, name: str) -> str:
    """What the log says became of the mail to a sink; empty until it does."""
    match = re.search(rf": (\w+) to <you@{name}\.test> by .*", process.log())
    return match[0].removeprefix(": ") if match else ""


def is_there(path: Path, name: str) -> bool:
    """Whether a sink took the mail."""
    return path.exists() and f"to {name}\n".encode() in path.read_bytes().replace(b"\r", b"")


@pytest.mark.parametrize("name", SINKS)
def test_faults_of_smtp_sink(outcomes: dict[str, str], name: str) -> None:
    """A fault for now is a deferral, one for good a bounce, and a poor server gets its mail."""
    kind = SINKS[name][1]
    seen = outcomes[name]
    assert seen.startswith(f"{kind} to "), seen
    assert seen.rstrip().endswith("bounced") is (kind == "failed"), seen
    assert (
        (" taken" in seen) is (kind == "delivered")
        or name in {"soft-end", "hard-end"}
        or (
            name in {"drop-end", "bye-end"}  # after the message and before the answer nobody knows
        )
    ), seen
    if name == "drop-end":
        assert "it may have arrived" in seen


MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
local_transport = error:no local mail
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
transport_maps = inline:{{ {{ box.test = smtp:[127.0.0.1]:{relay} }} }}
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions =
    check_recipient_access inline:{{ {{ no@hop.test = REJECT 5.1.1 nobody }}, \
{{ later@hop.test = DEFER 4.2.0 later }} }}, permit_mynetworks, reject
smtpd_peername_lookup = no
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
"""
# name, type, private, unprivileged, chroot, wake-up, limit of processes, command
MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup     unix  n  -  n  60     1  pickup
cleanup    unix  n  -  n  -      0  cleanup
qmgr       unix  n  -  n  300    1  qmgr
rewrite    unix  -  -  n  -      -  trivial-rewrite
bounce     unix  -  -  n  -      0  bounce
defer      unix  -  -  n  -      0  bounce
trace      unix  -  -  n  -      0  bounce
verify     unix  -  -  n  -      1  verify
flush      unix  n  -  n  1000?  0  flush
proxymap   unix  -  -  n  -      -  proxymap
proxywrite unix  -  -  n  -      1  proxymap
smtp       unix  -  -  n  -      -  smtp
relay      unix  -  -  n  -      -  smtp
showq      unix  n  -  n  -      -  showq
error      unix  -  -  n  -      -  error
retry      unix  -  -  n  -      -  error
anvil      unix  -  -  n  -      1  anvil
scache     unix  -  -  n  -      1  scache
tlsmgr     unix  -  -  n  1000?  1  tlsmgr
postlog    unix-dgram n - n -  1  postlogd
"""


@contextmanager
def postfix(port: int, relay: int, sink_port: int) -> Iterator[Path]:
    """An instance of Postfix of its own; its log stands in the file.

    Arguments:
        port: where it takes mail.
        relay: where mail for box.test goes.
        sink_port: where all other mail goes.
    """
    program = require_program("postfix")
    if os.geteuid() != 0:
        missing("postfix needs root")
    pwd.getpwnam("postfix")
    daemons = next(
        filter(Path.is_dir, (Path("/usr/lib/postfix/sbin"), Path("/usr/libexec/postfix")))
    )
    # Its daemons run as a user of their own, which may not enter a folder of pytest's.
    folder = Path(tempfile.mkdtemp(prefix="netserve-postfix-", dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        config = folder / "config"
        for made in (config, folder / "data", folder / "queue"):
            made.mkdir()
        shutil.chown(folder / "data", "postfix")
        (config / "main.cf").write_text(
            MAIN.format(folder=folder, daemons=daemons, relay=relay, sink=sink_port)
        )
        (config / "master.cf").write_text(MASTER.format(port=port))
        subprocess.run([program, "-c", config, "check"], check=True, timeout=30)
        with (folder / "output").open("wb") as output:
            master = subprocess.Popen(
                [daemons / "master", "-c", config, "-d"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            wait_until(lambda: _greets(port) or master.poll() is not None, what="its greeting")
            assert master.poll() is None, (folder / "output").read_text()
            yield folder / "mail.log"
        finally:
            master.terminate()
            master.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _greets(port: int) -> bool:
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=5):
            return True
    except OSError:
        return False


def test_postfix_as_sender_and_as_next_hop(forks: Nursery, tmp_path: Path) -> None:
    """Mail goes client, Postfix, netserve, Maildir, and client, netserve, Postfix, sink."""
    port, its_port, sink_port = free_port(), free_port(), free_port()
    config = configure(tmp_path, port, [to_domain("hop.test", its_port)])
    with (
        sink(tmp_path, sink_port, []) as taken,
        postfix(its_port, port, sink_port) as its_log,
        forks.running(config, tmp_path / "log") as process,
    ):
        with smtplib.SMTP("127.0.0.1", its_port, timeout=20) as client:
            for number in range(20):
                text = f"Subject: in {number}\r\n\r\n.dot\r\n..\r\n{'x' * 5000 * number}\r\n"
                client.sendmail(
                    "a@out.test", ["b@box.test"], text.replace("x" * 500, "x" * 500 + "\r\n")
                )
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            for number in range(20):
                text = f"Subject: out {number}\r\n\r\n.dot\r\n..\r\n{number}\r\n"
                client.sendmail("a@box.test", ["b@hop.test", "c@hop.test"], text)
            client.sendmail("a@box.test", ["no@hop.test"], "Subject: no\r\n\r\nx\r\n")
            client.sendmail("a@box.test", ["later@hop.test"], "Subject: later\r\n\r\nx\r\n")
        wait_until(lambda: len(mails(tmp_path)) >= 21, seconds=60, what="20 mails and a bounce")
        wait_until(
            lambda: taken.exists() and taken.read_bytes().count(b"Subject: out") >= 20, seconds=60
        )
        process.wait_for("deferred to <later@hop.test>")
        assert its_log.exists()
    bounces = [mail for mail in mails(tmp_path) if b"multipart/report" in mail]
    assert len(bounces) == 1
    assert b"no@hop.test" in bounces[0]
    assert b"5.1.1" in bounces[0]
    subjects = sorted(
        int(re.search(rb"^Subject: in (\d+)$", mail, re.MULTILINE)[1])  # type: ignore[index]
        for mail in mails(tmp_path)
        if mail not in bounces
    )
    assert subjects == list(range(20))
    assert all(b"\n.dot\n..\n" in mail for mail in mails(tmp_path) if mail not in bounces)
    sent = re.findall(rb"^Subject: out (\d+)", taken.read_bytes(), re.MULTILINE)
    assert sorted(map(int, sent)) == list(range(20))


def test_smtp_source_with_many_recipients_over_many_sessions(
    forks: Nursery, tmp_path: Path
) -> None:
    source = require_program("smtp-source")
    port = free_port()
    config = configure(tmp_path, port, [])
    with forks.running(config, tmp_path / "log"):
        load = ["-s", "10", "-m", "60", "-r", "3", "-l", "70000", "-N", "-f", "a@out.test"]
        subprocess.run(
            [source, *load, "-t", "user@box.test", f"127.0.0.1:{port}"], check=True, timeout=60
        )
        wait_until(lambda: len(mails(tmp_path)) >= 180, seconds=60, what="60 mails for 3 each")
    assert len(mails(tmp_path)) == 180


def test_nmap_finds_no_open_relay(forks: Nursery, tmp_path: Path) -> None:
    """S7: of a relay to which this machine is a stranger; and what it offers is as it says."""
    nmap = require_program("nmap")
    port = free_port()
    everything = "{deliver: {maildir: ./box}}"
    config = configure(tmp_path, port, [everything], more="relay_for: 192.0.2.0/24")
    with forks.running(config, tmp_path / "log") as process:
        scan = [nmap, "-Pn", "-n", "-sT", "-p", str(port)]
        done = subprocess.run(
            [*scan, "--script", "+smtp-open-relay,+smtp-commands", "127.0.0.1"],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert "Server doesn't seem to be an open relay, all tests failed" in done.stdout
        for word in ("SIZE", "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"):
            assert word in done.stdout, done.stdout
        assert process.code is None
        assert "Relay access denied" in process.log()
    assert mails(tmp_path) == []


FALSE_ENDS = (
    b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\r.\n", b"\n.\r",
    b"\r\n\0.\r\n",
)  # fmt: skip
SMUGGLED = b"MAIL FROM:<x@y.test>\r\nRCPT TO:<second@box.test>\r\nDATA\r\nsecond\r\n"


def says_to_message(port: int, content: bytes) -> list[bytes]:
    """The codes of the replies to a message, to its end, and to QUIT behind it."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        replies = client.makefile("rb")
        for line in (b"HELO x", b"MAIL FROM:<a@b.test>", b"RCPT TO:<first@box.test>", b"DATA"):
            replies.readline()
            client.sendall(line + b"\r\n")
        assert replies.readline().startswith(b"354")
        client.sendall(content + b".\r\nQUIT\r\n")
        return [line[:3] for line in replies.read().splitlines()]


def test_a_false_end_of_data_smuggles_nothing(forks: Nursery, tmp_path: Path) -> None:
    """S4: nine known variants give no message, or one where line ends are normalised."""
    for name, more in (("refused", ""), ("normalised", "normalise_newlines_for: 127.0.0.1")):
        folder, port = tmp_path / name, free_port()
        folder.mkdir()
        config = configure(folder, port, [], more=more)
        with forks.running(config, folder / "log"):
            for false_end in FALSE_ENDS:
                content = b"Subject: x\r\n\r\na" + false_end + SMUGGLED
                wanted = b"250" if more and b"\0" not in false_end else b"550"
                assert says_to_message(port, content) == [wanted, b"221"], false_end
            taken = len(FALSE_ENDS) - 1 if more else 0
            wait_until(lambda: len(mails(folder)) >= taken, what="the mails")  # noqa: B023
        assert len(mails(folder)) == taken
        for mail in mails(folder):
            assert b"\nDelivered-To: first@box.test\n" in mail
            assert mail.endswith(b"\nsecond\n")
            assert b"\r" not in mail
