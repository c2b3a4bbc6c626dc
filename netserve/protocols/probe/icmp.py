"""Checks a host by an echo request of ICMP, through the packet helper."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, Final

from netserve.packet.client import PacketHelper
from netserve.packet.errors import PacketError
from netserve.packet.tools import ping
from netserve.protocols.probe.result import ProbeFailed, Recorder
from netserve.protocols.probe.target import USUAL_ADDRESSING, Addressing, choose

_GRACE: Final = 1.0


@dataclass(frozen=True, slots=True)
class IcmpCheck:
    """The check; call it with a recorder.

    Arguments:
        target: a host.
        helper: the packet helper.
        addressing: which address is taken.
        size: bytes of data.
        hops: the TTL or hop limit.
        timeout: seconds to wait for the reply.
    """

    target: str
    helper: PacketHelper
    addressing: Addressing = USUAL_ADDRESSING
    size: int = 28
    hops: int = 64
    timeout: float = 5.0

    async def __call__(self, recorder: Recorder) -> None:
        """See `netserve.protocols.probe.running.Check`."""
        address = await choose(self.target, self.addressing, recorder)
        ask = ping.request(
            address, identifier=secrets.randbits(16), sequence=1, size=self.size, hops=self.hops,
            timeout=self.timeout,
        )  # fmt: skip
        answers: list[dict[str, Any]] = []
        recorder.phase = "setup"
        began = recorder.clock()
        asked = self.helper.ask(
            ask, deadline=self.timeout + _GRACE, answered=answers.append, use=""
        )
        try:
            await asked.asFuture(asyncio.get_running_loop())
        except PacketError as error:
            raise ProbeFailed(f"packet_{error.kind}", error.what) from None
        recorder.phase = "rtt"
        if not answers:
            raise ProbeFailed("timeout", f"no reply within {self.timeout:g} s")
        reply = ping.Reply.read(1, answers[0])
        recorder.add("setup", max(0.0, recorder.clock() - began - reply.seconds))
        recorder.add("rtt", reply.seconds)
        recorder.step(f"{reply.words} from {reply.source} after {reply.seconds * 1000:.3f} ms")
        if not reply.is_reply:
            raise ProbeFailed("unreachable", f"{reply.words}, from {reply.source}")
        recorder.set("probe_icmp_reply_hop_limit", reply.hops)
