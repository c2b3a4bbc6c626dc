"""What operators ask: every filter, pages, and what changes messages."""

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from netserve.crossing import ensure_deferred
from netserve.outbox import Filter, NoSuchMessage, Outbox, State
from netserve.testing.queue import DEFERRED, DELIVERED, Courier, SteeredReactor, opened_queue, put
from netserve.testing.queue import until as until_holds


async def until(condition: Any) -> None:
    await until_holds(condition, reactor=reactor)


async def filled(outbox: Outbox) -> list[str]:
    """Five messages, tried once."""
    messages = [
        await put(outbox, "a@one.org", sender="x@s.org"),
        await put(outbox, "B@One.org", "c@two.org", sender="Y@s.org"),
        await put(outbox, "d@two.org", sender=""),
        await put(outbox, "a@one.org", "e@three.org", sender="x@s.org"),
        await put(outbox, *(f"{n}@many.org" for n in range(10)), sender="x@s.org"),
    ]

    async def tried() -> bool:
        page = await outbox.verbs.list()
        return all(r["attempts"] for one in page.messages for r in one["recipients"])

    await until(tried)
    return messages


@ensureDeferred
async def test_filters(tmp_path: Path) -> None:
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=clock) as outbox:
        ids = await filled(outbox)
        clock.advance(50)
        late = await put(outbox, "z@one.org")
        cases: list[tuple[Filter, list[str]]] = [
            (Filter(), [*ids, late]),
            (Filter(ids=(ids[2], ids[0])), [ids[0], ids[2]]),
            (Filter(ids=(ids[2].upper(),)), [ids[2]]),
            (Filter(sender="x@s.org"), [ids[0], ids[3], ids[4]]),
            (Filter(sender="y@S.org"), [ids[1]]),
            (Filter(sender=""), [ids[2]]),
            (Filter(recipient="A@one.org"), [ids[0], ids[3]]),
            (Filter(domain="ONE.org"), [ids[0], ids[1], ids[3], late]),
            (Filter(domain="one.org", sender="x@s.org"), [ids[0], ids[3]]),
            (Filter(recipient="a@one.org", domain="three.org"), []),
            (Filter(reply="4.2.0 LATER", sender=""), [ids[2]]),
            (Filter(reply="never said"), []),
            (Filter(older=40), ids),
            (Filter(younger=40), [late]),
            (Filter(older=60), []),
            (Filter(state=State.HELD), []),
            (Filter(state=State.QUEUED, sender=""), [ids[2]]),
            (Filter(service="other"), []),
            (Filter(service="mail", recipient="z@one.org"), [late]),
        ]
        for wanted, expected in cases:
            page = await outbox.verbs.list(wanted)
            assert [one["id"] for one in page.messages] == expected, wanted
            assert page.next is None


@ensureDeferred
async def test_pages(tmp_path: Path) -> None:
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        ids = await filled(outbox)
        for wanted, expected in [(Filter(), ids), (Filter(sender="x@s.org"), [ids[0], *ids[3:]])]:
            found: list[str] = []
            after = None
            while True:
                page = await outbox.verbs.list(wanted, after=after, limit=2)
                found += [one["id"] for one in page.messages]
                after = page.next
                if after is None:
                    break
            assert found == expected


@ensureDeferred
async def test_a_list_shows_some_recipients_and_tells_their_number(tmp_path: Path) -> None:
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        ids = await filled(outbox)
        page = await outbox.verbs.list(Filter(ids=(ids[4],)))
        assert len(page.messages[0]["recipients"]) == 3
        assert page.messages[0]["recipient_count"] == 10
        assert len((await outbox.verbs.show(ids[4]))["recipients"]) == 10


@ensureDeferred
async def test_show_why_and_export(tmp_path: Path) -> None:
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=clock) as outbox:
        body = b"Subject: one\r\nX: \xff\r\n\r\nthe body\r\n"
        message = await put(outbox, "a@one.org", body=body, client="192.0.2.1", user="u", trace="t")

        async def tried() -> bool:
            return bool((await outbox.verbs.why(message))["recipients"][0]["history"])

        await until(tried)
        shown = await outbox.verbs.show(message)
        assert shown["header"] == "Subject: one\r\nX: \N{REPLACEMENT CHARACTER}\r\n"
        assert (shown["client"], shown["user"], shown["trace"]) == ("192.0.2.1", "u", "t")
        (attempt,) = (await outbox.verbs.why(message))["recipients"][0]["history"]
        assert attempt["number"] == 1
        assert attempt["outcome"] == "deferred"
        assert attempt["reply"] == "450 4.2.0 later"
        _, loaded = await outbox.verbs.export(message)
        reader = loaded.body()
        assert reader.read() == body
        reader.close()


@pytest.mark.parametrize("wrong", ["", "x", "00000000000", "../../../etc", "oooooooooooo"])
@ensureDeferred
async def test_what_is_not_there(tmp_path: Path, wrong: str) -> None:
    async with opened_queue(tmp_path, Courier(), reactor=reactor) as outbox:
        for verb in (outbox.verbs.show, outbox.verbs.why, outbox.verbs.export):
            with pytest.raises(NoSuchMessage):
                await verb(wrong)


