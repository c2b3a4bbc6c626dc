"""Delivery by MX: real name servers (unbound), real next hops on many addresses of loopback."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pytest_twisted import blockon, ensureDeferred
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import Logger

from netserve.config.listen import Listen
from netserve.http import HttpClients
from netserve.mail.envelope import Outcome
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox import NotTried
from netserve.outbox.model import Destination
from netserve.protocols.smtp_relay.delivery.courier import RouteCourier
from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.delivery.dns.options import Dns
from netserve.protocols.smtp_relay.delivery.dns.own import OwnAddresses, is_of_this_machine
from netserve.protocols.smtp_relay.delivery.outside import Outside
from netserve.protocols.smtp_relay.delivery.slots import Slots
from netserve.protocols.smtp_relay.delivery.smtp.domains import DomainPools
from netserve.protocols.smtp_relay.delivery.smtp.targets import (
    AVOIDED,
    MOST_AVOIDED,
    Avoided,
    Target,
)
from netserve.protocols.smtp_relay.routes import Route
from netserve.testing.dns import Zone, unbound
from netserve.testing.next_hop import Box, next_hop, queued
from netserve.testing.process import free_port
from netserve.testing.programs import missing
from netserve.testing.queue import until

reactor: Any = _reactor
LOOPBACK = "127.0.0.0/8"

ZONES = [
    Zone("shop.example", "@ MX 10 mx1\n@ MX 20 mx2\nmx1 A 127.0.1.1\nmx2 A 127.0.1.2"),
    Zone("three.example", "@ MX 1 a\n@ MX 2 b\n@ MX 3 c\na A 127.0.1.1\nb A 127.0.1.2\n"
         "c A 127.0.1.3"),
    Zone("equal.example", "@ MX 1 a\n@ MX 1 b\na A 127.0.1.1\nb A 127.0.1.2"),
    Zone("many.example", "@ MX 1 a\n" + "\n".join(f"a A 127.0.2.{at}" for at in range(1, 9))),
    Zone("six.example", "@ MX 1 mx\nmx AAAA ::1"),
    Zone("null.example", "@ MX 0 ."),
    Zone("without.example", "@ A 127.0.1.1"),
    Zone("nothing.example", "@ TXT nothing"),
    Zone("lost.example", "@ MX 1 gone\n@ MX 2 mx.nowhere.example."),
    Zone("private.example", "@ MX 1 mx\nmx A 127.0.1.1"),
    Zone("self.example", "@ MX 10 relay.me.example.\n@ MX 20 backup\nbackup A 127.0.1.1"),
    Zone("better.example", "@ MX 5 mx\n@ MX 10 relay.me.example.\n@ MX 20 backup\nmx A 127.0.1.1"),
    Zone("relay.me.example", "@ A 127.0.1.1"),
    Zone("xn--bcher-kva.example", "@ MX 1 mx\nmx A 127.0.1.1"),
    Zone("bogus.example", "@ MX 1 mx\nmx A 127.0.1.1", bogus=True),
    Zone("half.example", "@ MX 1 mx.bogus.example.\n@ MX 2 mx\nmx A 127.0.1.2"),
    Zone("dark.example", "@ MX 1 mx.bogus.example."),
    *(Zone(f"d{at}.example", f"@ MX 1 mx\nmx A 127.0.1.{at}") for at in range(1, 5)),
]  # fmt: skip


@pytest.fixture(scope="module")
def name_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with unbound(tmp_path_factory.mktemp("unbound"), ZONES) as server:
        yield server


class Relay:
    """A courier with routes by MX, and what it logged."""

    def __init__(
        self, server: str, *ways: dict[str, Any], listens: Sequence[str] = (), **outside: Any
    ) -> None:
        self.logged: list[dict[str, Any]] = []
        routes = [Route.model_validate({"deliver": {"mx": True, **way}}) for way in ways]
        log = Logger(observer=self.logged.append)
        self.courier = RouteCourier(
            routes,
            hostname="Relay.me.example",
            reactor=reactor,
            log=log,
            http=HttpClients(reactor=reactor, log=log),
            outside=Outside(
                dns=Dns.model_validate({"servers": server, "timeout": "3s"}),
                listens=tuple(map(Listen, listens)),
                random=Random(0),
                **outside,
            ),
        )

    def send(self, *to: str, message: QueuedMessage | None = None) -> Deferred[Any]:
        message = message or queued()
        recipients = [QueuedRecipient(at, address) for at, address in enumerate(to)]
        destination = self.courier.destination(message, recipients[0])
        return self.courier.deliver(message, recipients, destination)

    async def sent(self, *to: str, **options: Any) -> list[Outcome]:
        outcomes = await self.send(*to, **options)
        return [outcomes[at] for at in sorted(outcomes)]

    async def says(self, *to: str, **options: Any) -> str:
        return "; ".join(f"{each.verdict} {each.reply}" for each in await self.sent(*to, **options))

    @property
    def pools(self) -> DomainPools:
        (pools,) = self.courier._channels.values()
        assert isinstance(pools, DomainPools)
        return pools

    def warnings(self) -> list[str]:
        return [each["remote"] for each in self.logged if each["log_level"].name == "warn"]


@pytest.fixture
def relay(name_server: str) -> Iterator[Callable[..., Relay]]:
    relays: list[Relay] = []

    def make(port: int, *, listens: Sequence[str] = (), **way: Any) -> Relay:
        values = {"port": port, "allow_addresses": LOOPBACK, "tls": "none", **way}
        relays.append(Relay(name_server, values, listens=listens))
        return relays[-1]

    yield make
    for each in relays:
        blockon(Deferred.fromCoroutine(each.courier.close()))


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def hop6(port: int) -> Iterator[Box]:
    box = Box()
    try:
        socket.create_server(("::1", port), family=socket.AF_INET6).close()
    except OSError:
        missing("this machine has no IPv6")
    with next_hop(box, host="::1", port=port):
        yield box


@pytest.fixture
def hop(port: int) -> Iterator[Callable[..., Box]]:
    with contextlib.ExitStack() as running:

        def start(last: int = 1, **options: Any) -> Box:
            box = Box()
            running.enter_context(next_hop(box, host=f"127.0.1.{last}", port=port, **options))
            return box

        yield start


class Rude(Protocol):
    """Says its lines, one to each that comes, and closes behind the last."""

    factory: Any

    def connectionMade(self) -> None:
        self.factory.count += 1
        self.left = list(self.factory.lines)
        self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        if self.left:
            self.transport.write(self.left.pop(0))
        if not self.left:
            self.transport.loseConnection()


@pytest.fixture
def rude(port: int) -> Iterator[Callable[..., Any]]:
    ports: list[Any] = []

    def start(last: int, *lines: bytes) -> Any:
        factory: Any = Factory.forProtocol(Rude)
        factory.count, factory.lines = 0, lines or (b"554 no\r\n",)
        ports.append(reactor.listenTCP(port, factory, interface=f"127.0.1.{last}"))
        return factory

    yield start
    for each in ports:
        blockon(each.stopListening())


# Where it goes.


@ensureDeferred
async def test_to_the_best_server(relay: Any, hop: Any, port: int) -> None:
    best, backup = hop(1), hop(2)
    (outcome,) = await relay(port).sent("r@Shop.Example")
    assert (outcome.verdict, str(outcome.reply)) == ("delivered", "250 2.0.0 taken")
    assert outcome.remote == f"mx1.shop.example[127.0.1.1]:{port}"
    assert len(best.envelopes) == 1
    assert best.envelopes[0].rcpt_tos == ["r@Shop.Example"]
    assert backup.envelopes == []


@ensureDeferred
async def test_the_next_server_takes_over(relay: Any, hop: Any, port: int) -> None:
    """It is remembered for a while that the best one does not answer."""
    box, sender = hop(2), relay(port, uses=1)
    for number in range(3):
        (outcome,) = await sender.sent("r@shop.example", message=queued(number=number))
        assert outcome.remote == f"mx2.shop.example[127.0.1.2]:{port}"
    assert len(box.envelopes) == 3
    assert sender.warnings() == [f"mx1.shop.example[127.0.1.1]:{port}"]


@ensureDeferred
async def test_equal_servers_share(relay: Any, hop: Any, port: int) -> None:
    boxes, sender = [hop(1), hop(2)], relay(port, uses=1)
    for number in range(20):
        await sender.sent("r@equal.example", message=queued(number=number))
    assert all(len(box.envelopes) > 2 for box in boxes)


@pytest.mark.parametrize(
    ("to", "remote"),
    [
        ("r@without.example", "without.example[127.0.1.1]"),
        ("r@[127.0.1.1]", "127.0.1.1[127.0.1.1]"),
        ("r@bücher.example", "mx.xn--bcher-kva.example[127.0.1.1]"),
        ("r@BÜCHER.example", "mx.xn--bcher-kva.example[127.0.1.1]"),
        ("r@better.example", "mx.better.example[127.0.1.1]"),
    ],
)
@ensureDeferred
async def test_other_ways_to_a_server(
    relay: Any, hop: Any, port: int, to: str, remote: str
) -> None:
    """No MX, an address literal, an internationalised domain, and this host among the others."""
    box = hop(1, enable_SMTPUTF8=True)
    (outcome,) = await relay(port).sent(to)
    assert outcome.verdict == "delivered", outcome
    assert outcome.remote == f"{remote}:{port}"
    assert len(box.envelopes) == 1


@ensureDeferred
async def test_by_ipv6(relay: Any, hop6: Box, port: int) -> None:
    sender = relay(port, allow_addresses=["::1"])
    (outcome,) = await sender.sent("r@[IPv6:0:0::1]")
    assert (outcome.verdict, outcome.remote) == ("delivered", f"::1[::1]:{port}")
    (outcome,) = await sender.sent("r@six.example")
    assert (outcome.verdict, outcome.remote) == ("delivered", f"mx.six.example[::1]:{port}")
    assert len(hop6.envelopes) == 2


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("r@null.example", "failed 556 5.1.10 null.example takes no mail (null MX)"),
        ("r@nowhere.example", "failed 550 5.1.2 the domain nowhere.example has no mail server"),
        ("r@nothing.example", "failed 550 5.1.2 the domain nothing.example has no mail server"),
        ("r@lost.example", "failed 550 5.4.4 the mail servers of lost.example have no address"),
        ("r@self.example", "failed 554 5.4.6 mail for self.example would come back to this host"),
        ("r@relay.me.example", "failed 554 5.4.6 mail for relay.me.example would come back"),
        ("r@bogus.example", "deferred 451 4.4.3 DNS does not answer about bogus.example (MX)"),
        ("r@dark.example", "deferred 451 4.4.3 DNS does not answer for the servers of dark"),
        ("r@a..b", "failed 553 5.1.2 the domain of the address is no name"),
        ("postmaster", "failed 553 5.1.3 the address has no domain"),
    ],
)
@ensureDeferred
async def test_no_server(relay: Any, port: int, to: str, says: str) -> None:
    (outcome,) = await relay(port).sent(to)
    assert f"{outcome.verdict} {outcome.reply}".startswith(says)
    assert outcome.remote == ""


@ensureDeferred
async def test_a_host_that_can_not_be_looked_up_is_passed_over(
    relay: Any, hop: Any, port: int
) -> None:
    hop(2)
    assert (await relay(port).sent("r@half.example"))[0].verdict == "delivered"


@pytest.mark.parametrize("at", ["private.example", "[127.0.1.1]", "[IPv6:::1]", "[0.0.0.0]"])
@ensureDeferred
async def test_addresses_that_are_not_public(relay: Any, hop: Any, port: int, at: str) -> None:
    """Who may send must not reach what is on this machine by a domain of his own."""
    box = hop(1)
    says = await relay(port, allow_addresses="192.0.2.0/24").says(f"r@{at}")
    assert says.startswith("failed 550 5.4.4 no mail is sent to such an address")
    assert box.envelopes == []


@ensureDeferred
async def test_own_addresses(relay: Any, hop: Any, port: int) -> None:
    hop(1)
    sender = relay(port, listens=[f"tcp:{port}:interface=127.0.1.1", "udp:53"])
    assert (await sender.says("r@shop.example")).startswith("failed 554 5.4.6")
    other = relay(port, listens=[f"tcp:{port}:interface=127.0.1.9", f"tcp:{port + 1}"])
    assert (await other.sent("r@shop.example"))[0].verdict == "delivered"


@ensureDeferred
async def test_what_is_done_to_mail_on_its_way_out_is_done_by_mx_too(
    relay: Any, hop: Any, port: int
) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    box = hop(1)
    sender = relay(
        port,
        dkim={"domain": "example.org", "selector": "s1", "key": pem},
        rewrite={"sender": "office@example.org"},
    )
    message = queued(b"From: a@example.org\r\n\r\nHello\r\n")
    assert (await sender.sent("r@shop.example", message=message))[0].verdict == "delivered"
    (envelope,) = box.envelopes
    assert envelope.mail_from == "office@example.org"
    assert envelope.original_content.startswith(b"DKIM-Signature:")


# Limits.


@ensureDeferred
async def test_no_more_than_two_sessions(relay: Any, rude: Any, port: int) -> None:
    """S8."""
    servers = [rude(last) for last in (1, 2, 3)]
    (outcome,) = await relay(port).sent("r@three.example")
    assert outcome.verdict == "deferred"
    assert "does not greet us: 554 no" in outcome.reply.text
    assert [server.count for server in servers] == [1, 1, 0]


@ensureDeferred
async def test_no_more_than_five_addresses(relay: Any, port: int) -> None:
    """S8."""
    sender = relay(port)
    (outcome,) = await sender.sent("r@many.example")
    assert (outcome.verdict, outcome.reply.text) == ("deferred", "the connection was refused")
    assert not outcome.reached
    assert len(sender.warnings()) == 5


@ensureDeferred
async def test_what_one_server_puts_off_the_next_one_gets(relay: Any, hop: Any, port: int) -> None:
    """In the same attempt, and only who was put off."""
    first, second, third = hop(1), hop(2), hop(3)
    first.later = ["450 4.2.0 not now"]
    to = ["a@three.example", "later@three.example", "no@three.example"]
    outcomes = await relay(port).sent(*to)
    assert [each.verdict for each in outcomes] == ["delivered", "delivered", "failed"]
    assert [each.remote.partition(".")[0] for each in outcomes] == ["a", "b", "a"]
    assert [box.rcpt_tos for box in first.envelopes] == [["a@three.example"]]
    assert [box.rcpt_tos for box in second.envelopes] == [["later@three.example"]]
    assert third.envelopes == []


@pytest.mark.parametrize("limit", ["connections", "total_connections"])
@ensureDeferred
async def test_a_kept_connection_makes_room_for_one_to_the_next_server(
    relay: Any, hop: Any, port: int, limit: str
) -> None:
    """Where there may be no more connections, and the one that there is is of no use."""
    first, second = hop(1), hop(2)
    first.later = ["450 4.2.0 not now"] * 2
    sender = relay(port, **{limit: 1})
    for number in range(2):
        (outcome,) = await sender.sent("r@shop.example", message=queued(number=number))
        assert (outcome.verdict, outcome.remote.partition(".")[0]) == ("delivered", "mx2")
        assert sender.pools.connections == 1
    assert len(second.envelopes) == 2


@pytest.mark.parametrize("limit", ["connections", "total_connections"])
@ensureDeferred
async def test_a_connection_makes_room_once_it_has_nothing_to_do(
    relay: Any, hop: Any, port: int, limit: str
) -> None:
    first, second = hop(1), hop(2)
    first.later = ["450 4.2.0 not now"]
    sender = relay(port, **{limit: 1})
    sending = [sender.send("r@shop.example", message=queued(number=at)) for at in range(2)]
    assert [outcomes[0].verdict for outcomes in await gatherResults(sending)] == ["delivered"] * 2
    assert (len(first.envelopes), len(second.envelopes)) == (1, 1)


@ensureDeferred
async def test_a_message_is_begun_with_two_servers_at_most(relay: Any, hop: Any, port: int) -> None:
    first, second, third = hop(1), hop(2), hop(3)
    first.later, second.later = ["450 4.2.0 first"] * 2, ["450 4.2.0 second"] * 2
    sender = relay(port)
    for _ in range(2):  # by new connections, then by kept ones
        assert await sender.says("r@three.example") == "deferred 450 4.2.0 second"
    assert third.envelopes == []
    assert (await sender.sent("r@three.example"))[0].verdict == "delivered"


@ensureDeferred
async def test_a_failed_session_counts_too(relay: Any, rude: Any, hop: Any, port: int) -> None:
    server, second, third = rude(1), hop(2), hop(3)
    second.later = ["450 4.2.0 not now"]
    assert await relay(port).says("r@three.example") == "deferred 450 4.2.0 not now"
    assert (server.count, third.envelopes) == (1, [])


@ensureDeferred
async def test_where_there_is_no_other_server_the_first_one_s_word_stands(
    relay: Any, hop: Any, port: int
) -> None:
    box, sender = hop(1), relay(port)
    box.later = ["450 4.2.0 alone"] * 2
    assert await sender.says("r@without.example") == "deferred 450 4.2.0 alone"
    (outcome,) = await sender.sent("r@shop.example")  # its second server is dead
    assert (str(outcome.reply), outcome.reached) == ("450 4.2.0 alone", True)


@ensureDeferred
async def test_a_server_that_leaves_puts_off_too(
    relay: Any, rude: Any, hop: Any, port: int
) -> None:
    """With its last connection the pool is gone, but the message is not through."""
    server = rude(1, b"220 mx\r\n", b"250 mx\r\n", b"421 4.3.2 going down\r\n")
    box, sender = hop(2), relay(port)
    (outcome,) = await sender.sent("r@shop.example")
    assert (outcome.verdict, outcome.remote.partition("[")[0]) == ("delivered", "mx2.shop.example")
    assert (server.count, len(box.envelopes)) == (1, 1)
    assert sender.pools.domains == 1


@ensureDeferred
async def test_many_messages_that_can_not_be_delivered(relay: Any, port: int) -> None:
    sender = relay(port, connections=1)
    sending = [sender.send("r@null.example", message=queued(number=at)) for at in range(500)]
    kinds = {outcomes[0].verdict for outcomes in await gatherResults(sending)}
    assert kinds == {"failed"}
    assert sender.pools.domains == 0


# Connections.


@ensureDeferred
async def test_connections_are_kept_for_each_domain(relay: Any, hop: Any, port: int) -> None:
    boxes, sender = [hop(1), hop(2)], relay(port)
    for number in range(3):
        for at in (1, 2):
            await sender.sent(f"r@d{at}.example", message=queued(number=number))
    assert [len(box.peers) for box in boxes] == [1, 1]
    assert (sender.pools.connections, sender.pools.domains) == (2, 2)


@ensureDeferred
async def test_a_pool_goes_with_its_last_connection(relay: Any, hop: Any, port: int) -> None:
    hop(1)
    sender = relay(port, idle="100ms")
    await sender.sent("r@d1.example")
    await sender.sent("r@null.example")
    await until(lambda: sender.pools.domains == 0, reactor=reactor)
    assert sender.pools.connections == 0
    assert (await sender.sent("r@d1.example"))[0].verdict == "delivered"


@ensureDeferred
async def test_never_more_connections_than_allowed(relay: Any, hop: Any, port: int) -> None:
    """S8: over all domains; those that are kept make room."""
    boxes = [hop(at) for at in range(1, 5)]
    sender = relay(port, total_connections=2, connections=2)
    to = [f"r@d{at}.example" for at in range(1, 5)] * 5
    most = 0

    async def send(number: int, address: str) -> str:
        nonlocal most
        (outcome,) = await sender.sent(address, message=queued(number=number))
        most = max(most, sender.pools.connections)
        return outcome.verdict

    sending = [Deferred.fromCoroutine(send(at, address)) for at, address in enumerate(to)]
    assert sender.pools.connections == 2
    assert set(await gatherResults(sending)) == {"delivered"}
    assert most <= 2
    assert [len(box.envelopes) for box in boxes] == [5] * 4


@ensureDeferred
async def test_closing_gives_back_what_waits_for_dns(name_server: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        sender = Relay(address, {"port": port, "allow_addresses": LOOPBACK})
        sending = sender.send("r@shop.example")
        await until(lambda: sender.pools.connections == 1, reactor=reactor)
        await Deferred.fromCoroutine(sender.courier.close())
        with pytest.raises(NotTried):
            await sending


@ensureDeferred
async def test_routes_change_under_way(relay: Any, hop: Any, port: int) -> None:
    hop(1)
    sender = relay(port)
    await sender.sent("r@shop.example")
    message, who = queued(), QueuedRecipient(0, "r@shop.example")
    old, pools = sender.courier.destination(message, who), sender.pools
    sender.courier.use([])
    await until(lambda: pools.connections == 0, reactor=reactor)
    with pytest.raises(NotTried):
        await sender.courier.deliver(message, [who], old)


# Destinations.


def test_each_domain_is_a_destination(name_server: str) -> None:
    ways = [{}, {"tls": "encrypt"}]
    sender = Relay(name_server, *ways)

    def destination(to: str) -> Destination:
        return sender.courier.destination(queued(), QueuedRecipient(0, to))

    one = destination("a@Example.ORG")
    assert (one.key, one.concurrency, one.batch) == ("mx:example.org", 20, 50)
    assert destination("b@example.org") == one
    assert destination("b@bücher.example").key == "mx:xn--bcher-kva.example"
    assert destination("b@[IPv6:::1]").key == "mx:[::1]"
    assert destination("postmaster").key == "mx:(no domain)"
    second = Route.model_validate(
        {"match": {"recipient": "*@x.example"}, "deliver": {"mx": True, "tls": "encrypt"}}
    )
    sender.courier.use([second, Route.model_validate({"deliver": {"mx": True}})])
    assert destination("a@x.example").key == "mx:x.example"
    assert destination("a@y.example").key == "mx (2):y.example"


# The parts.


class Pool:
    """Asks for slots."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.wants = self.has = self.idles = 0

    def want(self, more: int) -> None:
        self.wants += more
        self.slot_is_free()

    def slot_is_free(self) -> None:
        while self.wants and self.slots.take(self):
            self.has += 1
            self.wants -= 1

    def idle(self) -> None:
        self.idles += 1
        self.slots.idle(self)

    def let_go(self) -> None:
        self.idles -= 1
        if not self.idles:
            self.slots.busy(self)
        self.close()

    def close(self) -> None:
        self.has -= 1
        self.slots.give_back()


