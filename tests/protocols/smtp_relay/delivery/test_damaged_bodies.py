"""A body that is not as it was written is delivered by no way (S21)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from aiohttp import web
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netserve.http import HttpClients
from netserve.mail.queued import QueuedRecipient
from netserve.outbox import BodyMissing
from netserve.outbox.errors import BodyUnreadable
from netserve.outbox.ids import encode_id
from netserve.outbox.sqlite.bodies import BodyFolder
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.routes import Route
from netserve.testing.next_hop import Box, next_hop, queued
from netserve.testing.upstream import in_asyncio, upstream

reactor: Any = _reactor
SMALL = b"Subject: small\r\n\r\n" + b"0123456789abcde\r\n" * 10
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcde\r\n" * 20_000

DAMAGE: dict[str, tuple[Callable[[bytes], bytes], type[Exception]]] = {
    "another byte": (lambda body: body[:100] + b"?" + body[101:], BodyMissing),
    "the last byte": (lambda body: body[:-1] + b"?", BodyMissing),
    "a byte less": (lambda body: body[:-1], BodyMissing),
    "a byte more": (lambda body: body + b"?", BodyMissing),
    "unreadable": (lambda body: body, BodyUnreadable),
}


async def deliver(tmp_path: Path, body: bytes, what: str, **way: Any) -> Exception | None:
    """Deliver a damaged body by a way; the error, or None where there is none."""
    damage, _ = DAMAGE[what]
    (tmp_path / "bodies").mkdir()
    path = tmp_path / "bodies" / encode_id(1)
    path.write_bytes(damage(body))
    if what == "unreadable":
        path.unlink()
        path.symlink_to(path)
    folder = BodyFolder(tmp_path / "bodies")
    log = Logger(observer=lambda _: None)
    courier = RouteCourier(
        [Route.model_validate({"deliver": way})],
        hostname="me.example",
        reactor=reactor,
        log=log,
        http=HttpClients(reactor=reactor, log=log),
    )
    message = queued(body, opens=partial(folder.open, 1, len(body), crc32(body)))
    recipients = [QueuedRecipient(0, "r@example.net")]
    destination = courier.destination(message, recipients[0])
    try:
        await courier.deliver(message, recipients, destination).asFuture(reactor.loop)
    except Exception as error:
        return error
    finally:
        await Deferred.fromCoroutine(courier.close()).asFuture(reactor.loop)
        folder.close()
    return None


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@in_asyncio
async def test_a_smarthost_never_gets_it_whole(tmp_path: Path, body: bytes, what: str) -> None:
    """S21: the connection is cut before the end of the data."""
    box = Box()
    with next_hop(box) as port:
        error = await deliver(tmp_path, body, what, smarthost=f"127.0.0.1:{port}", tls="none")
    assert isinstance(error, DAMAGE[what][1])
    assert box.envelopes == []


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@in_asyncio
async def test_a_maildir_never_gets_it(tmp_path: Path, body: bytes, what: str) -> None:
    """S21."""
    error = await deliver(tmp_path, body, what, maildir=str(tmp_path / "box"))
    assert isinstance(error, DAMAGE[what][1])
    assert files_in(tmp_path / "box") == []


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@in_asyncio
async def test_a_hook_never_gets_it_whole(tmp_path: Path, body: bytes, what: str) -> None:
    """S21: the connection is cut before the request is whole."""
    whole: list[bytes] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        whole.append(await request.read())
        return web.Response()

    async with upstream(answer) as url:
        hook = {"url": str(url), "allow_upstreams": ("127.0.0.1",)}
        error = await deliver(tmp_path, body, what, http=hook)
    assert isinstance(error, DAMAGE[what][1])
    assert whole == []
