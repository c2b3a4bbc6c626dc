"""One message while it comes in: decoder, header section and refusal in one place."""

from __future__ import annotations

from netserve.mail.envelope import Reply
from netserve.mail.headers import Head, HeadReader
from netserve.mail.server.data import ChunkDecoder, DataDecoder
from netserve.mail.server.model import ContentGiven, ServerOptions

_NO_HEAD = Head(0, has_date=False, has_message_id=False, is_there=False)


class Intake:
    """Feeds on raw bytes, gives content. What broke a rule is read on, but gives nothing more.

    Arguments:
        options: limits, and whether line ends are normalised.
        chunked: the message comes by BDAT, not DATA.
    """

    __slots__ = ("_decoder", "_reader")

    _decoder: DataDecoder | ChunkDecoder

    def __init__(self, options: ServerOptions, *, chunked: bool) -> None:
        limits = options.limits
        decoder = ChunkDecoder if chunked else DataDecoder
        self._decoder = decoder(
            line_limit=limits.text_line,
            size_limit=limits.message_size,
            normalise=options.normalise,
        )
        self._reader = HeadReader(
            size_limit=limits.header_size, hop_limit=limits.hops, unwanted=options.unwanted
        )

    @property
    def refused(self) -> Reply | None:
        """Why the message is not taken, once that is known."""
        return self._decoder.refused

    @property
    def size(self) -> int:
        """Bytes of content so far."""
        return self._decoder.size

    @property
    def eight_bit(self) -> bool:
        """Whether a byte above 127 was in it."""
        return self._decoder.eight_bit

    @property
    def long_lines(self) -> bool:
        """Whether a line of it must not be sent on as it is."""
        return self._decoder.long_lines

    @property
    def head(self) -> Head:
        """What is known of the header section."""
        return self._reader.head or _NO_HEAD

    def rest(self) -> bytes | None:
        """What came after the end of data; None until that has come, and with BDAT."""
        return self._decoder.rest if isinstance(self._decoder, DataDecoder) else None

    @property
    def lone_dot(self) -> bool:
        """Whether the client may think that it has ended the message; see `DataDecoder`."""
        decoder = self._decoder
        return isinstance(decoder, DataDecoder) and decoder.lone_dot and decoder.rest is None

    def end_at_lone_dot(self) -> None:
        """The client is right: take the last line for the end of data."""
        if isinstance(self._decoder, DataDecoder):
            self._decoder.end_at_lone_dot()

    def refuse(self, reply: Reply) -> None:
        """Take no more of it; the first refusal is the one that counts."""
        self._decoder.refuse(reply)

    def feed(self, data: bytes) -> ContentGiven | None:
        """The content that these bytes bring, if there is any to pass on yet."""
        return self._through_reader(self._decoder.feed(data))

    def finish(self) -> ContentGiven | None:
        """The content that was held back, of a message whose end has come."""
        content = None
        if isinstance(self._decoder, ChunkDecoder):
            content = self._through_reader(self._decoder.finish())
        if content is None and self._reader.head is None and self.refused is None:
            data = self._reader.finish()
            self._take_over_refusal()
            return ContentGiven(data, self._reader.head) if data else None
        return content

    def _through_reader(self, data: bytes) -> ContentGiven | None:
        if not data:
            return None
        if self._reader.head is not None:
            return ContentGiven(data, None)
        data = self._reader.feed(data)
        self._take_over_refusal()
        return ContentGiven(data, self._reader.head) if data else None

    def _take_over_refusal(self) -> None:
        if self._reader.refused is not None:
            self._decoder.refuse(self._reader.refused)
