"""Checks against real servers on loopback: good ones, bad ones, and some that hang in a phase."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import ipaddress
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.logger import Logger

from netserve.crossing import from_asyncio
from netserve.packet.client import PacketHelper
from netserve.packet.client.launching import Spawn
from netserve.packet.policy import Policy
from netserve.protocols.probe.channel import TlsOptions
from netserve.protocols.probe.dns import DnsCheck, Records
from netserve.protocols.probe.http import Expected, HttpCheck
from netserve.protocols.probe.icmp import IcmpCheck
from netserve.protocols.probe.result import ProbeFailed, Recorder, Result
from netserve.protocols.probe.running import Check, run
from netserve.protocols.probe.smtp import SmtpCheck
from netserve.protocols.probe.target import Addressing, address_hash, choose, split
from netserve.protocols.probe.tcp import TcpCheck, Turn
from netserve.testing.programs import missing
from netserve.wire.pattern import Pattern
from tests.protocols.probe.chains import DAY, NOW, Issued, issue, pem

IP4 = Addressing("ip4")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ROOT = issue("Root")


def in_asyncio(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run a test that awaits asyncio's things on netserve's reactor."""

    @pytest_twisted.ensureDeferred
    @functools.wraps(test)
    async def outside(*arguments: Any, **named: Any) -> Any:
        return await from_asyncio(test(*arguments, **named), timeout=60)

    return outside


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server, by its port."""
    tasks: set[Any] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await handler(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    running = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        for task in tasks:
            task.cancel()


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def saying(*lines: bytes) -> Handler:
    """Says the first line, and each further one when it was sent a line."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *rest = lines
        writer.write(first)
        for line in rest:
            if not await reader.readline():
                return
            writer.write(line)
        await reader.read()

    return handle


def context_of(issued: Issued, folder: Path, *, with_chain: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.write(folder / "server.pem", with_chain=with_chain))
    return context


@pytest.fixture
def roots(tmp_path: Path) -> TlsOptions:
    """TLS that trusts the root of these tests."""
    (tmp_path / "root.pem").write_bytes(pem(ROOT))
    return TlsOptions(ca_file=tmp_path / "root.pem")


async def failed(check: Check, kind: str, phase: str, reason: str, seconds: float = 5.0) -> Result:
    """Run a check that has to fail."""
    result = await run(check, kind, timeout=seconds)
    assert not result.success, result.debug()
    assert result.failure is not None
    assert (result.failure.phase, result.failure.reason) == (phase, reason), result.debug()
    assert result.value("probe_failure_info", phase=phase, reason=reason) == 1
    return result


async def succeeded(check: Check, kind: str) -> Result:
    result = await run(check, kind, timeout=20)
    assert result.success, result.debug()
    return result


# TCP and TLS


@in_asyncio
async def test_a_port_that_accepts() -> None:
    async with server(hang) as port:
        result = await succeeded(TcpCheck(f"127.0.0.1:{port}"), "tcp")
    assert result.value("probe_ip_protocol") == 4
    assert result.value("probe_ip_addr_hash") == address_hash(ipaddress.ip_address("127.0.0.1"))
    assert result.value("probe_ip_address_info", address="127.0.0.1", resolver="none") == 1
    assert (result.value("probe_tcp_duration_seconds", phase="connect") or 0) > 0


@in_asyncio
async def test_ports_that_do_not() -> None:
    async with server(hang) as port:
        pass
    await failed(TcpCheck(f"127.0.0.1:{port}"), "tcp", "connect", "refused")
    await failed(TcpCheck("no-port"), "tcp", "start", "target")
    await failed(TcpCheck("127.0.0.1:70000"), "tcp", "start", "target")
    await failed(TcpCheck("no.such.name.invalid:80"), "tcp", "resolve", "unresolved")


