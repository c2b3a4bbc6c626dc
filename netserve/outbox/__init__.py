"""The durable queue: model, store, schedule, agent.

`Outbox` is the queue; what comes in is an `Incoming`; what delivers is a `Courier`.
"""

from netserve.outbox.courier import Courier, NotTried
from netserve.outbox.errors import (
    BodyMissing,
    NoSuchMessage,
    OutboxError,
    OutOfSpace,
    StorageFailed,
)
from netserve.outbox.incoming import Incoming
from netserve.outbox.model import (
    BodyReader,
    Destination,
    QueuedMessage,
    QueuedRecipient,
    State,
)
from netserve.outbox.outbox import Outbox
from netserve.outbox.query import Filter
from netserve.outbox.schedule import Schedule
from netserve.outbox.verbs import Page, Verbs

__all__ = [
    "BodyMissing",
    "BodyReader",
    "Courier",
    "Destination",
    "Filter",
    "Incoming",
    "NoSuchMessage",
    "NotTried",
    "OutOfSpace",
    "Outbox",
    "OutboxError",
    "Page",
    "QueuedMessage",
    "QueuedRecipient",
    "Schedule",
    "State",
    "StorageFailed",
    "Verbs",
]