def test_slots_go_to_who_has_waited_longest() -> None:
    slots = Slots(2)
    first, second, third = Pool(slots), Pool(slots), Pool(slots)
    for pool, wants in ((first, 3), (second, 1), (third, 1)):
        pool.want(wants)
    assert [pool.has for pool in (first, second, third)] == [2, 0, 0]
    first.close()
    assert [pool.has for pool in (first, second, third)] == [2, 0, 0]  # it asked before the others
    first.close()
    assert [pool.has for pool in (first, second, third)] == [1, 1, 0]
    slots.forget(third)
    third.wants = 0
    second.close()
    assert (slots.used, second.has, third.has) == (1, 0, 0)


def test_what_is_idle_makes_room() -> None:
    slots = Slots(2)
    first, second, third = Pool(slots), Pool(slots), Pool(slots)
    first.want(2)
    first.idle()
    first.idle()
    second.want(1)  # there is an idle one
    assert (first.has, first.idles, second.has) == (1, 1, 1)
    third.want(1)
    assert (first.has, third.has) == (0, 1)
    first.want(1)  # there is none now, but soon
    assert first.has == 0
    second.idle()
    assert (second.has, first.has, slots.used) == (0, 1, 2)


def test_no_more_servers_than_allowed_are_remembered() -> None:
    """S8."""
    clock = Clock()
    avoided = Avoided(clock)
    targets = [Target(f"h{at}", 25) for at in range(MOST_AVOIDED + 10)]
    for target in targets:
        assert avoided.add(target)
        assert not avoided.add(target)
    assert avoided.last(targets[8:12]) == [targets[8], targets[9], targets[10], targets[11]]
    assert avoided.last([targets[10], targets[0]]) == [targets[0], targets[10]]
    clock.advance(AVOIDED)
    assert avoided.last([targets[10], targets[0]]) == [targets[10], targets[0]]
    assert avoided.remove(targets[10])
    assert not avoided.remove(targets[10])


