"""Runs Twisted's own tests on netserve's reactor, in a process of its own.

Arguments: `uvloop` or `asyncio`, the loop; `built` to run them on reactors that the tests build,
`running` to run them on the reactor that trial itself runs on; then trial's own arguments.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

from twisted.internet.main import installReactor
from twisted.scripts.trial import run

from netserve import reactor as package
from netserve.reactor import reactor as module


def NetserveReactor(case: Any) -> package.NetserveReactor:
    """A reactor for one test, whose loop is closed after it. The name becomes the tests' names."""
    made = package.NetserveReactor()

    def close() -> None:
        # What is left of its connections goes with it, and not in the midst of another test.
        made.loop.close()
        gc.collect()

    case.addCleanup(close)
    return made


def main() -> None:
    loop, which = sys.argv[1:3]
    del sys.argv[1:3]
    if loop == "asyncio":
        # As where uvloop is not installed.
        module.new_loop = asyncio.new_event_loop
    if which == "running":
        installReactor(package.NetserveReactor())
    from twisted.internet.test import reactormixins

    reactormixins.DEFAULT_TIMEOUT_DURATION = 20.0
    reactormixins.ReactorBuilder._reactors[:] = ["__main__.NetserveReactor"]
    run()


if __name__ == "__main__":
    main()
