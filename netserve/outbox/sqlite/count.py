"""How many recipients are in the queue. Reading only."""

from __future__ import annotations

import sqlite3
from typing import Final

from netserve.outbox.records import Depth

_COUNT: Final = """
SELECT (SELECT count(*) FROM recipient INDEXED BY recipient_due WHERE state = 0),
    (SELECT count(*) FROM recipient INDEXED BY recipient_held WHERE state = 1)
"""
_UNREPORTED: Final = """
SELECT count(*) FROM recipient INDEXED BY recipient_held JOIN attempt
    ON attempt.message = recipient.message AND attempt.n = recipient.n
    AND attempt.number = recipient.attempts
WHERE recipient.state = 1 AND attempt.outcome IN ('failed', 'expired')
"""


def count(connection: sqlite3.Connection) -> Depth:
    """Count them."""
    queued, held = connection.execute(_COUNT).fetchone()
    unreported = connection.execute(_UNREPORTED).fetchone()[0] if held else 0
    return Depth(queued, held, unreported)
