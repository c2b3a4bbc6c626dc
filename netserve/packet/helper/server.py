"""The helper's loop: requests in, jobs by turns, replies out; one thread, nothing that waits."""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from netserve.packet.frames import FrameError, FrameReader, frame
from netserve.packet.helper.exchange import ExchangeJob
from netserve.packet.helper.jobs import CraftJob, Job, JobError, LayersJob, Overtime, Tools
from netserve.packet.helper.sockets import PacketSocket
from netserve.packet.policy import Refused
from netserve.packet.requests import (
    Craft,
    DescribeLayers,
    RequestError,
    read_ask,
    read_deadline,
)

_READ: Final = 1 << 16
_MOST_UNREAD: Final = 1 << 20
"""Bytes of replies that the other side has not read, beyond which no more work is done."""


class Server:
    """Serves one stream until its end.

    Arguments:
        stream: to the one that asks.
        tools: the tools of all jobs.
    """

    def __init__(self, stream: socket.socket, tools: Tools) -> None:
        self._stream = stream
        self._tools = tools
        self._reader = FrameReader()
        self._unsent = bytearray()
        self._jobs: dict[int, Job] = {}
        self._receivers: dict[int, PacketSocket] = {}
        self._selector = selectors.DefaultSelector()
        self._is_open = True
        stream.setblocking(False)
        self._selector.register(stream, selectors.EVENT_READ)

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message, as soon as the stream takes it."""
        self._unsent += frame(message)

    def run(self) -> None:
        """Serve until the other side closes the stream."""
        while self._is_open:
            self._flush()
            for key, events in self._selector.select(self._pause()):
                if key.fileobj is not self._stream:
                    self._receive(key.data)
                elif events & selectors.EVENT_READ:
                    self._read()
            if not self._is_full():
                self._work()
        for job in self._jobs.values():
            job.close()

    # The stream

    def _is_full(self) -> bool:
        return len(self._unsent) > _MOST_UNREAD

    def _pause(self) -> float | None:
        events = selectors.EVENT_WRITE if self._unsent else 0
        if not self._is_full():
            events |= selectors.EVENT_READ
        self._selector.modify(self._stream, events)
        if self._is_full() or not self._jobs:
            return None
        now = self._tools.clock()
        return max(0.0, min(min(job.due, job.deadline) for job in self._jobs.values()) - now)

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._stream.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._is_open = False

    def _read(self) -> None:
        try:
            data = self._stream.recv(_READ)
            if not data:
                self._is_open = False
                return
            for message in self._reader.feed(data):
                self._take(message)
        except BlockingIOError:
            pass
        except (FrameError, OSError):
            self._is_open = False

    # Requests

    def _take(self, message: Any) -> None:
        number = message.get("id") if isinstance(message, dict) else None
        if type(number) is not int:
            raise FrameError("a request without a number")
        if message.get("cancel"):
            self._end(number)
            return
        try:
            self._begin(number, message)
        except Exception as error:
            self._tell_error(number, error)

    def _begin(self, number: int, message: dict[str, Any]) -> None:
        if number in self._jobs:
            raise RequestError("two requests with one number")
        if len(self._jobs) >= self._tools.policy.requests:
            raise JobError("busy", f"{len(self._jobs)} requests are being worked on")
        ask = read_ask(message.get("ask"))
        deadline = self._tools.clock() + read_deadline(message.get("deadline"))
        tell = partial(self._tell_answer, number)
        job: Job
        if isinstance(ask, Craft):
            job = CraftJob(ask, self._tools, tell, deadline)
        elif isinstance(ask, DescribeLayers):
            job = LayersJob(ask, self._tools, tell, deadline)
        else:
            job = ExchangeJob(ask, self._tools, tell, deadline)
        self._jobs[number] = job

    def _tell_answer(self, number: int, answer: dict[str, Any]) -> None:
        self.tell({"id": number, "answer": answer})

    def _tell_error(self, number: int, error: BaseException) -> None:
        kind, what = _told(error)
        if kind == "bug":
            traceback.print_exception(error, file=sys.stderr)
        self.tell({"id": number, "error": {"kind": kind, "what": what}})

    # Jobs

    def _work(self) -> None:
        for number, job in list(self._jobs.items()):
            now = self._tools.clock()
            if now >= job.due or now >= job.deadline:
                self._step(number, job, partial(self._turn, job, now))

    @staticmethod
    def _turn(job: Job, now: float) -> None:
        if now >= job.deadline:
            raise JobError("late", "the request did not end within its deadline")
        job.turn(now)

    def _receive(self, number: int) -> None:
        if not self._is_full() and (job := self._jobs.get(number)):
            self._step(number, job, job.receive)

    def _step(self, number: int, job: Job, step: Callable[[], None]) -> None:
        """Do one step of a job; an error ends this job only."""
        try:
            step()
            if job.result is not None:
                self.tell({"id": number, "done": job.result})
                self._end(number)
                return
            self._watch(number, job.receiver)
        except (Exception, Overtime) as error:
            self._tell_error(number, error)
            self._end(number)

    def _watch(self, number: int, receiver: PacketSocket | None) -> None:
        if receiver is not None and number not in self._receivers:
            self._receivers[number] = receiver
            self._selector.register(receiver.socket, selectors.EVENT_READ, number)

    def _end(self, number: int) -> None:
        receiver = self._receivers.pop(number, None)
        if receiver is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(receiver.socket)
        job = self._jobs.pop(number, None)
        if job is not None:
            job.close()


def _told(error: BaseException) -> tuple[str, str]:
    """The kind of an error, and the words for it."""
    match error:
        case JobError():
            return error.kind, error.what
        case Refused():
            return "refused", str(error)
        case RequestError():
            return "invalid", str(error)
        case Overtime():
            return "late", "a step of the request takes too long"
        case FrameError():
            return "failed", "the answer is too long for one message"
        case OSError():
            return "failed", error.strerror or str(error)
        case _:
            return "bug", f"{type(error).__name__}: an error of the helper"
