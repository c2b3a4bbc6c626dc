"""The JSON Schema (2020-12) of a config file, for editors that check and complete while one types.

Tagged values (``!env``, ``!file``, ``!credential``) are texts to a schema, so an option that takes
a text takes them too. A service's options follow from its ``protocol``; one of the form
``module:object`` is not known here, and its options are free beyond those of every service.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from netserve.config.envelope import SERVICE_NAME, ProcessSettings
from netserve.config.meanings import meanings_of
from netserve.config.packet import PacketSettings
from netserve.config.service import Plugin, Settings

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_IMPORT_PATH: Final = r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"


class _Generator(GenerateJsonSchema):
    """pydantic's generator, without the defaults: they are Python's, not the file's; and with the
    meanings.
    """

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - pydantic's

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        made = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        meanings = meanings_of(model)
        for name, field in model.model_fields.items():
            shown = made.get("properties", {}).get(field.alias or name)
            if shown is not None and name in meanings:
                shown["description"] = meanings[name]
        return made


def file_schema(plugins: Sequence[tuple[str, Plugin]]) -> dict[str, Any]:
    """The schema of the whole file.

    Arguments:
        plugins: every protocol with the name that it has in a file.
    """
    models: list[type[BaseModel]] = [ProcessSettings, PacketSettings, Settings]
    models += [plugin.settings for _, plugin in plugins]
    references, shared = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template="#/$defs/{model}",
        schema_generator=_Generator,
    )
    by_model = {model: reference for (model, _), reference in references.items()}
    definitions = shared.get("$defs", {})
    definitions["Service"] = _service(
        [(name, by_model[plugin.settings]) for name, plugin in plugins],
        _open(definitions, by_model[Settings]),
    )
    return {
        "$schema": DIALECT,
        "title": "netserve",
        "type": "object",
        "properties": {
            "netserve": by_model[ProcessSettings],
            "packet": by_model[PacketSettings],
            "services": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{SERVICE_NAME.pattern}$"},
                "additionalProperties": {"$ref": "#/$defs/Service"},
            },
        },
        "required": ["services"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _open(definitions: dict[str, Any], reference: JsonSchemaValue) -> dict[str, Any]:
    """The options of every service, with others beside them."""
    common = dict(definitions[reference["$ref"].rpartition("/")[2]])
    common.pop("additionalProperties", None)
    common["required"] = ["protocol"]  # a service need not listen
    return common


def _service(
    protocols: Sequence[tuple[str, JsonSchemaValue]], others: dict[str, Any]
) -> dict[str, Any]:
    """One service: the protocol's name decides what else there may be."""
    return {
        "type": "object",
        "required": ["protocol"],
        "properties": {
            "protocol": {
                "anyOf": [
                    {"enum": [name for name, _ in protocols]},
                    {"type": "string", "pattern": _IMPORT_PATH},
                ]
            }
        },
        "allOf": [
            *(
                {"if": {"properties": {"protocol": {"const": name}}}, "then": reference}
                for name, reference in protocols
            ),
            {"if": {"properties": {"protocol": {"pattern": ":"}}}, "then": others},
        ],
    }
