r"""The content of a message as it comes in, streaming: raw chunks in, clean lines out.

Behind DATA only CRLF, dot, CRLF ends the content (RFC 5321, 4.1.1.4), and a dot at the beginning
of a line is taken away (4.5.2). `DataDecoder` does that, `ChunkDecoder` is its counterpart for
BDAT, where the length is known and no dot is special (RFC 3030).

Both hold the content to the same rules: no bare CR or LF, no NUL, no over-long line. What breaks
a rule is read on to its real end, and nothing more of it is passed on; a server that stopped at
``\n.\n`` would take the rest of a message for commands. `normalise` makes CRLF of bare CR and LF
instead.

All work is done by a few methods of bytes on whole chunks, each of which costs as much as several
copies of the chunk, so there are as few as can be. What a chunk ends with may be the
beginning of something, such as the end of content; up to four bytes are held back until the next
one tells. The content is thought to have a CRLF before it, so that its first line is as any other.
"""

from __future__ import annotations

import io
from typing import Final

from netserve.mail.envelope import Reply
from netserve.mail.server.answers import TOO_LARGE

BARE_NEWLINE: Final = Reply(550, "5.6.11", "Bare CR or LF in the message; lines end with CRLF")
NUL: Final = Reply(550, "5.6.0", "NUL in the message")
LONG_LINE: Final = Reply(550, "5.6.0", "A line of the message is too long")

_END: Final = b"\r\n.\r\n"
_DOT_LINE: Final = b"\r\n."
_CLEAN: Final = (None, "\r\n")
_PREFIXES_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class Content:
    """What both decoders share: the rules, and what is known of the content so far.

    Arguments:
        line_limit: bytes of a line, its CRLF included.
        size_limit: bytes of the content.
        normalise: make CRLF of bare CR and LF, rather than refuse them.
    """

    __slots__ = (
        "_column",
        "_line_limit",
        "_normalise",
        "_size_limit",
        "eight_bit",
        "refused",
        "size",
    )

    size: int
    """Bytes of the content so far, as it is passed on."""
    eight_bit: bool
    """Whether a byte above 127 was in it."""
    refused: Reply | None
    """The first rule that it broke."""

    def __init__(self, *, line_limit: int, size_limit: int, normalise: bool = False) -> None:
        self._line_limit = line_limit
        self._size_limit = size_limit
        self._normalise = normalise
        self._column = 0
        self.size = 0
        self.eight_bit = False
        self.refused = None

    def refuse(self, reply: Reply) -> None:
        """Pass on no more of it; the first refusal is the one that counts."""
        if self.refused is None:
            self.refused = reply

    def _clean(self, block: bytes) -> bytes:
        """The block with CRLF only, or with `refused` set.

        A block never ends between a CR and its LF, so that it can be judged by itself.
        """
        has_nul = b"\0" in block
        if _newlines(block) in _CLEAN and not has_nul:
            return block
        if has_nul:
            self.refuse(NUL)
        elif not self._normalise:
            self.refuse(BARE_NEWLINE)
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")

    def _check(self, block: bytes) -> None:
        """Hold a block, of clean lines, to the other rules, and count it."""
        self.size += len(block)
        if self.size > self._size_limit:
            self.refuse(TOO_LARGE)
        if not block.isascii():
            self.eight_bit = True
        if self._column + len(block) > self._line_limit:
            self._check_lines(block)
        else:
            # Nothing in here can be too long; only the next block needs to know where it begins.
            end = block.rfind(b"\n") + 1
            self._column = len(block) - end + (0 if end else self._column)

    def _check_lines(self, block: bytes) -> None:
        """Leap through the block: in each stretch of one limit's length there is a line's end."""
        limit, length = self._line_limit, len(block)
        end = block.rfind(b"\n", 0, max(limit - self._column, 0))
        while 0 <= end < length - 1 - limit:
            end = block.rfind(b"\n", end + 1, end + 1 + limit)
        if end < 0:
            self.refuse(LONG_LINE)
        else:
            self._column = length - 1 - block.rfind(b"\n", end)


def _newlines(block: bytes) -> str | tuple[str, ...] | None:
    """The kinds of line ends in a block: CR, LF, CRLF; several of them as a tuple."""
    # What reads text files in C looks at each byte once; two counts would take four times as long.
    seen = io.IncrementalNewlineDecoder(None, translate=False)
    seen.decode(block.decode("latin-1"), final=True)
    newlines: str | tuple[str, ...] | None = seen.newlines
    return newlines


class DataDecoder(Content):
    """The content behind DATA, up to its end."""

    __slots__ = ("_held", "_skip", "rest")

    rest: bytes | None
    """What came behind the end of the content; None until the end has come."""

    def __init__(self, *, line_limit: int, size_limit: int, normalise: bool = False) -> None:
        super().__init__(line_limit=line_limit, size_limit=size_limit, normalise=normalise)
        self._held = b"\r\n"
        self._skip = 2
        self.rest = None

    def feed(self, data: bytes) -> bytes:
        """The content that the next bytes bring, without the dots; empty once it is refused.

        Not to be called again once `rest` is there.
        """
        data = self._held + data
        dot = data.find(_DOT_LINE)
        end = data.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self.rest = data[end + 5 :]
            block = data[: end + 2]
        else:
            self._held = self._held_back(data)
            block = data[: -len(self._held)] if self._held else data
        if self.refused is not None or not block:
            return b""
        clean = self._clean(block)
        if clean is not block or 0 <= dot <= len(block) - len(_DOT_LINE):
            clean = clean.replace(_DOT_LINE, b"\r\n")
        block = clean
        if self._skip:
            block = block[self._skip :]
            self._skip = 0
        self._check(block)
        return block if self.refused is None else b""

    def _held_back(self, data: bytes) -> bytes:
        for prefix in _PREFIXES_OF_END:
            if data.endswith(prefix):
                return prefix
        # To be normalised with what follows: a dot there may be the first of its line.
        return b"\n" if self._normalise and data.endswith(b"\n") else b""


class ChunkDecoder(Content):
    """The content behind one or more BDATs, which is as long as they say."""

    __slots__ = ("_held",)

    def __init__(self, *, line_limit: int, size_limit: int, normalise: bool = False) -> None:
        super().__init__(line_limit=line_limit, size_limit=size_limit, normalise=normalise)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The content that the next bytes bring; empty once it is refused."""
        if self.refused is not None:
            return b""
        block = self._held + data
        self._held = b"\r" if block.endswith(b"\r") else b""
        if self._held:
            block = block[:-1]
        return self._passed_on(block)

    def finish(self) -> bytes:
        """The content's last bytes. It gets a CRLF where it has none, as every message ends so."""
        if self.refused is not None:
            return b""
        block, self._held = self._held, b""
        if self._column or block:
            # A held CR is a bare one, or becomes a line's end when that is what the rules say.
            return self._passed_on(block or b"\r\n")
        return b""

    def _passed_on(self, block: bytes) -> bytes:
        block = self._clean(block)
        self._check(block)
        return block if self.refused is None else b""
