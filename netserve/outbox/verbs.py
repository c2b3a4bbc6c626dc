"""What operators ask of the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netserve.outbox.agent import Agent
from netserve.outbox.store import Store


class Verbs:
    """The verbs."""

    def __init__(
        self,
        store: Store,
        agent: Agent,
        read: Callable[..., Any],
        *,
        now: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
