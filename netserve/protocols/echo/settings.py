"""The options of the small services."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from netserve.config.types import Size
from netserve.errors import InvalidValue
from netserve.plugin import Settings


class EchoSettings(Settings):
    """Echo, discard, daytime, time or chargen, over TCP and UDP."""

    kind: Literal["echo", "discard", "daytime", "time", "chargen"] = "echo"
    """Which of the services: RFC 862, 863, 867, 868 or 864."""
    limit: Annotated[Size, Field(ge=1)] | None = None
    """The most that `chargen` sends on one connection; without it, as much as the peer reads."""
    amplify: bool = False
    """Whether a UDP reply may be larger than its request. Addresses of UDP can be forged."""

    @model_validator(mode="after")
    def _limit_is_for_chargen(self) -> EchoSettings:
        if self.limit is not None and self.kind != "chargen":
            raise InvalidValue("limit is an option of chargen only")
        return self
