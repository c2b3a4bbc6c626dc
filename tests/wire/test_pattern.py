"""Rules on frames: the first that matches, in linear time."""

from __future__ import annotations

import time

import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from netserve.wire.pattern import MAX_PATTERN, Exact, Matcher, Pattern, Prefix, Rules


def test_named_groups() -> None:
    pattern = Pattern(r"^my name is (?P<name>\w+)$")
    assert pattern.names == {"name"}
    assert pattern.match(b"my name is Bob") == {"name": b"Bob"}
    assert pattern.match(b"my name is") is None
    assert pattern.match(b"so my name is Bob") is None


def test_a_group_that_took_no_part_is_empty() -> None:
    assert Pattern(r"a(?P<one>x)?(?P<two>b)?").match(b"ab") == {"one": b"", "two": b"b"}


def test_a_pattern_is_searched_anywhere() -> None:
    assert Pattern("b").match(b"abc") == {}


def test_the_dollar_is_the_end() -> None:
    assert Pattern("^a$").match(b"a\n") is None


def test_encodings() -> None:
    assert Pattern("^é.$").match("éü".encode()) == {}
    assert Pattern("^é.$").match(b"\xe9\xfc") is None
    assert Pattern("^é.$", "latin-1").match(b"\xe9\xfc") == {}
    with pytest.raises(ValueError, match="a character that latin-1 has not"):
        Pattern("€", "latin-1")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(a", r"missing \)"),
        ("[a", r"missing \]"),
        ("(?=x)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("(a{1000}){1000}", "invalid repetition size"),
        ("a" * (MAX_PATTERN + 1), f"more than {MAX_PATTERN} characters"),
        (r"(\pL{200}){5}" * 20, "pattern too large"),
    ],
)
def test_refused(text: str, reason: str, capfd: pytest.CaptureFixture[str]) -> None:
    """S18: patterns are bounded in size; the reason is RE2's own, and in no other place."""
    with pytest.raises(ValueError, match=reason):
        Pattern(text)
    assert capfd.readouterr().err == ""


def test_time_is_linear() -> None:
    """S18: a pattern that takes a backtracking engine for ever."""
    started = time.process_time()
    assert Pattern(r"^(a+)+$").match(b"a" * 65536 + b"b") is None
    assert Pattern(r"(x+x+)+y").match(b"x" * 65536) is None
    assert time.process_time() - started < 1


PATTERNS = [
    "^abc",
    "^a+b",
    "^(?i)abc",
    "^a|b",
    "^(a|b)c",
    "(?m)^b",
    "^(?m)b$",
    "^*b",
    "^?b",
    "^{0}b",
    "^",
    "^.",
    "^(?s).b",
    "^[^a]",
    "^a*$",
    "^é",
    "^(?:abcabcabcabcabcabcabcabcabcabcabcabc)+c$",
    r"^\C",
    r"^\Bb",
    "b",
]


@pytest.mark.parametrize("text", PATTERNS)
@example(data=b"a\nb")
@example(data=b"abc" * 24 + b"c")
@given(data=st.one_of(st.binary(max_size=8), st.lists(st.sampled_from(b"abc\nB")).map(bytes)))
def test_the_short_way_loses_nothing(text: str, data: bytes) -> None:
    """What is refused by its beginning alone does not match either."""
    try:
        pattern = Pattern(text)
    except ValueError:
        return
    matches = re2.search(text.encode(), data) is not None
    assert (pattern.match(data) is not None) == matches


def test_the_first_rule_wins() -> None:
    matchers: list[Matcher] = [
        Exact(b"one"),
        Prefix(b"o"),
        Exact(b"o!"),
        Pattern("^(?P<all>t.*)"),
        Exact(b"two"),
        Exact(b"four"),
        Exact(b"four"),
    ]
    rules = Rules(matchers)
    assert rules.find(b"one") == (0, {})
    assert rules.find(b"o!") == (1, {"rest": b"!"})
    assert rules.find(b"two") == (3, {"all": b"two"})
    assert rules.find(b"four") == (5, {})
    assert rules.find(b"x") is None
    assert Rules([]).find(b"x") is None


MATCHERS = st.one_of(
    st.binary(max_size=2).map(Exact),
    st.binary(max_size=1).map(Prefix),
    st.sampled_from(["^a", "b$", "^(?P<x>.)a"]).map(Pattern),
)


def test_a_beginning_is_found() -> None:
    """The short way is there at all: a rule that does not match costs next to nothing."""
    assert Pattern(r"^my name is (?P<name>\w+)$")._start == b"my name is "
    assert Pattern("^a|b")._start == b""


@given(
    matchers=st.lists(MATCHERS, max_size=6),
    data=st.one_of(st.binary(max_size=3), st.lists(st.sampled_from(b"ab"), max_size=3).map(bytes)),
)
def test_rules_are_as_if_tried_one_by_one(matchers: list[Matcher], data: bytes) -> None:
    tried = [(index, matcher.match(data)) for index, matcher in enumerate(matchers)]
    first = next(((index, groups) for index, groups in tried if groups is not None), None)
    assert Rules(matchers).find(data) == first


def test_what_is_named() -> None:
    assert Exact(b"x").names == frozenset()
    assert Prefix(b"x").names == {"rest"}
