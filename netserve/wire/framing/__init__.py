"""Framings: how a stream of bytes is cut into frames, without I/O.

A `Framing` is frozen and shared by all connections; its `decoder` is the state of one. Bytes in,
events out: `Decoder.feed` gives a list of what became complete, in order. An event is a frame as
`bytes`, or a `FramingError`, which is given and not raised, so that the frames before it are not
lost::

    decoder = Line().decoder(limit=65536)
    for event in decoder.feed(data):
        if isinstance(event, bytes): ...          # a frame
        elif event.fatal: ...                     # answer it, then end the connection
        else: ...                                 # answer it, and go on

===============  ==========================================  ==========================
framing          a frame ends                                after one that is too long
===============  ==========================================  ==========================
`Line`           at LF; one CR before it is stripped         goes on at the next line
`Delimiter`      at the delimiter, which is stripped         goes on behind the next one
`Fixed`          after a number of bytes                     (never too long)
`LengthPrefix`   after as many bytes as its prefix says      the stream has to end
`Netstring`      after as many bytes as it says, and ``,``   the stream has to end
`UntilIdle`      when nothing has come for a while           goes on after the next pause
===============  ==========================================  ==========================

A frame that is too long gives one `FrameTooLong`, as soon as it is seen to be so. A decoder holds
no more than one frame of `limit` bytes and its framing, beside the piece that it is fed. Nothing
is done byte by byte: pieces are searched and split whole.

At the end of the stream (`Decoder.end`) an unfinished line or delimited frame counts as a frame,
as for most programs that read lines; in the other framings it is an error, but for `UntilIdle`.
"""

from netserve.wire.framing.base import (
    Decoder,
    Event,
    FrameTooLong,
    Framing,
    FramingError,
    FramingSettings,
)
from netserve.wire.framing.delimiter import Delimiter
from netserve.wire.framing.fixed import Fixed
from netserve.wire.framing.length_prefix import LengthPrefix
from netserve.wire.framing.line import Line
from netserve.wire.framing.netstring import Netstring
from netserve.wire.framing.until_idle import UntilIdle

__all__ = [
    "Decoder",
    "Delimiter",
    "Event",
    "Fixed",
    "FrameTooLong",
    "Framing",
    "FramingError",
    "FramingSettings",
    "LengthPrefix",
    "Line",
    "Netstring",
    "UntilIdle",
]
