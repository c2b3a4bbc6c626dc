"""Compares an answer with the expectation, and shows the difference in a readable form."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final

from netserve.dialogue.masks import Masks

__all__ = ["difference"]

MOST_LINES: Final = 60
"""Lines of a difference."""
AROUND: Final = 3
"""Equal lines that are shown around a different one."""
WIDEST: Final = 200
"""Characters of a line."""
MOST_COMPARED: Final = 2000
"""Lines that are matched with each other; more are compared one by one."""
_PER_ROW: Final = 16


def difference(expected: bytes, answered: bytes, masks: Masks) -> str:
    """The difference between the masked expectation and answer; empty if there is none.

    Lines of the expectation begin with ``-``, those of the answer with ``+``, and equal lines with
    two blanks; a caret shows where a line begins to differ. Other bytes are shown in
    hexadecimal.
    """
    wanted, got = masks.apply(expected), masks.apply(answered)
    if wanted == got:
        return ""
    as_text = _is_text(wanted) and _is_text(got)
    rows = (_lines(wanted), _lines(got)) if as_text else (_hex_rows(wanted), _hex_rows(got))
    if rows[0] == rows[1]:  # the difference is not visible as text, such as the end of a line
        rows = (_hex_rows(wanted), _hex_rows(got))
    found: list[str] = []
    for tag, a, b, c, d in _operations(*rows):
        if tag == "equal":
            found += _around(rows[0][a:b], first=a == 0, last=b == len(rows[0]))
        else:
            found += _changed(rows[0][a:b], rows[1][c:d])
    if len(found) > MOST_LINES:
        found = [*found[:MOST_LINES], f"… and {len(found) - MOST_LINES} lines more"]
    return "\n".join(found)


def _operations(one: list[str], other: list[str]) -> Sequence[tuple[str, int, int, int, int]]:
    if max(len(one), len(other)) > MOST_COMPARED:
        at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
                  min(len(one), len(other)))  # fmt: skip
        return [("equal", 0, at, 0, at), ("replace", at, len(one), at, len(other))]
    return SequenceMatcher(None, one, other, autojunk=False).get_opcodes()


def _around(rows: list[str], *, first: bool, last: bool) -> list[str]:
    """Equal lines: only those beside a difference."""
    before, after = (0 if first else AROUND), (0 if last else AROUND)
    if len(rows) <= before + after + 1:
        return [f"  {row}" for row in rows]
    left_out = f"  … {len(rows) - before - after} equal lines"
    tail = rows[len(rows) - after :] if after else []
    return [*(f"  {row}" for row in rows[:before]), left_out, *(f"  {row}" for row in tail)]


def _changed(wanted: list[str], got: list[str]) -> list[str]:
    found = []
    for index in range(max(len(wanted), len(got))):
        pair = [rows[index] if index < len(rows) else None for rows in (wanted, got)]
        found += [f"{sign} {row}" for sign, row in zip("-+", pair, strict=True) if row is not None]
        if pair[0] is not None and pair[1] is not None:
            same = next((i for i, (a, b) in enumerate(zip(*pair, strict=False)) if a != b),
                        min(len(pair[0]), len(pair[1])))  # fmt: skip
            found.append("  " + " " * same + "^")
    return found


def _is_text(data: bytes) -> bool:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(each.isprintable() or each in "\r\n\t\x0b\x1c" for each in text)


def _lines(data: bytes) -> list[str]:
    """Its lines; HL7's end with CR."""
    text = data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    rows = text.removesuffix("\n").split("\n")
    return [_shown(row) for row in rows]


def _shown(row: str) -> str:
    row = "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in row)
    return row if len(row) <= WIDEST else f"{row[:WIDEST]}…"


def _hex_rows(data: bytes) -> list[str]:
    rows = []
    for at in range(0, len(data), _PER_ROW):
        piece = data[at : at + _PER_ROW]
        dots = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
        rows.append(f"{piece.hex(' '):<{_PER_ROW * 3}} |{dots}|")
    return rows
