"""What of a file may be shown in errors: a walk over its tree with the types of its options.

============================  ==================================================================
shown                         where
============================  ==================================================================
the name of an option         it is one
another key                   no secret can be there; a misspelled one, where it is near to one
a scalar                      its type, in every place that has it by an alias, holds no secret
a tag with its text           it plainly says where a value comes from
============================  ==================================================================

A plain scalar in a flow mapping ends at a comma or a brace. Where it may be a secret, what comes
after it may be the rest of it, and is not taken for a key.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from netserve.config.faults import below
from netserve.config.secrets import holds_no_secret, looks_secret
from netserve.config.shapes import Shape, fields
from netserve.config.tree import Entry, Node, Way

_LIKE_AN_OPTION: Final = re.compile("[a-z_]{1,40}")
_LIKE_A_NAME: Final = re.compile(r"[\w.-]{1,63}")
_NEAR: Final = 0.75
_PEM: Final = "-----BEGIN"
_LONGEST: Final = 255
"""Characters of a value that is shown; no name of a host or a file is longer."""


def disclose(root: Node, sections: Mapping[Way, Shape], partly_known: Collection[Way] = ()) -> None:
    """Say of every key and scalar of a tree whether it may be shown.

    Arguments:
        root: of the tree.
        sections: the types of the whole file, and of parts of it that it does not tell.
        partly_known: sections that may have other options, too, which may be secrets.
    """
    _Walk(sections, partly_known).value(root, (), sections.get((), Shape(Any)))


class _Walk:
    def __init__(self, sections: Mapping[Way, Shape], partly_known: Collection[Way]) -> None:
        self._sections = sections
        self._partly_known = partly_known

    def value(self, node: Node, way: Way, *shapes: Shape, is_named_secret: bool = False) -> None:
        """Look at a value.

        Arguments:
            node: it.
            way: to it.
            shapes: the types that it may have; none where it has no place.
            is_named_secret: whether its key says that it is a secret.
        """
        if way in self._sections:
            shapes = (self._sections[way],)
        if isinstance(node.value, dict):
            self._mapping(node, node.value, way, shapes)
        elif isinstance(node.value, tuple):
            items = [leaf.item for shape in shapes for leaf in shape.leaves if leaf.item]
            for index, item in enumerate(node.value):
                self.value(item, (*way, index), *items, is_named_secret=is_named_secret)
        elif node.span is not None:
            # A value of one line: what has more may be a key or a certificate.
            fits = node.style != "block" and node.end - node.start <= _LONGEST
            fits = fits and _PEM not in str(node.value)
            node.span.allow(fits and not is_named_secret and _are_harmless(shapes))

    def _mapping(
        self, node: Node, entries: dict[str, Entry], way: Way, shapes: Sequence[Shape]
    ) -> None:
        leaves = [leaf for shape in shapes for leaf in shape.leaves if leaf.accepts == "mapping"]
        options = [name for leaf in leaves if leaf.model for name, _ in fields(leaf.model)]
        is_harmless = bool(leaves) and _are_harmless(shapes) and way not in self._partly_known
        is_doubtful = False
        for key, entry in entries.items():
            inner = [shape for leaf in leaves if (shape := below(leaf, key)) is not None]
            if key in options:
                entry.span.allow(True)
            elif inner:
                names = [leaf.key for leaf in leaves if leaf.key]
                allowed = _LIKE_A_NAME.fullmatch(key) is not None and _are_harmless(names)
                entry.span.allow(allowed and not is_doubtful and self._has_sense(way, entry.node))
            else:
                near = get_close_matches(key, options, n=1, cutoff=_NEAR)
                form = _LIKE_A_NAME if is_harmless else _LIKE_AN_OPTION
                allowed = form.fullmatch(key) is not None and (is_harmless or bool(near))
                entry.span.allow(allowed and not is_doubtful)
            self.value(entry.node, (*way, key), *inner, is_named_secret=looks_secret(key))
            is_doubtful = is_doubtful or _may_run_on(node, entry.node)

    @staticmethod
    def _has_sense(way: Way, value: Node) -> bool:
        """Whether a value can stand behind a name, which then is one, and not a lost secret."""
        is_empty = value.span is not None and value.value in {None, ""}
        if way == ("services",):
            return is_empty or value.span is None
        return not is_empty


def _are_harmless(shapes: Sequence[Shape]) -> bool:
    return bool(shapes) and all(map(holds_no_secret, shapes))


def _may_run_on(mapping: Node, value: Node) -> bool:
    """Whether what comes after a value may be the rest of it, as somebody meant it."""
    if value.span is None or value.span.is_allowed:
        return False
    return value.value in {None, ""} or (mapping.style == "flow" and value.style == "plain")
