"""What a connection is, whichever side opened it: its record, its id, and its tap.

=============  =================================================================================
`record`       `Connection`, the immutable record, and `Ids`, which names connections
`tap`          `Tap`, which observes the bytes of a connection, and what keeps one harmless
`transport`    transports that stand in for another, such as the one that a tap listens at
`tracker`      `Taps` of the process, and the `Tracker` of each service, which makes the records
=============  =================================================================================

`netserve.server.layers` has the layers of the connections that clients open, tap included. An
outgoing connection is reported by `Tracker.outgoing`.
"""

from netserve.connection.record import Connection, Ids, connection_id
from netserve.connection.tap import OpenTap, Tap, TapDropped
from netserve.connection.tracker import Taps, Tracker

__all__ = [
    "Connection",
    "Ids",
    "OpenTap",
    "Tap",
    "TapDropped",
    "Taps",
    "Tracker",
    "connection_id",
]
