"""The numbers of the process's durable queue, which are shown once, whichever services use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from netserve.metrics import ProcessMetrics

if TYPE_CHECKING:
    from netserve.outbox import Outbox

_STATES: Final = ("queued", "held", "delivering")


def show_queue(metrics: ProcessMetrics, outbox: Outbox) -> None:
    """Add the queue to the metrics of the process.

    Arguments:
        metrics: of the process.
        outbox: its queue.
    """
    for state in _STATES:
        metrics.gauge(
            f"queue_{state}",
            f"Recipients in the queue that are {state}.",
            lambda state=state: outbox.depth()[state],
        )
    metrics.gauge(
        "queue_unreported",
        "Recipients in the queue that failed, and are held because no report to the sender could"
        " be made.",
        lambda: outbox.unreported,
    )
