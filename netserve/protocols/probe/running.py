"""Runs a check with a deadline, and maps exceptions to reasons."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.logger import Logger

from netserve.protocols.probe.result import Failure, ProbeFailed, Recorder, Result

_log = Logger()

Check = Callable[[Recorder], Awaitable[None]]
"""Runs through its phases; the check has succeeded when it returns."""

_REASONS: Final = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.ETIMEDOUT: "timeout",
}


async def run(
    check: Check,
    kind: str,
    *,
    timeout: float,  # noqa: ASYNC109 - it does not cancel, but gives a result
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Run a check to its end, or to its deadline.

    Arguments:
        check: see there.
        kind: a key of `netserve.protocols.probe.names.PHASES`.
        timeout: seconds.
        clock: gives monotonic seconds.
    """
    recorder = Recorder(kind, clock)
    failure: Failure | None = None
    try:
        async with asyncio.timeout(timeout):
            await check(recorder)
    except TimeoutError:
        text = f"no answer within the {timeout:g} s of the probe"
        failure = Failure(recorder.phase, "timeout", text)
    except ProbeFailed as error:
        failure = Failure(recorder.phase, error.reason, error.text)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, "error")
        failure = Failure(recorder.phase, reason, error.strerror or str(error))
    except Exception:
        _log.failure("probe: a bug in the check {kind}", kind=kind)
        failure = Failure(recorder.phase, "bug", "an error of netserve's; see its log")
    return recorder.result(failure)
