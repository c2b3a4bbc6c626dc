"""TLS to upstreams: the chain, the name, our certificate (S19)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from OpenSSL import SSL
from pytest_twisted import ensureDeferred
from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from netserve.http import errors as wrong
from netserve.http.upstream import UpstreamTLS
from tests.http.upstream.peers import PoolOfTest, ScriptedUpstream, until
from tests.http.upstream.test_dialing import Names


class Authority:
    """A certificate authority of the test, with files."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(self.file)

    def files(self, name: str) -> tuple[Path, Path]:
        """Certificate and key for a name or an address."""
        made = self.ca.issue_cert(name)
        chain, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        return chain, key


@implementer(IOpenSSLContextFactory)
class Context:
    """The server's side; `names` is what clients asked for."""

    def __init__(self, authority: Authority, name: str, *, wants_client: bool = False) -> None:
        self.names: list[bytes | None] = []
        chain, key = authority.files(name)
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate_chain_file(str(chain))
        self._context.use_privatekey_file(str(key))
        self._context.set_tlsext_servername_callback(
            lambda connection: self.names.append(connection.get_servername())
        )
        if wants_client:
            self._context.load_verify_locations(str(authority.file))
            flags = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            self._context.set_verify(flags, lambda *args: bool(args[-1]))

    def getContext(self) -> Any:
        return self._context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@ensureDeferred
async def test_a_checked_upstream(authority: Authority) -> None:
    context = Context(authority, "a.example")
    upstream, pool = ScriptedUpstream(tls=context), PoolOfTest(lookup=Names(["127.0.0.1"]))
    to = pool.to(upstream.port, host="a.example", tls=UpstreamTLS(ca=authority.file))
    for _ in range(2):
        assert (await pool.ask(to).done).body == b"ok"
    assert context.names == [b"a.example"]
    assert len(upstream.talks) == 1
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_address_is_checked_too(authority: Authority) -> None:
    context = Context(authority, "127.0.0.1")
    upstream, pool = ScriptedUpstream(tls=context), PoolOfTest()
    await pool.ask(pool.to(upstream.port, tls=UpstreamTLS(ca=authority.file))).done
    assert context.names == [None]
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_another_name(authority: Authority) -> None:
    upstream = ScriptedUpstream(tls=Context(authority, "b.example"))
    pool = PoolOfTest(lookup=Names(["127.0.0.1"]))
    to = pool.to(upstream.port, host="a.example", tls=UpstreamTLS(ca=authority.file))
    with pytest.raises(wrong.TlsFailed, match="another name"):
        await pool.ask(to).done
    await until(lambda: upstream.open == 0)
    assert all(talk.said == b"" for talk in upstream.talks)
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_the_name_may_be_given(authority: Authority) -> None:
    context = Context(authority, "b.example")
    upstream, pool = ScriptedUpstream(tls=context), PoolOfTest()
    tls = UpstreamTLS(ca=authority.file, server_name="b.example")
    await pool.ask(pool.to(upstream.port, tls=tls)).done
    assert context.names == [b"b.example"]
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_authority_that_nobody_knows(authority: Authority) -> None:
    upstream = ScriptedUpstream(tls=Context(authority, "127.0.0.1"))
    pool = PoolOfTest()
    with pytest.raises(wrong.TlsFailed, match="certificate"):
        await pool.ask(pool.to(upstream.port, tls=UpstreamTLS())).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_upstream_without_tls(authority: Authority) -> None:
    upstream = ScriptedUpstream(lambda _: None)
    pool = PoolOfTest(connect_timeout=0.3)
    with pytest.raises(wrong.HttpError):
        await pool.ask(pool.to(upstream.port, tls=UpstreamTLS(ca=authority.file))).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_our_certificate(authority: Authority) -> None:
    context = Context(authority, "127.0.0.1", wants_client=True)
    upstream, pool = ScriptedUpstream(tls=context), PoolOfTest()
    chain, key = authority.files("client.example")
    with_it = UpstreamTLS(ca=authority.file, certificate=chain, key=key)
    await pool.ask(pool.to(upstream.port, tls=with_it)).done
    with pytest.raises(wrong.HttpError):
        await pool.ask(pool.to(upstream.port, tls=UpstreamTLS(ca=authority.file))).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_preface_goes_before_tls(authority: Authority) -> None:
    """As HAProxy's specification has it; this upstream takes it for a broken handshake."""
    seen: list[bytes] = []
    upstream = ScriptedUpstream()
    upstream.answer = lambda talk: seen.append(talk.said) or talk.transport.abortConnection()
    pool = PoolOfTest()
    tls = UpstreamTLS(ca=authority.file)
    with pytest.raises(wrong.HttpError):
        await pool.ask(pool.to(upstream.port, tls=tls, preface=b"PROXY UNKNOWN\r\n\r\n")).done
    assert seen[0].startswith(b"PROXY UNKNOWN\r\n\r\n\x16\x03")
    await pool.stop()
    await upstream.stop()


def test_files_that_do_not_do(authority: Authority, tmp_path: Path) -> None:
    chain, key = authority.files("a.example")
    _, other = authority.files("b.example")
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    for options, text in (
        ({"ca": tmp_path / "missing.pem"}, "cannot read"),
        ({"ca": nothing}, "no certificate"),
        ({"certificate": chain}, "needs its key"),
        ({"key": key}, "needs its key"),
        ({"certificate": chain, "key": other}, "does not belong"),
        ({"certificate": chain, "key": nothing}, "no private key"),
    ):
        with pytest.raises(ValueError, match=text):
            UpstreamTLS(**options)
