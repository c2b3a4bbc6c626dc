"""The targets by name."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from tests.fuzz import (
    capture_file,
    http_client,
    http_pair,
    http_server,
    smtp_client,
    smtp_pair,
    smtp_server,
)

ALL: tuple[ModuleType, ...] = (
    smtp_server,
    smtp_client,
    smtp_pair,
    http_server,
    http_client,
    http_pair,
    capture_file,
)


def find(name: str) -> Any:
    """A target: a module with ``NAME``, ``seeds()`` and ``run_one(data)``."""
    return next(target for target in ALL if name == target.NAME)
