"""Bounds of what is followed and held, totals, and the report in each of its forms."""

from __future__ import annotations

import json
import struct
import tracemalloc

import pytest

from netserve.capture.decode import engine as engines
from netserve.capture.decode import report as reports
from netserve.capture.decode.engine import Engine
from netserve.capture.decode.report import Options, Report
from netserve.capture.reading.model import Packet
from netserve.capture.reading.opening import capture_of
from tests.capture.packets import Seen, decoded, ethernet, ipv4, pcap, reader, talk, tcp, told, udp
from tests.capture.traffic import DNS, HTTP, MAIL, SMTP, captured, flow, records

ALL = captured(
    records(flow(1, "ipv4", port=25), SMTP), records(flow(2, "unix", port=80, trace="t1"), HTTP),
    records(flow(3, "udp4", port=53), DNS),
)  # fmt: skip


def test_text() -> None:
    smtp, http, dns, summary = told(ALL)
    assert smtp.splitlines()[0] == (
        "#1 tcp smtp  198.51.100.7:40001 > 192.0.2.1:25  2023-11-14T22:13:21.000000Z"
        "  0.010 s, 12+8 packets, 268,092+170 bytes"
    )
    assert smtp.splitlines()[1:4] == [
        "      0.001 < 220 mx.example.org ESMTP",
        "      0.002 > EHLO client.example.org",
        "      0.003 < 250 mx.example.org | PIPELINING | SIZE 1000000",
    ]
    assert f"      0.006 > (message, {len(MAIL) * 2000:,} bytes) Subject: Hello" in smtp
    assert "unix:/run/netserve/service.sock" in http.splitlines()[0]
    assert "trace t1" in http.splitlines()[-1]
    assert "0.000 > query www.example.org A" in dns
    assert summary.splitlines()[1] == "conversations: 1 dns, 1 http, 1 smtp"


def test_json() -> None:
    *conversations, last = [json.loads(line) for line in told(ALL, as_json=True)]
    smtp, http, dns = conversations
    assert (smtp["protocol"], smtp["client"]["port"], smtp["server"]["port"]) == ("smtp", 40001, 25)
    assert [item["kind"] for item in smtp["items"]][:3] == ["reply", "command", "reply"]
    assert smtp["items"][2]["details"]["lines"] == ["mx.example.org", "PIPELINING", "SIZE 1000000"]
    assert http["server"]["name"] == "unix:/run/netserve/service.sock"
    assert http["items"][0]["details"] == {
        "method": "GET", "target": "/a?b=c", "version": "HTTP/1.1", "host": "www.example.org",
    }  # fmt: skip
    assert dns["items"][1]["details"]["answers"][0]["data"] == "192.0.2.1"
    assert last["summary"]["conversations"] == {"dns": 1, "http": 1, "smtp": 1}


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, [1, 2, 3]), ({"protocols": ["http", "dns"]}, [2, 3]), ({"ports": [25]}, [1]),
        ({"addresses": ["192.0.2.1"]}, [1, 3]), ({"numbers": [2]}, [2]),
        ({"ports": [25], "protocols": ["dns"]}, []),
    ],
)  # fmt: skip
def test_filters(options: dict[str, object], numbers: list[int]) -> None:
    found = [json.loads(line) for line in told(ALL, as_json=True, **options)[:-1]]
    assert [each["conversation"] for each in found] == numbers
    live = {
        json.loads(line).get("conversation")
        for line in told(ALL, as_json=True, live=True, **options)[:-1]
    }
    # Which protocol it is shows with the first thing that is said.
    assert live == set(numbers)


def test_live() -> None:
    lines = told(ALL, live=True)
    assert lines[0].startswith("#1 (part 1) tcp smtp  198.51.100.7:40001 > 192.0.2.1:25")
    assert lines[1] == "2023-11-14T22:13:21.001000Z #1 < 220 mx.example.org ESMTP"
    assert [line.split()[1] for line in lines[1:10]] == ["#1"] * 9


def test_items_are_limited() -> None:
    frames = list(map(ethernet, talk(*[(">", b"line\n")] * 30)))
    assert told(pcap(frames), items=3)[0].splitlines()[-2:] == [
        "      0.005 > line", "            \u2026 and more: 27 line",
    ]  # fmt: skip
    assert len(told(pcap(frames), items=0)[0].splitlines()) == 2
    assert len(told(pcap(frames), items=None)[0].splitlines()) == 31


