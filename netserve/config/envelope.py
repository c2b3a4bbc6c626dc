"""The outer form of the file: ``netserve:``, ``packet:`` and, for all the rest, ``services:``."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from netserve.config.listen import Listen
from netserve.config.packet import PacketSettings
from netserve.config.types import Duration, FilePath, Section, Shown
from netserve.errors import InvalidValue

SERVICE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
"""What a service may be called."""


def _is_loopback(listen: Listen) -> Listen:
    try:
        address = ipaddress.ip_address(listen.interface)
    except ValueError:
        address = None
    if listen.kind not in {"tcp", "tcp6"} or address is None or not address.is_loopback:
        raise InvalidValue(
            "the status port listens on a loopback address by TCP only;"
            " write tcp:7000:interface=127.0.0.1"
        )
    return listen


class LogSettings(Section):
    """What the process logs."""

    format: Literal["text", "json"] = "text"
    """One line a record, as text or as JSON."""
    level: Literal["debug", "info", "warn", "error"] = "info"
    """The least level that is logged."""


class ProcessSettings(Section):
    """What concerns the whole process."""

    state: FilePath = Field(default=Path("var"), validate_default=True)
    """The folder for the outbox and the control socket."""
    log: LogSettings = LogSettings()
    """The log."""
    status: Annotated[Listen, AfterValidator(_is_loopback)] | None = None
    """Where the status port listens (health, metrics, a page); a loopback address."""
    user: Annotated[str, Shown()] | None = None
    """The user that the process becomes when all sockets are bound; it has to start as root."""
    group: Annotated[str, Shown()] | None = None
    """The group that goes with it; the default is the user's own."""
    drain: Duration = 10.0
    """Time that connections have to finish when the process stops."""

    @model_validator(mode="after")
    def _check_group(self) -> ProcessSettings:
        if self.group is not None and self.user is None:
            raise InvalidValue("group goes with a user; name the user, too")
        return self


class Envelope(Section):
    """A config file."""

    netserve: ProcessSettings
    """The process."""
    packet: PacketSettings = PacketSettings()
    """What packets may be sent and listened to."""
    services: dict[Annotated[str, Shown()], Any]
    """Each service by its name."""
