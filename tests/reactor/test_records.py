"""Counting TLS records."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from netserve.reactor.records import Records


def record(payload: bytes) -> bytes:
    return b"\x17\x03\x03" + len(payload).to_bytes(2, "big") + payload


payloads = st.lists(st.binary(max_size=300), max_size=12)


@given(payloads)
def test_fed_whole_each_record_is_counted(sent: list[bytes]) -> None:
    assert Records().feed(b"".join(map(record, sent))) == len(sent)


@given(payloads, st.data())
def test_fed_in_pieces_the_sum_is_the_same(sent: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(record, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    edges = [0, *cuts, len(stream)]
    records = Records()
    assert sum(records.feed(stream[a:b]) for a, b in pairwise(edges)) == len(sent)


@given(payloads)
def test_fed_byte_by_byte_each_ends_with_its_last_byte(sent: list[bytes]) -> None:
    records = Records()
    for payload in sent:
        whole = record(payload)
        counted = [records.feed(whole[i : i + 1]) for i in range(len(whole))]
        assert counted == [0] * (len(whole) - 1) + [1]


def test_a_part_at_the_end_waits() -> None:
    records = Records()
    assert records.feed(record(b"one") + record(b"two")[:4]) == 1
    assert records.feed(record(b"two")[4:]) == 1
