"""Secrets made unreadable, without a change of length, so that sequence numbers stay true.

Well-known secrets are found line by line, in any protocol: logins (``AUTH`` of SMTP, POP3 and
others, ``PASS``), and header fields such as ``Authorization`` and ``Cookie``. The same bytes are
masked however a stream is divided into pieces, and no bytes are held back. For the patterns of a
user see `netserve.capture.recording.patterns`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum, auto
from typing import Final

from netserve.capture.model import Flow, Kind

__all__ = ["HEADERS", "MASKED", "Redactor"]

MASKED: Final = bytes(byte if byte in b"\r\n" else 0x2A for byte in range(256))
"""For `bytes.translate`: an asterisk for each byte, and ends of lines as they are."""

HEADERS: Final = ("authorization", "proxy-authorization", "cookie", "set-cookie")
"""Header fields whose values are masked (RFC 9110, RFC 6265)."""

_COMMANDS: Final = (b"auth ", b"pass ")
_MECHANISMS: Final = (
    b"plain", b"login", b"cram-md5", b"digest-md5", b"scram-sha-1", b"scram-sha-256", b"xoauth2",
    b"oauthbearer", b"ntlm", b"gssapi", b"external", b"anonymous",
)  # fmt: skip
_SCHEMES: Final = (b"basic", b"bearer", b"digest", b"negotiate", b"ntlm")
"""Names of mechanisms and schemes that stay visible."""

_LONGEST_NAME: Final = 100
_WHITE: Final = b" \t"


class _State(Enum):
    START = auto()
    """At the beginning of a line, or as far into it as is in `head`."""
    PLAIN = auto()
    """In a line that has no secret."""
    SECRET = auto()
    """In one that has."""
    FOLDED = auto()
    """At the beginning of a line that may go on with the secret of the line before."""


_START, _PLAIN = _State.START, _State.PLAIN  # looked at for each piece


class _Direction:
    """How far one direction has got."""

    __slots__ = ("folds", "head", "known", "state", "word", "words")

    def __init__(self) -> None:
        self.state = _State.START
        self.head = b""
        "The beginning of the line, in lower case."
        self.folds = False
        "Whether a line that begins with white space goes on with the secret."
        self.words: tuple[bytes, ...] = ()
        "Values of the secret's first word that stay visible."
        self.word: bytes | None = None
        "The first word so far; None after it has ended or is another word."
        self.known = False
        "Whether the first word was one of these, and has ended."


class Redactor:
    """Masks the secrets of one flow.

    Arguments:
        flow: it.
        headers: names of header fields, in any case.
        joined: whether the flow was open before, so that a login may be under way.
    """

    def __init__(
        self, flow: Flow, headers: Collection[str] = HEADERS, *, joined: bool = False
    ) -> None:
        self._from_client = Kind.SENT if flow.outgoing else Kind.RECEIVED
        self.is_stream = flow.transport.is_stream
        self._headers = tuple(name.lower().encode("ascii") for name in headers)
        self._needles = _needles(self._headers)
        names = b"|".join(map(re.escape, self._headers)) or rb"(?!)"
        self._header = re.compile(rb"(" + names + rb")[ \t]*:")
        self._sides = {Kind.RECEIVED: _Direction(), Kind.SENT: _Direction()}
        self._login = joined
        "Whether a login is under way, so that 334 asks for a secret."
        self._all_of_client = False
        "Whether each line of the client belongs to a login."
        self._asked = False
        "Whether the server has asked for a secret, which the client's next line is."

    def redact(self, kind: Kind, data: bytes) -> bytes:
        """The bytes with each one of a secret masked.

        Arguments:
            kind: `Kind.RECEIVED` or `Kind.SENT`.
            data: the next bytes of that direction, or one datagram.
        """
        side = self._sides[kind]
        if not self.is_stream:
            self._sides[kind] = side = _Direction()
        from_client = kind is self._from_client
        state = side.state
        if (state is _PLAIN or (state is _START and not side.head)) and not self._login:
            # Nearly all pieces: nothing in them is the beginning of a line with a secret.
            lowered = data.lower()
            for needle in self._needles:
                if needle in lowered:
                    break
            else:
                self._go_on(side, lowered, from_client)
                return data
        return self._by_lines(side, data, from_client)

    def _go_on(self, side: _Direction, lowered: bytes, from_client: bool) -> None:
        """Note how a piece without anything to mask ends."""
        end = lowered.rfind(b"\n")
        if end < 0 and side.state is _PLAIN:
            return
        if end == len(lowered) - 1:
            side.state = _START
            return
        side.head = lowered[end + 1 : end + 2 + _LONGEST_NAME]
        side.state = _State.START
        if side.head and not self._may_become(side.head, from_client):
            side.state, side.head = _State.PLAIN, b""

    def _by_lines(self, side: _Direction, data: bytes, from_client: bool) -> bytes:
        parts = []
        start = 0
        while start < len(data):
            end = data.find(b"\n", start) + 1 or len(data)
            parts.append(self._piece(side, data[start:end], from_client))
            start = end
        return b"".join(parts)

    def _piece(self, side: _Direction, piece: bytes, from_client: bool) -> bytes:
        """A line, or the part of it that has arrived."""
        if side.state is _State.FOLDED:
            is_more = piece[:1] in {b" ", b"\t"}
            side.state = _State.SECRET if is_more else _State.START
            side.word = None
        found = piece
        if side.state is _State.START:
            found = self._begin(side, piece, from_client)
        elif side.state is _State.SECRET:
            found = _masked(side, piece)
        if piece.endswith(b"\n"):
            self._end_of_line(side, from_client)
        return found

    def _begin(self, side: _Direction, piece: bytes, from_client: bool) -> bytes:
        """The beginning of a line: find out whether it has a secret, and where that begins."""
        if from_client and (self._all_of_client or self._asked):
            side.state, side.folds, side.word = _State.SECRET, False, None
            return _masked(side, piece)
        before = len(side.head)
        side.head += piece[: _LONGEST_NAME + 1 - before].lower()
        end = self._secret_begins(side, from_client)
        if end:
            # Never before this piece: with fewer bytes it was not found.
            at = max(0, end - before)
            side.state = _State.SECRET
            return piece[:at] + _masked(side, piece[at:])
        if not piece.endswith(b"\n") and not self._may_become(side.head, from_client):
            side.state = _State.PLAIN
            if not (self._login and not from_client):
                side.head = b""
        return piece

    def _secret_begins(self, side: _Direction, from_client: bool) -> int:
        """Where in the line its secret begins; 0 where it has none."""
        match = self._header.match(side.head)
        if match:
            side.folds = True
            is_login = match[1].endswith(b"authorization")
            side.words, side.word = (_SCHEMES, b"") if is_login else ((), None)
            return match.end()
        if from_client:
            for command in _COMMANDS:
                if side.head.startswith(command):
                    side.folds = False
                    is_auth = command == b"auth "
                    side.words, side.word = (_MECHANISMS, b"") if is_auth else ((), None)
                    self._login = self._login or is_auth
                    return len(command)
        return 0

    def _may_become(self, head: bytes, from_client: bool) -> bool:
        """Whether more bytes may make this the beginning of a line with a secret."""
        if len(head) > _LONGEST_NAME:
            return False
        if not from_client and self._login and len(head) < 4:
            return True
        if from_client and any(command.startswith(head) for command in _COMMANDS):
            return True
        return any(
            name.startswith(head) or (head.startswith(name) and not head[len(name) :].strip(_WHITE))
            for name in self._headers
        )

    def _end_of_line(self, side: _Direction, from_client: bool) -> None:
        secret = side.state is _State.SECRET
        if from_client:
            self._end_of_clients_line(side, secret)
        elif self._login:
            self._reply(side.head)
        side.state = _State.FOLDED if secret and side.folds else _State.START
        side.head, side.words, side.known = b"", (), False

    def _end_of_clients_line(self, side: _Direction, secret: bool) -> None:
        if self._asked and secret:
            self._asked = False
        elif secret and side.words is _MECHANISMS and (side.known or side.word in _MECHANISMS):
            # All that follows belongs to the login, until the server has decided about it.
            self._all_of_client = True

    def _reply(self, head: bytes) -> None:
        """A line of the server while a login is under way (RFC 4954)."""
        if head.startswith(b"334"):
            self._asked = True
        elif head[:3].isdigit() and head[3:4] != b"-":
            self._login = self._all_of_client = self._asked = False


def _masked(side: _Direction, piece: bytes) -> bytes:
    """Mask a piece of a secret, up to the end of its line; a known first word is left."""
    content = piece.removesuffix(b"\n")
    shown = 0
    while side.word is not None and shown < len(content):
        byte = content[shown : shown + 1].lower()
        if byte == b"\r":
            pass  # a part of the line's end, or as good as nothing
        elif byte in {b" ", b"\t"}:
            if side.word:
                side.known = side.word in side.words
                side.word = None
        elif any(word.startswith(side.word + byte) for word in side.words):
            side.word += byte
        else:
            side.word = None
            break
        shown += 1
    return content[:shown] + content[shown:].translate(MASKED) + piece[len(content) :]


def _needles(headers: Collection[bytes]) -> tuple[bytes, ...]:
    """Texts of which one is in every piece that has the whole beginning of a secret."""
    shortest = {b"auth", b"pass ", *headers}
    return tuple(each for each in shortest if not any(o != each and o in each for o in shortest))
