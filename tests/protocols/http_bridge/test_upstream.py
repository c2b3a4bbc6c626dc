"""Slots to the upstream: who waits too long, and what becomes of a slot that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from netserve.plugin import Metrics
from netserve.protocols.http_bridge.upstream import Busy, Upstream
from netserve.testing.upstream import in_asyncio


def upstream(settings_of: Any, **limits: Any) -> Upstream:
    settings = settings_of(request={"url": "http://h/", "timeout": "50ms"}, limits=limits)
    return Upstream(settings, Mock(metrics=Metrics()))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - it waits for what has no event
        await asyncio.sleep(0)


async def hold(shared: Upstream, address: str, until: asyncio.Event) -> None:
    async with shared.slot(address):
        await until.wait()


@in_asyncio
async def test_who_waits_too_long_for_a_slot_is_told_so(settings_of: Any) -> None:
    """S8: in the time that a request may take in all; and no slot is lost by it."""
    shared, done = upstream(settings_of, requests=1), asyncio.Event()
    holder = asyncio.create_task(hold(shared, "a", done))
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="too many requests are under way"):
        async with shared.slot("b"):
            pytest.fail("there was none")
    assert (shared.slots.used, shared.slots.waiting) == (1, 0)
    done.set()
    await holder
    async with shared.slot("b"):
        assert shared.slots.used == 1
    assert shared.slots.used == 0


@pytest.mark.parametrize("granted", [False, True])
@in_asyncio
async def test_a_slot_of_who_is_gone_is_given_back(settings_of: Any, granted: bool) -> None:
    """Also one that was granted in the same turn."""
    shared, done = upstream(settings_of, requests=1), asyncio.Event()
    holder = asyncio.create_task(hold(shared, "a", done))
    waiting = asyncio.create_task(hold(shared, "b", asyncio.Event()))
    await until(lambda: shared.slots.waiting == 1)
    if granted:
        done.set()
        await until(lambda: shared.slots.waiting == 0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    done.set()
    await holder
    assert (shared.slots.used, shared.slots.waiting) == (0, 0)


@in_asyncio
async def test_who_holds_too_much_is_not_given_a_slot(settings_of: Any) -> None:
    """S24: answers that nobody takes are not asked for."""
    shared = upstream(settings_of, requests=4, memory="1MiB")
    shared.memory.add("a", 1 << 20)
    with pytest.raises(Busy, match="too much is held"):
        async with shared.slot("a"):
            pytest.fail("it holds enough")
    assert shared.slots.used == 0
    async with shared.slot("b"):
        assert shared.slots.used == 1
