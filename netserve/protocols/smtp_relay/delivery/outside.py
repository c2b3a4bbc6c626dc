"""What delivery needs of the process and of the network around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from random import Random, SystemRandom

from netserve.config.listen import Listen
from netserve.connection import Tracker
from netserve.fairness.turns import Share
from netserve.protocols.smtp_relay.delivery.dns.options import Dns


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What is shared with the process, and for the routes that ask DNS (by MX, and at the levels
    `dane` and `mta-sts`) where they ask.

    Arguments:
        turns: the service's share of the reactor's time; without it, a share of its own.
        tracker: records each connection to a server.
        dns: the name servers.
        listens: every address that the process listens on.
        random: the source of the order of servers that are equal.
        policies: the folder in which MTA-STS policies are kept, or None.
        policy_port: of the servers of MTA-STS policies; tests give a high one.
    """

    turns: Share | None = None
    tracker: Tracker = field(default_factory=Tracker)
    dns: Dns = field(default_factory=Dns)
    listens: tuple[Listen, ...] = ()
    random: Random = field(default_factory=SystemRandom)
    policies: Path | None = None
    policy_port: int = 443
