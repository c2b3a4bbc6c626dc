"""Any text at all either loads or is refused with problems that are inside of it."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netserve.config.document import Document
from netserve.config.load import load_text
from netserve.config.nodes import MAX_DEPTH, MAX_VALUES, Unreadable, compose
from netserve.config.tags import Tags
from netserve.errors import ConfigError, Problem
from netserve.registry import Registry

REGISTRY = Registry(built_in=(("echo", "netserve.protocols.echo:plugin"),), installed=lambda: ())
TAGS = Tags(Path("/nowhere"), {"NAME": "value"})

PIECES = st.sampled_from(
    ["services", "netserve", ":", ": ", " ", "  ", "\n", "\r\n", "\r", "\t", "- ", "? ", "[",
     "]", "{", "}",
     ",", "&a ", "*a", "!env ", "NAME", "!file ", "!x", "!!str ", "!!int ", "'", '"', "\\",
     "\\x4", "\\UFFFFFFFF",
     "|", ">", "\n  ", "\n    ", "#", "---", "...", "%YAML 1.1\n", "%TAG ! x\n", "<<", "~",
     "null", "5", "1.5", "true",
     "echo", "protocol", "listen", "tcp:7007", "limits", "password", "hunter2", "@", "`", "\x85",
     "\u2028",
     "\ufeff", "\0", "\x1b", "ü", "日本", "\U0001f600"]
)  # fmt: skip
PIECEWISE = st.lists(PIECES, max_size=40).map("".join)


def judge(text: str) -> None:
    lines = len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for problem in problems_of(text):
        assert 1 <= problem.line <= lines
        assert 1 <= problem.column <= len(text) + 1
        assert problem.what
        assert len(problem.source) <= 200
        assert len(str(problem).split("\n")) in {1, 3}
        assert all(character.isprintable() or character in "\n\t" for character in str(problem))


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        load_text(text, Path("config.yaml"), REGISTRY, TAGS)
    except ConfigError as error:
        return error.problems
    return ()


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    judge(text)


@given(PIECEWISE)
@settings(max_examples=500, deadline=None)
@example('"\\UFFFFFFFF"')
@example("%YAML 99999999999.1\n---\na")
@example("!%ff x")
@example("? ? ? ? ?")
def test_any_text_of_yaml_s_own_pieces(text: str) -> None:
    judge(text)


@given(PIECEWISE)
@settings(max_examples=300, deadline=None)
def test_any_text_inside_of_a_service(text: str) -> None:
    judge(f"services:\n  one:\n    protocol: echo\n    listen: tcp:7007\n    {text}")


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | KEYS | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_json_is_read_as_it_is(value: Any) -> None:
    """YAML 1.2 has JSON in it: everything is the same, but for lists, which are tuples."""
    document = Document("config.json", json.dumps(value, ensure_ascii=False))
    compose(document, TAGS)
    assert document.root is not None
    assert not document.problems()
    assert json.dumps(document.root.plain()) == json.dumps(value)


@given(st.dictionaries(KEYS, st.integers(0, 9), min_size=1, max_size=5))
def test_each_value_has_its_place(value: dict[str, int]) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=1)
    document = Document("config.json", text)
    compose(document, TAGS)
    for key, number in value.items():
        problem = document.problem((key,), "wrong")
        line = text.split("\n")[problem.line - 1]
        assert line[problem.column - 1 :].startswith(str(number))


def refused(text: str) -> str:
    document = Document("config.yaml", text)
    with pytest.raises(Unreadable):
        compose(document, TAGS)
    return document.problems()[0].what


ALIAS_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{outer}: &{outer} [{','.join([f'*{inner}'] * 9)}]\n" for inner, outer in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 500_000, "nested more than 32 deep"),
        ("? " * 300_000, "nested more than 32 deep"),
        ("- " * 300_000, "nested more than 32 deep"),
        ("{a: " * 200_000, "nested more than 32 deep"),
        ("[" + "1," * 500_000 + "]", "more than 50,000 values"),
        (ALIAS_BOMB, "more than 50,000 values"),
    ],
    ids=["lists", "keys", "items", "mappings", "values", "aliases"],
)  # fmt: skip
def test_a_text_made_to_exhaust_is_refused_soon(text: str, reason: str) -> None:
    """S15: deep nesting and alias bombs, as large as a file may be."""
    begin = time.process_time()
    assert reason in refused(text)
    assert time.process_time() - begin < 20


def test_the_deepest_nesting_and_the_most_values_are_read() -> None:
    document = Document("config.yaml", "[" * MAX_DEPTH + "]" * MAX_DEPTH)
    compose(document, TAGS)
    document = Document("config.yaml", "[" + "1," * (MAX_VALUES - 1) + "]")
    compose(document, TAGS)
    assert document.root is not None
    assert document.root.weight == MAX_VALUES


NOISE = st.lists(PIECES.filter(lambda piece: piece != "hunter2"), max_size=6).map("".join)


@given(
    before=NOISE,
    key=st.sampled_from(["password", "pasword", "passwd", "token", "api_key", "Authorization"]),
    quote=st.sampled_from(["", "'", '"']),
    after=NOISE,
    in_braces=st.booleans(),
)
@settings(max_examples=300, deadline=None)
@example(before="", key="password", quote='"', after='\n  hunter2" x', in_braces=False)
@example(before="", key="pasword", quote="", after=": x", in_braces=True)
def test_no_mistake_around_a_secret_shows_it(
    before: str, key: str, quote: str, after: str, in_braces: bool
) -> None:
    """S17: whatever else is wrong on its line or around it, also where the syntax is broken."""
    value = f"{key}: {quote}hunter2{after}"
    if in_braces:
        value = f"login: {{user: 5, {value}{quote}}}"
    text = (
        f"services:\n  one:\n    protocol: echo\n    listen: tcp:7007\n    {before}\n    {value}\n"
    )
    for problem in problems_of(text):
        assert "hunter2" not in str(problem)
