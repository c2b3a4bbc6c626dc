"""Starts the helper on demand, restarts it after a crash, and passes requests to it.

=========  ==================================================================
state      meaning
=========  ==================================================================
IDLE       no helper; the next request starts one
STARTING   a helper has started, and is not ready yet
READY      the helper works on at most `policy.requests` concurrent requests
PAUSED     the helper died; the next one starts after a pause
CLOSED     no requests are accepted any longer
=========  ==================================================================

Requests wait in a queue of bounded length, each with its deadline. A request that the helper was
working on when it died is not repeated, since packets may have been sent.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from netserve.packet.client.launching import Launcher, Running
from netserve.packet.client.link import Link
from netserve.packet.errors import PacketError
from netserve.packet.frames import FrameError
from netserve.packet.notation import render
from netserve.packet.pace import Pace
from netserve.packet.policy import Policy, Refused
from netserve.packet.requests import Ask, Craft, Exchange

_LONGEST_QUEUE: Final = 64
_GRACE: Final = 2.0
"""Seconds after a request's deadline at which a silent helper is killed."""
_LONGEST_START: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_JITTER: Final = 0.2
_SHOWN: Final = 300

Answered = Callable[[dict[str, Any]], None]


class State(enum.Enum):
    """See the module."""

    IDLE = "no helper"
    STARTING = "a helper starts"
    READY = "a helper is there"
    PAUSED = "the next helper starts after a pause"
    CLOSED = "no requests are accepted"


@dataclass(eq=False, slots=True)
class _Request:
    """One request on its way.

    Arguments:
        ask: the request.
        ends: the reactor's time of its deadline.
        answered: called with each answer.
        result: fires with the end.
        use: see `PacketHelper.ask`.
        timer: for its deadline.
        number: its number at the helper, once it has one.
    """

    ask: Ask
    ends: float
    answered: Answered | None
    result: Deferred[dict[str, Any]]
    use: str | None
    timer: Any = None
    number: int = 0


