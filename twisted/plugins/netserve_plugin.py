"""What twistd finds: the service ``netserve`` and the reactor ``netserve``.

Nothing of netserve is imported here. twistd loads this file for every command it
is given, and the two names are kept in its cache, so they stay as they are.
"""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

netserve = ServiceMaker(
    "netserve",
    "netserve.app",
    "Many protocols from one YAML file, sharing one reactor.",
    "netserve",
)

netserve_reactor = Reactor(
    "netserve",
    "netserve.reactor",
    "Twisted on the native transports of asyncio and uvloop.",
)
