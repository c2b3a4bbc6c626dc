"""The ways of delivery, a file each; `way.py` says what a way is, `WAYS` has them all."""

from __future__ import annotations

from typing import Any, Final

from netserve.protocols.smtp_relay.delivery.ways.discard import Discard
from netserve.protocols.smtp_relay.delivery.ways.http import Http
from netserve.protocols.smtp_relay.delivery.ways.maildir import Maildir
from netserve.protocols.smtp_relay.delivery.ways.mx import ByMx
from netserve.protocols.smtp_relay.delivery.ways.refuse import Refuse
from netserve.protocols.smtp_relay.delivery.ways.smarthost import ToSmarthost
from netserve.protocols.smtp_relay.delivery.ways.way import Way

WAYS: Final[tuple[Way[Any], ...]] = (
    ToSmarthost(),
    ByMx(),
    Http(),
    Maildir(),
    Discard(),
    Refuse(),
)
"""In the order in which the docs and errors name them."""
