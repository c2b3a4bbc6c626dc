"""Plays a dialogue: decides the next action, and judges the answers. Sans-IO.

The caller asks `next_action`, carries it out, and reports events by `received`, `closed` and
`timed_out`. An answer is judged when it has the expected number of messages, or when no more of it
arrives in time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from netserve.dialogue.comparison import difference
from netserve.dialogue.content import to_bytes
from netserve.dialogue.document import Case, Content, Mask, Step
from netserve.dialogue.masks import Masks
from netserve.dialogue.messages import count_of, is_whole
from netserve.wire.pattern import Pattern

__all__ = ["Action", "Advance", "Await", "CloseClient", "Done", "Failed", "Player", "Send"]

MAX_ANSWER: Final = 8 << 20
"""Bytes of an answer; one that is longer is none that was expected."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes; over UDP as one datagram."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Await:
    """Wait for bytes or the end of the connection, for at most `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CloseClient:
    """Close the client's side."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Move the clock of the service forward, by seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """All steps are as expected."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A step is not as expected.

    Arguments:
        step: its number, counted from 0.
        problem: in one line.
        details: the difference, in lines; may be empty.
    """

    step: int
    problem: str
    details: str = ""


Action: TypeAlias = Send | Await | CloseClient | Advance | Done | Failed


class Player:
    """Plays one test.

    Arguments:
        test: it.
        read: gives the bytes of a file that the test names.
    """

    def __init__(self, test: Case, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self._test = test
        self._read = read
        self._masks = Masks(
            [mask for mask in test.masks if isinstance(mask, str)],
            [(mask.name, mask.pattern) for mask in test.masks if isinstance(mask, Mask)],
        )
        self._at = 0
        self._answer = b""
        self._datagrams: list[bytes] = []
        self._closed = False
        self._timed_out = False
        self._end: Done | Failed | None = None
        self._after_head = False

    def received(self, data: bytes) -> None:
        """Bytes of the service, or one datagram."""
        if self._test.framing == "datagrams":
            self._datagrams.append(data)
        else:
            self._answer += data
        if len(self._answer) + sum(map(len, self._datagrams)) > MAX_ANSWER:
            self._fail(f"the answer is longer than {MAX_ANSWER} bytes")

    def closed(self) -> None:
        """The service has closed the connection."""
        self._closed = True

    def timed_out(self) -> None:
        """Nothing has arrived within the time of `Await`."""
        self._timed_out = True

    def next_action(self) -> Action:
        """The next action; `Done` and `Failed` are final."""
        while self._end is None:
            if self._at == len(self._test.dialogue):
                self._finish()
                break
            action = self._do(self._test.dialogue[self._at])
            if action is not None:
                return action
        assert self._end is not None  # noqa: S101 - the loop ends by it
        return self._end

    def _do(self, step: Step) -> Action | None:
        """Begin a step, or go on with it; None when it is over."""
        if step.expect is not None:
            return self._expect(step.expect)
        if step.close == "server":
            return self._expect_close()
        self._pass()
        if step.send is not None:
            return self._send(step.send)
        return CloseClient() if step.advance is None else Advance(step.advance)

    def _expect_close(self) -> Action | None:
        if self._closed:
            self._pass()
            return None
        if not self._timed_out:
            return Await(self._test.timeout)
        return self._fail("the service did not close the connection")

    def _send(self, content: Content) -> Action:
        test = self._test
        if self._closed:
            self._at -= 1
            return self._fail("the service closed the connection before this was sent")
        try:
            data = to_bytes(content, test.framing, test.line_end, self._read)
        except OSError as error:
            self._at -= 1
            return self._fail(f"{content.file}: {(error.strerror or str(error)).lower()}")
        self._after_head = data.startswith(b"HEAD ")
        return Send(data)

    def _expect(self, content: Content) -> Action | None:
        """Judge the answer, or wait for more of it."""
        if content.matches is not None:
            return self._expect_match(content.matches)
        test = self._test
        try:
            wanted = to_bytes(content, test.framing, test.line_end, self._read)
        except OSError as error:
            return self._fail(f"{content.file}: {(error.strerror or str(error)).lower()}")
        answer = self._taken(wanted)
        if answer is None:
            return Await(test.timeout)
        details = difference(wanted, answer, self._masks)
        if details:
            return self._fail(self._problem(answer), details)
        self._pass()
        return None

    def _expect_match(self, text: str) -> Action | None:
        pattern = Pattern(text, "latin-1")
        if self._test.framing == "datagrams":
            found = bool(self._datagrams) and pattern.match(self._datagrams[0]) is not None
            whole = found
        else:
            found = pattern.match(self._answer) is not None
            whole = is_whole(self._answer, self._test.framing, after_head=self._after_head)
        if found and (whole or self._closed or self._timed_out):
            self._answer, self._datagrams = b"", self._datagrams[1:]
            self._pass()
            return None
        if not self._closed and not self._timed_out and not self._datagrams:
            return Await(self._test.timeout)
        answer = self._datagrams[0] if self._datagrams else self._answer
        return self._fail(f"the answer does not match {text}", difference(b"", answer, self._masks))

    def _taken(self, wanted: bytes) -> bytes | None:
        """The answer, as far as it is for this step; None while more of it may come."""
        if self._test.framing == "datagrams":
            if self._datagrams:
                return self._datagrams.pop(0)
            return b"" if self._timed_out or self._closed else None
        count = self._count(wanted)
        have = self._count(self._answer)
        if have >= count and (count or self._answer):
            end = self._end_of(count) or len(self._answer)
            taken, self._answer = self._answer[:end], self._answer[end:]
            return taken
        if not self._timed_out and not self._closed:
            return None
        taken, self._answer = self._answer, b""
        return taken

    def _count(self, data: bytes) -> int:
        return count_of(data, self._test.framing, after_head=self._after_head)

    def _end_of(self, count: int) -> int:
        """Where the first `count` messages of the answer end."""
        low, high = 0, len(self._answer)
        while low < high:
            middle = (low + high) // 2
            if self._count(self._answer[:middle]) >= count:
                high = middle
            else:
                low = middle + 1
        return low

    def _problem(self, answer: bytes) -> str:
        if self._closed and not answer:
            return "the service closed the connection instead of answering"
        if self._timed_out and not answer:
            return f"no answer within {self._test.timeout:g} s"
        return "the answer differs"

    def _pass(self) -> None:
        self._at += 1
        self._timed_out = False

    def _finish(self) -> None:
        left = self._answer or b"".join(self._datagrams)
        if left:
            self._at = max(0, self._at - 1)
            self._fail(
                "the service said more than was expected", difference(b"", left, self._masks)
            )
        else:
            self._end = Done()

    def _fail(self, problem: str, details: str = "") -> Failed:
        self._end = Failed(self._at, problem, details)
        return self._end
