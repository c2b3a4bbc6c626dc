"""What a measurement says, and the one table of all of them. Pure: rows in, Markdown out.

A `Row` is one subject doing one piece of work. What is promised about it is a `Claim`: a number,
what it is a number of, and the bound it has to keep. A ratio to a peer and an absolute number
(MB, seconds) are both claims; a claim without a bound is told, and not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD = ("work", "subject", "items/s", "CPU, us an item", "memory, MB", "claim", "target", "met")
NUMERIC = frozenset({"items/s", "CPU, us an item", "memory, MB"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A number that is promised, or only told.

    Arguments:
        value: what was measured.
        of: what it is, behind the number: ``the rate of treq``, ``to ready``.
        unit: directly behind the number; ``x`` for a ratio.
        at_least: the least that is promised.
        at_most: the most that is promised.
    """

    value: float
    of: str
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None where nothing is promised."""
        if self.at_least is None and self.at_most is None:
            return None
        # Compared as shown: a target of 0.80 is met by what is printed as 0.80.
        shown = float(_number(self.value))
        return (self.at_least is None or shown >= self.at_least) and (
            self.at_most is None or shown <= self.at_most
        )

    @property
    def target(self) -> str:
        """The bound, as it stands in the table; empty where there is none."""
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        return " and ".join(
            f"{sign} {bound:g}{self.unit}" for sign, bound in bounds if bound is not None
        )

    def __str__(self) -> str:
        return f"{_number(self.value)}{self.unit} {self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subject doing one piece of work.

    Arguments:
        work: what is done; the rows of one work stand together.
        subject: who does it.
        rate: items a second, by the wall clock.
        cpu: microseconds of CPU an item, from the operating system, all its processes.
        memory: megabytes (10**6 bytes), the proportional share of all its processes.
        claims: what is promised about it.
        note: a remark, such as that the load generator was at its limit.
        skipped: why it was not measured, where it was not.
        failed: why the measurement broke, where it did.
    """

    work: str
    subject: str
    rate: float | None = None
    cpu: float | None = None
    memory: float | None = None
    claims: Sequence[Claim] = ()
    note: str = ""
    skipped: str = ""
    failed: str = ""

    @property
    def missed(self) -> bool:
        """Whether a promise is not kept, or the measurement broke."""
        return bool(self.failed) or any(claim.met is False for claim in self.claims)


def render(rows: Iterable[Row]) -> str:
    """The table as Markdown: a line a claim, notes under it by number."""
    lines: list[tuple[str, ...]] = []
    notes: list[str] = []
    work = ""
    for row in rows:
        cells = _cells(row, notes)
        lines.append(("" if row.work == work else row.work, *cells[0]))
        lines.extend(("", *more) for more in cells[1:])
        work = row.work
    text = _layout(lines)
    if notes:
        text += "\n" + "".join(f"{number}. {note}\n" for number, note in enumerate(notes, 1))
    return text


def _cells(row: Row, notes: list[str]) -> list[tuple[str, ...]]:
    """The cells of a row behind its work; more than one line where it has several claims."""
    subject = row.subject
    if row.note:
        if row.note not in notes:
            notes.append(row.note)
        subject += f" ({notes.index(row.note) + 1})"
    if row.skipped or row.failed:
        told = f"skipped: {row.skipped}" if row.skipped else f"FAILED: {row.failed}"
        return [(subject, "", "", "", _one_line(told), "", "NO" if row.failed else "")]
    numbers = ("" if row.rate is None else f"{row.rate:,.0f}", _shown(row.cpu), _shown(row.memory))
    claims = [(str(claim), claim.target, _met(claim)) for claim in row.claims] or [("", "", "")]
    first, *rest = claims
    return [(subject, *numbers, *first), *(("", "", "", "", *claim) for claim in rest)]


def _layout(lines: list[tuple[str, ...]]) -> str:
    """A Markdown table with aligned columns, readable as plain text too."""
    lines = [tuple(cell.replace("|", "\\|") for cell in line) for line in lines]
    widths = [max(map(len, column)) for column in zip(HEAD, *lines, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if name in NUMERIC else cell.ljust(width)
            for name, cell, width in zip(HEAD, cells, widths, strict=True)
        )
        return "| " + " | ".join(padded) + " |\n"

    rule = (
        "-" * (width - 1) + ":" if name in NUMERIC else "-" * width
        for name, width in zip(HEAD, widths, strict=True)
    )
    return line(HEAD) + line(list(rule)) + "".join(line(cells) for cells in lines)


def _met(claim: Claim) -> str:
    return {None: "", True: "yes", False: "NO"}[claim.met]


def _number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 12.3, 123, 1234."""
    if value == 0:
        return "0"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text if "e" not in text else f"{value:.6f}"


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
