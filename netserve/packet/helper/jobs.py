"""Jobs: one for each request; they take turns, so that no job delays the others."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from types import FrameType, TracebackType
from typing import Any, Final, Self

from netserve.packet.helper.building import Builder, BuildError, Built
from netserve.packet.helper.kernel import Kernel
from netserve.packet.helper.layers import Layers
from netserve.packet.helper.sockets import PacketSocket, Senders
from netserve.packet.netlink import Interface
from netserve.packet.notation import Packet
from netserve.packet.pace import Pace
from netserve.packet.policy import Policy, Refused
from netserve.packet.requests import Craft, DescribeLayers

TURN: Final = 0.005
"""Seconds that a job may work before it is the next one's turn."""
_LONGEST_STEP: Final = 2.0
"""Seconds after which one step, such as building one packet, is stopped."""
_SHOWN: Final = 16
"""Crafted packets that are described field by field."""


class Overtime(BaseException):
    """A step takes too long; raised out of a signal, past code that catches every Exception."""


class JobError(Exception):
    """A job ends with an error.

    Arguments:
        kind: one of `netserve.packet.requests.ERRORS`.
        what: what is wrong.
    """

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what


def _ring(number: int, frame: FrameType | None) -> None:
    raise Overtime


class Alarm:
    """Stops a step that takes too long: input from outside may be slow to process."""

    def __init__(self) -> None:
        signal.signal(signal.SIGALRM, _ring)

    def __enter__(self) -> Self:
        signal.setitimer(signal.ITIMER_REAL, _LONGEST_STEP)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of all jobs.

    Arguments:
        policy: the limits.
        layers: the layers that expressions may name.
        builder: makes packets.
        kernel: routes and neighbours.
        senders: the raw sockets.
        pace: the rate of all packets.
        alarm: stops long steps.
        clock: gives monotonic seconds.
        capable: whether the process can send and receive packets.
    """

    policy: Policy
    layers: Layers
    builder: Builder
    kernel: Kernel
    senders: Senders
    pace: Pace
    alarm: Alarm
    clock: Callable[[], float]
    capable: bool


class Job(ABC):
    """One request that is being worked on.

    Arguments:
        tools: see there.
        tell: called with each answer, before the end.
        deadline: the monotonic time at which it has to have ended.
    """

    def __init__(
        self, tools: Tools, tell: Callable[[dict[str, Any]], None], deadline: float
    ) -> None:
        self.tools = tools
        self.tell = tell
        self.deadline = deadline
        self.due = 0.0
        """The monotonic time of its next turn."""
        self.result: dict[str, Any] | None = None
        """The result of a job that has succeeded; None before."""

    @abstractmethod
    def turn(self, now: float) -> None:
        """Work for about `TURN`; set `due` for the next turn, or `result`.

        Raises:
            JobError, Refused: it has ended.
        """

    @property
    def receiver(self) -> PacketSocket | None:
        """Where packets for it come in."""
        return None

    def receive(self) -> None:  # noqa: B027 - most jobs have no receiver
        """Something came in at `receiver`."""

    def close(self) -> None:  # noqa: B027 - most jobs have nothing
        """Release the resources of the job."""


class Building:
    """Builds the packets of expressions, a few in each turn.

    Arguments:
        tools: see there.
        expressions: the expressions.
        most: the most packets.
        interface: the interface that the request names, or None.
    """

    def __init__(
        self,
        tools: Tools,
        expressions: Iterable[Packet],
        most: int,
        interface: Interface | None = None,
    ) -> None:
        self._tools = tools
        self._built = chain.from_iterable(map(tools.builder.all, expressions))
        self._most = most
        self._interface = interface
        self.packets: list[Built] = []

    def go_on(self) -> bool:
        """Build for one turn; whether all are there.

        Raises:
            JobError: one cannot be built, or it takes too long.
            Refused: there are too many.
        """
        end = self._tools.clock() + TURN
        self._tools.kernel.use(self._interface)
        try:
            with self._tools.alarm:
                for built in self._built:
                    if len(self.packets) >= self._most:
                        allowed = self._tools.policy.packets
                        raise Refused(f"more packets than the {allowed} of packet.packets")
                    self.packets.append(built)
                    if self._tools.clock() >= end:
                        return False
        except BuildError as error:
            raise JobError("invalid", str(error)) from None
        except Overtime:
            raise JobError("late", "a packet takes too long to build") from None
        except (MemoryError, RecursionError):
            raise JobError("invalid", "the packet is too large, or nested too deeply") from None
        return True


class CraftJob(Job):
    """Builds packets, and sends nothing."""

    def __init__(
        self, ask: Craft, tools: Tools, tell: Callable[[dict[str, Any]], None], deadline: float
    ) -> None:
        super().__init__(tools, tell, deadline)
        self._detail = ask.detail
        tools.policy.check_layers(ask.packet)
        self._building = Building(tools, [ask.packet], tools.policy.packets)

    def turn(self, now: float) -> None:
        if not self._building.go_on():
            return
        packets = self._building.packets
        if any(len(built.data) > self.tools.policy.size for built in packets):
            raise Refused(
                f"a packet of more bytes than the {self.tools.policy.size} of packet.size"
            )
        self.result = {"packets": [built.data.hex() for built in packets]}
        if self._detail:
            with self.tools.alarm:
                shown = [built.packet.show2(dump=True) for built in packets[:_SHOWN]]
            self.result["shown"] = shown


class LayersJob(Job):
    """The layers, or the fields of one."""

    def __init__(
        self,
        ask: DescribeLayers,
        tools: Tools,
        tell: Callable[[dict[str, Any]], None],
        deadline: float,
    ) -> None:
        super().__init__(tools, tell, deadline)
        self._name = ask.name

    def turn(self, now: float) -> None:
        policy, layers = self.tools.policy, self.tools.layers
        if self._name is None:
            known = [[name, words, policy.allows_layer(name)] for name, words in layers.all()]
            self.result = {"layers": known}
            return
        if layers.find(self._name) is None:
            raise JobError("invalid", f"there is no layer {self._name}; see netserve list-layers")
        self.result = {"fields": layers.fields(self._name)}
