"""The options of request-response."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from netserve.config.short_form import ShortForm
from netserve.config.types import Duration, ImportPath, PositiveInt, Section, Size, Words
from netserve.errors import InvalidValue
from netserve.plugin import Limits, Settings
from netserve.protocols.request_response.replies import (
    names_for_rule,
    names_of_failures,
    names_of_requests,
    parse_reply,
)
from netserve.wire.framing.line import LineFraming
from netserve.wire.framing.options import FramingOption
from netserve.wire.octets import OCTETS_SCHEMA, Octets, parse_octets
from netserve.wire.pattern import MAX_PATTERN, Encoding, Exact, Matcher, Pattern, Prefix


def _text_or_octets(value: object) -> object:
    return value if isinstance(value, str) else parse_octets(value)


Reply: TypeAlias = Annotated[
    str | bytes, BeforeValidator(_text_or_octets), WithJsonSchema(OCTETS_SCHEMA)
]
"""A text with `{placeholders}`, or bytes as `{hex: "06 0a"}`."""


class Match(Section):
    """What a rule is for: one of the three."""

    exact: Octets | None = None
    """The request is this: a text, or `{hex: "02 0a"}`."""
    prefix: Octets | None = None
    """The request begins with this; `{rest}` is what follows."""
    regex: Annotated[str, Field(max_length=MAX_PATTERN)] | None = None
    """The request has this in it: a regular expression of RE2; `(?P<name>…)` makes `{name}`."""

    @field_validator("regex")
    @classmethod
    def _regex_is_valid(cls, value: str | None) -> str | None:
        if value is not None:
            names_for_rule(Pattern(value).names)
        return value

    @model_validator(mode="after")
    def _is_one_of_three(self) -> Match:
        if (
            len([value for value in (self.exact, self.prefix, self.regex) if value is not None])
            != 1
        ):
            raise InvalidValue("exactly one of exact, prefix and regex is needed")
        return self

    def matcher(self, encoding: Encoding) -> Matcher:
        """What matches.

        Arguments:
            encoding: of the characters of a regular expression.

        Raises:
            ValueError: the expression has a character that the encoding has not.
        """
        if self.regex is not None:
            return Pattern(self.regex, encoding)
        if self.prefix is not None:
            return Prefix(self.prefix)
        return Exact(self.exact or b"")


class Rule(Section):
    """A reply to some requests."""

    match: Annotated[
        Match,
        ShortForm(lambda text: {"exact": text}, {"type": "string"}),
        Words("text or mapping"),
    ]
    """Which requests: a text is the whole request, or one of `exact`, `prefix` and `regex`."""
    reply: Reply
    """What is sent: a text with `{placeholders}`, or `{hex: "06 0a"}`."""

    @field_validator("reply")
    @classmethod
    def _placeholders_are_known(cls, value: str | bytes, info: ValidationInfo) -> str | bytes:
        # Without a valid match there is nothing to say about the reply.
        if (match := info.data.get("match")) is not None:
            parse_reply(value, names_for_rule(match.matcher("utf-8").names))
        return value


class RequestResponseLimits(Limits):
    """What the service may use."""

    request_size: Annotated[Size, Field(ge=1)] = 65536
    """The most bytes of a request; a longer one gets the reply `oversized`."""
    memory: Annotated[Size, Field(ge=1)] = 64 * 1024 * 1024
    """The most bytes of requests that are not complete, of all connections together; one address
    may hold as many as it leaves free."""
    pipeline: PositiveInt = 64
    """Requests of one connection that wait for their reply; beyond, nothing more is read."""
    datagrams: PositiveInt = 1000
    """Datagrams that wait for their reply; beyond, further ones are dropped."""


class RequestResponseSettings(Settings):
    """A reply to each request: by rules, or by a Python function."""

    framing: FramingOption = LineFraming()
    """How requests are told apart; a datagram is one request."""
    reply_framing: FramingOption | None = None
    """How replies are told apart; without it, as requests are."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    """Of the texts in replies, and of the characters in regular expressions."""
    rules: tuple[Rule, ...] = ()
    """Replies to some requests; the first rule that matches is used."""
    handler: ImportPath | None = None
    """A function that replies where no rule matches; beside the file, or installed."""
    reply: Reply | None = None
    """The reply where no rule matches, and the handler, if there is one, returned None."""
    oversized: Reply | None = "request too long"
    """The reply to a request beyond `limits.request_size`; null: none."""
    error: Reply | None = "error"
    """The reply to a broken frame, and when the handler fails or takes too long; null: none."""
    timeout: Annotated[Duration, Field(gt=0)] = 30.0
    """How long the handler may take for a request."""
    amplify: bool = False
    """Whether a UDP reply may be larger than its request. Addresses of UDP can be forged."""
    limits: RequestResponseLimits = RequestResponseLimits()
    """What the service may use."""

    @field_validator("reply")
    @classmethod
    def _placeholders_of_reply(cls, value: Any) -> Any:
        if value is not None:
            parse_reply(value, names_of_requests())
        return value

    @field_validator("oversized", "error")
    @classmethod
    def _placeholders_of_failures(cls, value: Any) -> Any:
        if value is not None:
            parse_reply(value, names_of_failures())
        return value

    @model_validator(mode="after")
    def _replies_to_something(self) -> RequestResponseSettings:
        if not self.rules and self.handler is None and self.reply is None:
            raise InvalidValue("a reply is needed: rules, a handler, or reply")
        return self
