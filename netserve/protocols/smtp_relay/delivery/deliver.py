"""`deliver` of a route: one way of delivery, and its options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from types import new_class
from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, model_validator

from netserve.config.types import Section
from netserve.errors import InvalidValue
from netserve.protocols.smtp_relay.delivery.options import ConnectionOptions, QuotaOptions, one_of
from netserve.protocols.smtp_relay.delivery.ways import WAYS
from netserve.protocols.smtp_relay.delivery.ways.way import Way

_NAMES: Final = tuple(way.name for way in WAYS)


def _models() -> tuple[type[Section], ...]:
    """The models of all options; pydantic takes the fields of the last one first."""
    shared = dict.fromkeys(model for way in WAYS for model in way.shared)
    return (QuotaOptions, *reversed(shared), *(way.options for way in reversed(WAYS)))


def _owners() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Options that only some ways have, and the names of these ways."""
    models = dict.fromkeys(model for way in WAYS for model in (way.options, *way.shared))
    for model in models:
        names = tuple(name for name in model.model_fields if name not in _NAMES)
        owners = tuple(way.name for way in WAYS if model in (way.options, *way.shared))
        if names:
            yield names, owners


_ONLY_WITH: Final = tuple(_owners())

if TYPE_CHECKING:

    class _Options(ConnectionOptions, QuotaOptions):
        """What every route has, whichever its way."""

        total_connections: int

else:
    _Options = new_class("_Options", _models())


class Deliver(_Options):
    """What is done with a message: exactly one way of delivery."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [name]} for name in _NAMES]}
    )

    @cached_property
    def way(self) -> Way[Any]:
        """The way."""
        return next(way for way in WAYS if getattr(self, way.name) is not None)

    @property
    def label(self) -> str:
        """The destination's name, for the queue and the logs."""
        return self.way.label(self)

    def account_names(self) -> Iterable[str]:
        """See `accounts.Limited`."""
        return self.way.account_names(self)

    @model_validator(mode="after")
    def _exactly_one_way(self) -> Deliver:
        ways = [name for name in _NAMES if getattr(self, name) is not None]
        if len(ways) != 1:
            found = f"has {' and '.join(ways)}" if ways else "has none of them"
            raise InvalidValue(f"needs exactly one of {', '.join(_NAMES)}; " + found)
        for options, owners in _ONLY_WITH:
            stray = [name for name in options if name in self.model_fields_set]
            if stray and ways[0] not in owners:
                raise InvalidValue(", ".join(stray) + ": only together with " + one_of(owners))
        self.way.check(self)
        return self