@ensureDeferred
async def test_retry_tries_now(tmp_path: Path) -> None:
    courier = Courier(DEFERRED)
    async with opened_queue(tmp_path, courier, reactor=SteeredReactor(reactor)) as outbox:
        ids = await filled(outbox)
        courier.answer = DELIVERED
        courier.delivered.clear()
        assert await outbox.verbs.retry(Filter(ids=(ids[1],))) == 1
        await until(lambda: sorted(courier.addresses) == ["B@One.org", "c@two.org"])
        assert await outbox.verbs.retry(Filter(domain="nowhere.org")) == 0
        await outbox.verbs.flush()
        await until(lambda: len(courier.addresses) == 16)

        async def empty() -> bool:
            return not (await outbox.verbs.list()).messages

        await until(empty)


@ensureDeferred
async def test_hold_and_release(tmp_path: Path) -> None:
    courier = Courier(DEFERRED)
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock) as outbox:
        ids = await filled(outbox)
        courier.answer = DELIVERED
        courier.delivered.clear()
        assert await outbox.verbs.hold(Filter(domain="one.org"), "wait for Monday") == 3
        held = (await outbox.verbs.list(Filter(state=State.HELD))).messages
        assert [one["id"] for one in held] == [ids[0], ids[1], ids[3]]
        assert held[0]["recipients"][0]["last"] == "wait for Monday"
        clock.advance(10**5)
        await until(lambda: len(courier.addresses) == 11)
        assert await outbox.verbs.flush() == 0
        assert await outbox.verbs.release(Filter()) == 3
        await until(lambda: len(courier.addresses) == 16)


@ensureDeferred
async def test_drop_leaves_nothing_and_tells_nobody(tmp_path: Path) -> None:
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        await filled(outbox)
        large = await put(outbox, "l@large.org", body=b"x" * 100_000)
        assert await outbox.verbs.drop(Filter(sender="x@s.org")) == 3
        assert await outbox.verbs.drop(Filter(ids=(large,))) == 1
        await until(lambda: list((tmp_path / "bodies").iterdir()) == [])
        assert len((await outbox.verbs.list()).messages) == 2


@ensureDeferred
async def test_what_is_dropped_or_held_in_delivery(tmp_path: Path) -> None:
    """A delivery that is under way ends; what waits behind it is not tried."""
    courier = Courier(DEFERRED)
    courier.waits = True
    async with opened_queue(tmp_path, courier, reactor=SteeredReactor(reactor)) as outbox:
        ids = [await put(outbox, f"{n}@one.org") for n in range(30)]
        running = len(courier.delivered)
        assert running == 5
        assert await outbox.verbs.drop(Filter(ids=(ids[0], ids[10]))) == 2
        assert await outbox.verbs.hold(Filter(ids=(ids[1], ids[11]))) == 2
        while courier.waiting:
            courier.waiting.pop()()
        assert len(courier.delivered) == 28
        states = {one["id"]: one for one in (await outbox.verbs.list()).messages}
        assert len(states) == 28
        assert states[ids[1]]["recipients"][0]["state"] == "held"
        assert states[ids[11]]["recipients"][0]["attempts"] == 0


@ensureDeferred
async def test_many_are_changed_in_portions(tmp_path: Path) -> None:
    async with opened_queue(tmp_path, Courier(DEFERRED), reactor=reactor) as outbox:
        puts = [ensure_deferred(put(outbox, f"{n}@one.org")) for n in range(1200)]
        await gatherResults(puts)
        assert await outbox.verbs.hold(Filter(domain="one.org")) == 1200
        assert await outbox.verbs.release(Filter()) == 1200
        assert await outbox.verbs.drop(Filter(domain="one.org")) == 1200
        assert (await outbox.verbs.list()).messages == []


@ensureDeferred
async def test_a_message_is_followed_past_its_end(tmp_path: Path) -> None:
    """What is done is deleted, and its last outcomes are told all the same."""
    courier = Courier(DEFERRED)
    clock = SteeredReactor(reactor)
    async with opened_queue(tmp_path, courier, reactor=clock) as outbox:
        message = await put(outbox, "a@one.org")

        async def outcomes() -> list[str]:
            followed = await outbox.verbs.follow(message)
            return [one["outcome"] for one in followed["outcomes"]]

        await until(outcomes)
        followed = await outbox.verbs.follow(message)
        assert [one["address"] for one in followed["queued"]] == ["a@one.org"]
        courier.answer = DELIVERED
        clock.advance(400)

        async def is_done() -> bool:
            return (await outbox.verbs.follow(message))["queued"] is None

        await until(is_done)
        assert await outcomes() == ["deferred", "delivered"]
        with pytest.raises(NoSuchMessage):
            await outbox.verbs.show(message)


@ensureDeferred
async def test_what_never_was_cannot_be_followed(tmp_path: Path) -> None:
    async with opened_queue(tmp_path, Courier(), reactor=reactor) as outbox:
        with pytest.raises(NoSuchMessage):
            await outbox.verbs.follow("00000000001")
        with pytest.raises(NoSuchMessage):
            await outbox.verbs.follow("nonsense")
