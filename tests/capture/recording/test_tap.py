"""Taps and their queue: bounded, fair, and never an error to the connection."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.capture.model import Endpoint, Flow, Kind, Record, Transport
from netserve.capture.recording.filters import CaptureFilter
from netserve.capture.recording.flight import ErrorsOnly, FlightRecorder
from netserve.capture.recording.pump import Pump, Redaction
from netserve.capture.recording.tap import RECORD_COST, SHARE, CaptureTap, Recorder, cost
from netserve.wire.pattern import Pattern
from tests.capture.traffic import flow


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def told(records: list[Record]) -> list[tuple[Kind, object]]:
    return [(kind, value) for _, _, kind, value in records]


def test_a_connection() -> None:
    recorder = Recorder()
    tap = CaptureTap(flow(1, "ipv4", port=25), recorder, Clock())
    tap.sent(b"220\r\n")
    tap.received(bytearray(b"QUIT\r\n"))
    tap.note("trace 7")
    tap.failed("no")
    tap.half_closed(by_peer=True)
    tap.ended()
    tap.ended()
    tap.received(b"late")
    records = recorder.take()
    assert told(records) == [
        (Kind.OPENED, None), (Kind.SENT, b"220\r\n"), (Kind.RECEIVED, b"QUIT\r\n"),
        (Kind.NOTE, "trace 7"), (Kind.ERROR, "no"), (Kind.PEER_CLOSED, None), (Kind.ENDED, None),
    ]  # fmt: skip
    assert all(type(value) is not bytearray for _, _, _, value in records)
    assert recorder.waiting == 0
    assert recorder._reserved == 0


def test_bytes_are_not_copied() -> None:
    recorder = Recorder()
    data = b"x" * 1000
    CaptureTap(flow(1, "ipv4", port=25), recorder, Clock()).received(data)
    assert recorder.take()[1][3] is data


def test_a_reason_tells_the_kind_of_end() -> None:
    recorder = Recorder()
    which = {"lost": Kind.PEER_RESET, "aborted": Kind.WE_RESET}
    for reason in ("done", "lost", "aborted"):
        tap = CaptureTap(flow(1, "ipv4", port=25), recorder, Clock(), joined=True,
                         kind_of_end=lambda r: which.get(str(r), Kind.ENDED))  # fmt: skip
        tap.ended(reason)
    assert [kind for kind, _ in told(recorder.take())] == [
        Kind.ENDED,
        Kind.PEER_RESET,
        Kind.WE_RESET,
    ]


def test_what_there_is_no_room_for_is_counted_and_recorded_as_lost() -> None:
    recorder = Recorder(SHARE * 10_000)
    tap = CaptureTap(flow(1, "ipv4", port=25), recorder, Clock())
    for _ in range(10):
        tap.received(b"x" * 2000)
    tap.sent(b"y" * 9000)
    assert (recorder.dropped, recorder.dropped_bytes) == (7, 6 * 2000 + 9000)
    before = told(recorder.take())
    assert before[1:] == [(Kind.RECEIVED, b"x" * 2000)] * 4
    tap.received(b"again")
    tap.ended()
    assert told(recorder.take()) == [
        (Kind.LOST_RECEIVED, (6, 12_000)), (Kind.LOST_SENT, (1, 9000)),
        (Kind.RECEIVED, b"again"), (Kind.ENDED, None),
    ]  # fmt: skip


def test_an_end_is_recorded_even_when_there_is_no_room() -> None:
    recorder = Recorder(0)
    taps = []
    number = 0
    while not recorder.refused_flows:
        number += 1
        taps.append(CaptureTap(flow(number, "ipv4", port=25), recorder, Clock()))
    for tap in taps:
        tap.received(b"x" * 10_000)
        tap.ended()
    records = told(recorder.take(10_000))
    assert [kind for kind, _ in records].count(Kind.ENDED) == len(taps) - 1
    assert [kind for kind, _ in records].count(Kind.LOST_RECEIVED) == len(taps) - 1
    assert recorder.waiting == recorder._reserved == 0


def test_a_busy_flow_leaves_room_for_others() -> None:
    """S24: one connection has a share of the queue, and gets it again as it is emptied."""
    recorder = Recorder(1_000_000)
    busy = CaptureTap(flow(1, "ipv4", port=25), recorder, Clock())
    quiet = CaptureTap(flow(2, "ipv4", port=25), recorder, Clock())
    for _ in range(1000):
        busy.received(bytes(1000))
    assert recorder.waiting <= 1_000_000 // SHARE + 2000
    quiet.received(b"hello")
    assert told(recorder.take(10_000))[-1] == (Kind.RECEIVED, b"hello")
    dropped = recorder.dropped
    for _ in range(100):
        busy.received(bytes(1000))
    assert recorder.dropped == dropped


def test_a_fault_ends_the_tap_and_nothing_else() -> None:
    """A tap that fails is counted; the connection does not notice."""

    def broken() -> int:
        raise OSError("no clock")

    recorder = Recorder()
    tap = CaptureTap(flow(1, "ipv4", port=25), recorder, broken)
    tap.received(b"x")
    tap.ended()
    joined = CaptureTap(flow(2, "ipv4", port=25), recorder, broken, joined=True)
    joined.ended()
    odd = CaptureTap(flow(3, "ipv4", port=25), recorder, Clock())
    odd.received(7)  # type: ignore[arg-type]
    odd.sent(b"x")
    assert recorder.failures == 3
    assert recorder._reserved == 0


def test_a_closed_recorder_takes_nothing() -> None:
    recorder = Recorder()
    tap = CaptureTap(flow(1, "ipv4", port=25), recorder, Clock())
    recorder.closed = True
    tap.received(b"x")
    CaptureTap(flow(2, "ipv4", port=25), recorder, Clock()).received(b"x")
    assert told(recorder.take()) == [(Kind.OPENED, None)]
    assert (recorder.dropped, recorder.refused_flows) == (1, 1)


def test_one_thread_adds_and_another_takes() -> None:
    recorder = Recorder(100_000)
    found: list[Record] = []
    done = threading.Event()

    def take() -> None:
        while not done.is_set() or recorder.waiting:
            found.extend(recorder.take(50))

    thread = threading.Thread(target=take)
    thread.start()
    tap = CaptureTap(flow(1, "ipv4", port=25), recorder, Clock())
    for number in range(20_000):
        tap.received(b"%d" % number)
    tap.ended()
    done.set()
    thread.join(30)
    there = sum(kind is Kind.RECEIVED for _, _, kind, _ in found)
    lost = sum(value[0] for _, _, kind, value in found if kind is Kind.LOST_RECEIVED)  # type: ignore[index]
    assert there + lost == 20_000
    assert lost == recorder.dropped
    assert recorder.waiting == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5000)), max_size=60))
def test_the_queue_is_never_longer_than_its_bound(steps: list[tuple[int, int]]) -> None:
    recorder = Recorder(20_000)
    taps = [CaptureTap(flow(number, "ipv4", port=25), recorder, Clock()) for number in (1, 2)]
    for what, size in steps:
        if what == 3:
            recorder.take(size % 5)
        elif what == 2:
            taps[size % 2].note("n" * size)
        else:
            taps[what].received(bytes(size))
        held = sum(map(cost, recorder._records))
        assert held == recorder.waiting
        assert held <= recorder.most


# what becomes of the records


class Kept:
    def __init__(self) -> None:
        self.records: list[Record] = []

    def write(self, records) -> None:  # type: ignore[no-untyped-def]
        self.records.extend(records)


def test_a_pump_masks_what_it_moves() -> None:
    recorder, kept, clock = Recorder(), Kept(), Clock()
    patterns = [Pattern(r"card=(?P<secret>\d+)")]
    pump = Pump(recorder, kept, Redaction(patterns=patterns), clock)
    tap = CaptureTap(flow(1, "ipv4", port=80), recorder, clock)
    tap.received(b"GET /?card=1234 HTTP/1.1\r\nCook")
    tap.received(b"ie: a=b\r\n\r\nno end card=77")
    tap.sent(b"HTTP/1.1 200 OK\r\n")
    assert pump.turn() == 4
    assert told(kept.records) == [
        (Kind.OPENED, None),
        (Kind.RECEIVED, b"GET /?card=**** HTTP/1.1\r\nCook"),
    ]
    clock.now += 10**10
    pump.turn()
    assert told(kept.records)[2:] == [
        (Kind.RECEIVED, b"ie:****\r\n\r\nno end card=**"), (Kind.SENT, b"HTTP/1.1 200 OK\r\n"),
    ]  # fmt: skip
    tap.received(b"8 and more")
    pump.finish()
    assert told(kept.records)[-1] == (Kind.RECEIVED, b"* and more")
    tap.ended()
    pump.finish()
    assert pump._flows == {}


def test_a_pump_without_redaction() -> None:
    recorder, kept = Recorder(), Kept()
    tap = CaptureTap(flow(1, "udp4", port=53), recorder, Clock())
    tap.received(b"Cookie: x")
    Pump(recorder, kept, Redaction(logins=False), Clock()).finish()
    assert told(kept.records) == [(Kind.RECEIVED, b"Cookie: x")]


def test_what_is_redacted_is_told_without_telling_it() -> None:
    assert (
        str(Redaction())
        == "redacted: logins and authorization, proxy-authorization, cookie, set-cookie"
    )
    told_ = str(Redaction(logins=False, patterns=[Pattern("my secret")]))
    assert told_ == "redacted: 1 patterns"
    assert str(Redaction(logins=False)) == "nothing is redacted"


def test_datagram_flows_of_a_pump_are_bounded() -> None:
    recorder, kept = Recorder(1 << 30), Kept()
    pump = Pump(recorder, kept, Redaction(), Clock())
    for number in range(10_000):
        CaptureTap(flow(number, "udp4", port=53), recorder, Clock()).received(b"x")
        recorder.reserve(-400)
    pump.finish()
    assert len(kept.records) == 10_000
    assert len(pump._datagrams) <= 4096


def test_a_flight_recorder_keeps_the_last_records() -> None:
    kept = FlightRecorder(most_bytes=20 * (RECORD_COST + 100), most_seconds=1e-6)
    one, two = flow(1, "ipv4", port=25), flow(2, "ipv4", port=25)
    kept.write((one if time % 2 else two, time, Kind.RECEIVED, bytes(100)) for time in range(50))
    assert kept.held <= 20 * (RECORD_COST + 100)
    assert [record[1] for record in kept.dump()] == list(range(30, 50))
    assert [record[1] for record in kept.dump(one)] == list(range(31, 50, 2))
    kept.write([(one, 1045, Kind.ERROR, "no")])
    assert [record[1] for record in kept.dump()] == [45, 46, 47, 48, 49, 1045]
    assert kept.forgotten == 45
    kept.write([(one, 1046, Kind.ERROR, "no")])
    assert kept.errors == 1
    kept.clear()
    assert (kept.dump(), kept.held) == ([], 0)


def test_only_connections_with_an_error() -> None:
    kept = Kept()
    errors = ErrorsOnly(kept)
    good, bad, reset = (flow(number, "ipv4", port=25) for number in (1, 2, 3))
    for which in (good, bad, reset):
        errors.write([(which, 1, Kind.OPENED, None), (which, 2, Kind.RECEIVED, b"x")])
    errors.write(
        [(bad, 3, Kind.ERROR, "no"), (good, 3, Kind.SENT, b"y"), (bad, 4, Kind.SENT, b"z")]
    )
    errors.write([(good, 5, Kind.ENDED, None), (reset, 5, Kind.PEER_RESET, None)])
    errors.write([(bad, 6, Kind.ENDED, None)])
    assert [(which.number, time) for which, time, _, _ in kept.records] == [
        (2, 1), (2, 2), (2, 3), (2, 4), (3, 1), (3, 2), (3, 5), (2, 6),
    ]  # fmt: skip
    assert errors.held == 0
    assert not errors._failed


def test_what_is_kept_for_errors_is_bounded() -> None:
    errors = ErrorsOnly(Kept(), most_bytes=50_000)
    for number in range(1, 40):
        which = flow(number, "ipv4", port=25)
        errors.write((which, time, Kind.RECEIVED, bytes(1000)) for time in range(30))
        assert errors.held <= 50_000
        assert errors.held == sum(cost(r) for kept in errors._kept.values() for r in kept)
    one = ErrorsOnly(Kept())
    one.write((which, time, Kind.RECEIVED, bytes(1000)) for time in range(1000))
    assert one.held <= 256 << 10
    assert one.forgotten > 700


@pytest.mark.parametrize(
    ("options", "wanted", "text"),
    [
        ({}, True, "all"),
        ({"services": ["mail"]}, True, "service mail"),
        ({"services": ["web"]}, False, "service web"),
        ({"networks": ["192.0.2.0/24"]}, True, "address 192.0.2.0/24"),
        ({"networks": ["198.51.100.0/24", "2001:db8::/32"]}, False,
         "address 198.51.100.0/24, address 2001:db8::/32"),
        ({"identities": ["c7"]}, True, "id c7"),
        ({"identities": ["0af3"]}, True, "id 0af3"),
        ({"identities": ["c8", ""]}, False, "id c8, id "),
        ({"services": ["mail"], "identities": ["c8"]}, False, "service mail, id c8"),
    ],
)  # fmt: skip
def test_filters(options: dict[str, list[str]], wanted: bool, text: str) -> None:
    import ipaddress

    if "networks" in options:
        options = {**options, "networks": [ipaddress.ip_network(n) for n in options["networks"]]}  # type: ignore[list-item]
    chosen = CaptureFilter(**options)  # type: ignore[arg-type]
    which = Flow(1, "mail", Transport.TCP, Endpoint("127.0.0.1", 25),
                 Endpoint("::ffff:192.0.2.9", 4000), identity="c7", trace="0af3-1")  # fmt: skip
    assert chosen(which) is wanted
    assert str(chosen) == text
