"""The tree of a file: each value with its place in the text, and whether it may be shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from netserve.config.scalars import Scalar

Way: TypeAlias = tuple[str | int, ...]
"""The keys and indexes from the root of the file to a value."""
Style: TypeAlias = Literal["plain", "quoted", "block", "flow"]
"""How a value is written."""


@dataclass(slots=True)
class Span:
    """A key or a scalar in the text.

    Arguments:
        start: index of its first character; its tag and its anchor count.
        end: index after its last one.
        is_reference: it only says where a value comes from (``!env NAME``).
        first: the same key, where it stands in the mapping before this one.
    """

    start: int
    end: int
    is_reference: bool = False
    first: Span | None = None
    _allowed: bool | None = None

    def allow(self, allowed: bool) -> None:
        """Say whether it may be shown. One place where it may not is enough: aliases share it."""
        self._allowed = allowed and self._allowed is not False

    @property
    def is_allowed(self) -> bool:
        """Whether no secret can stand in any place that has it."""
        return bool(self._allowed)

    @property
    def is_shown(self) -> bool:
        """Whether a source line shows it."""
        if self.first is not None:
            return self.first.is_shown
        return self.is_reference or self.is_allowed


@dataclass(slots=True)
class Node:
    """A value in the file.

    Arguments:
        start: index of its first character in the text.
        end: index after its last one.
        value: a scalar; entries in the file's order; or items. An alias shares its node.
        weight: how many nodes it is when aliases are written out.
        height: how deep the nesting below it goes; 0 for a scalar.
        span: of a scalar.
        style: how it is written; a scalar of more than one line is a block.
        is_tagged: its value comes from elsewhere, by ``!env`` and its like.
    """

    start: int
    end: int
    value: Scalar | dict[str, Entry] | tuple[Node, ...]
    weight: int = 1
    height: int = 0
    span: Span | None = None
    style: Style = "block"
    is_tagged: bool = False

    def plain(self) -> Any:
        """The data: dicts, tuples, scalars."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(item.plain() for item in self.value)
        return self.value

    @property
    def is_shown(self) -> bool:
        """Whether a message may repeat its value."""
        return self.span is not None and self.span.is_allowed and not self.is_tagged

    def below(self) -> Iterator[Node]:
        """The node and all nodes in it, each of them once, however many aliases share it."""
        seen: set[int] = set()
        nodes = [self]
        while nodes:
            node = nodes.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            if isinstance(node.value, dict):
                nodes += [entry.node for entry in node.value.values()]
            elif isinstance(node.value, tuple):
                nodes += node.value


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping, and its value."""

    span: Span
    node: Node
