"""Connections to be captured: what is said on them, as records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netserve.capture.model import Endpoint, Flow, Kind, Record, Transport
from netserve.capture.recording.scribe import Scribe

BEGAN = 1_700_000_000_000_000_000
"""14 November 2023, 22:13:20 UTC."""

MAIL = (
    b"From: <a@example.org>\r\nTo: <b@example.org>\r\nSubject: Hello\r\n\r\n" + b"x" * 70 + b"\r\n"
)

SMTP: list[tuple[Kind, bytes]] = [
    (Kind.SENT, b"220 mx.example.org ESMTP\r\n"),
    (Kind.RECEIVED, b"EHLO client.example.org\r\n"),
    (Kind.SENT, b"250-mx.example.org\r\n250-PIPELINING\r\n250 SIZE 1000000\r\n"),
    (Kind.RECEIVED, b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"),
    (Kind.SENT, b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go ahead\r\n"),
    (Kind.RECEIVED, MAIL * 2000 + b".\r\n"),
    (Kind.SENT, b"250 2.0.0 queued as 1k0zg34dcg6\r\n"),
    (Kind.RECEIVED, b"QUIT\r\n"),
    (Kind.SENT, b"221 2.0.0 bye\r\n"),
]
HTTP: list[tuple[Kind, bytes]] = [
    (Kind.RECEIVED, b"GET /a?b=c HTTP/1.1\r\nHost: www.example.org\r\n\r\n"),
    (Kind.SENT, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200000\r\n\r\n"),
    (Kind.SENT, b"y" * 200_000),
    (
        Kind.RECEIVED,
        b"POST /form HTTP/1.1\r\nHost: www.example.org\r\nContent-Length: 3\r\n\r\nabc",
    ),
    (
        Kind.SENT,
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
]
DNS: list[tuple[Kind, bytes]] = [
    (
        Kind.RECEIVED,
        bytes.fromhex("12340100000100000000000003777777076578616d706c65036f72670000010001"),
    ),
    (
        Kind.SENT,
        bytes.fromhex(
            "12348180000100010000000003777777076578616d706c65036f72670000010001"
            "c00c000100010000003c0004c0000201"
        ),
    ),
]

ENDS = {
    "ipv4": (Transport.TCP, "192.0.2.1", "198.51.100.7"),
    "ipv6": (Transport.TCP, "2001:db8::1", "2001:db8:1::7"),
    "mapped": (Transport.TCP, "::ffff:192.0.2.1", "192.0.2.7"),
    "unix": (Transport.UNIX, "/run/netserve/service.sock", ""),
    "udp4": (Transport.UDP, "192.0.2.1", "198.51.100.7"),
    "udp6": (Transport.UDP, "fe80::1%eth0", "fe80::2%eth0"),
    "unixgram": (Transport.UNIXGRAM, "/run/netserve/log.sock", "/run/netserve/client.sock"),
}


def flow(number: int, ends: str, *, port: int, outgoing: bool = False, **more: object) -> Flow:
    """A flow of one of `ENDS`, of a service at a port."""
    transport, server, client = ENDS[ends]
    local = transport.is_local
    of_server = Endpoint(server, 0 if local else port)
    of_client = Endpoint(client, 0 if local else 40_000 + number)
    ours, theirs = (of_client, of_server) if outgoing else (of_server, of_client)
    options = {"service": f"service{port}", "port_of_protocol": port, **more}
    return Flow(number, transport=transport, local=ours, peer=theirs, outgoing=outgoing, **options)  # type: ignore[arg-type]


def records(
    which: Flow, said: Iterable[tuple[Kind, object]], end: Kind | None = Kind.ENDED
) -> Iterator[Record]:
    """What is said on a flow, a millisecond apart, from its opening to its end."""
    swapped = {Kind.RECEIVED: Kind.SENT, Kind.SENT: Kind.RECEIVED}
    time = BEGAN + which.number * 1_000_000_000
    if which.transport.is_stream:
        yield which, time, Kind.OPENED, None
    for kind, value in said:
        time += 1_000_000
        yield which, time, swapped.get(kind, kind) if which.outgoing else kind, value  # type: ignore[misc]
    if end is not None and which.transport.is_stream:
        yield which, time + 1_000_000, end, None


def captured(*series: Iterable[Record], **options: object) -> bytes:
    """A file of these records, in the order of their times."""
    scribe = Scribe(application="netserve 0.0", os="Linux", **options)  # type: ignore[arg-type]
    every = sorted((record for some in series for record in some), key=lambda record: record[1])
    parts = [scribe.begin(), *(scribe.write(record) for record in every)]
    return b"".join([*parts, scribe.end(every[-1][1] if every else BEGAN)])
