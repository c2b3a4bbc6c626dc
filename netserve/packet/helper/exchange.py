"""Send packets and wait for answers.

A job goes from one phase to the next, by turns::

    BUILD -> SEND -> WAIT -> (retry: SEND -> WAIT)* -> the end

A job builds and checks all packets before it sends the first one, so that the policy refuses a
request as a whole or not at all.
"""

from __future__ import annotations

import enum
import errno
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

from netserve.packet.headers import HeaderError, target_of
from netserve.packet.helper.answer_filter import answer_filter
from netserve.packet.helper.building import Built
from netserve.packet.helper.jobs import TURN, Building, Job, JobError, Overtime, Tools
from netserve.packet.helper.matching import Matcher, Waiting
from netserve.packet.helper.sockets import PacketSocket, Received
from netserve.packet.netlink import Interface, NetlinkError
from netserve.packet.policy import Refused
from netserve.packet.requests import Exchange

_MOST_ANSWERS: Final = 10_000
_MOST_AT_ONCE: Final = 64
"""Packets read in one go."""
_BUSY: Final = frozenset({errno.EAGAIN, errno.ENOBUFS})
_MISSING: Final = "CAP_NET_RAW is missing; see netserve packet setup"


class Phase(enum.Enum):
    """Where a job is."""

    BUILD = "packets are built"
    SEND = "packets are sent"
    WAIT = "answers are waited for"


