"""A long queue: start, pages and the accept rate do not depend on its length (loose bounds)."""

import sqlite3
import time
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from netserve.crossing import ensure_deferred
from netserve.outbox import Filter, Outbox, changes, due, query, verbs
from netserve.outbox.database import open_writer
from netserve.testing.queue import DEFERRED, WALL, Courier, SteeredReactor, opened_queue, put

COUNT = 20_000


def fill(folder: Path, count: int) -> None:
    """Messages that wait for an hour, of many senders to many domains, small bodies."""
    (folder / "bodies").mkdir(parents=True)
    connection = open_writer(folder / "queue.db")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -200000")
    indexes = dict(
        connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql <> ''")
    )
    connection.execute("BEGIN")
    for name in indexes:
        connection.execute(f"DROP INDEX {name}")
    first = int((WALL - 7200) * 1e6)
    numbers = range(first, first + count)
    connection.executemany(
        "INSERT INTO message VALUES (?,'mail',?,0,?,'7BIT',0,'','','','','',100,1,0)",
        ((n, WALL - 7200, f"s{n % 5000}@example.org") for n in numbers),
    )
    connection.executemany("INSERT INTO body VALUES (?,?)", ((n, b"x" * 100) for n in numbers))
    connection.executemany(
        "INSERT INTO recipient VALUES (?,0,0,?,?,1,0,?,?,'','','450 4.2.0 later')",
        (
            (
                n,
                f"mail d{n % 100}.org",
                WALL + 3600,
                f"r{n % 10_000}@d{n % 100}.org",
                f"d{n % 100}.org",
            )
            for n in numbers
        ),
    )
    for statement in indexes.values():
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.close()


async def seconds(work: object) -> float:
    began = time.perf_counter()
    await work  # type: ignore[misc]
    return time.perf_counter() - began


async def accept_rate(outbox: Outbox) -> float:
    puts = [ensure_deferred(put(outbox, f"{n}@new.org")) for n in range(1000)]
    return 1000 / await seconds(gatherResults(puts))


async def check(folder: Path, count: int, *, start: float) -> None:
    fill(folder / "long", count)
    clock = SteeredReactor(reactor)
    courier = Courier(DEFERRED)
    async with opened_queue(folder / "empty", courier, reactor=clock) as outbox:
        empty_rate = await accept_rate(outbox)
    began = time.perf_counter()
    async with opened_queue(folder / "long", courier, reactor=clock) as outbox:
        assert time.perf_counter() - began < start
        for wanted, found in [
            (Filter(), 100),
            (Filter(sender="s77@example.org"), min(count // 5000, 100)),
            (Filter(recipient="r77@d77.org"), min(count // 10_000, 100)),
            (Filter(domain="d7.org"), 100),
            (Filter(domain="d7.org", sender="s107@example.org"), min(count // 5000, 100)),
            (Filter(older=7000), 100),
            (Filter(recipient="nobody@nowhere.org"), 0),
            (Filter(reply="later"), 100),
        ]:
            pages = [await outbox.verbs.list(wanted)]
            assert len(pages[0].messages) == found, wanted
            assert await seconds(outbox.verbs.list(wanted)) < 0.3, wanted
        middle = (
            await outbox.verbs.list(after=str(int((WALL - 7200) * 1e6) + count // 2))
        ).messages
        assert len(middle) == 100
        assert await accept_rate(outbox) > 0.5 * empty_rate
        assert await outbox.verbs.retry(Filter(domain="d7.org")) == count // 100


@ensureDeferred
async def test_a_queue_of_thousands(tmp_path: Path) -> None:
    await check(tmp_path, COUNT, start=1.0)


@pytest.mark.slow
@ensureDeferred
async def test_a_queue_of_a_million(tmp_path: Path) -> None:
    """The goal is a start within two seconds; a loaded machine gets three."""
    await check(tmp_path, 1_000_000, start=3.0)


COVERED = "SEARCH recipient USING COVERING INDEX"
BY_KEY = "SEARCH recipient USING PRIMARY KEY (message=?"


@pytest.mark.parametrize(
    ("statement", "step"),
    [
        (due._DUE, f"{COVERED} recipient_due (state=? AND lane=? AND"),
        (due._NEXT, f"{COVERED} recipient_due (state=? AND lane=? AND"),
        (due._LANES, f"{COVERED} recipient_due (state=? AND lane>?)"),
        (query._BY_SENDER, "SEARCH message USING COVERING INDEX message_sender (sender=?"),
        (query._BY_DOMAIN, f"{COVERED} recipient_domain (domain=?"),
        (query._BY_RECIPIENT, f"{COVERED} recipient_address (address=?"),
        (query._HELD, f"{COVERED} recipient_held (state=?"),
        (query._ALL, "SEARCH message USING INTEGER PRIMARY KEY (rowid>?)"),
        (verbs._RETRY, BY_KEY),
        (verbs._HOLD, BY_KEY),
        (verbs._RELEASE, BY_KEY),
        (changes._MARK, f"{BY_KEY} AND n=?)"),
        (changes._FINISHED, f"{BY_KEY})"),
        *((statement, "=?)") for statement in changes._DELETE),
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
    fill(tmp_path, 5000)
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
