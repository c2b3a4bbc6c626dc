"""Runs Twisted's own tests on netserve's reactor, in a process of its own.

Arguments: `uvloop` or `asyncio`, the loop; `built` to run them on reactors that the tests build,
`running` to run them on the reactor that trial itself runs on; then trial's own arguments.
"""

from __future__ import annotations

import asyncio
import sys

from twisted.internet.main import installReactor
from twisted.scripts.trial import run

from netserve.reactor import NetserveReactor
from netserve.reactor import reactor as module


def main() -> None:
    loop, which = sys.argv[1:3]
    del sys.argv[1:3]
    if loop == "asyncio":
        # As where uvloop is not installed.
        module.new_loop = asyncio.new_event_loop
    if which == "running":
        installReactor(NetserveReactor())
    from twisted.internet.test import reactormixins

    reactormixins.DEFAULT_TIMEOUT_DURATION = 20.0
    reactormixins.ReactorBuilder._reactors[:] = ["netserve.reactor.NetserveReactor"]
    run()


if __name__ == "__main__":
    main()
