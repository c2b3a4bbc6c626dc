"""Delivery to an HTTP hook, over a real connection."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import ValidationError
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netserve.http import Answer, HttpClients
from netserve.mail.envelope import Outcome
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.delivery.http.hook import outcome_of
from netserve.protocols.smtp_relay.routes import Route
from netserve.testing.upstream import in_asyncio, upstream

reactor: Any = _reactor
TEXT = b"Subject: t\xc3\xa4st\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 50_000


class Hooked:
    """A courier with one route to a hook."""

    def __init__(self, url: object, **options: Any) -> None:
        log = Logger()
        self.http = HttpClients(reactor=reactor, log=log)
        hook = {"url": str(url), "allow_upstreams": ("127.0.0.1",), **options}
        route = Route.model_validate({"deliver": {"http": hook}})
        self.courier = RouteCourier(
            [route], hostname="me.example", reactor=reactor, log=log, http=self.http
        )

    def send(self, text: bytes, to: Sequence[str] = ("r@example.net",)) -> Deferred[Any]:
        message = QueuedMessage(
            id="1q2w",
            number=7,
            service="mail",
            created=1.0,
            sender="s@example.org",
            size=len(text),
            tasks=len(to),
            user="ann",
            trace="t-1",
            open_body=lambda: io.BytesIO(text),
        )
        recipients = [QueuedRecipient(at, address) for at, address in enumerate(to)]
        destination = self.courier.destination(message, recipients[0])
        return self.courier.deliver(message, recipients, destination)

    async def sent(self, text: bytes = TEXT, to: Sequence[str] = ("r@example.net",)) -> Outcome:
        """The outcome, the same for all recipients."""
        outcomes = await self.send(text, to).asFuture(reactor.loop)
        assert sorted(outcomes) == list(range(len(to)))
        (outcome,) = set(outcomes.values())
        return outcome  # type: ignore[no-any-return]


@in_asyncio
async def test_the_message_as_it_is_and_its_envelope() -> None:
    got: list[tuple[Any, bytes]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        got.append((request.headers.copy(), await request.read()))
        return web.json_response({"taken": 1}, status=202)

    async with upstream(answer) as url:
        hooked = Hooked(url / "mail", token="s3cret", headers={"X-Shop": "7"})
        for text in (TEXT, LARGE):
            outcome = await hooked.sent(text, ["r@example.net", "\u00fc@example.net"])
            assert outcome.verdict == "delivered"
            assert outcome.remote == f"127.0.0.1:{url.port}"
            assert str(outcome.reply) == '250 2.0.0 HTTP 202 Accepted: {"taken": 1}'
    for (headers, body), text in zip(got, (TEXT, LARGE), strict=True):
        assert body == text
        assert headers["Content-Length"] == str(len(text))
        assert headers["Content-Type"] == "message/rfc822"
        assert headers["Authorization"] == "Bearer s3cret"
        assert headers["X-Shop"] == "7"
        assert headers["Idempotency-Key"] == "1q2w-0-1"
        assert json.loads(headers["Netserve-Envelope"]) == {
            "id": "1q2w",
            "sender": "s@example.org",
            "recipients": ["r@example.net", "\u00fc@example.net"],
            "user": "ann",
            "client": "",
            "trace": "t-1",
        }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "delivered"),
        (204, "delivered"),
        (301, "deferred"),
        (400, "failed"),
        (401, "deferred"),
        (403, "deferred"),
        (404, "deferred"),
        (408, "deferred"),
        (410, "failed"),
        (413, "failed"),
        (422, "failed"),
        (429, "deferred"),
        (500, "deferred"),
        (503, "deferred"),
    ],
)
def test_what_a_status_means(status: int, kind: str) -> None:
    headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
    outcome = outcome_of(Answer(status, "Words", headers, b"why\r\n" + b"x" * 5000), "app:443")
    assert outcome.verdict == kind
    assert outcome.reply.text.startswith(f"HTTP {status} Words: why xxx")
    assert len(outcome.reply.text) < 300
    assert outcome_of(Answer(status, "", headers, b"\x00\x1b[31m"), "app").reply.text == (
        f"HTTP {status}"
    )


@in_asyncio
async def test_a_hook_that_does_not_answer_defers() -> None:
    async def never(request: web.BaseRequest) -> web.Response:
        await reactor.loop.create_future()
        raise AssertionError

    async with upstream(never) as url:
        outcome = await Hooked(url, timeout="200ms").sent()
        assert (outcome.verdict, outcome.remote) == ("deferred", "")
        assert "too long" in outcome.reply.text
    outcome = await Hooked(url).sent()
    assert outcome.verdict == "deferred"
    assert "refused" in outcome.reply.text
    outcome = await Hooked(url, allow_upstreams=()).sent()
    assert outcome.verdict == "deferred"
    assert "loopback" in outcome.reply.text


@in_asyncio
async def test_a_route_that_is_gone_finishes_what_it_began() -> None:
    begun, go_on = reactor.loop.create_future(), reactor.loop.create_future()

    async def slow(request: web.BaseRequest) -> web.Response:
        begun.set_result(None)
        await go_on
        return web.Response()

    async with upstream(slow) as url:
        hooked = Hooked(url)
        sending = hooked.send(TEXT).asFuture(reactor.loop)
        await begun
        hooked.courier.use([Route.model_validate({"deliver": {"discard": True}})])
        go_on.set_result(None)
        assert (await sending)[0].verdict == "delivered"


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        ({"url": "ftp://example.org/"}, "not a URL of a hook"),
        ({"url": "https:///mail"}, "not a URL of a hook"),
        ({"url": "https://user:word@example.org/"}, "has no user"),
        ({"url": "https://example.org/", "headers": {"a b": "c"}}, "not the name of a header"),
        ({"url": "https://example.org/", "headers": {"Host": "c"}}, "Host is set by netserve"),
        ({"url": "https://example.org/", "headers": {"X": "a\r\nb"}}, "can't stand in a header"),
    ],
)
def test_hooks_that_cannot_work(hook: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Deliver.model_validate({"http": hook})


def test_options_of_other_ways() -> None:
    with pytest.raises(ValidationError, match="tls: only together with smarthost"):
        Deliver.model_validate({"http": {"url": "https://example.org/"}, "tls": "may"})
    with pytest.raises(ValidationError, match="batch: only together with smarthost, mx or http"):
        Deliver.model_validate({"discard": True, "batch": 5})
