r"""The content of a message as it comes in, streaming: raw chunks in, clean lines out.

After DATA only CRLF, dot, CRLF ends the content (RFC 5321, 4.1.1.4), and a dot at the beginning
of a line is taken away (4.5.2). `DataDecoder` does that, `ChunkDecoder` is its counterpart for
BDAT, where the length is known and no dot is special (RFC 3030).

Both hold the content to the same rules: no bare CR or LF, no NUL, no line over the limit. Content
that breaks a rule is read to its real end, and nothing more of it is passed on; a server that
stopped at ``\n.\n`` would take the rest of a message for commands. With `normalise` line ends are
repaired instead: LF and CR LF end a line, with any number of further CRs before the LF, and a CR
anywhere else becomes a space. So a CR never makes a line end, and with it a header field, where the
client did not send an LF.

All work is done by a few methods of bytes on whole chunks, each of which costs as much as several
copies of the chunk, so there are as few as can be. What a chunk ends with may be the
beginning of something, such as the end of content; those bytes are held back until the next chunk
decides: up to four, or with `normalise` a run of CRs, which has a limit of its own. The content is
thought to have a CRLF before it, so that its first line is as any other.
"""

from __future__ import annotations

import io
import re
from typing import Final

from netserve.mail.envelope import Reply
from netserve.mail.lines import LONGEST_WITH_END, measure
from netserve.mail.server.answers import TOO_LARGE

BARE_NEWLINE: Final = Reply(550, "5.6.11", "Bare CR or LF in the message; lines end with CRLF")
NUL: Final = Reply(550, "5.6.0", "NUL in the message")
LONG_LINE: Final = Reply(550, "5.6.0", "A line of the message is too long")

_END: Final = b"\r\n.\r\n"
_DOT_LINE: Final = b"\r\n."
_CLEAN: Final = (None, "\r\n")
_PREFIXES_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_LINE_END: Final = re.compile(rb"\r+\n")
_LONE_DOT: Final = re.compile(rb"\n\.\r{0,2}\n\Z")
_LONE_DOT_SIZE: Final = 5
_TOO_MANY_CRS: Final = b"\r" * 257
"""So many in a row are not repaired."""


class Content:
    """What both decoders share: the rules, and what is known of the content so far.

    Arguments:
        line_limit: bytes of a line, its CRLF included.
        size_limit: bytes of the content.
        normalise: repair line ends, rather than refuse bare CR and LF.
    """

    __slots__ = (
        "_column",
        "_line_limit",
        "_normalise",
        "_size_limit",
        "_watched",
        "eight_bit",
        "long_lines",
        "refused",
        "size",
    )

    size: int
    """Bytes of the content so far, as it is passed on."""
    eight_bit: bool
    """Whether a byte above 127 was in it."""
    long_lines: bool
    """Whether it had a line that must not be sent on as it is; see `netserve.mail.lines`."""
    refused: Reply | None
    """The first rule that it broke."""

    def __init__(self, *, line_limit: int, size_limit: int, normalise: bool = False) -> None:
        self._line_limit = line_limit
        self._size_limit = size_limit
        self._normalise = normalise
        self._watched = min(line_limit, LONGEST_WITH_END)  # the length to look for next
        self._column = 0
        self.size = 0
        self.eight_bit = False
        self.long_lines = False
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
        elif not self._normalise or _TOO_MANY_CRS in block:
            self.refuse(BARE_NEWLINE)
        return _LINE_END.sub(b"\n", block).replace(b"\r", b" ").replace(b"\n", b"\r\n")

    def _check(self, block: bytes) -> None:
        """Hold a block, of clean lines, to the other rules, and count it."""
        self.size += len(block)
        if self.size > self._size_limit:
            self.refuse(TOO_LARGE)
        if not block.isascii():
            self.eight_bit = True
        column = measure(block, self._column, self._watched)
        self._column = column if column >= 0 else self._after_long_line(block)

    def _after_long_line(self, block: bytes) -> int:
        """Note a line over the length that is looked for, and look for the limit from now on."""
        column = -1
        if self._watched < self._line_limit:
            self.long_lines = True
            self._watched = self._line_limit
            column = measure(block, self._column, self._line_limit)
        if column < 0:
            self.refuse(LONG_LINE)
        return column


def _newlines(block: bytes) -> str | tuple[str, ...] | None:
    """The kinds of line ends in a block: CR, LF, CRLF; several of them as a tuple."""
    # What reads text files in C looks at each byte once; two counts would take four times as long.
    seen = io.IncrementalNewlineDecoder(None, translate=False)
    seen.decode(block.decode("latin-1"), final=True)
    newlines: str | tuple[str, ...] | None = seen.newlines
    return newlines


class DataDecoder(Content):
    """The content after DATA, up to its end."""

    __slots__ = ("_held", "_skip", "lone_dot", "rest")

    lone_dot: bool
    """With `normalise`: the last line so far has only a dot, though another line end than CRLF is
    before or after it, so that the client may take it for the end."""
    rest: bytes | None
    """What came after the end of the content; None until the end has come."""

    def __init__(self, *, line_limit: int, size_limit: int, normalise: bool = False) -> None:
        super().__init__(line_limit=line_limit, size_limit=size_limit, normalise=normalise)
        self._held = b"\r\n"
        self._skip = 2
        self.lone_dot = False
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

    def end_at_lone_dot(self) -> None:
        """Take the line of `lone_dot` for the end of the content."""
        # The dot is gone, as any at the beginning of a line; what is held is the line end after it.
        self.rest, self._held = b"", b""

    def _held_back(self, data: bytes) -> bytes:
        if self._normalise:
            return self._held_to_normalise(data)
        for prefix in _PREFIXES_OF_END:
            if data.endswith(prefix):
                return prefix
        return b""

    def _held_to_normalise(self, data: bytes) -> bytes:
        """CRs before an LF that may come, and a line end whose line may begin with a dot."""
        kept = data.rstrip(b"\r")
        if kept.endswith(b"\n."):
            kept = kept[:-1]
        if kept.endswith(b"\n"):
            kept = kept[:-1].rstrip(b"\r")
        self.lone_dot = _LONE_DOT.search(data, max(len(data) - _LONE_DOT_SIZE, 0)) is not None
        held = data[len(kept) :]
        if _TOO_MANY_CRS in held:
            self.refuse(BARE_NEWLINE)
            return b"\r"
        return held


class ChunkDecoder(Content):
    """The content of one or more BDATs, which is as long as they say."""

    __slots__ = ("_held",)

    def __init__(self, *, line_limit: int, size_limit: int, normalise: bool = False) -> None:
        super().__init__(line_limit=line_limit, size_limit=size_limit, normalise=normalise)
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The content that the next bytes bring; empty once it is refused."""
        if self.refused is not None:
            return b""
        block = self._held + data
        if not block.endswith(b"\r"):
            self._held = b""
            return self._passed_on(block)
        kept = block.rstrip(b"\r") if self._normalise else block[:-1]
        self._held = block[len(kept) :]
        if _TOO_MANY_CRS in self._held:
            self.refuse(BARE_NEWLINE)
        return self._passed_on(kept)

    def finish(self) -> bytes:
        """The content's last bytes. It gets a CRLF if it has none, as every message ends so."""
        if self.refused is not None:
            return b""
        block, self._held = self._held, b""
        if block and not self._normalise:
            return self._passed_on(block)  # a bare CR
        if self._column or block:
            return self._passed_on(block + b"\r\n")
        return b""

    def _passed_on(self, block: bytes) -> bytes:
        block = self._clean(block)
        self._check(block)
        return block if self.refused is None else b""
