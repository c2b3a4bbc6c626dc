"""Checks a web server: a request by HTTP/1.1, redirects, and the expected response."""

from __future__ import annotations

import email.utils
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin, urlsplit

from netserve.protocols.probe.channel import USUAL_TLS, Channel, TlsOptions, connect
from netserve.protocols.probe.http_message import BadResponse, ResponseReader
from netserve.protocols.probe.result import ProbeFailed, Recorder
from netserve.protocols.probe.target import USUAL_ADDRESSING, Addressing, choose, split
from netserve.wire.pattern import Pattern

_MOST_REDIRECTS: Final = 10
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected last response; by default any with a status from 200 to 299.

    Arguments:
        status_codes: the codes of a success.
        body_matches: the body must match all of these.
        body_matches_not: the body may not match any of these.
        header_matches: these fields must exist and match.
        header_matches_not: these fields may not match.
        tls: True requires TLS, False forbids it.
    """

    status_codes: tuple[int, ...] = ()
    body_matches: tuple[Pattern, ...] = ()
    body_matches_not: tuple[Pattern, ...] = ()
    header_matches: tuple[tuple[str, Pattern], ...] = ()
    header_matches_not: tuple[tuple[str, Pattern], ...] = ()
    tls: bool | None = None


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """The check; call it with a recorder.

    Arguments:
        target: an URL; without a scheme it is http.
        method: of the request.
        headers: its fields, beside Host, User-Agent and Connection.
        body: its content.
        follow: whether redirects are followed.
        addressing: which address is taken.
        tls: the options of TLS.
        expected: the expected response.
        body_limit: the most bytes of a body; a longer one is a failure.
    """

    target: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    follow: bool = True
    addressing: Addressing = USUAL_ADDRESSING
    tls: TlsOptions = USUAL_TLS
    expected: Expected = field(default_factory=Expected)
    body_limit: int = 10 << 20

    async def __call__(self, recorder: Recorder) -> None:
        """See `netserve.protocols.probe.running.Check`."""
        recorder.set("probe_failed_due_to_regex", 0)
        recorder.set("probe_http_status_code", 0)
        url = self.target if "://" in self.target else f"http://{self.target}"
        method, redirects = self.method, 0
        while True:
            response, is_tls = await self._request(method, url, recorder)
            location = response.get("location")
            if not self.follow or response.status not in _REDIRECTS or location is None:
                break
            redirects += 1
            if redirects > _MOST_REDIRECTS:
                raise ProbeFailed("redirects", f"more than {_MOST_REDIRECTS} redirects")
            url = urljoin(url, location)
            recorder.step(f"redirected to {url}")
            if response.status == 303:
                method = "GET"
        recorder.set("probe_http_redirects", redirects)
        recorder.phase = "response"
        self._judge(response, recorder, is_tls=is_tls)

    async def _request(
        self, method: str, url: str, recorder: Recorder
    ) -> tuple[ResponseReader, bool]:
        try:
            parts = urlsplit(url)
            port = _PORTS[parts.scheme]
            authority = parts.netloc.rpartition("@")[2]
            host, port = split(authority, port)
        except (KeyError, ValueError):
            raise ProbeFailed("target", f"{url!r} is not an URL of http or https") from None
        address = await choose(host, self.addressing, recorder)
        channel = await connect(address, port, recorder)
        try:
            if parts.scheme == "https":
                with recorder.during("tls"):
                    await channel.start_tls(self.tls, host)
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            await self._send(channel, method, path, authority)
            reader = ResponseReader(is_head=method == "HEAD", most=self.body_limit)
            with recorder.during("processing"):
                await _feed(channel, reader)
            recorder.step(f"< {reader.status}")
            with recorder.during("transfer"):
                while not reader.is_complete:
                    await _feed(channel, reader)
        finally:
            channel.close()
        _record(reader, recorder, is_tls=channel.is_tls)
        return reader, channel.is_tls

    async def _send(self, channel: Channel, method: str, path: str, authority: str) -> None:
        given = {name.lower() for name, _ in self.headers}
        fields = [
            ("Host", authority), ("User-Agent", "netserve"), ("Accept", "*/*"),
            ("Connection", "close"),
        ]  # fmt: skip
        if self.body:
            fields.append(("Content-Length", str(len(self.body))))
        lines = [f"{method} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in fields if name.lower() not in given]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if any("\r" in line or "\n" in line for line in lines):
            raise ProbeFailed("configuration", "a line break in the request")
        channel.recorder.step(f"> {method} {path} of {authority}")
        try:
            head = "\r\n".join((*lines, "", "")).encode("latin-1")
        except UnicodeEncodeError:
            raise ProbeFailed("target", "the URL has characters that have to be encoded") from None
        await channel.write(head + self.body)

    def _judge(self, response: ResponseReader, recorder: Recorder, *, is_tls: bool) -> None:
        expected = self.expected
        codes = expected.status_codes
        if response.status not in codes if codes else not 200 <= response.status < 300:
            raise ProbeFailed("status", f"the status is {response.status}")
        if expected.tls is not None and expected.tls != is_tls:
            raise ProbeFailed(
                "tls", "the last response came " + ("by TLS" if is_tls else "in clear")
            )
        problem = self._mismatch(response)
        if problem is not None:
            recorder.set("probe_failed_due_to_regex", 1)
            raise ProbeFailed("unexpected", problem)

    def _mismatch(self, response: ResponseReader) -> str | None:
        body = bytes(response.body)
        for pattern in self.expected.body_matches:
            if pattern.match(body) is None:
                return f"the body does not match {pattern.text!r}"
        for pattern in self.expected.body_matches_not:
            if pattern.match(body) is not None:
                return f"the body matches {pattern.text!r}"
        for name, pattern in self.expected.header_matches:
            value = response.get(name)
            if value is None or pattern.match(value.encode()) is None:
                return f"the field {name} does not match {pattern.text!r}"
        for name, pattern in self.expected.header_matches_not:
            value = response.get(name)
            if value is not None and pattern.match(value.encode()) is not None:
                return f"the field {name} matches {pattern.text!r}"
        return None


async def _feed(channel: Channel, reader: ResponseReader) -> None:
    """Read until the head is there, or once more of the body."""
    try:
        while True:
            data = await channel.read()
            if data:
                reader.feed(data)
            else:
                reader.end()
            if reader.has_head:
                return
    except BadResponse as error:
        raise ProbeFailed("protocol", str(error)) from None


def _record(reader: ResponseReader, recorder: Recorder, *, is_tls: bool) -> None:
    recorder.set("probe_http_status_code", reader.status)
    recorder.set("probe_http_ssl", float(is_tls))
    recorder.set("probe_http_version", float(reader.version))
    length = reader.get("content-length")
    recorder.set("probe_http_content_length", float(length) if length else -1.0)
    recorder.set("probe_http_uncompressed_body_length", len(reader.body))
    modified = reader.get("last-modified")
    if modified is not None:
        try:
            time = email.utils.parsedate_to_datetime(modified).timestamp()
        except (ValueError, OverflowError):
            return
        recorder.set("probe_http_last_modified_timestamp_seconds", time)
