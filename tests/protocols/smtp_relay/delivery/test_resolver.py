"""DNS by real name servers (unbound, dnsmasq), and by one that counts, keeps silent and lies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from pydantic import ValidationError
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults, maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from netserve.mail.mx import Exchange, NotNow
from netserve.mail.tlsa import TLSA
from netserve.protocols.smtp_relay.delivery.dns import resolver as module
from netserve.protocols.smtp_relay.delivery.dns.cache import TimedCache
from netserve.protocols.smtp_relay.delivery.dns.options import Dns, NameServer
from netserve.protocols.smtp_relay.delivery.dns.resolver import MAX_RECORDS, Resolver
from netserve.testing.dns import Zone, unbound
from netserve.testing.process import free_port, wait_until
from netserve.testing.programs import require_program

reactor: Any = _reactor
ASSOCIATION = "ab" * 32

ZONES = [
    Zone(
        "signed.example",
        "@ MX 10 mx\n@ MX 20 Backup\nmx A 127.0.0.2\nmx AAAA ::1\nbackup A 127.0.0.3\n"
        f"_25._tcp.mx TLSA 3 1 1 {ASSOCIATION}\nalias CNAME mx\nabroad CNAME mx.plain.example.\n"
        'text TXT "one " "two"\n' + "\n".join(f"many TXT {at:0>200}" for at in range(150)),
        signed=True,
    ),
    Zone("plain.example", "@ MX 10 mx\nmx A 127.0.0.4\nempty TXT x\nnull MX 0 .\nodd MX 1 a\\010b"),
    Zone("bogus.example", "@ MX 10 mx\nmx A 127.0.0.5", bogus=True),
]


def made(server: str, *, clock: Any = None, dnssec: bool = True, **options: Any) -> Resolver:
    settings = Dns.model_validate({"servers": server, **options})
    return Resolver(settings, clock=clock or reactor, dnssec=dnssec)


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unbound(tmp_path_factory.mktemp("unbound"), ZONES) as server:
        yield server


@pytest.mark.parametrize("dnssec", [True, False])
@ensureDeferred
async def test_kinds_of_records(name_server: str, dnssec: bool) -> None:
    ask = made(name_server, dnssec=dnssec).lookup
    mx = await ask("signed.example", "MX")
    best, backup = sorted(mx.records, key=lambda each: each.preference)
    assert best == Exchange(10, "mx.signed.example")
    assert backup == Exchange(20, "backup.signed.example")
    assert (mx.exists, mx.secure, mx.name) == (True, True, "signed.example")
    assert (await ask("mx.signed.example", "A")).records == (ip_address("127.0.0.2"),)
    assert (await ask("mx.signed.example", "AAAA")).records == (ip_address("::1"),)
    assert (await ask("text.signed.example", "TXT")).records == ("one two",)
    assert (await ask("alias.signed.example", "CNAME")).records == ("mx.signed.example",)
    tlsa = await ask("_25._tcp.mx.signed.example", "TLSA")
    assert tlsa.records == (TLSA(3, 1, 1, bytes.fromhex(ASSOCIATION)),)
    assert (await ask("null.plain.example", "MX")).records == (Exchange(0, ""),)


@ensureDeferred
async def test_what_is_validated(name_server: str) -> None:
    """The AD bit, of what is there and of what is not."""
    ask = made(name_server).lookup
    assert (await ask("signed.example", "MX")).secure
    assert (await ask("no.signed.example", "MX")).secure
    assert not (await ask("plain.example", "MX")).secure
    with pytest.raises(NotNow, match="the name servers fail"):
        await ask("bogus.example", "MX")


@ensureDeferred
async def test_what_is_not_there(name_server: str) -> None:
    ask = made(name_server).lookup
    nowhere = await ask("nowhere.example", "MX")
    assert (nowhere.exists, nowhere.records) == (False, ())
    empty = await ask("empty.plain.example", "MX")
    assert (empty.exists, empty.records) == (True, ())
    too_long = await ask("_mta-sts." + ".".join(["a" * 60] * 4) + ".example", "TXT")
    assert (too_long.exists, too_long.records) == (False, ())


@ensureDeferred
async def test_a_name_that_can_not_be_shown_is_no_host(name_server: str) -> None:
    answer = await made(name_server).lookup("odd.plain.example", "MX")
    assert answer.records == (Exchange(1, "unusable.invalid"),)


@ensureDeferred
async def test_an_answer_that_is_larger_than_a_datagram(name_server: str) -> None:
    answer = await made(name_server).lookup("many.signed.example", "TXT")
    assert len(answer.records) == MAX_RECORDS


@ensureDeferred
async def test_addresses(name_server: str) -> None:
    find = made(name_server).addresses
    both = await find("mx.signed.example")
    assert set(both.addresses) == {ip_address("127.0.0.2"), ip_address("::1")}
    assert both.secure
    alias = await find("alias.signed.example")
    assert (alias.name, alias.secure) == ("mx.signed.example", True)
    abroad = await find("abroad.signed.example")
    assert (abroad.name, abroad.secure) == ("mx.plain.example", False)
    none = await find("nowhere.example")
    assert (none.addresses, none.exists) == ((), False)
    with pytest.raises(NotNow):
        await find("mx.bogus.example")


@pytest.fixture
def dnsmasq(tmp_path: Path) -> Iterator[str]:
    program, port = require_program("dnsmasq"), free_port()
    command = [
        program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
        "--user=", "--pid-file=", f"--port={port}", "--listen-address=127.0.0.1",
        "--bind-interfaces", "--local=/example/", "--log-facility=-",
        "--mx-host=shop.example,mx.shop.example,10", "--host-record=mx.shop.example,127.0.0.7",
        "--txt-record=_mta-sts.shop.example,v=STSv1; id=1;",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: "started" in (tmp_path / "log").read_text(), what="dnsmasq")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@ensureDeferred
async def test_dnsmasq(dnsmasq: str) -> None:
    find = made(dnsmasq)
    mx = await find.lookup("shop.example", "MX")
    assert mx.records == (Exchange(10, "mx.shop.example"),)
    assert not mx.secure
    found = await find.addresses("mx.shop.example")
    assert found.addresses == (ip_address("127.0.0.7"),)
    assert (await find.lookup("_mta-sts.shop.example", "TXT")).records == ("v=STSv1; id=1;",)
    assert not (await find.lookup("nowhere.example", "MX")).exists


# One that counts.


class Counting(DatagramProtocol):
    """Answers each question for addresses with 127.0.0.9, and counts them."""

    def __init__(self, *, ttl: int = 60, code: int = 0, silent: bool = False) -> None:
        self.ttl, self.code, self.silent = ttl, code, silent
        self.asked: list[str] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        question = dns.message.from_wire(datagram)
        self.asked.append(question.question[0].to_text())
        if self.silent:
            return
        answer = dns.message.make_response(question)
        answer.set_rcode(dns.rcode.Rcode(self.code))
        (asked,) = question.question
        if asked.rdtype == dns.rdatatype.A and not self.code:
            answer.answer.append(dns.rrset.from_text(asked.name, self.ttl, "IN", "A", "127.0.0.9"))
        self.transport.write(answer.to_wire(), addr)


@pytest.fixture
def counting() -> Iterator[Any]:
    ports: list[Any] = []

    def start(**options: Any) -> tuple[Counting, str]:
        protocol = Counting(**options)
        ports.append(reactor.listenUDP(0, protocol, interface="127.0.0.1"))
        return protocol, f"127.0.0.1:{ports[-1].getHost().port}"

    yield start
    for port in ports:
        blockon(maybeDeferred(port.stopListening))


@ensureDeferred
async def test_answers_are_kept_for_their_time(counting: Any) -> None:
    (server, address), clock = counting(ttl=60), Clock()
    find = made(address, clock=clock)
    for _ in range(3):
        await find.lookup("a.example", "A")
    assert len(server.asked) == 1
    clock.advance(61)
    await find.lookup("a.example", "A")
    assert len(server.asked) == 2
    for _ in range(3):
        assert not (await find.lookup("a.example", "MX")).records
    assert len(server.asked) == 3
    clock.advance(301)
    await find.lookup("a.example", "MX")
    assert len(server.asked) == 4


@ensureDeferred
async def test_a_long_time_is_cut(counting: Any) -> None:
    (server, address), clock = counting(ttl=2**31 - 1), Clock()
    find = made(address, clock=clock)
    await find.lookup("a.example", "A")
    clock.advance(module.LONGEST + 1)
    await find.lookup("a.example", "A")
    assert len(server.asked) == 2


@ensureDeferred
async def test_the_same_question_is_asked_once(counting: Any) -> None:
    server, address = counting()
    find = made(address)
    await gatherResults([find.lookup("a.example", "A") for _ in range(20)])
    assert len(server.asked) == 1


@ensureDeferred
async def test_who_gives_up_does_not_take_the_answer_from_others(counting: Any) -> None:
    server, address = counting()
    find = made(address)
    first, second = find.lookup("a.example", "A"), find.lookup("a.example", "A")
    first.addErrback(lambda _: None)
    first.cancel()
    assert (await second).records == (ip_address("127.0.0.9"),)
    assert len(server.asked) == 1


@ensureDeferred
async def test_a_failure_is_not_asked_about_again_at_once(counting: Any) -> None:
    (server, address), clock = counting(code=2), Clock()
    find = made(address, clock=clock)
    for _ in range(3):
        with pytest.raises(NotNow):
            await find.lookup("a.example", "A")
    assert len(server.asked) == 1
    clock.advance(module.FAILURE + 1)
    with pytest.raises(NotNow):
        await find.lookup("a.example", "A")
    assert len(server.asked) == 2


@ensureDeferred
async def test_a_name_server_that_keeps_silent(counting: Any) -> None:
    _, address = counting(silent=True)
    with pytest.raises(NotNow, match="no answer in time"):
        await made(address, timeout="200ms").lookup("a.example", "A")


@ensureDeferred
async def test_the_next_name_server_takes_over(counting: Any, name_server: str) -> None:
    _, dead = counting(code=2)
    settings = Dns.model_validate({"servers": [dead, name_server]})
    find = Resolver(settings, clock=reactor, dnssec=True)
    assert (await find.lookup("signed.example", "MX")).secure


@ensureDeferred
async def test_no_more_answers_than_allowed_are_kept(counting: Any) -> None:
    """S8."""
    server, address = counting()
    find = made(address, cache=2)
    for name in ("a", "b", "c", "a"):
        await find.lookup(f"{name}.example", "A")
    assert len(server.asked) == 4
    await find.lookup("c.example", "A")
    assert len(server.asked) == 4
    assert len(find._known) == 2


# The system's.


@ensureDeferred
async def test_the_system_s_name_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read anew when the file changes."""
    file = tmp_path / "resolv.conf"
    monkeypatch.setattr(module, "_RESOLV_CONF", str(file))
    find = Resolver(Dns(timeout=0.2), clock=reactor)
    with pytest.raises(NotNow, match="no name server is known"):
        await find.lookup("a.example", "A")
    assert find.name_servers() == ()
    file.write_text("nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    assert find.name_servers() == (NameServer("127.0.0.1"), NameServer("192.0.2.53"))
    assert [each.is_here for each in find.name_servers()] == [True, False]


def test_dnspython_is_not_imported_for_nothing() -> None:
    """The start of a relay that does not ask DNS does not pay for it."""
    code = (
        "import sys, netserve.protocols.smtp_relay;"
        "print([name for name in sys.modules if name == 'dns' or name.startswith('dns.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


# The settings.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("127.0.0.1", "127.0.0.1:53"),
        ("127.0.0.1:5353", "127.0.0.1:5353"),
        ("::1", "[::1]:53"),
        ("[::1]", "[::1]:53"),
        ("[2001:DB8::1]:5353", "[2001:db8::1]:5353"),
    ],
)
def test_name_servers(text: str, shown: str) -> None:
    assert str(NameServer(text)) == shown


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ("dns.example.org", "not a name server; write an address"),
        ("127.0.0.1:x", "not a name server"),
        ("127.0.0.1:0", "not a port: 0"),
        ("127.0.0.1:70000", "not a port: 70000"),
        (53, "not a name server"),
        (["::1", "[::1]:53"], "the same name server twice"),
    ],
)
def test_bad_name_servers(servers: Any, message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Dns.model_validate({"servers": servers})
    assert message in str(raised.value)


# The cache.


def test_the_cache() -> None:
    now = [0.0]
    cache: TimedCache[str, int] = TimedCache(2, lambda: now[0])
    cache.put("a", 1, 10)
    cache.put("b", 2, 20)
    assert cache.get("a") == 1
    cache.put("c", 3, 20)  # b was asked for longest ago
    assert [cache.get(key) for key in "abc"] == [1, None, 3]
    now[0] = 10
    assert [cache.get(key) for key in "ac"] == [None, 3]
    cache.put("c", 4, 0)
    assert cache.get("c") is None
    assert len(cache) == 0
