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
from netserve.outbox.kind import Kind
from netserve.outbox.model import (
    BodyReader,
    Destination,
    Item,
    Outcome,
    State,
    Submission,
    Task,
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
    "Item",
    "Kind",
    "NoSuchMessage",
    "NotTried",
    "OutOfSpace",
    "Outbox",
    "OutboxError",
    "Outcome",
    "Page",
    "Schedule",
    "State",
    "StorageFailed",
    "Submission",
    "Task",
    "Verbs",
]