def test_addresses_of_this_machine() -> None:
    assert is_of_this_machine(ip_address("127.0.0.1"))
    assert is_of_this_machine(ip_address("::1"))
    assert not is_of_this_machine(ip_address("192.0.2.1"))
    everywhere = OwnAddresses([Listen("haproxy:tcp:25"), Listen("unix:/x")], 25)
    assert everywhere(ip_address("127.0.0.1"))
    assert not everywhere(ip_address("192.0.2.1"))
    assert not OwnAddresses([Listen("tcp:26")], 25)(ip_address("127.0.0.1"))


@pytest.mark.parametrize(
    ("deliver", "message"),
    [
        ({"mx": False}, "Input should be True"),
        ({"mx": True, "smarthost": "a:25"}, "has smarthost and mx"),
        (
            {"mx": True, "login": {"user": "u", "password": "p"}},
            "login: only together with smarthost",
        ),
        ({"mx": True, "port": 0}, "greater than or equal to 1"),
        ({"smarthost": "a:25", "port": 26}, "port: only together with mx"),
        ({"discard": True, "ca": "x"}, "ca: only together with smarthost or mx"),
        (
            {"mx": True, "tls": "dane", "ca": "x"},
            "ca: only together with tls: verify, mta-sts or dane+mta-sts",
        ),
        ({"mx": True, "allow_addresses": "here"}, "not a network"),
    ],
)
def test_bad_ways(deliver: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - what it says is looked at below
        Deliver.model_validate(deliver)
    assert message in str(raised.value)
