"""A mail server: its banner, EHLO, and STARTTLS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netserve.mail.client.replies import BadReply, RawReply, ReplyReader
from netserve.protocols.probe.channel import Channel, TlsOptions, connect
from netserve.protocols.probe.result import ProbeFailed, Recorder
from netserve.protocols.probe.target import USUAL_ADDRESSING, Addressing, choose, split

_PORT: Final = 25


@dataclass(frozen=True, slots=True)
class SmtpCheck:
    """The check; call it with a recorder.

    Arguments:
        target: ``host`` or ``host:port``.
        addressing: which address is taken.
        hello: the client's name in EHLO.
        tls: the options of TLS, or None without TLS.
        from_start: whether TLS starts with the first byte (port 465), without STARTTLS.
    """

    target: str
    addressing: Addressing = USUAL_ADDRESSING
    hello: str = "localhost"
    tls: TlsOptions | None = None
    from_start: bool = False

    async def __call__(self, recorder: Recorder) -> None:
        """See `netserve.protocols.probe.running.Check`."""
        host, port = split(self.target, _PORT)
        address = await choose(host, self.addressing, recorder)
        channel = await connect(address, port, recorder)
        try:
            await self._talk(_Talk(channel), host)
        finally:
            channel.close()

    async def _talk(self, talk: _Talk, host: str) -> None:
        if self.tls is not None and self.from_start:
            with talk.recorder.during("tls"):
                await talk.channel.start_tls(self.tls, host)
        await talk.ask("banner", "", 220)
        extensions = _extensions(await talk.ask("ehlo", f"EHLO {self.hello}", 250))
        talk.recorder.set("probe_smtp_starttls", float("STARTTLS" in extensions))
        if self.tls is not None and not self.from_start:
            if "STARTTLS" not in extensions:
                talk.recorder.phase = "starttls"
                raise ProbeFailed("no_starttls", "the server does not offer STARTTLS")
            await talk.ask("starttls", "STARTTLS", 220)
            talk.refuse_more()
            with talk.recorder.during("tls"):
                await talk.channel.start_tls(self.tls, host)
            extensions = _extensions(await talk.ask("ehlo", f"EHLO {self.hello}", 250))
        if extensions.get("SIZE", "").isdecimal():
            talk.recorder.set("probe_smtp_size_limit_bytes", float(extensions["SIZE"]))
        await talk.ask("quit", "QUIT", 221)


class _Talk:
    """Commands and replies, each in its phase."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.recorder = channel.recorder
        self._replies = ReplyReader()

    async def ask(self, phase: str, command: str, code: int) -> RawReply:
        """Send a command, and read the reply.

        Raises:
            ProbeFailed: the code is another, or the reply is malformed.
        """
        with self.recorder.during(phase):
            if command:
                self.recorder.step(f"> {command}")
                await self.channel.write(f"{command}\r\n".encode())
            reply = await self._reply()
            self.recorder.set("probe_smtp_reply_code", reply.code, phase=phase)
            text = str(reply.reply())
            self.recorder.step(f"< {text}")
            if reply.code != code:
                raise ProbeFailed("reply", f"{text}, where {code} was expected")
        return reply

    async def _reply(self) -> RawReply:
        try:
            while (reply := self._replies.next()) is None:
                data = await self.channel.read()
                if not data:
                    raise ProbeFailed("closed", "the server closed the connection")
                self._replies.feed(data)
        except BadReply as error:
            raise ProbeFailed("protocol", str(error)) from None
        return reply

    def refuse_more(self) -> None:
        """Fail if the server sent data in clear before TLS (RFC 3207, 6).

        Raises:
            ProbeFailed: it did.
        """
        if self._replies.pending:
            raise ProbeFailed("protocol", "the server sent data in clear after its 220 reply")


def _extensions(reply: RawReply) -> dict[str, str]:
    """Keywords and their parameters, from the reply to EHLO."""
    found = {}
    for line in reply.lines[1:]:
        keyword, _, rest = line.decode("ascii", "replace").partition(" ")
        found[keyword.upper()] = rest
    return found
