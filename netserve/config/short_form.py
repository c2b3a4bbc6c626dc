"""A mapping of the file that may be written as one text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from netserve.config.types import Section
from netserve.errors import InvalidValue

__all__ = ["ShortForm"]


class ShortForm:
    """For `Annotated`: a mapping that may be written as one text.

    Arguments:
        expand: the mapping that a text stands for.
        schema: the JSON Schema of the text.
    """

    def __init__(self, expand: Callable[[str], Any], schema: dict[str, Any]) -> None:
        self._expand = expand
        self._schema = schema

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def widen(value: object) -> object:
            if isinstance(value, str):
                return self._expand(value)
            if isinstance(value, (dict, Section)):
                return value
            raise InvalidValue("neither a text nor a mapping")

        # A validator as pydantic itself makes it, so that its JSON Schema is the inner one's.
        return BeforeValidator(widen).__get_pydantic_core_schema__(source, handler)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [self._schema, handler(schema)]}
