"""DNS for delivery: dnspython and asyncio inside, plain answers and Deferreds outside.

What comes out is text, numbers and addresses; no name that can't be shown is among them. An answer
is kept for as long as its TTL says, a question that got none for a few seconds. The same question
is asked once, however many wait for it.

`Answer.secure` is the AD bit: that the name server has validated the answer by DNSSEC, or
validated that there is none. It is worth as much as the name server and the way to it.

dnspython is imported with the first question that is asked, or by `preload`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from twisted.internet.defer import Deferred, succeed

from netserve.crossing import from_asyncio
from netserve.mail.mx import Address, Exchange, NotNow, is_host_name
from netserve.mail.tlsa import TLSA
from netserve.protocols.smtp_relay.delivery.dns.cache import TimedCache
from netserve.protocols.smtp_relay.delivery.dns.options import Dns, NameServer

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as Asker

Kind: TypeAlias = Literal["A", "AAAA", "CNAME", "MX", "TLSA", "TXT"]

MAX_RECORDS: Final = 100
"""Records of one answer that are looked at."""
LONGEST: Final = 86_400.0
"""Seconds that an answer is kept for at most."""
LONGEST_NEGATIVE: Final = 300.0
"""The same where there is nothing."""
FAILURE: Final = 5.0
"""Seconds for which a question that got no answer is not asked again."""

_RESOLV_CONF: Final = "/etc/resolv.conf"
_PAYLOAD: Final = 1232
"""Bytes of a datagram that pass everywhere; larger answers come by TCP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says to one question.

    Arguments:
        records: an `Exchange` for MX, an address for A and AAAA, a `TLSA`, a text for TXT, a host
            for CNAME; empty where there is none.
        exists: whether the name exists.
        secure: whether the name server has validated it.
        name: the name behind all CNAMEs, in lower case.
    """

    records: tuple[Any, ...]
    exists: bool
    secure: bool
    name: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of a host.

    Arguments:
        addresses: of both kinds; maybe none.
        exists: whether the name exists.
        secure: whether the name server has validated all of them.
        name: the name behind all CNAMEs, in lower case.
    """

    addresses: tuple[Address, ...]
    exists: bool
    secure: bool
    name: str


