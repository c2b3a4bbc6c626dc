"""The example of the price lookup does what its README says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import yaml

from netserve.protocols.request_response import plugin
from netserve.testing.hosting import exchange, serve

FOLDER = Path(__file__).parents[3] / "examples" / "request-response"


@pytest_twisted.ensureDeferred
async def test_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "prices", raising=False)
    options: dict[str, Any] = yaml.safe_load((FOLDER / "config.yaml").read_text())
    options = options["services"]["prices"]
    del options["protocol"], options["listen"]
    options["rules"] = tuple(options["rules"])
    service = await serve(plugin, **options)
    try:
        for asked, said in (
            (b"\0\x044711", b"\0\x082.50 EUR"),
            (b"\0\x049999", b"\0\1?"),
            (b"\0\1\5", b"\0\1\6"),
            (b"\0\x08name tea", b"\0\x17tea is in the catalogue"),
            (b"\0\x41", b"\0\x10request too long"),
        ):
            assert await exchange(service.port, asked) == said
    finally:
        await service.stop()
        sys.modules.pop("prices", None)
