"""Mends the lane and the time of queued recipients where they are damaged.

Both are hints, which no checksum covers: they say where in the index a recipient is found, and the
route is decided again at each attempt. A recipient whose lane no service has, or whose time is not
a number, would wait for ever. It is put where it is found at once; nothing needs to be held.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container
from typing import Final

from netserve.outbox.model import UNROUTED

EACH_LANE: Final = """
WITH RECURSIVE lanes(lane) AS (
    SELECT min(lane) FROM recipient INDEXED BY recipient_due WHERE state = 0
    UNION ALL
    SELECT (SELECT min(lane) FROM recipient INDEXED BY recipient_due
            WHERE state = 0 AND lane > lanes.lane)
    FROM lanes WHERE lane IS NOT NULL
)
"""
"""Goes from lane to lane in the index, so its cost does not grow with the recipients."""

_RAW: Final = f"""{EACH_LANE}
SELECT typeof(lane), CAST(lane AS BLOB), (
    SELECT typeof(next_at) FROM recipient INDEXED BY recipient_due
    WHERE state = 0 AND lane = lanes.lane ORDER BY next_at LIMIT 1
) FROM lanes WHERE lane IS NOT NULL
"""  # noqa: S608 - of constants
_FIRST: Final = """
SELECT typeof(lane) FROM recipient INDEXED BY recipient_due
WHERE state = 0 ORDER BY lane LIMIT 1
"""
_UNROUTE: Final = f"""
UPDATE recipient SET lane = message.service || ' {UNROUTED.key}' FROM message
WHERE message.id = recipient.message AND state < 2
    AND (typeof(lane) <> 'text' OR instr(lane, ' ') = 0
        OR substr(lane, 1, instr(lane, ' ') - 1) <> message.service)
"""  # noqa: S608 - of constants
_UNROUTE_ONE: Final = f"""
UPDATE recipient INDEXED BY recipient_due
SET lane = message.service || ' {UNROUTED.key}' FROM message
WHERE message.id = recipient.message AND state = 0 AND lane = CAST(? AS TEXT)
    AND (? OR instr(lane, ' ') = 0 OR substr(lane, 1, instr(lane, ' ') - 1) <> message.service)
"""  # noqa: S608 - of constants
_AT_ONCE: Final = "UPDATE recipient SET next_at = 0 WHERE +state = 0 AND typeof(next_at) <> 'real'"


def mend_hints(connection: sqlite3.Connection, services: Container[str]) -> None:
    """Let every queued recipient be found, in a lane of its service and at a time.

    Only damage costs more than a look at each lane.

    Arguments:
        connection: the writer's.
        services: the names of those that are configured.
    """
    first = connection.execute(_FIRST).fetchone()
    unrouted = first is not None and first[0] != "text"
    untimed = False
    suspects: list[tuple[bytes, bool]] = []  # the lane, and whether it is damaged for certain
    for kind, raw, time_kind in connection.execute(_RAW):
        untimed = untimed or time_kind != "real"
        if kind != "text":
            unrouted = True
        elif not _is_text(raw):
            suspects.append((raw, True))
        elif _service_of(raw) not in services:
            suspects.append((raw, False))
    connection.executemany(_UNROUTE_ONE, suspects)
    if unrouted:
        unroute(connection)
    if untimed:
        connection.execute(_AT_ONCE)


def unroute(connection: sqlite3.Connection) -> None:
    """Let recipients whose lane is not one of their service's be routed again."""
    connection.execute(_UNROUTE)


def _service_of(raw: bytes) -> str:
    return raw.partition(b" ")[0].decode(errors="replace")


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True