@in_asyncio
async def test_a_dialogue() -> None:
    lines = (b"noise\n220 mx.example ready\r\n", b"250 (ok)\n", b"")
    async with server(saying(*lines)) as port:
        dialogue = (Turn(Pattern(r"^220 (?P<host>\S+)"), send="HI ${host}"), Turn(Pattern("^250")))
        result = await succeeded(TcpCheck(f"127.0.0.1:{port}", dialogue=dialogue), "tcp")
        steps = [step.text for step in result.steps]
        assert "> HI mx.example" in steps
        assert "< 250 (ok)" in steps
    async with server(saying(b"500 no\n")) as port:
        result = await failed(
            TcpCheck(f"127.0.0.1:{port}", dialogue=dialogue), "tcp", "dialogue", "timeout", 0.3
        )

    async def says_no(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"500 no\n")

    async with server(says_no) as port:
        result = await failed(
            TcpCheck(f"127.0.0.1:{port}", dialogue=dialogue), "tcp", "dialogue", "unexpected"
        )
        assert result.value("probe_failed_due_to_regex") == 1


CHAINS = {
    "good": (issue("s", ROOT, hosts=("localhost",)), "", ""),
    "expired": (
        issue("s", ROOT, hosts=("localhost",), begin=NOW - 9 * DAY, end=NOW - DAY),
        "certificate_expired", "expired",
    ),
    "wrong name": (issue("s", ROOT, hosts=("a.example",)), "certificate_wrong_name", "wrong_name"),
    "self-signed": (issue("s", hosts=("localhost",)), "certificate_self_signed", "self_signed"),
    "without its root": (
        issue("s", issue("Other"), hosts=("localhost",)), "certificate_incomplete", "incomplete",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
@in_asyncio
async def test_chains(name: str, roots: TlsOptions, tmp_path: Path) -> None:
    """Each fault by its own word; when it expires is told in any case."""
    issued, reason, label = CHAINS[name]
    async with server(hang, context_of(issued, tmp_path)) as port:
        check = TcpCheck(f"localhost:{port}", IP4, tls=roots)
        if reason:
            result = await failed(check, "tcp", "tls", reason)
            assert result.value("probe_ssl_verify_error_info", reason=label) == 1
        else:
            result = await succeeded(check, "tcp")
        expiry = issued.certificate.not_valid_after_utc.timestamp()
        assert result.value("probe_ssl_earliest_cert_expiry") == expiry
        chain = result.value("probe_ssl_last_chain_expiry_timestamp_seconds")
        assert (chain is None) == (label in {"self_signed", "incomplete"})
        assert result.value("probe_tls_version_info", version="TLS 1.3") == 1
        # Where that is wanted, a fault is told and is no failure.
        insecure = TlsOptions(ca_file=roots.ca_file, insecure=True)
        result = await succeeded(TcpCheck(f"localhost:{port}", IP4, tls=insecure), "tcp")
        assert result.value("probe_ssl_verify_error_info", reason=label) == (1 if label else None)


@in_asyncio
async def test_tls_that_hangs_and_tls_that_is_none(roots: TlsOptions) -> None:
    async with server(hang) as port:
        await failed(TcpCheck(f"127.0.0.1:{port}", tls=roots), "tcp", "tls", "timeout", 0.3)
    async with server(saying(b"220 I speak no TLS\r\n")) as port:
        await failed(TcpCheck(f"127.0.0.1:{port}", tls=roots), "tcp", "tls", "tls")

    async def leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)

    async with server(leaves) as port:
        result = await run(TcpCheck(f"127.0.0.1:{port}", tls=roots), "tcp", timeout=5)
        assert result.failure is not None
        assert result.failure.reason in {"closed", "reset"}


# HTTP


def http(*answers: bytes) -> Handler:
    """Answers each connection by the path: /0, /1 and so on."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(answers[int(head.split()[1][1:].partition(b"?")[0] or b"0")])

    return handle


@in_asyncio
async def test_http(roots: TlsOptions, tmp_path: Path) -> None:
    modified = b"Last-Modified: Thu, 01 Jan 1970 00:01:00 GMT\r\n"
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + modified + b"\r\nhello"
    async with server(http(body)) as port:
        result = await succeeded(HttpCheck(f"127.0.0.1:{port}"), "http")
        for name, value in (
            ("status_code", 200), ("content_length", 5), ("uncompressed_body_length", 5),
            ("redirects", 0), ("ssl", 0), ("version", 1.1),
            ("last_modified_timestamp_seconds", 60),
        ):  # fmt: skip
            assert result.value(f"probe_http_{name}") == value
        for expected, reason in (
            (Expected(status_codes=(201,)), "status"),
            (Expected(body_matches=(Pattern("bye"),)), "unexpected"),
            (Expected(body_matches_not=(Pattern("^hell"),)), "unexpected"),
            (Expected(header_matches=(("X", Pattern(".")),)), "unexpected"),
            (Expected(header_matches_not=(("content-length", Pattern("5")),)), "unexpected"),
            (Expected(tls=True), "tls"),
        ):
            check = HttpCheck(f"http://127.0.0.1:{port}/", expected=expected)
            await failed(check, "http", "response", reason)
        good = Expected(
            status_codes=(200,), body_matches=(Pattern("^hello$"),), tls=False,
            header_matches=(("Content-Length", Pattern("^5$")),),
        )  # fmt: skip
        await succeeded(HttpCheck(f"http://127.0.0.1:{port}/?x=y", expected=good), "http")
    issued = issue("s", ROOT, hosts=("localhost",))
    async with server(http(body), context_of(issued, tmp_path)) as port:
        check = HttpCheck(f"https://localhost:{port}/", addressing=IP4, tls=roots)
        result = await succeeded(check, "http")
        assert result.value("probe_http_ssl") == 1
        assert (result.value("probe_http_duration_seconds", phase="tls") or 0) > 0


@in_asyncio
async def test_redirects() -> None:
    def to(path: str) -> bytes:
        return f"HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 0\r\n\r\n".encode()

    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with server(http(to("/1"), to("2"), ok)) as port:
        result = await succeeded(HttpCheck(f"http://127.0.0.1:{port}/0"), "http")
        assert result.value("probe_http_redirects") == 2
        check = HttpCheck(f"http://127.0.0.1:{port}/0", follow=False)
        await failed(check, "http", "response", "status")
    async with server(http(to("/0"))) as port:
        await failed(HttpCheck(f"http://127.0.0.1:{port}/0"), "http", "transfer", "redirects")
    async with server(http(to("ftp://127.0.0.1/"))) as port:
        await failed(HttpCheck(f"http://127.0.0.1:{port}/0"), "http", "transfer", "target")


@in_asyncio
async def test_http_that_hangs_or_is_none() -> None:
    async with server(hang) as port:
        await failed(HttpCheck(f"127.0.0.1:{port}"), "http", "processing", "timeout", 0.3)
    async with server(saying(b"SSH-2.0-x\r\n\r\n")) as port:
        await failed(HttpCheck(f"127.0.0.1:{port}"), "http", "processing", "protocol")

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
        await asyncio.sleep(60)

    async with server(half) as port:
        result = await failed(HttpCheck(f"127.0.0.1:{port}"), "http", "transfer", "timeout", 0.3)
        assert result.value("probe_http_duration_seconds", phase="transfer") == pytest.approx(
            0.3, abs=0.2
        )
    for target in ("http://127.0.0.1:99999/", "gopher://x/", "http://[::1/", "http:///"):
        await failed(HttpCheck(target), "http", "start", "target")
    async with server(http(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 999)) as port:
        check = HttpCheck(f"127.0.0.1:{port}", body_limit=100)
        result = await run(check, "http", timeout=5)
        assert result.failure is not None
        assert result.failure.reason == "protocol"
    check = HttpCheck("127.0.0.1:1", headers=(("X", "a\r\nb"),))
    result = await run(check, "http", timeout=5)
    assert not result.success


# SMTP

EHLO = b"250-mx.example\r\n250-SIZE 1000\r\n250 STARTTLS\r\n"


@in_asyncio
async def test_smtp() -> None:
    async with server(saying(b"220 mx\r\n", EHLO, b"221 bye\r\n")) as port:
        result = await succeeded(SmtpCheck(f"127.0.0.1:{port}"), "smtp")
        assert result.value("probe_smtp_starttls") == 1
        assert result.value("probe_smtp_size_limit_bytes") == 1000
        assert result.value("probe_smtp_reply_code", phase="banner") == 220
        assert result.value("probe_smtp_reply_code", phase="quit") == 221


@in_asyncio
async def test_smtp_with_tls(roots: TlsOptions, tmp_path: Path) -> None:
    context = context_of(issue("s", ROOT, hosts=("localhost",)), tmp_path)

    async def mx(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        for reply in (EHLO, b"220 go\r\n", b"250 mx\r\n", b"221 bye\r\n"):
            assert await reader.readline()
            writer.write(reply)
            if reply.startswith(b"220"):
                await writer.start_tls(context)

    async with server(mx) as port:
        check = SmtpCheck(f"localhost:{port}", IP4, tls=roots)
        result = await succeeded(check, "smtp")
        assert result.value("probe_ssl_earliest_cert_expiry")
        assert (result.value("probe_smtp_duration_seconds", phase="tls") or 0) > 0


@pytest.mark.parametrize(
    ("lines", "phase", "reason"),
    [
        ((b"",), "banner", "timeout"),
        ((b"554 no\r\n",), "banner", "reply"),
        ((b"SSH-2.0\r\n",), "banner", "protocol"),
        ((b"220 mx\r\n",), "ehlo", "timeout"),
        ((b"220 mx\r\n", b"502 no\r\n"), "ehlo", "reply"),
        ((b"220 mx\r\n", b"250 mx\r\n"), "starttls", "no_starttls"),
        ((b"220 mx\r\n", EHLO, b""), "starttls", "timeout"),
        ((b"220 mx\r\n", EHLO, b"454 later\r\n"), "starttls", "reply"),
        ((b"220 mx\r\n", EHLO, b"220 go\r\n250 injected\r\n"), "starttls", "protocol"),
        ((b"220 mx\r\n", EHLO, b"220 go\r\n"), "tls", "timeout"),
    ],
)
@in_asyncio
async def test_a_mail_server_that_fails_or_hangs_at_each_phase(
    lines: tuple[bytes, ...], phase: str, reason: str
) -> None:
    async with server(saying(*lines)) as port:
        check = SmtpCheck(f"127.0.0.1:{port}", tls=TlsOptions())
        await failed(check, "smtp", phase, reason, 0.4)


# DNS


def answer(data: bytes, code: dns.rcode.Rcode = dns.rcode.NOERROR) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(data))
    response.set_rcode(code)
    if code == dns.rcode.NOERROR:
        name = str(response.question[0].name)
        if response.question[0].rdtype == dns.rdatatype.SOA:
            response.answer.append(
                dns.rrset.from_text(name, 60, "IN", "SOA", "ns. root. 2026 1 2 3 4")
            )
        else:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "10.0.0.1", "10.0.0.2"))
    return response.to_wire()


@asynccontextmanager
async def udp(reply: Callable[[bytes], list[bytes]]) -> AsyncIterator[int]:
    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, address: Any) -> None:
            for each in reply(data):
                self.transport.sendto(each, address)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Protocol, ("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


@in_asyncio
async def test_dns_by_udp() -> None:
    async with udp(lambda data: [answer(data)]) as port:
        result = await succeeded(DnsCheck(f"127.0.0.1:{port}", "example.org"), "dns")
        assert result.value("probe_dns_answer_rrs") == 2
        assert result.value("probe_dns_query_succeeded") == 1
        assert result.value("probe_dns_response_code_info", code="NOERROR") == 1
        result = await succeeded(DnsCheck(f"127.0.0.1:{port}", "example.org", "SOA"), "dns")
        assert result.value("probe_dns_serial") == 2026
        right = Records(all_match=(Pattern(r"IN A 10\.0\.0\."),), none_matches=(Pattern("192"),))
        await succeeded(DnsCheck(f"127.0.0.1:{port}", "example.org", answer=right), "dns")
        for wrong in (
            Records(all_match=(Pattern(r"0\.1$"),)),
            Records(none_matches=(Pattern("10"),)),
        ):
            check = DnsCheck(f"127.0.0.1:{port}", "example.org", answer=wrong)
            await failed(check, "dns", "request", "records")
        await failed(DnsCheck(f"127.0.0.1:{port}", "a..b"), "dns", "start", "configuration")
        await failed(DnsCheck(f"127.0.0.1:{port}", "a", "NO"), "dns", "start", "configuration")
    async with udp(lambda data: [answer(data, dns.rcode.SERVFAIL)]) as port:
        result = await failed(DnsCheck(f"127.0.0.1:{port}", "a.b"), "dns", "request", "rcode")
        assert result.value("probe_dns_query_succeeded") == 1
        check = DnsCheck(f"127.0.0.1:{port}", "a.b", valid_rcodes=("SERVFAIL",))
        await succeeded(check, "dns")


@in_asyncio
async def test_a_name_server_that_says_nothing_or_something_else() -> None:
    async with udp(lambda data: []) as port:
        await failed(DnsCheck(f"127.0.0.1:{port}", "a.b"), "dns", "request", "timeout", 0.3)
    async with udp(lambda data: [b"rubbish"]) as port:
        await failed(DnsCheck(f"127.0.0.1:{port}", "a.b"), "dns", "request", "protocol")
    other = dns.message.make_response(dns.message.make_query("other.example", "A")).to_wire()
    async with udp(lambda data: [other, answer(data)]) as port:
        await succeeded(DnsCheck(f"127.0.0.1:{port}", "a.b"), "dns")
    async with udp(lambda data: []) as port:
        pass
    await failed(DnsCheck(f"127.0.0.1:{port}", "a.b"), "dns", "request", "refused")


@in_asyncio
async def test_dns_by_tcp_and_tls(roots: TlsOptions, tmp_path: Path) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        data = answer(await reader.readexactly(size))
        for byte in len(data).to_bytes(2, "big") + data:
            writer.write(bytes([byte]))

    async with server(handle) as port:
        check = DnsCheck(f"127.0.0.1:{port}", "example.org", transport="tcp")
        assert (await succeeded(check, "dns")).value("probe_dns_answer_rrs") == 2
    context = context_of(issue("s", ROOT, hosts=("localhost",)), tmp_path)
    async with server(handle, context) as port:
        check = DnsCheck(
            f"localhost:{port}", "example.org", transport="tls", tls=roots, addressing=IP4
        )
        assert (await succeeded(check, "dns")).value("probe_ssl_earliest_cert_expiry")
    async with server(saying(b"")) as port:
        check = DnsCheck(f"127.0.0.1:{port}", "example.org", transport="tcp")
        await failed(check, "dns", "request", "timeout", 0.3)


# ICMP


@in_asyncio
async def test_icmp() -> None:
    if os.geteuid() != 0 or importlib.util.find_spec("scapy") is None:
        missing("needs root and Scapy")
    spawn = Spawn(Path(sys.executable))
    helper = PacketHelper(reactor=reactor, policy=Policy(), launcher=spawn, log=Logger())
    try:
        result = await succeeded(IcmpCheck("127.0.0.1", helper), "icmp")
        assert 0 < (result.value("probe_icmp_duration_seconds", phase="rtt") or 0) < 1
        assert result.value("probe_icmp_reply_hop_limit") == 64
        await failed(IcmpCheck("192.0.2.1", helper), "icmp", "setup", "packet_refused")
    finally:
        helper.close()


# What the checks share


@in_asyncio
async def test_the_choice_of_an_address() -> None:
    both = [ipaddress.ip_address(text) for text in ("10.0.0.1", "fd00::1", "10.0.0.2")]

    async def lookup(host: str) -> list[Any]:
        return both if host == "both" else both[:1]

    async def chosen(host: str, protocol: Any, *, fallback: bool) -> str:
        addressing = Addressing(protocol, fallback, lookup, "tests")
        recorder = Recorder("tcp", lambda: 0.0)
        return str(await choose(host, addressing, recorder))

    assert await chosen("both", "ip6", fallback=True) == "fd00::1"
    assert await chosen("both", "ip4", fallback=False) == "10.0.0.1"
    assert await chosen("one", "ip6", fallback=True) == "10.0.0.1"
    assert await chosen("127.0.0.1", "ip6", fallback=True) == "127.0.0.1"
    with pytest.raises(ProbeFailed, match="one has no IPv6 address"):
        await chosen("one", "ip6", fallback=False)


@pytest.mark.parametrize(
    ("text", "found"),
    [("a:80", ("a", 80)), ("[::1]:80", ("::1", 80)), ("a", ("a", 25)), ("::1", ("::1", 25)),
     ("[::1]", ("::1", 25))],
)  # fmt: skip
def test_hosts_and_ports(text: str, found: tuple[str, int]) -> None:
    assert split(text, 25) == found


@in_asyncio
async def test_a_bug_of_a_check_is_its_own_kind_of_failure() -> None:
    async def check(recorder: Any) -> None:
        raise ZeroDivisionError("secret")

    result = await run(check, "tcp", timeout=1)
    assert result.failure is not None
    assert result.failure.reason == "bug"
    assert "secret" not in result.debug()
