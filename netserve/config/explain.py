"""A section that does not fit its model -> problems of the document, and nothing secret in them."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from netserve.config.document import Document, Way
from netserve.config.faults import Fault, below, faults, form
from netserve.config.sentences import nearest_key, sentence
from netserve.config.shapes import Shape
from netserve.config.types import Secret


def explain(
    document: Document, prefix: Way, shape: Shape, data: object, error: ValidationError
) -> None:
    """Note every problem of a section.

    Arguments:
        document: the file.
        prefix: the way to the section.
        shape: what the section was checked against.
        data: the section.
        error: what pydantic said.
    """
    found = faults(shape, data, error.errors(include_url=False))
    misspelled = {
        (*fault.way[:-1], nearest_key(fault)) for fault in found if fault.kind == "extra_forbidden"
    }
    for fault in found:
        way = prefix + fault.way
        if fault.kind == "missing" and fault.way in misspelled:
            continue  # told at the key that should be it
        if document.has_problem_at(way):
            continue  # it could not be read, as a !env that is not set
        if fault.kind in {"value_error", "assertion_error"} and document.has_problem_below(way):
            continue  # it may be about what could not be read
        what = _without_secrets(document, fault, sentence(fault))
        if fault.kind in {"value_error", "assertion_error"}:
            way, what = document.pointed(way, what)
        if fault.kind == "missing":
            document.report(way[:-1], what, on="key")
        else:
            document.report(way, what, on="key" if fault.kind == "extra_forbidden" else "value")


def hide_secrets(document: Document, prefix: Way, shape: Shape, data: object) -> None:
    """Hide every value of a section whose type is secret or whose key is unknown."""
    if _is_secret(shape):
        document.hide(prefix)
    leaves = [leaf for leaf in shape.leaves if leaf.accepts == form(data)]
    if isinstance(data, Mapping):
        for key, value in data.items():
            known = [inner for leaf in leaves if (inner := below(leaf, key)) is not None]
            if leaves and not known:
                document.hide((*prefix, key))
            for inner in known:
                hide_secrets(document, (*prefix, key), inner, value)
    elif isinstance(data, tuple):
        for index, value in enumerate(data):
            for leaf in leaves:
                if leaf.item:
                    hide_secrets(document, (*prefix, index), leaf.item, value)


def _is_secret(shape: Shape | None) -> bool:
    return shape is not None and any(leaf.base is Secret for leaf in shape.leaves)


def _without_secrets(document: Document, fault: Fault, what: str) -> str:
    """A validator may repeat the value in its sentence; not where that is a secret."""
    value = fault.value
    if (
        isinstance(value, str)
        and value
        and (value in document.from_tags or _is_secret(fault.shape))
    ):
        return what.replace(value, "***")
    return what
