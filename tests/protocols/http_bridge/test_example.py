"""The example's two services do what its README says."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from netserve.testing.upstream import in_asyncio, upstream

EXAMPLE = Path(__file__).parents[3] / "examples" / "http-bridge" / "config.yaml"


@in_asyncio
async def test_the_example(bridge: Callable[..., Any]) -> None:
    async def api(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            body = json.loads(await request.text())
            return web.json_response([request.raw_path, body], status=201)
        return web.Response(text=f"{request.raw_path} {request.headers['X-Served-By']}")

    services = yaml.safe_load(EXAMPLE.read_text())["services"]
    async with upstream(api) as url:
        for options in services.values():
            del options["protocol"], options["listen"]
            options["request"]["url"] = options["request"]["url"].replace(":8000", f":{url.port}")
        async with bridge(**services["till"]) as till, bridge(**services["proxy"]) as proxy:
            reply = await till.exchange(b'one "coffee"\r\n')
            receipt = {"text": 'one "coffee"', "source": "till"}
            assert reply.startswith(b"201 ")
            assert json.loads(reply[4:]) == ["/receipts?till=127.0.0.1", receipt]
            request = b"GET /menu?day=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
            reply = await proxy.exchange(request, end=False)
            assert reply.endswith(b"/menu?day=1 netserve")
    async with bridge(**services["till"]) as till:
        assert await till.exchange(b"one coffee\r\n") == b"ERR refused\r\n"
