"""The framings of a config file.

``framing: line`` and ``framing: {kind: line}`` are the same: the short form is for framings that
need no options. `FramingOption` takes both, and `FramingSettings.make` gives the framing::

    class MySettings(Settings):
        framing: FramingOption = LineFraming()
        "How requests are separated."

    decoder = settings.framing.make().decoder(limit)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union

from pydantic import Field

from netserve.config.short_form import ShortForm
from netserve.config.types import Section, Words
from netserve.wire.framing.base import FramingSettings
from netserve.wire.framing.delimiter import DelimiterFraming
from netserve.wire.framing.fixed import FixedFraming
from netserve.wire.framing.length_prefix import LengthPrefixFraming
from netserve.wire.framing.line import LineFraming
from netserve.wire.framing.netstring import NetstringFraming
from netserve.wire.framing.until_idle import UntilIdleFraming

__all__ = ["FRAMINGS", "FramingOption", "framing_option"]

FRAMINGS: Final[tuple[type[FramingSettings], ...]] = (
    LineFraming,
    DelimiterFraming,
    FixedFraming,
    LengthPrefixFraming,
    NetstringFraming,
    UntilIdleFraming,
)
"""Every framing; a new one is a file beside these and one entry here."""


def framing_option(*more: type[Section]) -> Any:
    """The type of an option that takes any of the framings.

    Arguments:
        more: models that a protocol takes beside them, each with a ``kind``.
    """
    models = (*FRAMINGS, *more)
    short = [
        model.model_fields["kind"].default
        for model in models
        if not any(field.is_required() for field in model.model_fields.values())
    ]
    return Annotated[
        Annotated[Union[models], Field(discriminator="kind")],  # noqa: UP007 - made of a tuple
        ShortForm(lambda kind: {"kind": kind}, {"enum": short}),
        Words("text or mapping"),
    ]


if TYPE_CHECKING:
    FramingOption: TypeAlias = FramingSettings
else:
    FramingOption = framing_option()
    """A framing: its kind, or a mapping with its kind and options."""
