"""The options of ``factory``."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, WithJsonSchema

from netserve.config.types import ImportPath
from netserve.plugin import Settings
from netserve.protocols.factory.arguments import check

Arguments: TypeAlias = Annotated[
    Any,
    AfterValidator(check),
    WithJsonSchema({"anyOf": [{"type": "array"}, {"type": "object"}]}),
]
"""A list (by place) or a mapping (by name) of values, as `arguments.py` reads them."""


class FactorySettings(Settings):
    """Hosts any Twisted factory or protocol, or asyncio protocol, by its import path."""

    object: ImportPath
    """`module:object`: a factory, a protocol, or a function that makes one."""
    arguments: Arguments = ()
    """What it is called with: a list, or a mapping of names. The manual tells of objects in it."""
