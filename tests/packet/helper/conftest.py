"""What the tests of the helper share: skip without the extra, and build in this process."""

from __future__ import annotations

import importlib.util

import pytest

from netserve.testing.programs import missing


@pytest.fixture(autouse=True)
def _scapy() -> None:
    if importlib.util.find_spec("scapy") is None:
        missing("Scapy is not installed: pip install 'netserve[packet]'")
