"""The message as states of the SMTP server: DATA (RFC 5321, 4.1.1.4) and BDAT (RFC 3030).

Whatever happens, a message is read to its real end, and nothing of it is taken for a command.
"""

from __future__ import annotations

from netserve.mail.envelope import Reply
from netserve.mail.server import answers
from netserve.mail.server.commands import Refusal, parse_bdat, refusal
from netserve.mail.server.core import ServerCore
from netserve.mail.server.intake import Intake
from netserve.mail.server.model import Event, MessageBegins, MessageDropped, MessageEnds, Signal
from netserve.mail.server.states import State


class ContentStates(ServerCore):
    """The part of the machine that takes messages."""

    __slots__ = ()

    def data(self, argument: str) -> Event | None:
        if argument:
            self.refuse_data(answers.NO_ARGUMENT)
            return None
        return self._ask(MessageBegins(chunked=False))

    def bdat(self, argument: str) -> Event | None:
        self._left = self.chunk_size(argument)
        if self._intake is None:
            return self._ask(MessageBegins(chunked=True))
        if not self._left:
            self._count_idle_command()
        self._move("BDAT")
        return None

    def chunk_size(self, argument: str) -> int:
        """The bytes that follow BDAT; where that is not known, nothing more can be understood."""
        try:
            size, self._is_last = parse_bdat(argument)
        except Refusal as refused:
            raise refusal(421, "4.7.0", refused.reply.text) from None
        return size

    def begin_content(self, *, chunked: bool) -> None:
        if not chunked and self._input and self._options.refuse_early_talk:
            # DATA is the last command of a group (RFC 2920, 3.1): what follows is no answer to 354.
            self._dropped = MessageDropped(answers.CONTENT_BEFORE_354)
            self._close(answers.CONTENT_BEFORE_354)
            return
        self._intake = Intake(self._options, chunked=chunked)
        self._move("BDAT" if chunked else "DATA")
        if not chunked:
            self._put(answers.GO_AHEAD)

    def refuse_data(self, reply: Reply) -> None:
        """Refuse to begin a message, and never take its content for commands.

        A client that waits for 354 has sent nothing behind DATA. Where something stands there it
        is the message, and its lines are not the client's commands.
        """
        self._refuse(reply)
        if self._input:
            self._close(answers.CONTENT_AHEAD)

    def skip_chunk(self, reply: Reply, *, behind: State) -> None:
        """Refuse a chunk when it has been read (RFC 3030, 2)."""
        self._skipped = (behind, reply)
        self.state = State.SKIP

    def read_skipped(self) -> Signal | None:
        assert self._skipped is not None  # noqa: S101 - set on the way into this state
        self._left -= len(self._input.take(self._left))
        if self._left:
            return Signal.NEED_DATA
        self.state, reply = self._skipped
        if self.state is State.READY:
            self._end_transaction()
        self._refuse(reply)
        return None

    def read_data(self) -> Event | Signal | None:
        intake = self._intake
        assert intake is not None  # noqa: S101 - set on the way into this state
        if intake.rest() is None:
            data = self._input.take()
            if not data:
                return Signal.NEED_DATA
            content = intake.feed(data)
            rest = intake.rest()
            if rest:
                self._input.add(rest)
            if content is not None or rest is None:
                return content
        return self._end_of_data(intake)

    def read_chunk(self) -> Event | Signal | None:
        intake = self._intake
        assert intake is not None  # noqa: S101 - set on the way into this state
        if self._left:
            data = self._input.take(self._left)
            if not data:
                return Signal.NEED_DATA
            self._left -= len(data)
            return intake.feed(data)
        if self._is_last or intake.refused is not None:
            return self._end_of_data(intake)
        self._move("end of chunk")
        self._put(answers.OK)
        return None

    def _end_of_data(self, intake: Intake) -> Event | None:
        content = intake.finish()
        if content is not None:
            return content
        self._move("end of data")
        if intake.refused is not None:
            self._abandon(intake.refused)
            self._refuse(intake.refused)
            return None
        assert self._announced is not None  # noqa: S101 - the table has no content without MAIL
        self._intake = None
        return self._ask(
            MessageEnds(
                mail=self._announced,
                recipients=tuple(self._recipients.values()),
                size=intake.size,
                eight_bit=intake.eight_bit,
                head=intake.head,
                long_lines=intake.long_lines,
            )
        )
