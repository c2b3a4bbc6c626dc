"""Items of a kind that is not mail, through the whole queue, on two stores, and beside mail."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger

from netserve.cli.queue_text import attempts_text, list_line, message_text
from netserve.outbox import Filter, Outbox, Schedule, Submission, Task
from netserve.outbox.sqlite import SqliteStorage
from netserve.outbox.storage import Storage
from netserve.testing.queue import WALL, Courier, SteeredReactor, put, until
from tests.outbox.memory import Memory, MemoryStorage
from tests.outbox.request_kind import BUSY, GONE, OK, RequestCourier

SMALL = b"{}"
LARGE = b"[" + b"1," * 60_000 + b"1]"
CALLBACK = "https://client.example/told"
HOUR = 3600.0


@pytest.fixture(params=["sqlite", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Any], Storage]:
    memory = Memory()

    def make(clock: Any) -> Storage:
        if request.param == "memory":
            return MemoryStorage(memory, clock)
        return SqliteStorage(tmp_path, reactor=clock, log=Logger())

    return make


@asynccontextmanager
async def opened(
    storage: Storage, clock: SteeredReactor, wall: float = WALL, **couriers: Any
) -> AsyncIterator[Outbox]:
    outbox = Outbox(
        Path("unused"),
        reactor=clock,
        log=Logger(),
        random=random.Random(0),
        wall=lambda: wall,
        storage=storage,
    )
    for name, courier in couriers.items():
        outbox.attach(name, courier, Schedule(jitter=0.0, life=5 * HOUR))
    await outbox.open()
    try:
        yield outbox
    finally:
        await outbox.close()


async def submit(
    outbox: Outbox, *urls: str, method: str = "POST", body: bytes = SMALL, sender: str = ""
) -> str:
    incoming = outbox.incoming()
    incoming.write(body)
    tasks = [Task(n, url, f"v{n}") for n, url in enumerate(urls)]
    return await incoming.commit("api", Submission("request", tasks, sender, method, trace="t1"))


async def gone(outbox: Outbox) -> bool:
    return not (await outbox.verbs.list()).messages


@pytest.mark.parametrize("body", [SMALL, LARGE])
@ensureDeferred
async def test_a_request_is_sent_and_leaves_nothing(
    store: Callable[[Any], Storage], body: bytes
) -> None:
    clock, courier = SteeredReactor(reactor), RequestCourier()
    async with opened(store(clock), clock, api=courier) as outbox:
        await submit(outbox, "https://a.example/1", "https://b.example/2", body=body)
        await until(lambda: gone(outbox), reactor=reactor)
    assert courier.sent == [
        ("POST", "https://a.example/1", "v0", body),
        ("POST", "https://b.example/2", "v1", body),
    ]


@ensureDeferred
async def test_a_request_is_retried_also_after_a_restart(store: Callable[[Any], Storage]) -> None:
    clock, courier = SteeredReactor(reactor), RequestCourier(lambda _: BUSY)
    async with opened(store(clock), clock, api=courier) as outbox:
        queue_id = await submit(outbox, "https://a.example/1", method="PUT", body=LARGE)

        async def tried() -> bool:
            return bool((await outbox.verbs.why(queue_id))["recipients"][0]["history"])

        await until(tried, reactor=reactor)
    courier.answer = lambda _: OK
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, WALL + HOUR, api=courier) as outbox:
        await until(lambda: gone(outbox), reactor=reactor)
    assert courier.sent == [("PUT", "https://a.example/1", "v0", LARGE)] * 2


@ensureDeferred
async def test_whoever_sent_it_is_told_by_a_report_of_its_kind(
    store: Callable[[Any], Storage],
) -> None:
    answers = {"https://a.example/1": GONE, "https://b.example/2": GONE, "https://c.example/3": OK}
    courier = RequestCourier(lambda task: answers.get(task.address, OK))
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, api=courier) as outbox:
        await submit(outbox, *answers, sender=CALLBACK)
        await until(lambda: gone(outbox), reactor=reactor)
    told = sorted(body for method, url, _, body in courier.sent if url == CALLBACK)
    assert told == [
        b"done https://c.example/3 200 of HTTP",
        b"gone https://a.example/1 410 of HTTP",
        b"gone https://b.example/2 410 of HTTP",
    ]
    assert {method for method, url, *_ in courier.sent if url == CALLBACK} == {"REPORT"}


@ensureDeferred
async def test_a_request_expires_with_a_report(store: Callable[[Any], Storage]) -> None:
    courier = RequestCourier(lambda task: OK if task.address == CALLBACK else BUSY)
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, api=courier) as outbox:
        queue_id = await submit(outbox, "https://a.example/1", sender=CALLBACK)
        await until(lambda: len(courier.sent) == 1, reactor=reactor)
        clock.advance(6 * HOUR)
        await outbox.verbs.retry(Filter(ids=(queue_id,)))
        await until(lambda: gone(outbox), reactor=reactor)
    assert courier.sent[-1] == ("REPORT", CALLBACK, "", b"late https://a.example/1 503 of HTTP")


@ensureDeferred
async def test_a_request_is_listed_and_shown(store: Callable[[Any], Storage]) -> None:
    courier = RequestCourier(lambda _: BUSY)
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, api=courier) as outbox:
        queue_id = await submit(outbox, "https://a.example/1", sender=CALLBACK)

        async def tried() -> bool:
            return bool((await outbox.verbs.why(queue_id))["recipients"][0]["attempts"])

        await until(tried, reactor=reactor)
        (listed,) = (await outbox.verbs.list(Filter(sender=CALLBACK))).messages
        shown = await outbox.verbs.show(queue_id)
        why = await outbox.verbs.why(queue_id)
        _, item = await outbox.verbs.export(queue_id)
        assert outbox.verbs.media_type(item) == "application/x-request"
    assert (listed["kind"], listed["method"]) == ("request", "POST")
    assert listed["recipients"][0]["version"] == "v0"
    assert "notify" not in listed["recipients"][0]
    assert shown["header"] == "{}"
    for text in (list_line(listed, WALL), message_text(shown, WALL), attempts_text(why, WALL)):
        assert "<https://a.example/1>" in text
        assert "503 of HTTP" in text


@ensureDeferred
async def test_what_the_queue_itself_defers_has_an_outcome_of_the_kind(
    store: Callable[[Any], Storage],
) -> None:
    courier = RequestCourier()

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError

    courier.deliver = broken  # type: ignore[method-assign]
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, api=courier) as outbox:
        await submit(outbox, "https://a.example/1")

        async def deferred() -> bool:
            (one,) = (await outbox.verbs.list()).messages
            return bool(one["recipients"][0]["last"] == "500 of HTTP")

        await until(deferred, reactor=reactor)


@ensureDeferred
async def test_mail_and_requests_share_a_queue(store: Callable[[Any], Storage]) -> None:
    requests, mail = RequestCourier(), Courier()
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, api=requests, mail=mail) as outbox:
        await submit(outbox, "https://a.example/1")
        await put(outbox, "someone@example.org")
        await until(lambda: gone(outbox), reactor=reactor)
        assert {name: kind.name for name, kind in outbox.kinds().items()} == {
            "api": "request",
            "mail": "mail",
        }
    assert len(requests.sent) == len(mail.delivered) == 1


@ensureDeferred
async def test_an_item_is_held_where_its_service_is_of_another_kind_by_now(
    store: Callable[[Any], Storage],
) -> None:
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, api=RequestCourier(lambda _: BUSY)) as outbox:
        queue_id = await submit(outbox, "https://a.example/1", sender=CALLBACK)

        async def tried() -> bool:
            return bool((await outbox.verbs.why(queue_id))["recipients"][0]["attempts"])

        await until(tried, reactor=reactor)
    mail = Courier()
    clock = SteeredReactor(reactor)
    async with opened(store(clock), clock, WALL + HOUR, api=mail) as outbox:

        async def held() -> bool:
            return bool((await outbox.verbs.why(queue_id))["recipients"][0]["state"] == "held")

        await until(held, reactor=reactor)
        shown = await outbox.verbs.show(queue_id)
        assert shown["recipients"][0]["last"] == (
            "it is of the kind request, which the service api does not deliver"
        )
        assert "header" not in shown
    assert not mail.delivered
    clock, requests = SteeredReactor(reactor), RequestCourier()
    async with opened(store(clock), clock, WALL + HOUR, api=requests) as outbox:
        assert await outbox.verbs.release(Filter()) == 1
        await until(lambda: gone(outbox), reactor=reactor)
    assert len(requests.sent) == 2
