"""A long queue: what is looked for is found, and no statement walks through all of it."""

import sqlite3
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from netserve.crossing import ensure_deferred
from netserve.outbox import Filter
from netserve.outbox.sqlite import change, changes, due, find
from netserve.outbox.sqlite.database import BELONGING, open_writer
from netserve.testing.queue import (
    DEFERRED,
    WALL,
    Courier,
    SteeredReactor,
    fill_queue,
    opened_queue,
    put,
)

COUNT = 20_000


@ensureDeferred
async def test_a_long_queue_is_listed_and_changed_in_pages(tmp_path: Path) -> None:
    """What is asked for is found, and mail comes in meanwhile; `bench/long_queue.py` times it."""
    fill_queue(tmp_path, COUNT, now=WALL)
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=clock) as outbox:
        for wanted, found in [
            (Filter(), 100),
            (Filter(sender="s77@example.org"), COUNT // 5000),
            (Filter(recipient="r77@d77.org"), COUNT // 10_000),
            (Filter(domain="d7.org"), 100),
            (Filter(domain="d7.org", sender="s107@example.org"), COUNT // 5000),
            (Filter(older=7000), 100),
            (Filter(recipient="nobody@nowhere.org"), 0),
            (Filter(reply="later"), 100),
        ]:
            assert len((await outbox.verbs.list(wanted)).messages) == found, wanted
        half = str(int((WALL - 7200) * 1e6) + COUNT // 2)
        assert len((await outbox.verbs.list(after=half)).messages) == 100
        await gatherResults(ensure_deferred(put(outbox, f"{n}@new.org")) for n in range(1000))
        assert await outbox.verbs.retry(Filter(domain="d7.org")) == COUNT // 100


COVERED = "SEARCH recipient USING COVERING INDEX"
BY_KEY = "SEARCH recipient USING PRIMARY KEY (message=?"


@pytest.mark.parametrize(
    ("statement", "step"),
    [
        (due._DUE, f"{COVERED} recipient_due (state=? AND lane=? AND"),
        (due._NEXT, f"{COVERED} recipient_due (state=? AND lane=? AND"),
        (due._LANES, f"{COVERED} recipient_due (state=? AND lane>?)"),
        (due._SOONER, f"{COVERED} recipient_due (state=? AND lane=? AND next_at>?)"),
        (find._BY_SENDER, "SEARCH message USING COVERING INDEX message_sender (sender=?"),
        (find._BY_DOMAIN, f"{COVERED} recipient_domain (domain=?"),
        (find._BY_RECIPIENT, f"{COVERED} recipient_address (address=?"),
        (find._HELD, f"{COVERED} recipient_held (state=?"),
        (find._ALL, "SEARCH message USING INTEGER PRIMARY KEY (rowid>?)"),
        (change._RETRY, BY_KEY),
        (change._HOLD, BY_KEY),
        (change._RELEASE, BY_KEY),
        (changes._MARK, f"{BY_KEY} AND n=?)"),
        (changes._FINISHED, f"{BY_KEY})"),
        (changes._DELETE, "SEARCH message USING INTEGER PRIMARY KEY (rowid=?)"),
        *((statement.replace("OLD.id", "?"), "=?)") for statement in BELONGING),
    ],
)
def test_a_statement_looks_only_at_what_it_needs(tmp_path: Path, statement: str, step: str) -> None:
    """No statement of the daily work walks through a table."""
    connection = open_writer(tmp_path / "queue.db")
    names = dict.fromkeys(("sender", "domain", "recipient", "after", "window"), 1)
    values = names if ":" in statement else [1] * statement.count("?")
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    connection.close()
    assert any(one.startswith(step) or one.endswith(step) for one in plan), plan
    walks = [one for one in plan if one.startswith("SCAN")]
    harmless = ("SCAN json_each", "SCAN lanes", "SCAN CONSTANT")
    assert all(one.startswith(harmless) for one in walks), plan


@ensureDeferred
async def test_a_long_backlog_is_delivered_in_full_and_in_bounded_memory(tmp_path: Path) -> None:
    """All of it is due at once, also while new mail comes in; nothing is left or done twice."""
    fill_queue(tmp_path, 5000, now=WALL)
    connection = sqlite3.connect(tmp_path / "queue.db")
    connection.execute("UPDATE recipient SET next_at = 0")
    connection.commit()
    connection.close()
    courier = Courier()
    async with opened_queue(tmp_path, courier, reactor=reactor) as outbox:
        puts = [ensure_deferred(put(outbox, f"{n}@d7.org")) for n in range(500)]
        await gatherResults(puts)
        end = reactor.seconds() + 20
        while (await outbox.verbs.list()).messages:
            assert reactor.seconds() < end
    assert len(courier.addresses) == 5500
    assert len({message for message, _, _ in courier.delivered}) == 5500
