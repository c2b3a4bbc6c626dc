"""HTTP/1.1 as machines: bytes in, events out, no I/O and no time (RFC 9110, RFC 9112).

The tour, from the outside in:

==============  ===================================================================================
`server`        `ServerMachine`: reads requests, writes responses
`client`        `ClientMachine`: writes requests, reads responses
`states`        the two tables that both go by: the request's half and the response's
`events`        what they say: `Request`, `Informational`, `Response`, `bytes`, `End`, `Signal`
`violations`    what a peer did wrong, with the status for it (`Violation`); what we must not send
                (`Unsendable`)
`limits`        `Limits`: every bound, by name
`lines`         the input, and heads and trailers read from it line by line
`request_line`  the request line, its target, Host
`status_line`   the status line
`reasons`       the usual reason phrases
`fields`        `Field`: a field line that was checked, kept byte for byte; `Fields` of a message
`framing`       what the fields say: where the body ends, whether the connection lives on
`bodies`        readers and writers of bodies: sized, chunked, until the connection ends, raw
==============  ===================================================================================

The life of an exchange, as a server sees it: `receive` -> `Request` -> `bytes`... -> `End`, and
`send_response` -> `send_data`... -> `send_end`; the two may overlap. The drivers that do the
reading and the writing are in `netserve.http.serving` and `netserve.http.upstream`.
"""

from netserve.http.h1.client import ClientMachine
from netserve.http.h1.events import (
    END,
    ClientEvent,
    End,
    Informational,
    Request,
    Response,
    ServerEvent,
    Signal,
)
from netserve.http.h1.fields import Field, Fields, find, find_all, make_field, members, without
from netserve.http.h1.limits import Limits
from netserve.http.h1.server import ServerMachine
from netserve.http.h1.states import State
from netserve.http.h1.violations import Kind, Unsendable, Violation

__all__ = [
    "END",
    "ClientEvent",
    "ClientMachine",
    "End",
    "Field",
    "Fields",
    "Informational",
    "Kind",
    "Limits",
    "Request",
    "Response",
    "ServerEvent",
    "ServerMachine",
    "Signal",
    "State",
    "Unsendable",
    "Violation",
    "find",
    "find_all",
    "make_field",
    "members",
    "without",
]