class Resolver:
    """Asks the name servers of the settings.

    Arguments:
        settings: of the file.
        clock: the reactor, for the time.
        dnssec: ask for validated answers.
    """

    def __init__(self, settings: Dns, *, clock: Any, dnssec: bool = False) -> None:
        self._settings = settings
        self._dnssec = dnssec
        self._known: TimedCache[tuple[str, Kind], Answer | NotNow] = TimedCache(
            settings.cache, clock.seconds
        )
        self._asking: dict[tuple[str, Kind], asyncio.Task[Answer]] = {}
        self._asker: Asker | None = None
        self._read_at = 0  # the time of the resolv.conf that the asker has

    # For Twisted's side.

    def lookup(self, name: str, kind: Kind) -> Deferred[Answer]:
        """Ask one question.

        Arguments:
            name: in lower case and ASCII, without a last dot.
            kind: of the records.

        Errors:
            NotNow: there was no answer.
        """
        known = self._known.get((name, kind))
        if isinstance(known, Answer):
            return succeed(known)
        return from_asyncio(self.ask(name, kind))

    def addresses(self, host: str) -> Deferred[Addresses]:
        """The addresses of a host.

        Errors:
            NotNow: there was no answer, or none about one kind and nothing of the other.
        """
        return from_asyncio(self.ask_addresses(host))

    def name_servers(self) -> tuple[NameServer, ...]:
        """Who is asked; empty where nobody is known."""
        if self._settings.servers:
            return self._settings.servers
        try:
            asker = self._current_asker()
        except NotNow:
            return ()
        return tuple(NameServer(str(each)) for each in asker.nameservers if isinstance(each, str))

    def close(self) -> None:
        """Ask no more; who waits gets an error."""
        for task in list(self._asking.values()):
            task.cancel()

    # For asyncio's side.

    async def ask(self, name: str, kind: Kind) -> Answer:
        """As `lookup`.

        Raises:
            NotNow: there was no answer.
        """
        key = (name, kind)
        known = self._known.get(key)
        if isinstance(known, NotNow):
            raise NotNow(str(known))
        if known is not None:
            return known
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = asyncio.ensure_future(self._ask(name, kind))
            task.add_done_callback(partial(self._asked, key))
        # Who gives up does not take the answer from the others.
        return await asyncio.shield(task)

    async def ask_addresses(self, host: str) -> Addresses:
        """As `addresses`.

        Raises:
            NotNow: there was no answer, or none about one kind and nothing of the other.
        """
        both = await asyncio.gather(
            self.ask(host, "A"), self.ask(host, "AAAA"), return_exceptions=True
        )
        answers = [each for each in both if isinstance(each, Answer)]
        failures = [each for each in both if isinstance(each, BaseException)]
        some = [answer for answer in answers if answer.records]
        if failures and not some:
            raise failures[0]
        return Addresses(
            tuple(address for answer in some for address in answer.records),
            exists=any(answer.exists for answer in answers),
            secure=all(answer.secure for answer in some or answers),
            name=some[0].name if some else host,
        )

    # dnspython.

    def _asked(self, key: tuple[str, Kind], task: asyncio.Task[Answer]) -> None:
        del self._asking[key]
        if not task.cancelled():
            task.exception()  # looked at, also where nobody waits any more

    async def _ask(self, name: str, kind: Kind) -> Answer:
        try:
            answer, seconds = await self._resolve(name, kind)
        except NotNow as failure:
            self._known.put((name, kind), failure, FAILURE)
            raise
        self._known.put((name, kind), answer, seconds)
        return answer

    async def _resolve(self, name: str, kind: Kind) -> tuple[Answer, float]:
        """An answer, and the seconds that it may be kept for."""
        import dns.exception  # noqa: PLC0415 - see the module's docstring
        import dns.flags  # noqa: PLC0415
        import dns.name  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        try:
            question = dns.name.from_text(f"{name}.")
        except dns.exception.DNSException:
            return Answer((), exists=False, secure=False, name=name), LONGEST_NEGATIVE
        exists, records, found = True, (), name
        try:
            async with asyncio.timeout(self._settings.timeout):
                result = await self._current_asker().resolve(
                    question, kind, raise_on_no_answer=False, search=False
                )
            response = result.response
            if result.rrset is not None:
                found = _text(result.canonical_name)
                records = tuple(map(_CONVERSIONS[kind], list(result.rrset)[:MAX_RECORDS]))
        except dns.resolver.NXDOMAIN as missing:
            exists = False
            response = missing.response(question)
        except (dns.exception.DNSException, OSError, TimeoutError) as error:
            raise NotNow(f"DNS does not answer about {name} ({kind}): {_why(error)}") from None
        secure = bool(response.flags & dns.flags.AD)
        longest = LONGEST if records else LONGEST_NEGATIVE
        seconds = min(float(response.resolve_chaining().minimum_ttl), longest)
        return Answer(records, exists, secure, found), seconds

    def _current_asker(self) -> Asker:
        """One that has the name servers of now: resolv.conf changes under a running process.

        Raises:
            NotNow: no name server is known.
        """
        read_at = 0 if self._settings.servers else _changed_at(_RESOLV_CONF)
        if self._asker is None or read_at != self._read_at:
            self._asker, self._read_at = self._make(), read_at
        return self._asker

    def _make(self) -> Asker:
        import dns.asyncresolver  # noqa: PLC0415 - see the module's docstring
        import dns.flags  # noqa: PLC0415
        import dns.nameserver  # noqa: PLC0415
        import dns.resolver  # noqa: PLC0415

        servers, timeout = self._settings.servers, self._settings.timeout
        try:
            asker = dns.asyncresolver.Resolver(_RESOLV_CONF, configure=not servers)
        except dns.resolver.NoResolverConfiguration:
            raise NotNow(f"no name server is known: {_RESOLV_CONF} has none") from None
        if servers:
            asker.nameservers = [
                dns.nameserver.Do53Nameserver(each.address, each.port) for each in servers
            ]
        asker.lifetime = timeout
        asker.timeout = min(2.0, timeout / 2)
        asker.flags = (
            dns.flags.RD | dns.flags.AD
        )  # AD: tell whether it is validated (RFC 6840, 5.7)
        asker.use_edns(0, dns.flags.DO if self._dnssec else 0, _PAYLOAD)
        return asker


def preload() -> None:
    """Import all of dnspython, which imports the types of records one by one as they come."""
    import dns.asyncbackend  # noqa: PLC0415 - see the module's docstring
    import dns.asyncresolver  # noqa: PLC0415
    import dns.rdata  # noqa: PLC0415

    dns.asyncbackend.get_backend("asyncio")
    dns.rdata.load_all_types()


def _changed_at(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - a path that is no Path, for one number
    except OSError:
        return 0


def _text(name: Any) -> str:
    """A name in lower case without its last dot; empty for the root and for what can't be shown."""
    text = str(name.to_text(omit_final_dot=True)).lower()
    return text if is_host_name(text) else ""


def _exchange(name: Any) -> str:
    """Empty for the root alone: a name that can't be shown is no host, but no null MX either."""
    return _text(name) or ("" if len(name) == 1 else "unusable.invalid")


def _why(error: BaseException) -> str:
    """In a few words, without what the name server said."""
    return {
        "LifetimeTimeout": "no answer in time",
        "TimeoutError": "no answer in time",
        "NoNameservers": "the name servers fail",
    }.get(type(error).__name__, type(error).__name__)


_CONVERSIONS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    "A": lambda record: ipaddress.IPv4Address(record.address),
    "AAAA": lambda record: ipaddress.IPv6Address(record.address),
    "CNAME": lambda record: _text(record.target),
    "MX": lambda record: Exchange(record.preference, _exchange(record.exchange)),
    "TLSA": lambda record: TLSA(record.usage, record.selector, record.mtype, record.cert),
    "TXT": lambda record: b"".join(record.strings).decode("utf-8", "replace"),
}
