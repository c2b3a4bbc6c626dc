"""Queue ids: one for each number, in the same order, never twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.outbox.ids import LENGTH, IdSource, decode_id, encode_id

NUMBERS = st.integers(0, 2**55 - 1)


@given(NUMBERS)
def test_a_number_comes_back(number: int) -> None:
    text = encode_id(number)
    assert len(text) == LENGTH
    assert text.isalnum()
    assert decode_id(text) == number


@given(NUMBERS, NUMBERS)
def test_ids_have_the_order_of_their_numbers(a: int, b: int) -> None:
    assert (a < b) == (encode_id(a) < encode_id(b))


@pytest.mark.parametrize("text", ["", "0", "o" * LENGTH, "0" * 12, "../../etc/p", "0000000000\n"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a queue id"):
        decode_id(text)


@given(st.lists(st.floats(0, 10**9), min_size=2, max_size=50), st.integers(0, 10**15))
def test_ids_grow_whatever_the_clock_does(times: list[float], last: int) -> None:
    clock = iter(times)
    source = IdSource(lambda: next(clock), last)
    given_out = [source.next() for _ in times]
    assert all(a < b for a, b in zip([last, *given_out], given_out, strict=False))
