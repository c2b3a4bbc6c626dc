"""The protocol of the cases: an option of each type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from netserve.config.types import (
    Duration,
    FilePath,
    ImportPath,
    Network,
    Networks,
    PositiveInt,
    Rates,
    Secret,
    Section,
    Size,
)
from netserve.plugin import Limits, ProtocolPlugin, Settings


class SampleLimits(Limits):
    """The limits of every service, and one more."""

    message_size: Size = 1024
    """The largest message."""


class Login(Section):
    """A name and its password."""

    user: str
    """The name."""
    password: Secret
    """The password."""


class Maildir(Section):
    """Into a folder."""

    maildir: FilePath
    """The folder."""


class Smarthost(Section):
    """To another server."""

    smarthost: tuple[str, ...]
    """The servers."""
    tls: Literal["none", "may", "verify"] = "may"
    """How far TLS is needed."""
    login: Login | None = None
    """How to log in."""


class Square(Section):
    """A square."""

    kind: Literal["square"] = "square"
    """A square."""
    side: PositiveInt = 1
    """Its side."""


class Circle(Section):
    """A circle."""

    kind: Literal["circle"] = "circle"
    """A circle."""
    radius: float
    """Its radius."""


class SampleSettings(Settings):
    """Everything that a settings model can have."""

    text: str = ""
    """A text."""
    count: Annotated[int, Field(ge=1, le=10)] = 1
    """A count."""
    ratio: float = 0.5
    """A ratio."""
    flag: bool = False
    """A flag."""
    wait: Duration = 5.0
    """A time."""
    quota: Rates = ()
    """Rates."""
    level: Literal["low", "middle", "high"] = "low"
    """A level."""
    network: Network | None = None
    """A network."""
    networks: Networks = ()
    """Networks."""
    handler: ImportPath | None = None
    """A function."""
    login: Login | None = None
    """A login."""
    tokens: tuple[Secret, ...] = ()
    """Tokens."""
    headers: dict[str, str | Secret] = Field(default_factory=dict)
    """Headers."""
    names: tuple[Annotated[str, Field(min_length=2, max_length=5)], ...] = ()
    """Names."""
    some: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)] | None = None
    """One or two."""
    mode: Literal["fast", "slow"] | None = None
    """A mode, or none."""
    code: Annotated[str, Field(pattern="^[A-Z]{3}$")] = "ABC"
    """A code."""
    deliver: tuple[Maildir | Smarthost, ...] = ()
    """Deliveries."""
    shape: Annotated[Square | Circle, Field(discriminator="kind")] | None = None
    """A shape."""
    either: int | Literal["auto"] | None = None
    """A number, or a word."""
    anything: dict[str, Any] = Field(default_factory=dict)
    """Anything."""
    limits: SampleLimits = SampleLimits()
    """The limits."""

    @model_validator(mode="after")
    def _high_needs_text(self) -> SampleSettings:
        if self.level == "high" and not self.text:
            raise ValueError("level high needs a text")
        return self


plugin = ProtocolPlugin(
    name="sample", settings=SampleSettings, build=lambda settings, context: None
)  # type: ignore[arg-type,return-value]
not_a_plugin = {"name": "sample"}
