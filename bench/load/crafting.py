"""Crafts packets and prints ``{"rate": …, "cpu": …}`` as JSON: with Scapy, or through the helper.

Arguments: ``scapy`` or ``netserve``, the work, and how many packets. The works:

``one``    an expression a packet; through the helper as many at a time as it takes
``alone``  the same, each when the one before has come back
``range``  a thousand packets an expression

What it takes to start is not in the numbers; the CPU is that of all processes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ONE = 'IP(dst="127.0.0.1")/TCP(dport=80, flags="S")/"Hello, server!"'
RANGE = 'IP(dst="127.0.0.1")/TCP(dport=(1, 1000), flags="S")/"Hello, server!"'
EACH = 1000


def cpu(*of: int) -> float:
    """Seconds of CPU of this process, or of its children that have ended."""
    return sum(sum(resource.getrusage(one)[:2]) for one in of or (resource.RUSAGE_SELF,))


def with_scapy(work: str, count: int) -> dict[str, float]:
    """As a script does it."""
    from scapy.all import IP, TCP

    def one() -> None:
        bytes(IP(dst="127.0.0.1") / TCP(dport=80, flags="S") / "Hello, server!")

    def many() -> None:
        for packet in IP(dst="127.0.0.1") / TCP(dport=(1, EACH), flags="S") / "Hello, server!":
            bytes(packet)

    make, times = (many, count // EACH) if work == "range" else (one, count)
    make()
    began, used = time.monotonic(), cpu()
    for _ in range(times):
        make()
    return {"rate": count / (time.monotonic() - began), "cpu": (cpu() - used) / count}


def with_netserve(work: str, count: int) -> dict[str, float]:
    """Through the helper, on netserve's reactor."""
    from netserve.reactor import install

    reactor = install()
    from twisted.internet.defer import Deferred, gatherResults
    from twisted.logger import Logger

    from bench.processes import cpu_seconds
    from netserve.packet.client import PacketHelper
    from netserve.packet.client.launching import Spawn
    from netserve.packet.notation import parse
    from netserve.packet.policy import Policy
    from netserve.packet.requests import Craft

    policy = Policy(requests=16)
    spawn = Spawn(Path(sys.executable))
    helper = PacketHelper(reactor=reactor, policy=policy, launcher=spawn, log=Logger())
    text = RANGE if work == "range" else ONE
    times = count // EACH if work == "range" else count
    at_a_time = 16 if work == "one" else 1

    async def crafting(number: int) -> None:
        for _ in range(number):
            await helper.ask(Craft(packet=parse(text)), deadline=60)

    async def main() -> dict[str, float]:
        await crafting(2)
        began, used = time.monotonic(), cpu() + children()
        each = [Deferred.fromCoroutine(crafting(times // at_a_time)) for _ in range(at_a_time)]
        await gatherResults(each)
        made = times // at_a_time * at_a_time * (EACH if work == "range" else 1)
        spent = cpu() + children() - used
        return {"rate": made / (time.monotonic() - began), "cpu": spent / made}

    def children() -> float:
        import os

        return cpu_seconds(os.getpid()) - cpu()

    return run(reactor, main)


def run(reactor: Any, main: Callable[[], Any]) -> dict[str, float]:
    """Run a coroutine on the reactor."""
    from twisted.internet.defer import Deferred

    results: list[Any] = []

    def begin() -> None:
        Deferred.fromCoroutine(main()).addBoth(results.append).addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    reactor.run()
    (result,) = results
    if not isinstance(result, dict):
        result.raiseException()
    return result


if __name__ == "__main__":
    who, work, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    measure = with_scapy if who == "scapy" else with_netserve
    print(json.dumps(measure(work, count)))