class PacketHelper:
    """See the module.

    Arguments:
        reactor: the reactor.
        policy: the limits.
        launcher: the way to a helper.
        log: gets a record for each use.
        user: the name of the user for the log.
        idle: seconds without a request after which the helper is stopped.
        chance: the source of jitter.
    """

    def __init__(
        self,
        *,
        reactor: Any,
        policy: Policy,
        launcher: Launcher,
        log: Logger,
        user: str = "",
        idle: float = 300.0,
        chance: random.Random | None = None,
    ) -> None:
        self.policy = policy
        self.state = State.IDLE
        self.about: dict[str, Any] = {}
        """The helper's report: Scapy's version, whether it can send, its confinement."""
        self.starts = 0
        self._reactor = reactor
        self._launcher = launcher
        self._log = log
        self._user = user or "-"
        self._idle = idle
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret
        self._pace = Pace(policy.interval)
        self._queue: deque[_Request] = deque()
        self._open: dict[int, _Request] = {}
        self._number = 0
        self._link: Link | None = None
        self._running: Running | None = None
        self._failures = 0
        self._turn: Any = None  # of the pace
        self._timer: Any = None  # of the state: the start, the pause, or being idle

    # The interface

    def ask(
        self,
        ask: Ask,
        *,
        deadline: float,
        answered: Answered | None = None,
        use: str | None = None,
    ) -> Deferred[dict[str, Any]]:
        """Send a request to the helper; cancelling the Deferred ends the request.

        Arguments:
            ask: see `netserve.packet.requests`.
            deadline: seconds from now until the request must have ended.
            answered: called with each answer of an exchange as it arrives.
            use: text for the log in place of the expression; empty to log failures only, for the
                later requests of a series.

        Errors:
            PacketError: from the Deferred.
        """
        request = _Request(ask, self._reactor.seconds() + deadline, answered, Deferred(), use)
        problem = self._problem(ask)
        if problem is not None:
            self._log_use(request, f"{problem.kind}: {problem.what}", is_error=True)
            return fail(problem)
        request.result = Deferred(lambda _: self._cancel(request))
        request.timer = self._reactor.callLater(deadline, self._late, request)
        self._queue.append(request)
        self._go_on()
        return request.result

    def start(self) -> None:
        """Start the helper now, so that the first request need not wait for it."""
        if self.state is State.IDLE:
            self._start()

    def close(self) -> None:
        """Stop the helper; pending requests fail."""
        self._set_state(State.CLOSED)
        if self._link is not None:
            self._link.close()
        self._fail_all(PacketError("unavailable", "the packet helper is closed"))

    def _problem(self, ask: Ask) -> PacketError | None:
        """The reason to reject a request at once, or None."""
        if self.state is State.CLOSED:
            return PacketError("unavailable", "the packet helper is closed")
        if len(self._queue) >= _LONGEST_QUEUE:
            return PacketError("full", f"{len(self._queue)} requests are waiting already")
        try:
            if isinstance(ask, Craft):
                self.policy.check_layers(ask.packet)
            elif isinstance(ask, Exchange):
                for packet in ask.packets:
                    self.policy.check_packet(packet)
                timeout = (ask.timeout or 0.0) * (ask.retry + 1)
                self.policy.check_work(count=ask.count, inter=ask.inter, timeout=timeout)
                if ask.interface is not None:
                    self.policy.check_interface(ask.interface)
        except Refused as error:
            return PacketError("refused", str(error))
        return None

    # States

    def _set_state(self, state: State) -> None:
        self.state = state
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _go_on(self) -> None:
        """Start the helper, or pass waiting requests to it, as far as possible now."""
        if self.state is State.IDLE and self._queue:
            self._start()
        elif self.state is State.READY:
            while self._queue and len(self._open) < self.policy.requests:
                if isinstance(self._queue[0].ask, Exchange) and self._has_to_wait():
                    break
                self._hand_over(self._queue.popleft())
            self._rest()

    def _has_to_wait(self) -> bool:
        """Whether earlier requests have used up the rate for now; if so, a timer continues."""
        wait = self._pace.wait(self._reactor.seconds())
        if wait > 0 and (self._turn is None or not self._turn.active()):
            self._turn = self._reactor.callLater(wait, self._go_on)
        return wait > 0

    def _rest(self) -> None:
        """Start the idle timer if there is no request."""
        self._set_state(State.READY)
        if not self._open and not self._queue:
            self._timer = self._reactor.callLater(self._idle, self._let_go)

    def _let_go(self) -> None:
        self._set_state(State.IDLE)
        link, self._link, self._running = self._link, None, None
        if link is not None:
            link.close()

    def _start(self) -> None:
        self._set_state(State.STARTING)
        self.starts += 1
        link = Link(self._opened, self._received, lambda: self._closed(link))
        self._link = link
        self._timer = self._reactor.callLater(_LONGEST_START, self._kill)
        try:
            self._running = self._launcher.launch(self._reactor, link, self._log)
        except PacketError as error:
            self._link = None
            self._pause(error)

    def _opened(self) -> None:
        if self._link is not None:
            self._link.send({"policy": self.policy.to_json()})

    def _kill(self) -> None:
        """Kill the helper; its stream counts as closed from now on."""
        running, link = self._running, self._link
        if running is not None:
            running.kill()
        if link is not None:
            self._closed(link)

    def _closed(self, link: Link) -> None:
        """A link has closed: the helper ended, or could not be reached."""
        if link is not self._link:
            return
        self._link = self._running = None
        if self.state is not State.CLOSED:
            died = PacketError("died", "the packet helper ended while it worked on the request")
            for request in list(self._open.values()):
                self._finish(request, died)
            self._pause(PacketError("unavailable", "the packet helper cannot be started"))

    def _pause(self, error: PacketError) -> None:
        """Wait before the next start; waiting requests fail if this start failed."""
        was_ready = self.state is State.READY
        self._set_state(State.PAUSED)
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        pause *= 1 + self._chance.uniform(-_JITTER, _JITTER)
        self._failures = min(self._failures + 1, 16)
        self._timer = self._reactor.callLater(pause, self._paused)
        if not was_ready:
            self._fail_all(error)

    def _paused(self) -> None:
        self._set_state(State.IDLE)
        self._go_on()

    # Requests

    def _hand_over(self, request: _Request) -> None:
        if self._link is None:
            return
        self._number += 1
        request.number = self._number
        left = max(0.001, request.ends - self._reactor.seconds())
        try:
            self._link.send({"id": request.number, "ask": request.ask.to_json(), "deadline": left})
        except FrameError as error:
            self._finish(request, PacketError("invalid", str(error)))
            return
        self._open[request.number] = request

    def _received(self, message: Any) -> None:
        match message:
            case {"id": int(number), "answer": dict(answer)}:
                request = self._open.get(number)
                if request is not None and request.answered is not None:
                    request.answered(answer)
            case {"id": int(number), "done": dict(done)}:
                self._failures = 0
                self._ended(number, done)
            case {"id": int(number), "error": {"kind": str(kind), "what": str(what)}}:
                self._ended(number, PacketError(kind, what))
            case {"ready": dict(about)}:
                self.about = about
                self._set_state(State.READY)
                self._go_on()
            case {"failed": {"kind": str(kind), "what": str(what)}}:
                self._fail_all(PacketError(kind, what))

    def _ended(self, number: int, end: dict[str, Any] | PacketError) -> None:
        request = self._open.get(number)
        if request is not None:
            self._finish(request, end)
            self._go_on()

    def _forget(self, request: _Request) -> None:
        self._open.pop(request.number, None)
        if request in self._queue:
            self._queue.remove(request)
        if request.timer is not None and request.timer.active():
            request.timer.cancel()

    def _finish(self, request: _Request, end: dict[str, Any] | PacketError) -> None:
        self._forget(request)
        if isinstance(end, PacketError):
            self._log_use(request, f"{end.kind}: {end.what}", is_error=True)
            if not request.result.called:
                request.result.errback(end)
            return
        if isinstance(request.ask, Exchange):
            sent = int(end.get("sent", 0))
            self._pace.take(self._reactor.seconds(), sent)
            self._log_use(request, f"sent {sent} packets, {end.get('answers', 0)} answers")
        if not request.result.called:
            request.result.callback(end)

    def _fail_all(self, error: PacketError) -> None:
        for request in [*self._open.values(), *self._queue]:
            self._finish(request, error)

    def _cancel(self, request: _Request) -> None:
        if request.number in self._open and self._link is not None:
            self._link.send({"id": request.number, "cancel": True})
        self._forget(request)
        # Twisted fails a Deferred with CancelledError if its canceller does not fail it.
        self._log_use(request, "cancelled")
        self._go_on()

    def _late(self, request: _Request) -> None:
        """The deadline has passed; the helper gets a moment to report it."""
        late = PacketError("late", "the request did not end within its deadline")
        if request.number not in self._open:
            self._finish(request, late)
            return
        request.timer = self._reactor.callLater(_GRACE, self._stuck, request, late)

    def _stuck(self, request: _Request, late: PacketError) -> None:
        self._log.warn("packet helper: no reply after a deadline; killed")
        self._open.pop(request.number, None)
        self._kill()
        self._finish(request, late)

    def _log_use(self, request: _Request, text: str, *, is_error: bool = False) -> None:
        ask = request.ask
        if not isinstance(ask, Exchange) or (request.use == "" and not is_error):
            return
        log = self._log.warn if is_error else self._log.info
        shown = request.use or _shown(ask)
        where = ask.interface or "-"
        log(
            "packet: user {user}, layer {layer}, interface {where}, {shown}: {text}",
            user=self._user, layer=ask.layer, where=where, shown=shown, text=text,
        )  # fmt: skip


def _shown(ask: Exchange) -> str:
    """The expressions in one line of bounded length."""
    text = render(ask.packets[0])
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"{text} and {len(ask.packets) - 1} more" if len(ask.packets) > 1 else text
