"""A plain proxy on aiohttp and uvloop: one upstream, bodies streamed both ways.

The arguments are the port and the upstream's port.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

HOP = {
    "connection", "keep-alive", "proxy-connection", "te", "upgrade", "transfer-encoding",
    "content-length",
}  # fmt: skip


async def main(port: int, upstream_port: int) -> None:
    url = f"http://127.0.0.1:{upstream_port}"
    connector = aiohttp.TCPConnector(limit=1000)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            headers = {name: it for name, it in request.headers.items() if name.lower() not in HOP}
            body = request.content if request.body_exists else None
            async with session.request(
                request.method, url + request.path_qs, headers=headers, data=body,
                allow_redirects=False,
            ) as upstream:  # fmt: skip
                response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
                for name, value in upstream.headers.items():
                    if name.lower() not in HOP:
                        response.headers.add(name, value)
                response.content_length = upstream.content_length
                await response.prepare(request)
                async for piece in upstream.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response

        server = web.Server(answer, access_log=None)
        listening = await asyncio.get_running_loop().create_server(
            server, "127.0.0.1", port, backlog=500
        )
        await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
