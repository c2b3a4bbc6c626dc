"""Which servers take the mail for a domain, by what DNS says of it (RFC 5321, 5.1; RFC 7505).

What is asked of DNS is asked elsewhere; here the answers are made into the addresses to try, in
their order, or into the reason why there are none. The steps, for one recipient::

    next_hop("user@example.org")        the domain as DNS knows it, or an address literal
    by_preference(exchanges, …)         its MX hosts in order; random where they are equal
    addresses_to_try(hosts, …)          their addresses, no more than the limit

Mail is never sent to where it already is: this host's own name or address in the list takes
itself out of it, and every host that is not preferred to it. That is decided by preference alone,
so two servers that are each other's backups do not pass mail to and fro.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from random import Random
from typing import Final, TypeAlias

import idna

from netserve.errors import UpstreamError
from netserve.mail.address import split_mailbox
from netserve.mail.envelope import Reply

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_ADDRESSES: Final = 5
"""Addresses that are tried in one attempt."""
MAX_SESSIONS: Final = 2
"""Servers that a message is begun with in one attempt."""
MAX_HOSTS: Final = 10
"""MX hosts of one domain that are looked up."""

_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*"
)


class Undeliverable(UpstreamError):
    """The mail can't be delivered there, and waiting does not change that.

    Arguments:
        reply: what the sender is told.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class NotNow(UpstreamError):
    """DNS has no answer for now."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One MX record; the host is in lower case, without its last dot, and empty for the root."""

    preference: int
    host: str


@dataclass(frozen=True, slots=True)
class Host:
    """What was found of one server.

    Arguments:
        name: in lower case.
        preference: of its MX record; 0 where the domain has none, and is the host itself.
        addresses: in the order of DNS.
        failed: its addresses could not be looked up.
    """

    name: str
    preference: int
    addresses: tuple[Address, ...] = ()
    failed: bool = False


def is_host_name(name: str) -> bool:
    """Whether DNS can be asked for this, and it can be shown: lower case ASCII, no last dot."""
    return _NAME.fullmatch(name) is not None


def next_hop(mailbox: str) -> str:
    """Where mail for a mailbox goes: a domain as DNS knows it, or an address literal.

    Returns:
        The domain in lower case and A-labels, or the address in brackets, in its one form.

    Raises:
        Undeliverable: the mailbox has no domain, or one that is no name.
    """
    domain = split_mailbox(mailbox)[2]
    if not domain:
        raise Undeliverable(Reply(553, "5.1.3", "the address has no domain"))
    if domain.startswith("["):
        address = _literal(domain)
        if address is None:
            raise Undeliverable(Reply(553, "5.1.3", "the address literal is malformed"))
        return f"[{address}]"
    name = domain.lower().removesuffix(".")
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode()
        except idna.IDNAError:
            raise Undeliverable(_NO_NAME) from None
    if not is_host_name(name):
        raise Undeliverable(_NO_NAME)
    return name


def literal_address(hop: str) -> Address | None:
    """The address of a `next_hop` that is a literal, or None for a domain."""
    return ipaddress.ip_address(hop[1:-1]) if hop.startswith("[") else None


def _literal(domain: str) -> Address | None:
    if not domain.endswith("]"):
        return None
    text = domain[1:-1]
    try:
        if text[:5].lower() == "ipv6:":
            return ipaddress.IPv6Address(text[5:])
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def by_preference(
    domain: str, exchanges: Iterable[Exchange], *, own_name: str, random: Random
) -> list[Exchange]:
    """The MX hosts to look up, the best first, those that are equal in random order.

    Arguments:
        domain: for the words of an error.
        exchanges: the MX records, at least one.
        own_name: this host's, in lower case.
        random: the source of the order.

    Raises:
        Undeliverable: the domain takes no mail (RFC 7505), or its best server is this host.
    """
    best: dict[str, int] = {}
    for exchange in exchanges:
        if exchange.host:
            known = best.get(exchange.host, exchange.preference)
            best[exchange.host] = min(known, exchange.preference)
    if not best:
        raise Undeliverable(Reply(556, "5.1.10", f"{domain} takes no mail (null MX)"))
    own = best.get(own_name)
    hosts = [Exchange(at, host) for host, at in best.items() if own is None or at < own]
    if not hosts:
        raise Undeliverable(_loop(domain))
    random.shuffle(hosts)
    hosts.sort(key=lambda exchange: exchange.preference)
    return hosts[:MAX_HOSTS]


def addresses_to_try(
    domain: str,
    hosts: Sequence[Host],
    *,
    is_own: Callable[[Address], bool],
    refusal: Callable[[Address], str | None],
    limit: int = MAX_ADDRESSES,
) -> list[tuple[Host, Address]]:
    """The addresses to try, in order; those of one host alternate between IPv6 and IPv4.

    The best host does not take up all of them where there is another.

    Arguments:
        domain: for the words of an error.
        hosts: in the order of `by_preference`.
        is_own: whether a connection to this address would reach this relay itself.
        refusal: why mail is not sent to an address, or None where it may be.
        limit: the most addresses.

    Raises:
        Undeliverable: there is no address, none that may be connected to, or only our own.
        NotNow: there is none for now, as DNS did not answer.
    """
    own = [host.preference for host in hosts if any(map(is_own, host.addresses))]
    if own:
        worst = min(own)
        hosts = [host for host in hosts if host.preference < worst]
        if not hosts:
            raise Undeliverable(_loop(domain))
    ways: list[tuple[Host, Address]] = []
    refused = ""
    for host in hosts:
        for address in _alternating(host.addresses):
            reason = refusal(address)
            if reason is None:
                ways.append((host, address))
            else:
                refused = refused or f"{host.name}: {reason}"
    if ways:
        return _first(ways, limit)
    if any(host.failed for host in hosts):
        raise NotNow(f"DNS does not answer for the servers of {domain}")
    if refused:
        raise Undeliverable(Reply(550, "5.4.4", f"no mail is sent to such an address: {refused}"))
    raise Undeliverable(Reply(550, "5.4.4", f"the mail servers of {domain} have no address"))


def _first(ways: list[tuple[Host, Address]], limit: int) -> list[tuple[Host, Address]]:
    """The first ones, with one of a second host: the best may have many, and none that answers."""
    chosen, rest = ways[:limit], ways[limit:]
    best = ways[0][0]
    if chosen[-1][0] is best:
        chosen[-1:] = next(([way] for way in rest if way[0] is not best), chosen[-1:])
    return chosen


def no_such_domain(domain: str) -> Undeliverable:
    """For a domain that does not exist, or has neither MX nor addresses."""
    return Undeliverable(Reply(550, "5.1.2", f"the domain {domain} has no mail server"))


def _alternating(addresses: Iterable[Address]) -> list[Address]:
    """IPv6 and IPv4 by turns, so that a network without one of them does not use up the tries."""
    families: dict[int, list[Address]] = {6: [], 4: []}
    for address in addresses:
        families[address.version].append(address)
    pairs = zip_longest(families[6], families[4])
    return [address for address in chain.from_iterable(pairs) if address is not None]


def _loop(domain: str) -> Reply:
    return Reply(554, "5.4.6", f"mail for {domain} would come back to this host")


_NO_NAME: Final = Reply(553, "5.1.2", "the domain of the address is no name")
