"""How long lines are, measured in pieces."""

from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.lines import LONGEST, has_long_line, measure
from netserve.testing import chunkings

TEXTS = st.lists(
    st.sampled_from([b"a", b"\r\n", b"x" * 9, b"x" * 10, b"x" * 11, b"\r\n\r\n", b"x" * 40])
).map(b"".join)


@given(TEXTS, st.integers(3, 30), st.data())
def test_a_line_over_the_limit_is_found_however_the_text_is_cut(
    text: bytes, limit: int, data: st.DataObject
) -> None:
    text += b"\r\n"
    longest = max(len(line) + 2 for line in text.split(b"\r\n"))
    column = 0
    for piece in data.draw(chunkings(text)):
        column = measure(piece, column, limit)
        if column < 0:
            break
    assert (column < 0) is (longest > limit)
    if column >= 0:
        assert column == 0


def test_the_limit_of_smtp() -> None:
    """S28: 998 octets and a CRLF."""
    assert not has_long_line(b"a\r\n" + b"x" * LONGEST + b"\r\nb\r\n")
    assert has_long_line(b"a\r\n" + b"x" * (LONGEST + 1) + b"\r\nb\r\n")