def test_all_items_are_given_out_in_parts() -> None:
    frames = list(map(ethernet, talk(*[(">", b"line\n")] * 1200)))
    parts = [json.loads(line) for line in told(pcap(frames), items=None, as_json=True)[:-1]]
    assert [(each["part"], each["final"], len(each["items"])) for each in parts] == [
        (1, False, 500), (2, False, 500), (3, True, 200),
    ]  # fmt: skip


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_HELD", 20_000)
    lines: list[str] = []
    report = Report(Options(items=None), lines.append, {})
    engine = Engine(report)
    most = 0
    for number in range(200):
        frames = talk(*[(">", b"x" * 100 + b"\n")] * 5, close=False)
        moved = [
            frame[:20] + (number + 1024).to_bytes(2, "big") + frame[22:]
            for frame in frames
            if frame[20:22] != b"\0\7"
        ]
        engine.take(Packet(1, 0, 101, frame, len(frame)) for frame in moved)
        most = max(most, report._held)
    engine.finish()
    assert most <= 21_000
    assert report._held == 0


def test_conversations_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """S8: too many at the same time, and the one that has been quiet longest is given up."""
    monkeypatch.setattr(engines, "MOST_LIVE", 50)
    frames = [
        ipv4(tcp(b"x\n", port=1024 + number, to=7, number=1, flags="S")) for number in range(300)
    ]
    seen, engine = decoded(pcap(frames, link_type=101))
    assert engine.totals.given_up == 250
    assert len(seen.protocols) == 300
    assert engine.live == 0


def test_udp_that_is_quiet_is_over() -> None:
    seen = Seen()
    engine = Engine(seen)
    minute = 60_000_000_000
    frame = ipv4(udp(b"x", port=5000, to=6000), protocol=17)
    engine.take([Packet(1, 0, 101, frame, len(frame)), Packet(2, minute, 101, frame, len(frame))])
    assert list(seen.protocols) == [1]
    others = [ipv4(tcp(b"x", number=number), protocol=6) for number in range(600)]
    engine.take(Packet(3, 3 * minute, 101, each, len(each)) for each in others)
    assert sorted(seen.protocols) == [1, 2]


def test_ended_conversations_are_reported_before_the_end() -> None:
    frames = []
    for number in range(100):
        frames += [
            frame.replace((4000).to_bytes(2, "big"), (4000 + number).to_bytes(2, "big"))
            for frame in talk((">", b"x\n"))
        ]
    seen = Seen()
    engine = Engine(seen)
    engine.take(capture_of(reader(pcap(frames * 3, link_type=101))).packets())
    assert len(seen.protocols) > 50


def test_memory_is_flat() -> None:
    """A hundred times the conversations take no more memory."""
    peaks = []
    for count in (300, 3000):
        report = Report(Options(), lambda line: None, {})
        engine = Engine(report)
        tracemalloc.start()
        time = 0
        for number in range(count):
            host = bytes([10, 0, number >> 8, number & 255])
            for frame in talk(
                (">", b"GET / HTTP/1.1\r\n\r\n"), ("<", b"HTTP/1.1 204 x\r\n\r\n"), port=80
            ):
                time += 10_000_000
                moved = frame[:12] + frame[12:20].replace(bytes([192, 0, 2, 1]), host) + frame[20:]
                engine.take([Packet(1, time, 101, moved, len(moved))])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert engine.live < 200
    assert peaks[1] < peaks[0] * 1.5 + 200_000


def test_totals() -> None:
    frames = list(map(ethernet, talk((">", b"hello\n"))))
    _, engine = decoded(
        pcap([*frames, b"\1" * 14 + b"\x45", ethernet(b"\x45" + bytes(3), 0x0800)[:18]])
    )
    assert engine.totals.packets == len(frames) + 2
    assert engine.totals.malformed == 1
    _, engine = decoded(pcap(frames, cut=30))
    assert engine.totals.cut_short == len(frames)
    assert engine.totals.malformed == 0


def test_packets_captured_in_part() -> None:
    """The sizes that the headers tell, and what is there of the data."""
    frames = list(
        map(
            ethernet,
            talk(
                (">", b"GET / HTTP/1.1\r\n\r\n"),
                ("<", b"HTTP/1.1 200 OK\r\nContent-Length: 1300\r\n\r\n" + b"y" * 1300),
                port=80,
            ),
        )
    )
    seen, _ = decoded(pcap_with_snap(frames, 200))
    assert [text for _, _, text in seen.items[1]][:2] == [
        "GET / HTTP/1.1", "HTTP/1.1 200 OK (1,300 bytes)",
    ]  # fmt: skip
    assert "bytes of the server that the capture lacks" in seen.problems[1][0]


def pcap_with_snap(frames: list[bytes], snap: int) -> bytes:
    data = pcap([])
    for frame in frames:
        kept = frame[:snap]
        data += struct.pack("<IIII", 0, 0, len(kept), len(frame)) + kept
    return data
