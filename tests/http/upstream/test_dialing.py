"""Which address is connected to: the guard, names that change, several addresses, UNIX, PROXY."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from netserve.http import AddressGuard
from netserve.http import errors as wrong
from netserve.http.guard import PUBLIC_ONLY, Address
from netserve.http.upstream import Origin, proxy_header
from netserve.http.upstream.resolving import interleaved
from netserve.wire.proxy_header import read_proxy_header
from tests.http.upstream.peers import PoolOfTest, ScriptedUpstream, deaf_port, until


class Names:
    """Gives a name's answers in turn; the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str) -> list[Address]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [ipaddress.ip_address(each) for each in found]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "2130706433", "0x7f.1",
     "0177.0.0.1", "[::1]", "127.1"],
)  # fmt: skip
@ensureDeferred
async def test_addresses_that_are_not_public(host: str) -> None:
    """S11: also in their other forms."""
    pool = PoolOfTest(guard=PUBLIC_ONLY)
    with pytest.raises(wrong.AddressForbidden):
        await pool.ask(pool.to(80, host=host)).done
    await pool.stop()


@ensureDeferred
async def test_a_name_with_a_forbidden_address() -> None:
    """S11."""
    pool = PoolOfTest(guard=PUBLIC_ONLY, lookup=Names(["127.0.0.1"]))
    with pytest.raises(wrong.AddressForbidden, match="loopback"):
        await pool.ask(pool.to(80, host="a.example")).done
    await pool.stop()


@ensureDeferred
async def test_a_name_that_changes_its_answer() -> None:
    """S11: the address that is connected to is the one that was checked."""
    upstream = ScriptedUpstream()
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    pool = PoolOfTest(
        guard=AddressGuard.parse(["127.0.0.1"]), lookup=names, names_kept=0.0, keep_alive=0.1
    )
    to = pool.to(upstream.port, host="a.example")
    await pool.ask(to).done
    await until(lambda: pool.pool.connections == 0)
    with pytest.raises(wrong.AddressForbidden):
        await pool.ask(to).done
    assert names.asked == 2
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_only_allowed_addresses_of_a_name_are_tried() -> None:
    upstream = ScriptedUpstream()
    names = Names(["10.0.0.1", "127.0.0.1", "169.254.169.254"])
    pool = PoolOfTest(guard=AddressGuard.parse(["127.0.0.1"]), lookup=names)
    await pool.ask(pool.to(upstream.port, host="a.example")).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_name_that_the_file_lists() -> None:
    upstream = ScriptedUpstream()
    pool = PoolOfTest(guard=AddressGuard.parse(["a.example"]), lookup=Names(["127.0.0.1"]))
    await pool.ask(pool.to(upstream.port, host="A.example")).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_name_without_an_address() -> None:
    pool = PoolOfTest(lookup=Names([]))
    with pytest.raises(wrong.NameUnknown):
        await pool.ask(pool.to(80, host="a.example")).done
    await pool.stop()


@ensureDeferred
async def test_the_reactor_resolves() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    await pool.ask(pool.to(upstream.port, host="localhost")).done
    with pytest.raises(wrong.NameUnknown):
        await pool.ask(pool.to(80, host="no-such-name.invalid")).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_names_are_kept_for_a_while() -> None:
    upstream, names = ScriptedUpstream(), Names(["127.0.0.1"])
    pool = PoolOfTest(lookup=names, keep_alive=0.1)
    for _ in range(2):
        await pool.ask(pool.to(upstream.port, host="a.example")).done
        await until(lambda: pool.pool.connections == 0)
    assert names.asked == 1
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_address_that_refuses_is_passed_over_at_once() -> None:
    upstream = ScriptedUpstream()
    pool = PoolOfTest(lookup=Names(["127.0.0.2", "127.0.0.3", "127.0.0.1"]), next_address=30.0)
    await pool.ask(pool.to(upstream.port, host="a.example")).done
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_an_address_that_does_not_answer_is_not_waited_for() -> None:
    """RFC 8305: IPv6 is broken, and IPv4 is there a moment later."""
    held, port = deaf_port(socket.AF_INET6)
    upstream = ScriptedUpstream(port=port)
    pool = PoolOfTest(lookup=Names(["::1", "127.0.0.1"]), next_address=0.05)
    await pool.ask(pool.to(port, host="a.example")).done
    assert upstream.open == 1
    await pool.stop()
    await upstream.stop()
    for each in held:
        each.close()


@ensureDeferred
async def test_connecting_has_its_time() -> None:
    """S10."""
    held, port = deaf_port()
    pool = PoolOfTest(connect_timeout=0.2)
    with pytest.raises(wrong.ConnectTimedOut):
        await pool.ask(pool.to(port)).done
    await pool.stop()
    for each in held:
        each.close()


def test_families_take_turns() -> None:
    """RFC 8305, section 4."""
    given = [ipaddress.ip_address(each) for each in ("::1", "::2", "::3", "10.0.0.1", "10.0.0.2")]
    assert [str(each) for each in interleaved(given)] == [
        "::1", "10.0.0.1", "::2", "10.0.0.2", "::3",
    ]  # fmt: skip


@ensureDeferred
async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "upstream")
    upstream, pool = ScriptedUpstream(path=path), PoolOfTest(guard=PUBLIC_ONLY)
    to = pool.pool.upstream(Origin(path=path))
    assert str(to.origin) == f"unix:{path}"
    for _ in range(2):
        assert (await pool.ask(to, method=b"POST").done).body == b"ok"
    assert len(upstream.talks) == 1
    await pool.stop()
    await upstream.stop()


@ensureDeferred
async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    pool = PoolOfTest()
    with pytest.raises(wrong.HttpError, match="unix:"):
        await pool.ask(pool.pool.upstream(Origin(path=str(tmp_path / "none")))).done
    await pool.stop()


@ensureDeferred
async def test_connections_with_a_proxy_header_are_the_clients_own() -> None:
    upstream, pool = ScriptedUpstream(), PoolOfTest()
    headers = [proxy_header((f"192.0.2.{n}", 1000), ("192.0.2.9", 80), version=1) for n in (1, 2)]
    for header in [*headers, headers[0]]:
        await pool.ask(pool.to(upstream.port, preface=header)).done
    assert len(upstream.talks) == 2
    request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert upstream.talks[0].said == b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n" + request * 2
    await pool.stop()
    await upstream.stop()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("client", "server", "read"),
    [
        (("192.0.2.1", 1234), ("198.51.100.2", 80), ("192.0.2.1", 1234)),
        (("2001:db8::1", 65535), ("2001:db8::2", 443), ("2001:db8::1", 65535)),
        (("192.0.2.1", 1), ("2001:db8::2", 443), ("::ffff:192.0.2.1", 1)),
        (None, None, None),
        (("192.0.2.1", 1), None, None),
    ],
)
def test_proxy_headers_can_be_read(version: Any, client: Any, server: Any, read: Any) -> None:
    """By the part of netserve that takes them from load balancers."""
    data = proxy_header(client, server, version=version)
    header = read_proxy_header(data + b"GET")
    assert header is not None
    assert header.size == len(data)
    if read is None:
        assert header.client is None
    else:
        assert header.client is not None
        assert ipaddress.ip_address(header.client[0]) == ipaddress.ip_address(read[0])
        assert header.client[1] == read[1]


def test_a_proxy_header_needs_addresses() -> None:
    with pytest.raises(ValueError, match="localhost"):
        proxy_header(("localhost", 1), ("localhost", 2), version=1)
