"""Fair parts of what all clients share: the reactor's time, slots to upstreams, memory.

==============================  ===============================================================
module                          shares
==============================  ===============================================================
`netserve.fairness.turns`       the reactor's time, among services, addresses and connections
`netserve.fairness.shares`      a supply, such as bytes of memory: each address leaves some free
`netserve.fairness.slots`       places that are waited for, such as requests to an upstream
`netserve.fairness.rotation`    the order in which all of them serve: one key after another
==============================  ===============================================================

An address is what `netserve.wire.peer.counting_key` makes of one; an empty one, of a client on a
UNIX socket, has no share of its own. No I/O, no Twisted, no asyncio.
"""
