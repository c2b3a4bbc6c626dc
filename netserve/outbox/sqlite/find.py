"""Finding messages: filters, pages, and how a message is described to people. Reading only.

A page is found in two steps. First come candidates, in the order of their ids, from the index
that fits the filter best; then everything else of the filter is looked at. A step looks at a
bounded number of candidates, and a page takes a bounded time: it may come back with few messages,
or none, and the place to go on from.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final

from netserve.outbox.model import State
from netserve.outbox.query import Filter, number_of
from netserve.outbox.records import Attempt, Description, Found, TaskDescription
from netserve.outbox.sqlite.rows import json_list

_WINDOW: Final = 5000
_PATIENCE: Final = 0.1
_SLACK: Final = 86400.0
"""A message may have begun to come in so many seconds before it was complete."""
LAST: Final = 2**62

_BY_RECIPIENT: Final = """
SELECT DISTINCT message FROM recipient INDEXED BY recipient_address
WHERE address = :recipient AND message > :after ORDER BY message LIMIT :window
"""
_BY_DOMAIN: Final = """
SELECT DISTINCT message FROM recipient INDEXED BY recipient_domain
WHERE domain = :domain AND message > :after ORDER BY message LIMIT :window
"""
_BY_SENDER: Final = """
SELECT id FROM message INDEXED BY message_sender
WHERE sender = :sender AND id > :after ORDER BY id LIMIT :window
"""
_HELD: Final = """
SELECT DISTINCT message FROM recipient INDEXED BY recipient_held
WHERE state = 1 AND message > :after ORDER BY message LIMIT :window
"""
_ALL: Final = "SELECT id FROM message WHERE id > :after ORDER BY id LIMIT :window"
_MATCHING: Final = """
SELECT m.id FROM json_each(:candidates) AS c CROSS JOIN message AS m ON m.id = c.value
WHERE (:sender IS NULL OR m.sender = :sender) AND (:service IS NULL OR m.service = :service)
    AND (m.created BETWEEN :since AND :until OR typeof(m.created) <> 'real')
    AND (:any_recipient OR EXISTS (
        SELECT 1 FROM recipient AS r WHERE r.message = m.id
            AND (:recipient IS NULL OR r.address = :recipient)
            AND (:domain IS NULL OR r.domain = :domain)
            AND (:state IS NULL OR r.state = :state)
            AND (:reply IS NULL OR instr(lower(r.last), lower(:reply)) > 0)))
ORDER BY m.id LIMIT :limit
"""


def find(
    connection: sqlite3.Connection, wanted: Filter, *, after: int, limit: int, now: float
) -> Found:
    """A page of the messages that are meant.

    Arguments:
        connection: any.
        wanted: which ones.
        after: where the page begins: 0, or `Found.after` of the last page.
        limit: how many messages at most.
        now: unix seconds.
    """
    values = _values(wanted, now)
    if wanted.younger is not None:
        after = max(after, int((now - wanted.younger - _SLACK) * 1e6))
    found: list[int] = []
    end = time.monotonic() + _PATIENCE
    while True:
        candidates = _candidates(connection, wanted, values, after)
        values.update(candidates=json_list(candidates), limit=limit - len(found))
        found += [number for (number,) in connection.execute(_MATCHING, values)]
        if len(found) == limit:
            return Found(found, found[-1])
        if len(candidates) < _WINDOW or wanted.ids:
            return Found(found, None)
        after = candidates[-1]
        if time.monotonic() > end:
            return Found(found, after)


def _values(wanted: Filter, now: float) -> dict[str, Any]:
    return {
        "sender": wanted.sender,
        "service": wanted.service,
        "recipient": wanted.recipient,
        "domain": wanted.domain,
        "state": None if wanted.state is None else int(wanted.state),
        "reply": wanted.reply,
        "since": float("-inf") if wanted.younger is None else now - wanted.younger,
        "until": float("inf") if wanted.older is None else now - wanted.older,
        "any_recipient": (wanted.recipient, wanted.domain, wanted.state, wanted.reply)
        == (None, None, None, None),
    }


def _candidates(
    connection: sqlite3.Connection, wanted: Filter, values: dict[str, Any], after: int
) -> list[int]:
    if wanted.ids:
        return sorted(number for number in map(number_of, wanted.ids) if number > after)
    if wanted.recipient is not None:
        statement = _BY_RECIPIENT
    elif wanted.state is State.HELD:
        statement = _HELD
    elif wanted.sender is not None:
        statement = _BY_SENDER
    elif wanted.domain is not None:
        statement = _BY_DOMAIN
    else:
        statement = _ALL
    rows = connection.execute(statement, {**values, "after": after, "window": _WINDOW})
    return [number for (number,) in rows]


_LISTED: Final = """
SELECT m.id, m.service, m.kind, m.created, m.sender, m.meta, m.size, m.recipients, m.trace, m.user,
    m.client
FROM json_each(?) AS c CROSS JOIN message AS m ON m.id = c.value ORDER BY m.id
"""
_RECIPIENTS: Final = """
SELECT n, address, state, attempts, next_at, last, lane, meta FROM recipient
WHERE message = ? ORDER BY n LIMIT ?
"""
_ATTEMPTS: Final = """
SELECT number, at, outcome, reply, remote FROM attempt WHERE message = ? AND n = ? ORDER BY number
"""


def describe(
    connection: sqlite3.Connection, numbers: Sequence[int], *, tasks: int, history: bool
) -> list[Description]:
    """Describe messages; see `netserve.outbox.storage.Storage.describe`."""
    rows = connection.execute(_LISTED, (json_list(numbers),)).fetchall()
    return [
        Description(
            number=row[0],
            service=row[1],
            kind=_shown(row[2]),
            created=row[3],
            sender=_shown(row[4]),
            meta=_shown(row[5]),
            size=row[6],
            task_count=row[7],
            trace=row[8],
            user=row[9],
            client=row[10],
            tasks=_tasks(connection, row[0], tasks, history=history),
        )
        for row in rows
    ]


def _tasks(
    connection: sqlite3.Connection, number: int, limit: int, *, history: bool
) -> list[TaskDescription]:
    return [
        TaskDescription(
            address=_shown(row[1]),
            state=_word(row[2]),
            attempts=row[3],
            next_at=row[4],
            last=row[5],
            lane=row[6],
            meta=_shown(row[7]),
            history=_attempts(connection, number, row[0]) if history else (),
        )
        for row in connection.execute(_RECIPIENTS, (number, limit)).fetchall()
    ]


def _attempts(connection: sqlite3.Connection, number: int, n: int) -> list[Attempt]:
    return [Attempt(*row) for row in connection.execute(_ATTEMPTS, (number, n))]


def _shown(value: Any) -> Any:
    """A value of a row, which may be damaged, as JSON can have it."""
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value


def _word(state: Any) -> str:
    try:
        return State(state).word
    except ValueError:
        return "damaged"
