"""The wiring around handlers: finding them, waiting for them, and reporting what they do wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netserve.config.import_path import import_object
from netserve.crossing import TimedOut, ensure_deferred
from netserve.errors import InvalidValue, PluginError, with_place
from netserve.plugin import Context
from netserve.protocols.request_response.responder import (
    Handler,
    HandlerTimeout,
    Pending,
    Responder,
)
from netserve.reactor.context import current_stream, logged_for
from netserve.wire.reply_guard import LogLimit, times

__all__ = ["Reporter", "load_handler", "wait"]


def load_handler(path: str, folder: Path) -> Handler:
    """The function that an import path names.

    Arguments:
        path: ``module:function``.
        folder: of the config file, where modules are found too.

    Raises:
        ValueError: it cannot be imported, or cannot be called; with the reason.
    """
    try:
        found: Any = import_object(path, folder)
    except PluginError as error:
        raise InvalidValue(
            "the handler {path} cannot be imported: {error}",
            at=("handler",),
            otherwise="the handler cannot be imported",
            path=path,
            error=error,
        ) from error
    if not callable(found):
        raise InvalidValue(
            "the handler {path} is of the type " + type(found).__name__ + ", not a function",
            at=("handler",),
            path=path,
        )
    handler: Handler = found
    return handler


def wait(
    pending: Pending,
    responder: Responder,
    done: Callable[[bytes | None], None],
    *,
    clock: Any,
    timeout: float,
) -> Callable[[], None]:
    """Wait for a handler's reply, but no longer than it is given.

    Arguments:
        pending: what is waited for.
        responder: makes the reply of what comes of it.
        done: is called once with what is to be sent; at once, if the handler is done already.
        clock: the reactor.
        timeout: in seconds; then the work is cancelled, and what it still gives is ignored.

    Returns:
        What ends the waiting, and the work; `done` is not called any more.
    """
    request = pending.request
    stream = current_stream()
    finished = False

    def finish(reply: Callable[[], bytes | None] | None) -> None:
        nonlocal finished
        if finished:
            return
        finished = True
        if timer.active():
            timer.cancel()
        if reply is not None:
            done(logged_for(stream, reply))

    def failed(failure: Failure) -> None:
        error = failure.value
        if isinstance(error, TimedOut):
            error = HandlerTimeout(str(error))
        wrong = error if isinstance(error, Exception) else RuntimeError(repr(error))
        finish(lambda: responder.fail(request, wrong))

    def timed_out() -> None:
        error = HandlerTimeout(f"it took longer than {timeout:g} s")
        finish(lambda: responder.fail(request, error))
        work.cancel()

    def cancel() -> None:
        finish(None)
        work.cancel()

    timer = clock.callLater(timeout, timed_out)
    work: Deferred[Any] = ensure_deferred(pending.work)
    work.addCallbacks(lambda answer: finish(lambda: responder.finish(request, answer)), failed)
    return cancel


class Reporter:
    """Counts what went wrong, and logs it: one line, and not more of a kind than is readable.

    Arguments:
        context: of the service.
    """

    _TEXTS: Final = {
        "oversized": "refused a request from {peer}: {reason}{more}",
        "busy": "refused a request from {peer}: {reason}{more}",
        "framing": "ended the connection of {peer}: {reason}{more}",
        "reply": "no reply could be made for {peer}: {reason}{more}",
        "handler": "the handler failed for {peer}: {reason}{more}",
        "timeout": "the handler was too slow for {peer}: {reason}{more}",
        "overload": "dropped a datagram from {peer}: {reason}{more}",
        "reply_refused": "no reply to {peer}: {reason}{more}",
    }
    _INTERVAL: Final = 1.0

    def __init__(self, context: Context) -> None:
        self._context = context
        self._limits = {kind: LogLimit(self._INTERVAL) for kind in self._TEXTS}

    def __call__(self, kind: str, peer: str, error: Exception | str) -> None:
        """Something went wrong.

        Arguments:
            kind: one of `_TEXTS`.
            peer: whom it was for.
            error: what; of a handler's own exception the place is logged as well.
        """
        self._context.metrics.errors[kind] += 1
        count = self._limits[kind].count(self._context.reactor.seconds())
        if count is None:
            return
        log = self._context.log.error if kind == "handler" else self._context.log.warn
        log(self._TEXTS[kind], peer=peer, reason=_reason(error), more=times(count))


def _reason(error: Exception | str) -> str:
    """The error in one line; with its class and place, where it came from a handler."""
    if isinstance(error, str) or error.__traceback__ is None:
        return str(error)
    return with_place(error)
