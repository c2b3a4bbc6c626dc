"""The status port: health, readiness, metrics, and a page of the services.

============  ==================================================================
path          answer
============  ==================================================================
``/healthz``  200 ``ok`` while the reactor turns
``/readyz``   200 ``ok`` when every service is ready, else 503 and who is not
``/metrics``  Prometheus' text
``/``         the services with their state, as a page
============  ==================================================================
"""

from __future__ import annotations

import html
import socket
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web
from twisted.logger import Logger

from netserve import __version__
from netserve.config.listen import Listen
from netserve.fairness.turns import Share
from netserve.http.server import HttpServer
from netserve.metrics import ProcessMetrics
from netserve.ops.metrics import CONTENT_TYPE, make_exposition
from netserve.plugin import Hosted, Settings
from netserve.server.service import Service
from netserve.wire.peer import parse_address

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>netserve</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }}
h1 {{ font-size: 1.4rem; }} h1 small {{ font-weight: normal; color: #666; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd;
         vertical-align: top; }}
.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.running {{ color: #17692f; }} .other {{ color: #a02020; }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #16181c; }} th, td {{ border-color: #333; }}
  .running {{ color: #6fd08c; }} .other {{ color: #ff8a80; }} h1 small {{ color: #999; }}
}}
</style>
</head>
<body>
<h1>netserve <small>{version}</small></h1>
<table>
<thead><tr><th>service</th><th>protocol</th><th>listens on</th><th>state</th>
<th class="number">open</th><th class="number">connections</th><th class="number">requests</th>
<th class="number">errors</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<p><a href="/metrics">metrics</a> · <a href="/healthz">healthz</a> ·
<a href="/readyz">readyz</a></p>
</body>
</html>
"""


def status_service(
    listen: Listen, services: Mapping[str, Service], process: ProcessMetrics, turns: Share
) -> tuple[Settings, Hosted]:
    """The status port as a service like any other.

    Requests have to name this machine in ``Host``. A page of the internet whose name is made to
    point here (DNS rebinding) could otherwise read what a browser on this machine may.

    Arguments:
        listen: its address.
        services: what it shows, looked up for each request.
        process: the metrics of the process.
        turns: its share of the reactor's time.
    """
    exposition = make_exposition(services, process)
    routes: dict[str, Callable[[], web.Response]] = {
        "/": lambda: web.Response(text=_page(services), content_type="text/html"),
        "/healthz": lambda: web.Response(text="ok\n"),
        "/readyz": lambda: _readiness(services),
        "/metrics": lambda: web.Response(body=exposition(), headers={"Content-Type": CONTENT_TYPE}),
    }

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method not in {"GET", "HEAD"}:
            return web.Response(
                status=405, text="only GET and HEAD\n", headers={"Allow": "GET, HEAD"}
            )
        route = routes.get(request.path)
        if route is None:
            known = ", ".join(routes)
            return web.Response(status=404, text=f"nothing here; there is {known}\n")
        return route()

    settings = Settings(protocol="status", listen=(listen,))
    log = Logger(namespace="netserve.status")
    server = HttpServer(answer, turns=turns, log=log, hosts=is_this_machine)
    return settings, Hosted(stream=server)


def is_this_machine(host: str) -> bool:
    """Whether a ``Host`` names this machine, as no name in the DNS of somebody else does.

    Arguments:
        host: a name or an address, with or without a port; empty, where a client of HTTP/1.0 has
            none.
    """
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    name = name.lower().rstrip(".")
    if name in {"", "localhost", socket.gethostname().lower()} or name.endswith(".localhost"):
        return True
    return parse_address(name) is not None


def _readiness(services: Mapping[str, Service]) -> web.Response:
    reasons = {name: service.not_ready() for name, service in services.items()}
    waiting = {name: reason for name, reason in reasons.items() if reason}
    if not waiting:
        return web.Response(text="ok\n")
    text = "".join(f"{name}: {reason}\n" for name, reason in waiting.items())
    return web.Response(status=503, text=text)


def _page(services: Mapping[str, Service]) -> str:
    rows = "\n".join(_row(service) for service in services.values())
    return _PAGE.format(version=html.escape(__version__), rows=rows)


def _row(service: Service) -> str:
    reason = service.not_ready()
    state = reason or "ready"
    if service.hosted.state is not None:
        state += f", {service.hosted.state()}"
    cells: list[Any] = [
        service.name,
        service.settings.protocol,
        ", ".join(str(listen) for _, listen in service.settings.addresses()),
    ]
    numbers = [
        service.metrics.connections_open,
        service.metrics.connections_total,
        service.metrics.requests,
        service.metrics.errors.total(),
    ]
    kind = "other" if reason else "running"
    return (
        "<tr>"
        + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells)
        + f'<td class="{kind}">{html.escape(state)}</td>'
        + "".join(f'<td class="number">{number}</td>' for number in numbers)
        + "</tr>"
    )
