"""Texts with ``{placeholders}``: parsed once, when a service is built, then only filled in.

A placeholder is a name and nothing else: no attribute, no index, no format, so that a template
reaches nothing that it was not given (S18). ``{{`` and ``}}`` stand for the braces themselves. An
unknown name is an error at build time, with the nearest known one::

    template = Template.parse("Hello, {name}!", {"name", "request"})
    template.render_bytes({"name": b"world"})            # b"Hello, world!"

Where a value must not leave its place (a part of an URL, a header, a JSON string), each place
gets the encoder that fits it, chosen at build time by the text in front of it::

    url = Template.parse("http://localhost/{path}?q={word}", {"path", "word"})
    encoders = [query if "?" in before else segment for before in url.before()]
    url.render({"path": b"a/b", "word": "x&y"}, encoders)   # http://localhost/a%2Fb?q=x%26y
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, TypeAlias

from netserve.errors import InvalidValue

__all__ = ["Encoder", "Template", "as_text"]

Encoder: TypeAlias = Callable[[str], str]
"""Makes a value fit for its place, or raises ValueError."""

_PIECE: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text; made by `parse`.

    Arguments:
        literals: the texts around the placeholders, one more than there are names.
        names: the placeholders in order.
    """

    literals: tuple[str, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str, known_names: Collection[str] = ()) -> Template:
        """Parse a template.

        Arguments:
            text: as in the file.
            known_names: the placeholders there are.

        Raises:
            ValueError: a name is unknown, or a brace stands alone; the text says which, and what
                would be right.
        """
        literals, names, at = [""], [], 0
        for match in _PIECE.finditer(text):
            literals[-1] += text[at : match.start()]
            at = match.end()
            name = match[1]
            if name is not None:
                names.append(_known(name, known_names))
                literals.append("")
            elif len(match[0]) == 2:
                literals[-1] += match[0][0]
            else:
                raise InvalidValue(
                    "a {piece} at character {number} without its counterpart; write {double} for"
                    " the brace itself",
                    otherwise="a brace without its counterpart; write {{ or }} for it itself",
                    piece=match[0],
                    number=match.start() + 1,
                    double=match[0] * 2,
                )
        literals[-1] += text[at:]
        return cls(tuple(literals), tuple(names))

    @property
    def constant(self) -> str | None:
        """The text of a template without placeholders, else None."""
        return None if self.names else self.literals[0]

    def before(self) -> list[str]:
        """For each placeholder all of the literal text in front of it."""
        return list(accumulate(self.literals[:-1]))

    def render(
        self, values: Mapping[str, bytes | str], encode: Encoder | Sequence[Encoder] = str
    ) -> str:
        """The text with the values in it.

        Arguments:
            values: one for each name. Bytes are read as UTF-8; those that are not are kept as
                surrogate escapes (U+DC80 to U+DCFF), which an encoder sees, and has to treat.
            encode: for all placeholders, or a list with one encoder for each, in order.

        Raises:
            ValueError: an encoder refused its value.
        """
        encoders = [encode] * len(self.names) if callable(encode) else encode
        pieces = [self.literals[0]]
        places = zip(self.names, encoders, self.literals[1:], strict=True)
        for name, encode_one, literal in places:
            pieces += (encode_one(as_text(values[name])), literal)
        return "".join(pieces)

    def render_bytes(self, values: Mapping[str, bytes | str], encoding: str = "utf-8") -> bytes:
        """The text as bytes; values that are bytes are put in as they are.

        Arguments:
            values: one for each name.
            encoding: of the literal texts and of values that are texts.

        Raises:
            UnicodeEncodeError: a text has a character that the encoding has not.
        """
        pieces = [self.literals[0].encode(encoding)]
        for name, literal in zip(self.names, self.literals[1:], strict=True):
            value = values[name]
            pieces += (
                value if isinstance(value, bytes) else value.encode(encoding),
                literal.encode(encoding),
            )
        return b"".join(pieces)


def as_text(value: bytes | str) -> str:
    """A value as `Template.render` reads it."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _known(name: str, known_names: Collection[str]) -> str:
    """The name, if there is such a placeholder."""
    if name in known_names:
        return name
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            "{name} is not a placeholder: that is a name in braces and nothing else;"
            " write {{{{ and }}}} for the braces themselves",
            otherwise="a placeholder is a name in braces and nothing else; write {{ and }} for the"
            " braces themselves",
            name=f"{{{name}}}",
        )
    if near := difflib.get_close_matches(name, known_names, n=1):
        hint = f"did you mean {{{near[0]}}}?"
    else:
        known = ", ".join(f"{{{known}}}" for known in sorted(known_names))
        hint = f"there are {known}" if known else "there are none here"
    raise InvalidValue(
        "there is no placeholder {name}; {hint}",
        otherwise="there is no such placeholder; " + hint,
        name=f"{{{name}}}",
        hint=hint,
    )
