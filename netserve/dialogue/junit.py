"""Results of tests in JUnit's XML form, as build servers read it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

__all__ = ["Result", "junit"]

_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot have, not even escaped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of one test.

    Arguments:
        file: of dialogues.
        name: of the test.
        seconds: that it took.
        line: of the step that failed, or of the test.
        failure: in one line; empty if it passed.
        details: the difference, in lines.
        error: that kept it from being run, such as a service that does not start; else empty.
    """

    file: str
    name: str
    seconds: float
    line: int = 0
    failure: str = ""
    details: str = ""
    error: str = ""


def junit(results: Sequence[Result]) -> str:
    """The document: a suite for each file, in the order of the results."""
    root = ET.Element("testsuites", _counts(results))
    for file in dict.fromkeys(result.file for result in results):
        mine = [result for result in results if result.file == file]
        suite = ET.SubElement(root, "testsuite", {"name": _clean(file), **_counts(mine)})
        for result in mine:
            case = ET.SubElement(suite, "testcase", {
                "classname": _clean(file), "name": _clean(result.name), "file": _clean(file),
                "line": str(result.line), "time": f"{result.seconds:.3f}",
            })  # fmt: skip
            for kind, message in (("failure", result.failure), ("error", result.error)):
                if message:
                    ET.SubElement(case, kind, {"message": _clean(message)}).text = _clean(
                        f"{message}\n{result.details}".rstrip()
                    )
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(results: Sequence[Result]) -> dict[str, str]:
    return {
        "tests": str(len(results)),
        "failures": str(sum(bool(result.failure) for result in results)),
        "errors": str(sum(bool(result.error) for result in results)),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
