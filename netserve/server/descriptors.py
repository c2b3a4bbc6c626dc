"""Descriptors: a process may have 1,024 of them by default, which is less than a server needs."""

from __future__ import annotations

import resource
from collections.abc import Iterable
from typing import Final

from twisted.logger import Logger

OTHERS: Final = 256
"""Descriptors beside those of connections from clients: to servers, files, the reactor's own."""


def wanted(connections: Iterable[int]) -> int:
    """How many descriptors services may come to need.

    Arguments:
        connections: the limit of each service.
    """
    return sum(connections) + OTHERS


def provide(count: int, log: Logger) -> int:
    """Raise the limit of this process as far as is needed and allowed; says what it is then.

    Arguments:
        count: how many are needed.
        log: is told when that many are not to be had.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return soft
    limit = count if hard == resource.RLIM_INFINITY else min(count, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):  # a system with another limit behind it, such as macOS
        limit = soft
    if limit < count:
        log.warn(
            "the limits of the file's services come to {count} descriptors, and the system gives"
            " {limit}; lower limits.connections, or raise the system's (LimitNOFILE=, ulimit)",
            count=count,
            limit=limit,
        )
    return limit
