"""A file's text -> a tree of values, each with its place; one walk over the parser's events.

Refused with a line: duplicate keys, unknown tags (so that no tag runs code), nesting deeper
than `MAX_DEPTH`, more than `MAX_VALUES` values with all aliases written out, aliases inside of
their own anchor, a second document. What is wrong with one value is noted, and the walk goes
on; only what leaves no tree ends it.

A key is always a text, also where it looks like a number. There are no merge keys (``<<``):
YAML 1.2 has none.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any, Final, NoReturn, TypeAlias

import yaml

from netserve.config.document import Document
from netserve.config.scalars import Scalar, resolve, resolve_as
from netserve.config.syntax import find_not_printable, report_syntax_error
from netserve.config.tags import KNOWN, Tags, is_reference
from netserve.config.tree import Entry, Node, Style, Way

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 50_000

_Event: TypeAlias = Any
"""One of PyYAML's events; their attributes are not in its type stubs."""

_CORE: Final = "tag:yaml.org,2002:"
_CORE_SCALARS: Final = frozenset({"str", "int", "float", "bool", "null"})
_STYLES: Final[dict[str | None, Style]] = {
    None: "plain", "": "plain", "|": "block", ">": "block",
}  # fmt: skip
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Unreadable(Exception):
    """The text gives no tree; the reason is noted in the document."""


def compose(document: Document, tags: Tags) -> None:
    """Read the document's text into its tree.

    Arguments:
        document: gets the tree, and a note of each problem.
        tags: resolve ``!env``, ``!file`` and ``!credential``.

    Raises:
        Unreadable: there is no tree; the document has the problem.
    """
    if bad := find_not_printable(document.text):
        document.report_at(bad.start(), (), f"the character U+{ord(bad[0]):04X} cannot stand here")
        raise Unreadable
    document.root = _Composer(document, tags).compose()


