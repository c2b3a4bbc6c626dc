"""A name server: one query, by UDP, TCP or TLS."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final, Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from netserve.protocols.probe.channel import USUAL_TLS, Channel, TlsOptions, connect
from netserve.protocols.probe.result import ProbeFailed, Recorder
from netserve.protocols.probe.target import USUAL_ADDRESSING, Addressing, choose, split
from netserve.wire.pattern import Pattern

_PORT: Final = 53
_TLS_PORT: Final = 853
_LONGEST: Final = 65_535


@dataclass(frozen=True, slots=True)
class Records:
    """The expected records of a section; patterns apply to their text as in a zone file.

    Arguments:
        none_matches: no record may match any of these.
        all_match: every record must match all of these, and there must be a record.
    """

    none_matches: tuple[Pattern, ...] = ()
    all_match: tuple[Pattern, ...] = ()


@dataclass(frozen=True, slots=True)
class DnsCheck:
    """The check; call it with a recorder.

    Arguments:
        target: the name server, ``host`` or ``host:port``.
        query_name: the name in the query.
        query_type: such as ``A``.
        transport: the transport of the query.
        addressing: which address of the name server is taken.
        tls: the options of TLS, if that is the transport.
        recursion: whether the query asks for recursion.
        valid_rcodes: the response codes of a success.
        answer: the expected records of the answer.
    """

    target: str
    query_name: str
    query_type: str = "A"
    transport: Literal["udp", "tcp", "tls"] = "udp"
    addressing: Addressing = USUAL_ADDRESSING
    tls: TlsOptions = USUAL_TLS
    recursion: bool = True
    valid_rcodes: tuple[str, ...] = ("NOERROR",)
    answer: Records = Records()

    async def __call__(self, recorder: Recorder) -> None:
        """See `netserve.protocols.probe.running.Check`."""
        recorder.set("probe_dns_query_succeeded", 0)
        host, port = split(self.target, _TLS_PORT if self.transport == "tls" else _PORT)
        query = self._query()
        address = await choose(host, self.addressing, recorder)
        kind = socket.SOCK_DGRAM if self.transport == "udp" else socket.SOCK_STREAM
        channel = await connect(address, port, recorder, kind=kind)
        try:
            if self.transport == "tls":
                with recorder.during("tls"):
                    await channel.start_tls(self.tls, host)
            with recorder.during("request"):
                recorder.step(f"> {self.query_name} {self.query_type}")
                response = await _exchange(channel, query, is_stream=self.transport != "udp")
        finally:
            channel.close()
        recorder.set("probe_dns_query_succeeded", 1)
        self._judge(response, recorder)

    def _query(self) -> dns.message.QueryMessage:
        try:
            query = dns.message.make_query(self.query_name, self.query_type)
        except (dns.exception.DNSException, ValueError) as error:
            raise ProbeFailed("configuration", f"not a query: {error}") from None
        if not self.recursion:
            query.flags &= ~dns.flags.RD
        return query

    def _judge(self, response: dns.message.Message, recorder: Recorder) -> None:
        sections = {
            "answer": response.answer, "authority": response.authority,
            "additional": response.additional,
        }  # fmt: skip
        for name, section in sections.items():
            recorder.set(f"probe_dns_{name}_rrs", sum(map(len, section)))
        texts = [
            f"{rrset.name} {rrset.ttl} IN {dns.rdatatype.to_text(rrset.rdtype)} {record.to_text()}"
            for rrset in response.answer
            for record in rrset
        ]
        for rrset in response.answer:
            if rrset.rdtype == dns.rdatatype.SOA:
                recorder.set("probe_dns_serial", rrset[0].serial)
        code = dns.rcode.to_text(response.rcode())
        recorder.set("probe_dns_response_code_info", 1.0, code=code)
        recorder.step(f"< {code}, {len(texts)} records")
        for text in texts:
            recorder.step(f"< {text}")
        if code not in self.valid_rcodes:
            raise ProbeFailed("rcode", f"the response code is {code}")
        self._judge_records(texts)

    def _judge_records(self, texts: list[str]) -> None:
        if self.answer.all_match and not texts:
            raise ProbeFailed("records", "there are no records to match")
        for text in texts:
            for pattern in self.answer.none_matches:
                if pattern.match(text.encode()) is not None:
                    raise ProbeFailed("records", f"{text!r} matches {pattern.text!r}")
            for pattern in self.answer.all_match:
                if pattern.match(text.encode()) is None:
                    raise ProbeFailed("records", f"{text!r} does not match {pattern.text!r}")


async def _exchange(
    channel: Channel, query: dns.message.QueryMessage, *, is_stream: bool
) -> dns.message.Message:
    wire = query.to_wire()
    if not is_stream:
        await channel.write(wire)
        while True:
            response = _parsed(await channel.read())
            if query.is_response(response):
                return response
            channel.recorder.step("< a datagram that is no response to the query")
    await channel.write(len(wire).to_bytes(2, "big") + wire)
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        more = await channel.read()
        if not more:
            raise ProbeFailed("closed", "the server closed the connection")
        data += more
        if len(data) > _LONGEST + 2:
            raise ProbeFailed("protocol", "more than one response")
    response = _parsed(data[2 : 2 + int.from_bytes(data[:2], "big")])
    if not query.is_response(response):
        raise ProbeFailed("protocol", "a message that is no response to the query")
    return response


def _parsed(data: bytes) -> dns.message.Message:
    try:
        return dns.message.from_wire(data)
    except (dns.exception.DNSException, ValueError) as error:
        raise ProbeFailed("protocol", f"not a DNS message: {error}") from None
