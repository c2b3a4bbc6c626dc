"""What the YAML parser complains about, in the words of someone who writes config files.

PyYAML says where it stopped; where the mistake began is often in its context mark. Each of its
sentences is known here by the piece that does not change. Nothing of the text is repeated: without
a tree, nobody can tell what in it is a secret.
"""

from __future__ import annotations

import re
from typing import Final

import yaml

from netserve.config.document import Document

# The piece of PyYAML's problem, whether the place is where the context began, and our sentence.
_SENTENCES: Final = (
    ("found character '\\t'", False, "a tab; YAML is indented with spaces only"),
    (
        "mapping values are not allowed",
        False,
        "a colon where no key can be; put a text that has ': ' in it in quotes",
    ),
    (
        "could not find expected ':'",
        True,
        "neither a key nor a text; behind a key comes a colon and a space: `key: value`",
    ),
    (
        "but found '<block mapping start>'",
        False,
        "wrong indentation: this line is deeper than the entries that it should stand beside",
    ),
    ("expected <block end>, but found '-'", False, "a list item where a `key: value` should be"),
    (
        "expected <block end>, but found '<scalar>'",
        False,
        "text behind a value that has ended; put the whole value in quotes",
    ),
    (
        "expected <block end>",
        False,
        "wrong indentation: this line does not stand under the entries before it",
    ),
    ("expected ',' or ']'", True, "this list is not closed; a comma or ] is missing"),
    ("expected ',' or '}'", True, "this mapping is not closed; a comma or } is missing"),
    ("found unexpected end of stream", True, "this quote is not closed"),
    ("found unexpected document separator", True, "this quote is not closed"),
    (
        "found unknown escape character",
        False,
        "a backslash means nothing before this character; write \\\\, or use single quotes",
    ),
    ("expected escape sequence", False, "not an escape; write \\x41, \\u0041 or \\U00000041"),
    ("sequence entries are not allowed", False, "a list cannot begin here; put it on a new line"),
    ("mapping keys are not allowed", False, "a key cannot begin here; put it on a new line"),
    ("expected the node content", False, "a value is missing here"),
    ("expected <document start>", False, "text behind the end of the file's mapping"),
    ("found undefined tag handle", False, "an unknown tag; known are !env, !file, !credential"),
    ("expected a comment or a line break", False, "text behind | or >; it begins on the next line"),
    ("chomping or indentation indicators", False, "text behind | or >; it begins on the next line"),
    ("cannot start any token", False, "a text cannot begin with %, @ or `; put it in quotes"),
    ("found duplicate YAML directive", False, "a second %YAML line"),
    ("found incompatible YAML document", False, "not YAML 1.2"),
)
_NOT_PRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_KEY_ALONE: Final = re.compile(r"\s*[\w.-]+")


def report_syntax_error(document: Document, error: yaml.MarkedYAMLError) -> None:
    """Note what the parser stopped at."""
    problem = error.problem or "not valid YAML"
    for piece, at_context, sentence in _SENTENCES:
        if piece in problem:
            mark = error.context_mark if at_context and error.context_mark else error.problem_mark
            what = sentence
            if piece == "mapping values are not allowed" and mark is not None:
                what = _key_in_text(document, mark.index) or what
            break
    else:
        # PyYAML's own sentence may have a part of the text in it.
        mark, what = error.problem_mark or error.context_mark, "this is not valid YAML"
    index = mark.index if mark else 0
    document.report_at(_last_character(document.text, index), (), what)


def _key_in_text(document: Document, index: int) -> str:
    """Whether the colon is that of a key alone in its line, which the line before swallowed."""
    column = document.position(index)[1]
    if not _KEY_ALONE.fullmatch(document.text[index - column + 1 : index]):
        return ""
    before = document.text[: index - column + 1].rstrip()
    line = document.position(len(before))[0]
    return (
        f"this key is read as more of the text on line {line}: a colon is missing there,"
        " or this line is indented too far"
    )


def _last_character(text: str, index: int) -> int:
    """The index, or where it is the end of the text, the end of the last line with anything."""
    return index if index < len(text) else len(text.rstrip("\n\r \t"))


def find_not_printable(text: str) -> re.Match[str] | None:
    """The first character that YAML does not allow (section 5.1)."""
    return _NOT_PRINTABLE.search(text)
