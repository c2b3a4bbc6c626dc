"""A Sphinx extension: writes ``reference/states.md`` from the tables that the machines go by.

The tables are made from the code, and so are the arrows of the pictures; only where each state
stands in its picture is told here. A state that has no place makes the build fail.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netserve.http.h1.states import REQUEST, RESPONSE
from netserve.mail.client.states import TRANSITIONS
from netserve.mail.server.states import TABLE
from netserve.mail.server.states import State as ServerState

WIDTH, HEIGHT = 88, 34
"""Of a state's box."""
COLUMN, ROW = 138, 104

Table = Mapping[Any, Mapping[str, Any]]
Places = Mapping[str, tuple[float, float]]
Arrow = tuple[str, str]

SERVER_PLACES: Places = {
    "START": (0, 1), "READY": (1.4, 1), "MAIL": (2.7, 1), "RCPT": (4, 1), "DATA": (5.3, 1),
    "AUTH": (1.4, 0), "TLS": (0, 2.1), "SKIP": (1.4, 2.1), "CLOSED": (2.7, 2.1),
    "CHUNK": (4, 2.1), "CHUNKS": (5.3, 2.1),
}  # fmt: skip
SERVER_BENDS: Mapping[Arrow, float] = {
    ("DATA", "READY"): -62, ("CHUNK", "READY"): 6, ("READY", "AUTH"): 24, ("AUTH", "READY"): 24,
    ("CHUNK", "CHUNKS"): 18, ("CHUNKS", "CHUNK"): 18,
}  # fmt: skip
CLIENT_PLACES: Places = {
    "BANNER": (0, 1), "EHLO": (1.3, 1), "HELO": (2.1, 0), "STARTTLS": (1.3, 2.4), "TLS": (0, 2.4),
    "AUTH": (3, 2.4), "READY": (3, 1), "MAIL": (4.5, 1), "RCPT": (5.9, 1), "DATA": (5.9, 2.3),
    "BODY": (5.9, 3.5), "FINAL": (4.4, 3.5), "RESET": (4.6, 1.75), "QUIT": (3.9, 0),
    "CLOSED": (5.9, 0),
}  # fmt: skip
CLIENT_BENDS: Mapping[Arrow, float] = {
    ("READY", "MAIL"): 14, ("MAIL", "READY"): 12, ("DATA", "READY"): 34, ("EHLO", "AUTH"): 16,
    ("STARTTLS", "READY"): -22, ("FINAL", "READY"): -4, ("RESET", "READY"): 4,
}  # fmt: skip
REQUEST_PLACES: Places = {
    "IDLE": (0, 1), "BODY": (1.5, 1), "DONE": (3, 1), "RAW": (3, 2.1), "CLOSED": (4.5, 2.1),
    "BROKEN": (0.75, 0),
}  # fmt: skip
REQUEST_BENDS: Mapping[Arrow, float] = {("DONE", "IDLE"): 56}
RESPONSE_PLACES: Places = {
    "IDLE": (0, 1), "HEAD": (1.4, 1), "BODY": (2.8, 1), "DONE": (4.2, 1), "RAW": (1.4, 2.3),
    "CLOSED": (2.8, 2.3), "BROKEN": (2.8, 0),
}  # fmt: skip
RESPONSE_BENDS: Mapping[Arrow, float] = {("DONE", "IDLE"): 34}
LOOPS_BELOW = frozenset({"AUTH"})
"""States whose arrow to themselves is drawn below them."""

EVERYWHERE = ("NOOP", "HELP", "VRFY", "HELO", "EHLO", "RSET", "QUIT")
"""Left out of the server's picture, as they are taken in every state that reads commands."""

