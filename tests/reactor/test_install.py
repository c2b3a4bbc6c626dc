"""The choice of the reactor."""

import asyncio
import sys
import time
from types import ModuleType

import pytest
import pytest_twisted
from twisted.internet import task
from twisted.internet.error import ReactorAlreadyInstalledError

from netserve import reactor as choice
from netserve.crossing import TimedOut, from_asyncio
from netserve.reactor.reactor import clock


def test_install_again_gives_the_same_reactor() -> None:
    from twisted.internet import reactor

    assert choice.install() is reactor


def test_another_reactor_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", ModuleType("EPollReactor"))
    with pytest.raises(ReactorAlreadyInstalledError, match=r"call netserve\.reactor\.install\(\)"):
        choice.install()


def test_the_reactors_time_begins_with_the_time_of_day_and_is_monotonic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """twisted.web's access log has it; S20: a clock that is set changes no delayed call."""
    from twisted.internet import reactor

    assert abs(reactor.seconds() - time.time()) < 3600
    seconds = clock()
    before = seconds()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= seconds() - before < 3600


@pytest_twisted.ensureDeferred
async def test_asyncio_and_twisted_share_one_loop() -> None:
    from twisted.internet import reactor

    await task.deferLater(reactor, 0, lambda: None)

    async def work() -> str:
        await asyncio.sleep(0)
        return "done"

    assert await from_asyncio(work()) == "done"


@pytest_twisted.ensureDeferred
async def test_a_timeout_has_its_own_error() -> None:
    with pytest.raises(TimedOut, match=r"the answer took longer than 0\.01 s"):
        await from_asyncio(asyncio.sleep(10), timeout=0.01, what="the answer")
