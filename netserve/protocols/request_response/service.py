"""The wiring of request-response: settings to what is hosted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netserve.fairness.shares import Shares
from netserve.plugin import Context, Hosted
from netserve.protocols.request_response.datagram import DatagramOptions, Datagrams
from netserve.protocols.request_response.handling import Reporter, load_handler
from netserve.protocols.request_response.responder import Replies, Responder
from netserve.protocols.request_response.settings import RequestResponseSettings
from netserve.protocols.request_response.stream import StreamAnswers
from netserve.streams.framed import FramedFactory, FramedOptions
from netserve.wire.reply_guard import ReplyGuard


def build(settings: RequestResponseSettings, context: Context) -> Hosted:
    """What is hosted for these settings.

    Arguments:
        settings: of the service.
        context: of the service.

    Raises:
        ValueError: the handler cannot be imported, or a reply does not fit its framing.
    """
    framing = settings.framing.make()
    reply_framing = (settings.reply_framing or settings.framing).make()
    handler = load_handler(settings.handler, context.folder) if settings.handler else None
    report = Reporter(context)
    replies = Replies(
        rules=[(rule.match.matcher(settings.encoding), rule.reply) for rule in settings.rules],
        default=settings.reply,
        oversized=settings.oversized,
        error=settings.error,
    )

    def responder(encode: Callable[[bytes], bytes]) -> Responder:
        return Responder(
            replies,
            handler=handler,
            service=context.service,
            encode=encode,
            encoding=settings.encoding,
            report=report,
        )

    limits = settings.limits
    streams = FramedOptions(
        answers=StreamAnswers(
            responder(reply_framing.encode), clock=context.reactor, timeout=settings.timeout
        ),
        framing=framing,
        request_size=limits.request_size,
        pipeline=limits.pipeline,
        metrics=context.metrics,
        clock=context.reactor,
        turns=context.turns,
        memory=Shares(limits.memory),
    )
    datagrams = DatagramOptions(
        responder=responder(bytes),
        framing=framing,
        reply_framing=reply_framing,
        request_size=limits.request_size,
        waiting=limits.datagrams,
        timeout=settings.timeout,
        guard=ReplyGuard(context.datagram_ports, amplify=settings.amplify),
        report=report,
        metrics=context.metrics,
        clock=context.reactor,
    )
    stream: Any = FramedFactory(streams)  # zope's interfaces are unknown to mypy
    return Hosted(stream=stream, datagram=lambda: Datagrams(datagrams))