HEAD = """# The states of the machines

Made from the tables in the code. A machine goes by them and by nothing else, so that what stands
here is what happens.

"""
SERVER = """## The SMTP server

`netserve.mail.server.states.TABLE`. NOOP, HELP, VRFY, RSET, EHLO, HELO and QUIT are taken in every
state that reads commands, and are not drawn but for the first EHLO: EHLO, HELO and RSET lead to
READY (RSET in START stays there), QUIT to CLOSED. What a state does not have is answered `503`; a
command that is refused leaves the state as it is. The content of a BDAT that is refused is read
over in SKIP, behind which the session goes on where it was. Every state leads to CLOSED
when a limit is passed.

"""
CLIENT = """## The SMTP client

`netserve.mail.client.states.TRANSITIONS`. A state is the reply that is waited for. Beside what is
here, from any state a 421, a reply that is none, one that was not asked for, and a lost connection
lead to CLOSED, and so does the answer to QUIT.

"""

EXCHANGE = """## An HTTP/1.1 exchange: the request

`netserve.http.h1.states.REQUEST`. The server machine reads this half and writes the other one, the
client machine the other way round. The halves run side by side; when both are DONE, they begin
again together ("next") or are CLOSED together. Every state leads to CLOSED when the connection
ends, which is not drawn.

"""
ANSWER = """## An HTTP/1.1 exchange: the response

`netserve.http.h1.states.RESPONSE`. A response may begin, and end, before its request is complete.
After a "violation" nothing more is read. RAW is what follows 101, and 2xx to CONNECT.

"""


def table(states: Table) -> str:
    """A table of the code as one of Markdown."""
    rows = ["| state | meaning | what happens | next state |", "| --- | --- | --- | --- |"]
    for state, after in states.items():
        name = f"**{state.name}**"
        meaning = "" if state.value == state.name.lower() else state.value
        for next_state, happenings in _joined(after).items():
            rows.append(f"| {name} | {meaning} | {', '.join(happenings)} | {next_state} |")
            name = meaning = ""
        if not after:
            rows.append(f"| {name} | {meaning} | | |")
    return "\n".join(rows) + "\n\n"


def _joined(after: Mapping[str, Any]) -> dict[str, list[str]]:
    joined: dict[str, list[str]] = {}
    for happening, state in after.items():
        joined.setdefault(state.name, []).append(happening)
    return joined


def picture(states: Table, places: Places, bends: Mapping[Arrow, float], title: str) -> str:
    """A picture of the table as SVG, in the colours of the page.

    Arguments:
        states: the table, without what is not to be drawn.
        places: column and row of each state.
        bends: how far an arrow bends to its left, where it is not straight.
        title: for those who do not see it.

    Raises:
        ValueError: a state has no place.
    """
    names = {state.name for state in states}
    if names != set(places):
        raise ValueError(f"{title}: no place for {names ^ set(places)}")
    arrows = "".join(
        _arrow(state.name, after, ", ".join(happenings), places, bends)
        for state, some in states.items()
        for after, happenings in _joined(some).items()
    )
    boxes = "".join(_box(name, place) for name, place in places.items())
    columns = max(column for column, _ in places.values())
    rows = [row for _, row in places.values()]
    top = min(rows) * ROW - HEIGHT
    width, height = columns * COLUMN + WIDTH + 20, max(rows) * ROW + HEIGHT - top
    return (
        f'<svg class="states" viewBox="-10 {top:g} {width:g} {height:g}" role="img"'
        f' aria-label="{html.escape(title)}">{STYLE}{arrows}{boxes}</svg>'
    )


STYLE = """<style>
.states {width: 100%; height: auto; font: 12px var(--font-stack, sans-serif)}
.states rect {
  fill: var(--color-background-secondary, #f8f9fb);
  stroke: var(--color-brand-primary, #2962ff); stroke-width: 1.5
}
.states path {
  fill: none; stroke: var(--color-foreground-muted, #6b6f76); stroke-width: 1.2;
  marker-end: url(#states-tip)
}
.states text {
  fill: var(--color-foreground-primary, #000); text-anchor: middle; dominant-baseline: central
}
.states .name {font-weight: 600}
.states .label {
  font-size: 11px; paint-order: stroke; stroke: var(--color-background-primary, #fff);
  stroke-width: 5px; stroke-linejoin: round
}
.states marker path {
  fill: var(--color-foreground-muted, #6b6f76); stroke: none; marker-end: none
}
</style><defs><marker id="states-tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8"
markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>"""


