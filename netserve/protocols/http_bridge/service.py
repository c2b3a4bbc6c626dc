"""The wiring of ``http-bridge``: settings and context in, what is hosted out."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from netserve.errors import InvalidValue, OptionError
from netserve.http import AddressGuard, ClientOptions, HttpClient
from netserve.plugin import Context, Hosted
from netserve.protocols.http_bridge.bridge import Bridge
from netserve.protocols.http_bridge.framed import BridgeAnswers
from netserve.protocols.http_bridge.front import HttpFront
from netserve.protocols.http_bridge.plan import Plan
from netserve.protocols.http_bridge.settings import HttpBridgeSettings, HttpFraming
from netserve.protocols.http_bridge.upstream import Upstream
from netserve.streams.framed import FramedFactory, FramedOptions


def build(settings: HttpBridgeSettings, context: Context) -> Hosted:
    """Make the service; its connections to upstreams are opened by its first requests.

    Raises:
        ValueError: the URL's host is an address that is not allowed, or a file is missing.
    """
    plan = Plan.of(settings)
    guard = AddressGuard.parse(settings.allow_upstreams)
    host = plan.url.host
    if host is not None and (refusal := guard.host_refusal(host)):
        # It begins with an address, which is no secret, whatever else the URL has in it.
        what = refusal + "; list it in allow_upstreams if that is meant"
        raise OptionError(("request", "url"), what)
    try:
        client = context.http.client(_options(settings, guard))
    except InvalidValue as error:
        raise error.inside(("request",)) from None
    upstream = Upstream(settings, context)
    if isinstance(settings.framing, HttpFraming):
        return _over_http(settings, plan, client, upstream)
    bridge = Bridge(plan, client, upstream, context)
    framing = settings.framing.make()
    answers = BridgeAnswers(bridge, framing)
    options = FramedOptions(
        answers=answers,
        framing=framing,
        request_size=settings.limits.request_size,
        pipeline=settings.limits.requests_per_connection,
        metrics=context.metrics,
        clock=context.reactor,
        turns=context.turns,
        memory=upstream.memory,
    )
    return Hosted(
        stream=FramedFactory(options),  # type: ignore[arg-type]  # zope: it is an IProtocolFactory
        stop=lambda: _stop(client),
        state=lambda: _words(bridge.under_way),
        refusal=answers.encode(plan.error_reply("too many connections", "refused", 503)),
    )


def _over_http(
    settings: HttpBridgeSettings, plan: Plan, client: HttpClient, upstream: Upstream
) -> Hosted:
    front = HttpFront(plan, client, upstream, settings)
    return Hosted(
        stream=front.server, stop=lambda: _stop(client), state=lambda: _words(front.under_way)
    )


def _stop(client: HttpClient) -> Deferred[None]:
    return client.close()


def _words(under_way: int) -> str:
    return f"{under_way} request{'' if under_way == 1 else 's'} under way"


def _options(settings: HttpBridgeSettings, guard: AddressGuard) -> ClientOptions:
    request, limits = settings.request, settings.limits
    return ClientOptions(
        guard=guard,
        connect_timeout=request.connect_timeout,
        read_timeout=request.read_timeout,
        total_timeout=request.timeout,
        redirects=request.redirects,
        connections=limits.requests,
        response_size=limits.response_size,
        ratio=limits.compression_ratio,
        ca=request.ca,
    )
