"""Responses that are held as a whole: within their limit, unpacked (S12)."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest
from pytest_twisted import ensureDeferred

from netserve.http import errors as wrong
from netserve.http.upstream.whole import WholeResponse, fetch
from tests.http.upstream.peers import HOST, PoolOfTest, ScriptedUpstream, until

MIB = 1024 * 1024


async def whole(answer: bytes, *, limit: int = MIB, method: bytes = b"GET") -> WholeResponse:
    """The response of an upstream that says this, and ends the connection."""

    def say(talk: object) -> None:
        talk.transport.write(answer)
        talk.transport.loseConnection()

    upstream, pool = ScriptedUpstream(say), PoolOfTest()
    try:
        return await fetch(pool.to(upstream.port), method, b"/", HOST, limit=limit)
    finally:
        await pool.stop()
        await upstream.stop()


def said(body: bytes, coding: bytes = b"") -> bytes:
    field = b"Content-Encoding: " + coding + b"\r\n" if coding else b""
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (field, len(body), body)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (said(b"plain"), b"plain"),
        (said(b""), b""),
        (said(b"x", b"identity"), b"x"),
        (said(gzip.compress(b"packed", mtime=0), b"gzip"), b"packed"),
        (said(gzip.compress(b"packed", mtime=0), b"X-GZIP"), b"packed"),
        (said(zlib.compress(b"packed"), b"deflate"), b"packed"),
        (said(gzip.compress(zlib.compress(b"twice"), mtime=0), b"deflate, gzip"), b"twice"),
        (said(gzip.compress(b"x", mtime=0), b"identity, gzip"), b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 204 x\r\nContent-Encoding: gzip\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            b"abc",
        ),
    ],
)
@ensureDeferred
async def test_bodies(answer: bytes, body: bytes) -> None:
    assert (await whole(answer)).body == body


@ensureDeferred
async def test_a_head_is_not_unpacked() -> None:
    answer = await whole(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n", method=b"HEAD"
    )
    assert answer.body == b""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(b"x" * 101), wrong.TooLarge),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, wrong.TooLarge),
        (said(gzip.compress(b"x" * 101, mtime=0), b"gzip"), wrong.TooLarge),
        (said(b"x", b"br"), wrong.BadAnswer),
        (said(b"not packed", b"gzip"), wrong.BadAnswer),
        (said(gzip.compress(b"x", mtime=0)[:-1], b"gzip"), wrong.BadAnswer),
        (said(b"x", b"gzip, gzip, gzip"), wrong.BadAnswer),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nabc", wrong.Reset),
    ],
)
@ensureDeferred
async def test_what_does_not_do(answer: bytes, error: type[wrong.HttpError]) -> None:
    with pytest.raises(error):
        await whole(answer, limit=100)


@ensureDeferred
async def test_a_bomb_costs_little() -> None:
    """S12: 200 KB that unpack to 200 MB."""
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(MIB)) for _ in range(200)) + packer.flush()
    tracemalloc.start()
    try:
        with pytest.raises(wrong.TooLarge):
            await whole(said(bomb, b"gzip"), limit=4 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * MIB + len(bomb)


@ensureDeferred
async def test_giving_up() -> None:
    upstream, pool = ScriptedUpstream(lambda _: None), PoolOfTest()
    asked = fetch(pool.to(upstream.port), b"GET", b"/", HOST, limit=100)
    await until(lambda: upstream.requests == 1)
    asked.addErrback(lambda _: None)
    asked.cancel()
    await until(lambda: upstream.open == 0)
    await pool.stop()
    await upstream.stop()