class ExchangeJob(Job):
    """See the module.

    Raises:
        JobError: the capability or the interface is missing.
        Refused: the request exceeds the policy.
    """

    def __init__(
        self, ask: Exchange, tools: Tools, tell: Callable[[dict[str, Any]], None], deadline: float
    ) -> None:
        super().__init__(tools, tell, deadline)
        for packet in ask.packets:
            tools.policy.check_packet(packet)
        tools.policy.check_work(count=ask.count, inter=ask.inter, timeout=ask.timeout or 0.0)
        if ask.interface is not None:
            tools.policy.check_interface(ask.interface)
        if not tools.capable:
            raise JobError("missing", _MISSING)
        self._ask = ask
        self._interface = self._find_interface(ask.interface)
        self._phase = Phase.BUILD
        most = tools.policy.packets // ask.count
        self._building = Building(tools, ask.packets, most, self._interface)
        self._targets: list[bytes] = []
        self._own: dict[bytes, bool] = {}  # sources, and whether they are of this machine
        self._matcher = Matcher(multi=ask.multi)
        self._waiting: list[Waiting] = []
        self._queue: deque[Waiting] = deque()
        self._retries = ask.retry
        self._left = 0  # packets without an answer
        self._last_sent = 0.0
        self._receiver: PacketSocket | None = None
        self._sent = 0
        self._received = 0
        self._answers = 0
        self._errors: Counter[str] = Counter()

    def _find_interface(self, name: str | None) -> Interface | None:
        if name is None:
            return None
        try:
            return self.tools.kernel.netlink.interface(name)
        except NetlinkError as error:
            raise JobError("invalid", str(error)) from None

    @property
    def receiver(self) -> PacketSocket | None:
        return self._receiver if self._ask.timeout is not None else None

    def turn(self, now: float) -> None:
        if self._phase is Phase.BUILD:
            self._build(now)
        elif self._phase is Phase.SEND:
            self._send(now)
        elif now >= self.due:
            self._waited(now)

    # Build

    def _build(self, now: float) -> None:
        if not self._building.go_on():
            return
        packets = self._building.packets
        for built in packets:
            self._check(built)
        self._targets = [self._target(built) for built in packets] if self._ask.layer == 3 else []
        rounds = packets * self._ask.count
        self._waiting = [Waiting(i, built.data, built.packet) for i, built in enumerate(rounds)]
        self._left = len(self._waiting)
        self._open(packets)
        self._start_round(self._waiting, now)

    def _check(self, built: Built) -> None:
        layer, netlink = self._ask.layer, self.tools.kernel.netlink
        for source in self.tools.policy.check_bytes(built.data, layer=layer):
            if source not in self._own:
                self._own[source] = not any(source) or netlink.is_local(source)
            if not self._own[source]:
                text = ".".join(map(str, source)) if len(source) == 4 else source.hex(":", 2)
                what = f"the source {text} is not an address of this machine"
                raise Refused(f"{what}; packet.forge would allow it")

    def _target(self, built: Built) -> bytes:
        try:
            return target_of(built.data).packed
        except HeaderError as error:
            raise JobError("invalid", str(error)) from None

    def _open(self, packets: list[Built]) -> None:
        if self._ask.layer == 3 and self._ask.timeout is None:
            return
        version = packets[0].data[0] >> 4 if packets and packets[0].data else 4
        if self._ask.layer == 3 and len({len(target) for target in self._targets}) > 1:
            raise JobError("invalid", "a request cannot mix IPv4 and IPv6")
        try:
            self._receiver = PacketSocket(self._ask.layer, self._interface, version)
            if self._ask.layer == 3:
                self._receiver.filter(answer_filter(built.data for built in packets))
            self._receiver.begin()
        except PermissionError:
            raise JobError("missing", _MISSING) from None
        except OSError as error:
            raise JobError("failed", error.strerror or str(error)) from None

    # Send

    def _start_round(self, waiting: list[Waiting], now: float) -> None:
        self._queue.extend(waiting)
        self._phase = Phase.SEND
        self.due = now

    def _send(self, now: float) -> None:
        end = now + TURN
        while self._queue:
            if (wait := self.tools.pace.wait(now)) > 0 or now < self.due:
                self.due = max(self.due, now + wait)
                return
            if now >= end:
                return
            if not self._send_one(self._queue[0], now):
                self.due = now + TURN
                return
            self._queue.popleft()
            if self._ask.inter is not None:
                self.due = max(self.due, now - TURN) + self._ask.inter
            now = self.tools.clock()
        self._last_sent = now
        if self._ask.timeout is None:
            self._finish()
            return
        self._phase = Phase.WAIT
        self.due = now + self._ask.timeout
        self._look()

    def _send_one(self, waiting: Waiting, now: float) -> bool:
        """Whether it went, or never will."""
        first_time = waiting.sent == 0
        try:
            if self._ask.layer == 2 and self._receiver is not None:
                waiting.sent = self._receiver.send(waiting.data)
            else:
                target = self._targets[waiting.index % len(self._targets)]
                waiting.sent = self.tools.senders.packet(waiting.data, target, self._interface)
        except OSError as error:
            if error.errno in _BUSY:
                return False
            self._errors[error.strerror or os.strerror(error.errno or 0)] += 1
            return True
        self.tools.pace.take(now)
        self._sent += 1
        if first_time and self._ask.timeout is not None:
            with self.tools.alarm:
                self._matcher.add(waiting)
        return True

    # Wait

    def receive(self) -> None:
        if self._receiver is None:
            return
        for _ in range(_MOST_AT_ONCE):
            received = self._receiver.receive()
            if received is None or self.result is not None:
                return
            self._received += 1
            self._take(received)

    def _take(self, received: Received) -> None:
        try:
            with self.tools.alarm:
                found = self._matcher.match(received, layer=self._ask.layer)
                if found is None or self._answers >= _MOST_ANSWERS:
                    return
                waiting, packet = found
                answer = {
                    "index": waiting.index,
                    "sent": waiting.sent,
                    "received": received.time,
                    "data": received.data.hex(),
                    "summary": packet.summary(),
                }
                if self._ask.detail:
                    answer["shown"] = packet.show(dump=True)
        except (Overtime, Exception) as error:
            # Received packets are not trusted, and Scapy's dissectors are large.
            self._errors[f"an answer that cannot be read: {type(error).__name__}"] += 1
            return
        self._answers += 1
        self._left -= waiting.answers == 1
        self.tell(answer)
        self._look()

    def _look(self) -> None:
        """Whether it is over before its time."""
        is_answered = self._phase is Phase.WAIT and not self._ask.multi and not self._left
        if is_answered or (self._ask.first and self._answers):
            self._finish()

    def _unanswered(self) -> list[Waiting]:
        return [waiting for waiting in self._waiting if not waiting.answers]

    def _waited(self, now: float) -> None:
        if self._retries and (left := self._unanswered()):
            self._retries -= 1
            self._start_round(left, now)
        else:
            self._finish()

    def _finish(self) -> None:
        dropped = self._receiver.count_dropped() if self._receiver else 0
        self.result = {
            "packets": [built.data.hex() for built in self._building.packets],
            "sent": self._sent,
            "received": self._received,
            "answers": self._answers,
            "unanswered": [waiting.index for waiting in self._unanswered()],
            "dropped": dropped,
            "errors": dict(self._errors),
        }

    def close(self) -> None:
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None
