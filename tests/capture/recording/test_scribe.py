"""Files of synthetic packets, judged by Wireshark's programs."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.capture.frames.ip import addresses
from netserve.capture.frames.tcp import Stream
from netserve.capture.model import Endpoint, Flow, Kind, Record, Transport
from netserve.capture.pcapng import writer
from netserve.capture.reading.opening import capture_of
from netserve.capture.recording.scribe import SYNTHETIC, Scribe
from tests.capture.traffic import BEGAN, DNS, HTTP, SMTP, captured, flow, records
from tests.capture.wireshark import capinfos, fields, followed, tshark, wrong

STREAMS = ["ipv4", "ipv6", "mapped", "unix"]


def said_by(said: list[tuple[Kind, bytes]], kind: Kind) -> bytes:
    return b"".join(data for each, data in said if each is kind)


def test_tshark_follows_and_decodes_smtp(tmp_path: Path) -> None:
    """Over IPv4, IPv6 and UNIX sockets, as server and as client."""
    path = tmp_path / "smtp.pcapng"
    ways = [(ends, outgoing) for ends in STREAMS for outgoing in (False, True)]
    flows = [
        flow(number, ends, port=25, outgoing=outgoing)
        for number, (ends, outgoing) in enumerate(ways, 1)
    ]
    path.write_bytes(captured(*(records(each, SMTP) for each in flows)))
    assert wrong(path) == ""
    streams = followed(path, len(ways))
    assert streams == [(said_by(SMTP, Kind.RECEIVED), said_by(SMTP, Kind.SENT))] * len(ways)
    commands = fields(path, "smtp.req", "tcp.stream", "smtp.req.command")
    codes = fields(path, "smtp.rsp", "tcp.stream", "smtp.response.code")
    for number in range(len(ways)):
        assert _joined(commands, number) == ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"]
        assert _joined(codes, number) == ["220", "250", "250", "250", "354", "250", "221"]


def test_tshark_follows_and_decodes_http(tmp_path: Path) -> None:
    """Over IPv4, IPv6 and UNIX sockets, with each kind of end."""
    path = tmp_path / "http.pcapng"
    ways = [(ends, end) for ends in STREAMS for end in (Kind.ENDED, Kind.PEER_RESET, Kind.WE_RESET)]
    path.write_bytes(captured(*(
        records(flow(number, ends, port=80), HTTP, end)
        for number, (ends, end) in enumerate(ways, 1)
    )))  # fmt: skip
    assert wrong(path) == ""
    streams = followed(path, len(ways))
    assert streams == [(said_by(HTTP, Kind.RECEIVED), said_by(HTTP, Kind.SENT))] * len(ways)
    requests = fields(path, "http.request", "tcp.stream", "http.request.uri")
    codes = fields(path, "http.response", "tcp.stream", "http.response.code")
    resets = dict(fields(path, "tcp.flags.reset == 1", "tcp.stream", "tcp.srcport"))
    for number, (_, end) in enumerate(ways):
        assert _joined(requests, number) == ["/a?b=c", "/form"]
        assert _joined(codes, number) == ["200", "404"]
        assert (str(number) in resets) is (end is not Kind.ENDED)
        if end is not Kind.ENDED:
            assert (resets[str(number)] == "80") is (end is Kind.WE_RESET)


def _joined(rows: list[tuple[str, ...]], stream: int) -> list[str]:
    """The values of one stream, of which a packet may have several."""
    return [value for number, cell in rows if number == str(stream) for value in cell.split(",")]


def test_tshark_decodes_datagrams(tmp_path: Path) -> None:
    path = tmp_path / "dns.pcapng"
    path.write_bytes(captured(*(
        records(flow(number, ends, port=53), DNS)
        for number, ends in enumerate(("udp4", "udp6", "unixgram"), 1)
    )))  # fmt: skip
    assert wrong(path) == ""
    rows = fields(path, "dns", "udp.stream", "dns.qry.name", "dns.flags.response")
    assert sorted(rows) == [
        (str(number), "www.example.org", answer) for number in range(3) for answer in "01"
    ]  # fmt: skip


def test_capinfos_agrees_on_counts(tmp_path: Path) -> None:
    path = tmp_path / "all.pcapng"
    data = captured(
        records(flow(1, "ipv4", port=25), SMTP),
        records(flow(2, "ipv6", port=25), SMTP),
        records(flow(3, "udp4", port=53), DNS),
        comments=["filter: address 198.51.100.7"],
    )
    path.write_bytes(data)
    packets = list(capture_of(_reader(data)).packets())
    about = capinfos(path)
    assert int(about["Number of packets"]) == len(packets)
    assert int(about["Data size"].split()[0]) == sum(packet.size for packet in packets)
    assert about["Strict time order"] == "True"
    assert about["File encapsulation"] == "rawip"
    assert about["File timestamp precision"] == "nanoseconds (9)"
    assert about["Capture application"] == "netserve 0.0"
    assert about["Number of interfaces in file"] == "2"


def test_a_file_says_that_it_is_synthetic(tmp_path: Path) -> None:
    path = tmp_path / "marked.pcapng"
    unix = flow(1, "unix", port=25, identity="c7", trace="0af3-1", tls=True)
    said = [SMTP[0], (Kind.NOTE, "trace 0af3-2"), *SMTP[1:]]
    path.write_bytes(captured(records(unix, said)))
    info = capture_of(_reader(path.read_bytes()))
    comments = [(packet.number, packet.comments) for packet in info.packets() if packet.comments]
    assert info.info.comments == [SYNTHETIC]
    described = (
        "synthetic: service service25, connection c7, trace 0af3-1, TLS on the network, shown"
        " in clear, UNIX socket /run/netserve/service.sock, addresses and ports are made up"
    )
    assert comments[0] == (1, (described,))
    assert comments[1] == (5, ("trace 0af3-2",))
    # and Wireshark shows it, with the path as the name of the address
    told = fields(path, "frame.comment", "frame.number", "frame.comment")
    assert [number for number, _ in told] == ["1", "5"]
    named = tshark(
        path, "-N", "n", "-Y", "smtp.req.command == EHLO", "-T", "fields", "-e", "ipv6.dst_host"
    )
    assert named.strip() == "unix:/run/netserve/service.sock"


def test_names_of_addresses(tmp_path: Path) -> None:
    path = tmp_path / "named.pcapng"
    which = Flow(
        1, "relay", Transport.TCP, Endpoint("192.0.2.1", 40_000),
        Endpoint("2001:db8::25", 25, "mx.example.org"), outgoing=True,
    )  # fmt: skip
    path.write_bytes(captured(records(which, SMTP)))
    named = tshark(path, "-N", "n", "-Y", "tcp.flags.syn == 1 && tcp.flags.ack == 0",
                   "-T", "fields", "-e", "ipv6.src", "-e", "ipv6.dst_host")  # fmt: skip
    # The IPv4 end appears as an IPv4-mapped address beside the peer's IPv6 one.
    assert named.split() == ["::ffff:192.0.2.1", "mx.example.org"]


def test_what_was_lost_is_a_gap_that_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "lost.pcapng"
    which = flow(1, "ipv4", port=7)
    said: list[tuple[Kind, object]] = [
        (Kind.RECEIVED, b"first\r\n"), (Kind.SENT, b"first\r\n"),
        (Kind.LOST_RECEIVED, (2, 3000)), (Kind.RECEIVED, b"last\r\n"),
    ]  # fmt: skip
    path.write_bytes(captured(records(which, said)))
    reader = capture_of(_reader(path.read_bytes()))
    comments = [comment for packet in reader.packets() for comment in packet.comments]
    assert "missing before this: 2 reads from the peer, 3000 bytes" in comments
    assert reader.info.dropped == 2
    gaps = fields(path, "tcp.analysis.lost_segment", "frame.number")
    assert gaps == [("6",)]
    [(client, _)] = followed(path, 1)
    assert client.startswith(b"first\r\n")
    assert b"3000 bytes missing" in client
    assert client.endswith(b"last\r\n")


def test_losses_without_any_packet_are_counted() -> None:
    scribe = Scribe(application="netserve 0.0")
    which = flow(1, "udp4", port=53)
    data = scribe.begin() + scribe.write((which, BEGAN, Kind.LOST_SENT, (5, 100)))
    reader = capture_of(_reader(data + scribe.end(BEGAN)))
    assert list(reader.packets()) == []
    assert reader.info.dropped == 5


def test_a_flow_that_is_joined_midway(tmp_path: Path) -> None:
    path = tmp_path / "midway.pcapng"
    which = flow(1, "ipv4", port=25)
    path.write_bytes(captured(list(records(which, SMTP))[3:]))
    assert wrong(path) == ""
    assert fields(path, "tcp.flags.syn == 1", "frame.number") == []


def test_many_files_are_one_capture_again(tmp_path: Path) -> None:
    """Each file of a ring stands alone, and merged they are one capture without a gap."""
    scribe = Scribe(application="netserve 0.0")
    paths = []
    every = list(records(flow(1, "ipv4", port=25, trace="t1"), SMTP))
    for number in range(0, len(every), 3):
        some = every[number : number + 3]
        data = scribe.begin() + b"".join(map(scribe.write, some)) + scribe.end(some[-1][1])
        paths.append(tmp_path / f"{number}.pcapng")
        paths[-1].write_bytes(data)
        first = next(iter(capture_of(_reader(data)).packets()))
        assert "trace t1" in first.comments[0]
    assert wrong(paths[1]) == ""
    merged = tmp_path / "merged.pcapng"
    merged.write_bytes(b"".join(path.read_bytes() for path in paths))  # sections of one file
    assert wrong(merged) == ""
    assert followed(merged, 1)[0][0] == said_by(SMTP, Kind.RECEIVED)


def test_one_side_that_talks_for_long_is_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "long.pcapng"
    said = [(Kind.SENT, bytes(60_000))] * 100
    path.write_bytes(captured(records(flow(1, "ipv4", port=19), said)))
    assert wrong(path) == ""
    acknowledgements = fields(path, "tcp.srcport != 19 && tcp.len == 0", "tcp.ack")
    assert len(acknowledgements) >= 5


def test_small_segments(tmp_path: Path) -> None:
    path = tmp_path / "segments.pcapng"
    path.write_bytes(captured(records(flow(1, "ipv4", port=80), HTTP), largest_segment=1460))
    assert wrong(path) == ""
    sizes = [int(size) for (size,) in fields(path, "tcp.len > 0", "tcp.len")]
    assert max(sizes) == 1460
    assert fields(path, "tcp.flags.syn == 1", "tcp.options.mss_val") == [("1460",), ("1460",)]
    assert followed(path, 1)[0][1] == said_by(HTTP, Kind.SENT)


def test_a_datagram_longer_than_udp(tmp_path: Path) -> None:
    path = tmp_path / "long.pcapng"
    path.write_bytes(
        captured(records(flow(1, "unixgram", port=514), [(Kind.RECEIVED, bytes(100_000))]))
    )
    assert wrong(path) == ""
    (packet,) = capture_of(_reader(path.read_bytes())).packets()
    assert packet.comments[1] == "a datagram of 100000 bytes, cut to 65507"


def test_secrets_for_decryption(tmp_path: Path) -> None:
    scribe = Scribe(application="netserve 0.0")
    key_log = b"CLIENT_RANDOM " + b"ab" * 32 + b" " + b"cd" * 48 + b"\n"
    path = tmp_path / "secrets.pcapng"
    path.write_bytes(scribe.begin(key_log=key_log) + scribe.end(BEGAN))
    reader = capture_of(_reader(path.read_bytes()))
    assert list(reader.packets()) == []
    assert reader.info.secrets == 1
    assert capinfos(path)["Number of decryption secrets in file"] == "1"


@pytest.mark.parametrize("first", [(2**32 - 2, 2**32 - 9), (2**32 - 70_001, 2**31)])
def test_sequence_numbers_that_wrap_around(tmp_path: Path, first: tuple[int, int]) -> None:
    path = tmp_path / "wrapped.pcapng"
    chosen = random.Random(1)
    said = [
        (chosen.choice([Kind.RECEIVED, Kind.SENT]), chosen.randbytes(chosen.randrange(1, 70_000)))
        for _ in range(20)
    ]
    local, peer = addresses(flow(1, "ipv6", port=7))
    stream = Stream(local, peer, outgoing=False, first=first)
    frames = stream.opened()
    for kind, data in said:
        frames += stream.data(kind is Kind.RECEIVED, data)
    frames += stream.closed(True) + stream.closed(False)
    blocks = [writer.section_header(application="x"), writer.interface_description(name="x")]
    blocks += [writer.packet(0, BEGAN, data, inbound=inbound) for inbound, data in frames]
    path.write_bytes(b"".join(blocks))
    assert wrong(path) == ""
    assert followed(path, 1) == [(said_by(said, Kind.RECEIVED), said_by(said, Kind.SENT))]


def test_ports_used_again_are_another_connection(tmp_path: Path) -> None:
    first = Flow(1, "a", Transport.TCP, Endpoint("192.0.2.1", 7), Endpoint("192.0.2.2", 4000))
    second = Flow(2, "a", Transport.TCP, Endpoint("192.0.2.1", 7), Endpoint("192.0.2.2", 4000))
    path = tmp_path / "twice.pcapng"
    said = [(Kind.RECEIVED, b"x"), (Kind.SENT, b"y")]
    path.write_bytes(captured(records(first, said), records(second, said)))
    assert followed(path, 2) == [(b"x", b"y")] * 2
    errors = "tcp.analysis.flags && !tcp.analysis.reused_ports"
    assert tshark(path, "-Y", errors) == ""


kinds = st.sampled_from([Kind.RECEIVED, Kind.SENT])


@given(
    said=st.lists(st.tuples(kinds, st.binary(max_size=300)), max_size=12),
    version=st.sampled_from(["ipv4", "ipv6"]),
    largest=st.integers(1, 100),
    end=st.sampled_from([Kind.ENDED, Kind.PEER_RESET, Kind.WE_RESET, Kind.PEER_CLOSED, None]),
)
def test_every_packet_is_right(
    said: list[tuple[Kind, bytes]], version: str, largest: int, end: Kind | None
) -> None:
    """By a second, simple reading: checksums, and sequence numbers that account for each byte."""
    data = captured(records(flow(1, version, port=7), said, end), largest_segment=largest)
    streams = {True: b"", False: b""}
    following: dict[bool, int] = {}
    for packet in capture_of(_reader(data)).packets():
        to_server, number, flags, content = _checked(packet.data, version)
        if flags & 2:
            following[to_server] = (number + 1) % 2**32
        assert number + (flags >> 1 & 1) == following[to_server] or following[to_server] == 0
        following[to_server] = (following[to_server] + len(content) + (flags & 1)) % 2**32
        streams[to_server] += content
    assert streams[True] == said_by(said, Kind.RECEIVED)
    assert streams[False] == said_by(said, Kind.SENT)


def _checked(packet: bytes, version: str) -> tuple[bool, int, int, bytes]:
    """Whether it goes to port 7, its sequence number, its flags and its data."""
    size = 20 if version == "ipv4" else 40
    segment = packet[size:]
    if version == "ipv4":
        assert _sum(packet[:20]) == 0xFFFF
        addresses = packet[12:20]
        assert int.from_bytes(packet[2:4], "big") == len(packet)
    else:
        addresses = packet[8:40]
        assert int.from_bytes(packet[4:6], "big") == len(segment)
    assert _sum(addresses + struct.pack("!HH", 6, len(segment)) + segment) == 0xFFFF
    _, to, number, _, offset, flags = struct.unpack_from("!HHIIBB", segment)
    return to == 7, number, flags, segment[(offset >> 4) * 4 :]


def _sum(data: bytes) -> int:
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_memory_does_not_grow_with_flows() -> None:
    scribe = Scribe(application="netserve 0.0")
    scribe.begin()
    for number in range(1, 300):
        for record in records(flow(number, "ipv4", port=25), SMTP[:2]):
            scribe.write(record)
    assert scribe.flows == 0
    for number in range(1, 10_000):
        which = flow(number, "udp4", port=53)
        record: Record = (which, BEGAN, Kind.RECEIVED, b"x")
        scribe.write(record)
    assert scribe.flows <= 4096


def _reader(data: bytes) -> Callable[[int], bytes]:
    return io.BytesIO(data).read
