"""The options of ``http-bridge``, which are the options' reference as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, model_validator

from netserve.config.types import (
    Duration,
    FilePath,
    PositiveInt,
    Secret,
    Section,
    Shown,
    Size,
)
from netserve.errors import InvalidValue
from netserve.http.options import Texts, Upstreams
from netserve.plugin import Limits, Settings
from netserve.protocols.http_bridge.plan import Plan
from netserve.wire.framing import FramingSettings
from netserve.wire.framing.line import LineFraming
from netserve.wire.framing.options import framing_option

MEBIBYTE: Final = 1024 * 1024


class HttpFraming(Section):
    """Requests come in over HTTP."""

    kind: Literal["http"] = "http"
    """Requests come in over HTTP, and answers go back over it."""


if TYPE_CHECKING:
    BridgeFraming: TypeAlias = FramingSettings | HttpFraming
else:
    BridgeFraming = framing_option(HttpFraming)
    """A framing of `netserve.wire`, or ``http``."""


PositiveDuration: TypeAlias = Annotated[Duration, Field(gt=0)]
PositiveSize: TypeAlias = Annotated[Size, Field(ge=1)]


class RequestSettings(Section):
    """The HTTP request that each request becomes. Texts may have placeholders."""

    method: Annotated[str, Field(pattern=r"^([A-Z]{1,32}|\{method\})$"), Shown()] | None = None
    """The method; without it `GET`, with a body `POST`, and over HTTP the one that came."""
    url: str
    """The URL; what placeholders stand for is encoded by the place that they stand in."""
    hosts: Texts = ()
    """What a placeholder in the place of the URL's host may stand for."""
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """Headers that are sent, over HTTP in place of those of the same name that came."""
    body: str | None = None
    """The body, encoded by its `Content-Type` in `headers`: JSON, a form, XML, or as it is."""
    json_: dict[str, Any] | None = Field(default=None, alias="json")
    """The body as JSON: a mapping in which every text may have placeholders."""
    form: dict[str, str] | None = None
    """The body as a form: names and values."""
    timeout: PositiveDuration = 10.0
    """Time for all of it, from the request to the end of the answer."""
    connect_timeout: PositiveDuration = 5.0
    """Time for a connection, with its TLS handshake."""
    read_timeout: PositiveDuration = 10.0
    """Time in which something has to come from the upstream."""
    redirects: Annotated[int, Field(ge=0, le=20)] = 0
    """How many redirects are followed; with 0 a redirect is an answer like another."""
    ca: FilePath | None = None
    """Certificates of those that may sign the upstream's, PEM, in place of the system's."""

    @model_validator(mode="after")
    def _one_body(self) -> RequestSettings:
        bodies = {"body": self.body, "json": self.json_, "form": self.form}
        given = [name for name, value in bodies.items() if value is not None]
        if len(given) > 1:
            raise InvalidValue(" and ".join(given) + ": a request has one body")
        return self


class BridgeLimits(Limits):
    """What one bridge may use."""

    request_size: PositiveSize = MEBIBYTE
    """The largest request that is taken."""
    response_size: PositiveSize = 4 * MEBIBYTE
    """The largest answer that is held in memory, compressed and unpacked."""
    streamed_size: PositiveSize = 1024 * MEBIBYTE
    """The largest answer that is passed on over HTTP as it comes."""
    compression_ratio: PositiveInt = 100
    """How many times its size an answer may unpack to."""
    requests: PositiveInt = 100
    """Requests to upstreams at one time, in all; further ones wait for their turn."""
    requests_per_address: PositiveInt | None = None
    """Those of one client's address; without it, no more than it leaves free to others."""
    requests_per_connection: PositiveInt = 16
    """Requests of one connection at one time; further ones are not read yet."""
    value_size: PositiveSize = 16 * 1024
    """The longest value for a placeholder in the URL or in a header."""
    memory: PositiveSize = 64 * MEBIBYTE
    """The most bytes of requests and answers that are held, of all connections together; one
    address may hold as many as it leaves free."""
    client_timeout: PositiveDuration = 30.0
    """Over HTTP, the time in which a client has to send, or to take, the next 64 KiB of a body."""


class HttpBridgeSettings(Settings):
    """Turns requests in any framing, or over HTTP, into HTTP requests."""

    framing: BridgeFraming = LineFraming()
    """How requests are told apart: `http`, or a framing of bytes."""
    request: RequestSettings
    """The HTTP request that each request becomes."""
    response: str | None = None
    """The reply, from `{status} {reason} {body} {header_NAME}`; without it the body that came."""
    error: str = "error: {error}"
    """The reply where there is no answer, from `{error} {kind} {status}`."""
    allow_upstreams: Upstreams = ()
    """Addresses, networks and host names that may be asked though they are not public."""
    forwarded: Literal["set", "append", "none"] = "set"
    """Over HTTP, what becomes of `X-Forwarded-For`: ours, ours behind what came, or none."""
    limits: BridgeLimits = BridgeLimits()
    """What the service may use."""

    @model_validator(mode="after")
    def _compiles(self) -> HttpBridgeSettings:
        Plan.of(self)
        return self

    @property
    def over_http(self) -> bool:
        """Whether requests come in over HTTP."""
        return isinstance(self.framing, HttpFraming)
