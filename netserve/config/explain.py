"""A section that does not fit its model -> problems of the document, and nothing secret in them."""

from __future__ import annotations

from pydantic import ValidationError

from netserve.config.document import Document
from netserve.config.faults import Fault, faults
from netserve.config.sentences import nearest_key, sentence
from netserve.config.shapes import Shape
from netserve.config.tree import Way


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
        if fault.kind in {"value_error", "assertion_error"}:
            way, what = document.pointed(way, _error(fault))
            what = " ".join(what.split())
        else:
            what = sentence(fault, shows=document.shows(way))
        if fault.kind == "missing":
            document.report(way[:-1], what, on="key")
        else:
            document.report(way, what, on="key" if fault.kind == "extra_forbidden" else "value")


def _error(fault: Fault) -> ValueError:
    """The exception of a validator."""
    error = fault.context.get("error")
    return error if isinstance(error, ValueError) else ValueError(error or "not a value that fits")