def _centre(place: tuple[float, float]) -> complex:
    return complex(place[0] * COLUMN + WIDTH / 2, place[1] * ROW)


def _box(name: str, place: tuple[float, float]) -> str:
    centre = _centre(place)
    x, y = centre.real, centre.imag
    return (
        f'<rect x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" height="{HEIGHT}"'
        f' rx="8"/><text class="name" x="{x:g}" y="{y:g}">{name}</text>'
    )


def _arrow(begin: str, end: str, label: str, places: Places, bends: Mapping[Arrow, float]) -> str:
    start, goal = _centre(places[begin]), _centre(places[end])
    if begin == end:
        up = -1 if begin in LOOPS_BELOW else 1
        x, y = start.real, start.imag - up * (HEIGHT / 2 + 3)
        top = y - up * 34
        path = f"M{x - 18:g} {y:g}C{x - 26:g} {top:g} {x + 26:g} {top:g} {x + 18:g} {y:g}"
        middle = complex(x, y - up * 26)
    else:
        along = (goal - start) / abs(goal - start)
        bend = bends.get((begin, end), 0.0)
        pull = (start + goal) / 2 - along * 1j * 2 * bend
        first, last = _edge(start, pull), _edge(goal, pull)
        path = f"M{_at(first)}Q{_at(pull)} {_at(last)}"
        middle = first / 4 + pull / 2 + last / 4
    text = html.escape(label)
    return (
        f'<path d="{path}"/>'
        f'<text class="label" x="{middle.real:g}" y="{middle.imag:g}">{text}</text>'
    )


def _edge(centre: complex, towards: complex) -> complex:
    """Where the line from the middle of a box leaves it."""
    way = towards - centre
    reach = min(
        (WIDTH / 2 + 3) / abs(way.real) if way.real else float("inf"),
        (HEIGHT / 2 + 3) / abs(way.imag) if way.imag else float("inf"),
    )
    return centre + way * reach


def _at(point: complex) -> str:
    return f"{point.real:.1f} {point.imag:.1f}"


def _without(states: Table, names: tuple[str, ...]) -> Table:
    drawn = {
        state: {name: after for name, after in some.items() if name not in names}
        for state, some in states.items()
    }
    drawn[ServerState.START] = {"EHLO, HELO": ServerState.READY}
    return drawn


def _without_closing(states: Table) -> Table:
    """Without the way to CLOSED that every state has."""
    return {
        state: {name: after for name, after in some.items() if name != "closed"}
        for state, some in states.items()
    }


def http() -> str:
    """The part about HTTP."""
    request = picture(
        _without_closing(REQUEST), REQUEST_PLACES, REQUEST_BENDS, "The states of an HTTP request"
    )
    response = picture(
        _without_closing(RESPONSE), RESPONSE_PLACES, RESPONSE_BENDS, "The states of a response"
    )
    return f"{EXCHANGE}{_raw(request)}{table(REQUEST)}{ANSWER}{_raw(response)}{table(RESPONSE)}"


def page() -> str:
    """The whole page."""
    server = picture(
        _without(TABLE, EVERYWHERE), SERVER_PLACES, SERVER_BENDS, "The states of the SMTP server"
    )
    client = picture(TRANSITIONS, CLIENT_PLACES, CLIENT_BENDS, "The states of the SMTP client")
    return (
        f"{HEAD}{SERVER}{_raw(server)}{table(TABLE)}"
        f"{CLIENT}{_raw(client)}{table(TRANSITIONS)}{http()}"
    )


def _raw(svg: str) -> str:
    return f"```{{raw}} html\n{svg}\n```\n\n"


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    file = Path(app.srcdir) / "reference" / "states.md"
    file.parent.mkdir(exist_ok=True)
    text = page()
    if not file.exists() or file.read_text() != text:
        file.write_text(text)
    return {"parallel_read_safe": True}
