"""What is said in the log about requests and answers that do not fit."""

from __future__ import annotations

from netserve.plugin import Context
from netserve.wire.reply_guard import LogLimit, times

_INTERVAL = 1.0


class Refusals:
    """Logs them: one line, and not more of a kind than is readable.

    Arguments:
        context: of the service.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._requests = LogLimit(_INTERVAL)
        self._answers = LogLimit(_INTERVAL)

    def request(self, peer: str | None, reason: str) -> None:
        """A request of a peer was not passed on."""
        if count := self._requests.count(self._context.reactor.seconds()):
            self._context.log.warn(
                "refused a request of {peer}: {reason}{more}",
                peer=peer,
                reason=reason,
                more=times(count),
            )

    def answer(self, reason: str) -> None:
        """An answer could not be given back by the framing."""
        if count := self._answers.count(self._context.reactor.seconds()):
            self._context.log.warn(
                "an answer does not fit the framing: {reason}{more}",
                reason=reason,
                more=times(count),
            )
