"""The YAML form of dialogues: ``tests:`` with steps, read with the place of every mistake."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from netserve.config import tags
from netserve.config.disclosure import disclose
from netserve.config.document import Document
from netserve.config.explain import explain
from netserve.config.nodes import Unreadable, compose
from netserve.config.shapes import Shape
from netserve.config.source import read_text
from netserve.config.tree import Way
from netserve.config.types import Duration, FilePath, Section
from netserve.dialogue.masks import NAMES
from netserve.errors import ConfigError, InvalidValue
from netserve.wire.pattern import Pattern

__all__ = ["Case", "CaseFile", "Cases", "Content", "Framing", "Mask", "Step", "load", "load_text"]

Framing: TypeAlias = Literal["lines", "http", "mllp", "datagrams", "bytes"]


def _check_pattern(text: str) -> str:
    Pattern(text, "latin-1")
    return text


def _check_mask_name(name: str) -> str:
    if name not in NAMES:
        raise InvalidValue(
            f"unknown mask; there are {', '.join(NAMES)}, or {{name: …, pattern: …}}"
        )
    return name


def _check_hex(text: str) -> str:
    try:
        bytes.fromhex(text)
    except ValueError:
        raise InvalidValue("expected pairs of hexadecimal digits") from None
    return text


def _check_base64(text: str) -> str:
    try:
        base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error:
        raise InvalidValue("expected base64") from None
    return text


class Content(Section):
    """Content to send or to expect; exactly one of its options."""

    text: str | None = None
    """As text: the framing adds ends of lines and the like."""
    hex: Annotated[str, AfterValidator(_check_hex)] | None = None
    """The bytes in hexadecimal, as they are on the network."""
    base64: Annotated[str, AfterValidator(_check_base64)] | None = None
    """The bytes in base64, likewise."""
    file: FilePath | None = None
    """A file with the bytes, relative to this one."""
    matches: Annotated[str, AfterValidator(_check_pattern)] | None = None
    """Of an expectation: a regular expression (RE2) that the whole answer is to match somewhere."""

    @model_validator(mode="after")
    def _one(self) -> Content:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidValue("expected exactly one of text, hex, base64, file and matches")
        return self


def _as_content(value: object) -> object:
    """A text stands for `Content` with that text."""
    return {"text": value} if isinstance(value, str) else value


AnyContent: TypeAlias = Annotated[Content, BeforeValidator(_as_content)]


class Step(Section):
    """One step of a dialogue; exactly one of its options."""

    send: AnyContent | None = None
    """The client sends this."""
    expect: AnyContent | None = None
    """The service is expected to answer this."""
    close: Literal["client", "server"] | None = None
    """The side that closes the connection; with ``server``, the service is expected to close it."""
    advance: Duration | None = None
    """How far the clock of the service goes forward."""

    @model_validator(mode="after")
    def _one(self) -> Step:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise InvalidValue("expected exactly one of send, expect, close and advance")
        if self.send is not None and self.send.matches is not None:
            raise InvalidValue("send: matches is for expectations only")
        return self


class Mask(Section):
    """A mask of the user for a value that changes from run to run."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]
    """The value is replaced by ``<name>``."""
    pattern: Annotated[str, AfterValidator(_check_pattern)]
    """A regular expression (RE2); a group named ``value`` is masked, or else the whole match."""


class Case(Section):
    """One dialogue with a service."""

    name: str
    """A description in a few words."""
    service: str
    """The name of the service in the config file."""
    framing: Framing = "lines"
    """The unit of messages: a line, an HTTP message, an MLLP block, a datagram, or bytes."""
    line_end: Literal["crlf", "lf"] = "crlf"
    """How lines end on the network."""
    masks: tuple[Annotated[str, AfterValidator(_check_mask_name)] | Mask, ...] = (
        "date",
        "id",
        "token",
    )
    """Masks for values that change from run to run."""
    timeout: Duration = 5.0
    """How long an answer is waited for."""
    dialogue: Annotated[tuple[Step, ...], Field(min_length=1)]
    """The steps, in order."""


class Cases(Section):
    """A file of dialogues."""

    config: FilePath | None = None
    """The config file whose services are tested, relative to this file."""
    tests: Annotated[tuple[Case, ...], Field(min_length=1)]
    """The dialogues."""


_SHAPE: Final = Shape(Cases)


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A file of dialogues that has been checked.

    Arguments:
        path: as the user gave it.
        config: the config file whose services are tested, if it names one.
        cases: the dialogues.
        document: the text, with the position of each value.
    """

    path: Path
    config: Path | None
    cases: tuple[Case, ...]
    document: Document = field(repr=False)

    def line_of(self, case: int, step: int | None = None) -> int:
        """The line of a dialogue or of one of its steps, both counted from 0."""
        way: Way = ("tests", case) if step is None else ("tests", case, "dialogue", step)
        return self.document.line_of(way)


def load(path: Path) -> CaseFile:
    """Read a file of dialogues.

    Raises:
        ConfigError: everything that is wrong with it, each with its place.
    """
    return load_text(read_text(path), path)


def load_text(text: str, path: Path) -> CaseFile:
    """Read the text of a file of dialogues.

    Arguments:
        text: all of it.
        path: its path, for messages and for paths in it.

    Raises:
        ConfigError: everything that is wrong with it, each with its place.
    """
    folder = path.absolute().parent
    document = Document(str(path), text)
    if not text.strip():
        document.report_at(0, (), "the file is empty; it needs a section `tests:`")
        raise ConfigError(document.problems())
    try:
        compose(document, tags.for_file(folder))
    except Unreadable:
        raise ConfigError(document.problems()) from None
    data: Any = document.root.plain() if document.root else None
    found = None
    if document.root is not None:
        disclose(document.root, {(): _SHAPE})
    if isinstance(data, dict):
        try:
            found = Cases.model_validate(data, context={"folder": folder})
        except ValidationError as error:
            explain(document, (), _SHAPE, data, error)
    else:
        document.report((), "the file has to be a mapping with the key tests")
    problems = document.problems()
    if problems or found is None:
        raise ConfigError(problems)
    return CaseFile(path, found.config, found.tests, document)