class _Composer:
    """Builds the tree of one document from the parser's events."""

    def __init__(self, document: Document, tags: Tags) -> None:
        self._document = document
        self._tags = tags
        self._loader = yaml.SafeLoader(document.text)
        self._anchors: dict[str, Node | None] = {}
        self._values = 0

    def compose(self) -> Node:
        try:
            self._event()  # the stream's start
            if isinstance(event := self._event(), yaml.StreamEndEvent):
                self._stop(0, (), "the file is empty; it needs a section `services:`")
            root = self._node(self._event(), ())
            self._event()  # the document's end
            if not isinstance(event := self._event(), yaml.StreamEndEvent):
                what = "a second document begins here; the file has to be one"
                self._stop(event.start_mark.index, (), what)
        except yaml.MarkedYAMLError as error:
            report_syntax_error(self._document, error)
            raise Unreadable from None
        except (ValueError, OverflowError):
            # PyYAML's scanner lets them out for an escape or a %YAML line with a huge number.
            mark = yaml.MarkedYAMLError(
                problem="expected escape sequence", problem_mark=self._loader.get_mark()
            )
            report_syntax_error(self._document, mark)
            raise Unreadable from None
        return root

    def _event(self) -> _Event:
        return self._loader.get_event()

    def _stop(self, index: int, way: Way, what: str) -> NoReturn:
        self._document.report_at(index, way, what)
        raise Unreadable

    def _node(self, event: _Event, way: Way) -> Node:
        index = event.start_mark.index
        self._count(1, index, way)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, way)
        if isinstance(event, yaml.CollectionStartEvent) and len(way) >= MAX_DEPTH:
            self._stop(index, way, f"nested more than {MAX_DEPTH} deep")
        if event.anchor:
            self._anchors[event.anchor] = None  # until it is complete
        if isinstance(event, yaml.MappingStartEvent):
            node = self._mapping(event, way)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, way)
        else:
            node = self._scalar(event, way)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _count(self, more: int, index: int, way: Way) -> None:
        self._values += more
        if self._values > MAX_VALUES:
            what = f"more than {MAX_VALUES:,} values, those of aliases written out"
            self._stop(index, way, what)

    def _alias(self, event: _Event, way: Way) -> Node:
        index = event.start_mark.index
        name: str = event.anchor
        node = self._anchors.get(name)
        if node is None:
            # The name is not told: it may be an unquoted text that begins with a star.
            what = "there is no anchor for this alias before it; put a text that begins with * in"
            what += " quotes"
            if name in self._anchors:
                what = "this alias stands inside of its own anchor"
            self._document.report_at(index, way, what)
            return Node(index, event.end_mark.index, "")
        self._count(node.weight - 1, index, way)
        if len(way) + node.height > MAX_DEPTH:
            self._stop(index, way, f"nested more than {MAX_DEPTH} deep by this alias")
        return node

    def _mapping(self, event: _Event, way: Way) -> Node:
        self._check_collection_tag(event, "map", way)
        entries: dict[str, Entry] = {}
        weight, height = 1, 0
        while not isinstance(key_event := self._event(), yaml.MappingEndEvent):
            key = self._key(key_event, way)
            start, end = key_event.start_mark.index, key_event.end_mark.index
            if key is not None:
                span = self._document.source.span(start, end)
                if key_event.anchor:
                    span.allow(False)  # its name stands there, too
            node = self._node(self._event(), (*way, key or ""))
            if key in entries:
                line = self._document.position(entries[key].span.start)[0]
                what = f"the same key again; it is already on line {line}"
                self._document.report_at(start, (*way, key), what)
                span.first = entries[key].span
            if key is None or key in entries:
                continue  # it has no place in the tree, so that it is not shown
            entries[key] = Entry(span, node)
            weight += node.weight
            height = max(height, node.height + 1)
        end = self._end(event, key_event)
        style: Style = "flow" if event.flow_style else "block"
        return Node(event.start_mark.index, end, entries, weight, height, style=style)

    def _sequence(self, event: _Event, way: Way) -> Node:
        self._check_collection_tag(event, "seq", way)
        items: list[Node] = []
        while not isinstance(item := self._event(), yaml.SequenceEndEvent):
            items.append(self._node(item, (*way, len(items))))
        weight = 1 + sum(node.weight for node in items)
        height = 1 + max((node.height for node in items), default=-1)
        return Node(event.start_mark.index, self._end(event, item), tuple(items), weight, height)

    def _end(self, start: _Event, end: _Event) -> int:
        """Where a collection ends; a block's end mark is at the next thing, so cut the space."""
        text = self._document.text
        first: int = start.start_mark.index
        last: int = end.end_mark.index
        return first + len(text[first:last].rstrip())

    def _key(self, event: _Event, way: Way) -> str | None:
        index = event.start_mark.index
        what = ""
        if isinstance(event, yaml.AliasEvent):
            what = "a key cannot be an alias; write it out"
        elif not isinstance(event, yaml.ScalarEvent):
            self._node(event, (*way, ""))
            what = "a key has to be a plain text, not a list or a mapping; put it in quotes"
        elif event.tag not in {None, "!", f"{_CORE}str"}:
            what = "a key has no tag; write it out"
        elif event.value == "<<" and event.implicit[0]:
            what = "YAML 1.2 has no merge keys; write the options out"
        elif not event.value:
            what = "a key is missing before this colon"
        elif _SURROGATE.search(event.value):
            what = "half of a character (a surrogate) in the key"
        if not what:
            key: str = event.value
            return key
        self._document.report_at(index, way, what)
        return None

    def _scalar(self, event: _Event, way: Way) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        is_tagged = event.tag in KNOWN
        reference = is_tagged and not event.anchor and is_reference(event.tag, event.value)
        span = self._document.source.span(start, end, is_reference=reference)
        if event.anchor:
            span.allow(False)  # its name stands there, too
        try:
            value = self._value(event)
        except ValueError as error:
            self._document.report_at(start, way, str(error))
            span.allow(False)  # it may have an unknown tag, too
            value = ""
        is_long = event.start_mark.line != event.end_mark.line
        style: Style = "block" if is_long else _STYLES.get(event.style, "quoted")
        return Node(start, end, value, span=span, style=style, is_tagged=is_tagged)

    def _value(self, event: _Event) -> Scalar:
        tag, text = event.tag, event.value
        if _SURROGATE.search(text):
            raise ValueError("half of a character (a surrogate) in the text")
        if tag is None:
            return resolve(text) if event.implicit[0] else text
        if tag == "!":
            return str(text)
        if tag in KNOWN:
            return self._tags.resolve(tag, text)
        kind = tag.removeprefix(_CORE)
        if kind in _CORE_SCALARS and tag != kind:
            return resolve_as(kind, text)
        raise ValueError(_unknown_tag(tag))

    def _check_collection_tag(self, event: _Event, kind: str, way: Way) -> None:
        if event.tag in {None, "!", _CORE + kind}:
            return
        if event.tag in KNOWN:
            what = f"{event.tag} takes a text, not a list or a mapping"
        else:
            what = _unknown_tag(event.tag)
        self._document.report_at(event.start_mark.index, way, what)


def _unknown_tag(tag: str) -> str:
    """What is said of a tag; it may be an unquoted text that begins with an exclamation mark."""
    known = f"known are {', '.join(KNOWN)}; put a text that begins with ! in quotes"
    if near := get_close_matches(tag, KNOWN, n=1, cutoff=0.7):
        known = f"did you mean {near[0]}?"
    return f"unknown tag; {known}"
