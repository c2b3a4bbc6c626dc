"""The JSON Schema: what is right passes, what is wrong does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from netserve.config.document import Document
from netserve.config.load import load
from netserve.config.nodes import compose
from netserve.config.schema import file_schema
from netserve.config.tags import Tags
from netserve.registry import Registry

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    plugins = [(listed.name, listed.plugin) for listed in Registry().plugins() if listed.plugin]
    schema = file_schema(plugins)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, tuple) else value


def data_of(text: str, folder: Path = ROOT) -> Any:
    document = Document("config.yaml", text)
    compose(document, Tags(folder, {"SMTP_PASSWORD": "secret", "SHOP_TOKEN": "0123456789abcdef"}))
    assert document.root is not None
    assert not document.problems()
    return as_json(document.root.plain())


@pytest.mark.parametrize(
    "path",
    [ROOT / "config.yaml", *sorted((ROOT / "examples").glob("*/config.yaml"))],
    ids=lambda path: path.parent.name,
)
def test_the_files_that_come_with_netserve_are_valid(
    validator: Draft202012Validator, path: Path
) -> None:
    data = data_of(path.read_text(), path.parent)
    for service in data["services"].values():
        if service["protocol"] == "reverse":  # of a package that is not installed here
            service["protocol"] = "netserve_reverse:reverse"
    assert [error.message for error in validator.iter_errors(data)] == []


def test_a_tagged_value_is_a_text(validator: Draft202012Validator) -> None:
    text = "services: {one: {protocol: echo, listen: !env 'SMTP_PASSWORD'}}"
    assert data_of(text)["services"]["one"]["listen"] == "secret"


ONE = "services: {one: {protocol: echo, listen: tcp:7007%s}}"


@pytest.mark.parametrize(
    "text",
    [
        ONE % "",
        ONE % ", kind: time",
        ONE % ", limits: {idle_timeout: 5s}",
        "services: {one: {protocol: 'my.module:plugin', listen: 'tcp:7007', anything: 5}}",
        "services: {one: {protocol: 'my.module:that_need_not_listen'}}",
        "netserve: {status: 'tcp:7000:interface=127.0.0.1', drain: 1m}\n" + ONE % "",
    ],
)
def test_what_is_right(validator: Draft202012Validator, text: str) -> None:
    assert [error.message for error in validator.iter_errors(data_of(text))] == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{}", "'services' is a required property"),
        ("services: {}", "should be non-empty"),
        ("service: {}\n" + ONE % "", "'service' was unexpected"),
        ("services: {One: {protocol: echo, listen: tcp:1}}", "does not match"),
        ("services: {one: {listen: tcp:1}}", "'protocol' is a required property"),
        ("services: {one: {protocol: eco, listen: tcp:1}}", "is not valid under any"),
        ("services: {one: {protocol: echo}}", "'listen' is a required property"),
        (ONE % ", knd: time", "'knd' was unexpected"),
        (ONE % ", kind: tme", "is not one of"),
        (ONE % ", limits: {idle_timeout: 5}", "is not of type 'string'"),
        (ONE % ", limits: {idle_timeout: 5 s}", "does not match"),
        (ONE % ", amplify: no", "is not of type 'boolean'"),
        ("netserve: {sate: x}\n" + ONE % "", "'sate' was unexpected"),
    ],
)
def test_what_is_wrong(validator: Draft202012Validator, text: str, what: str) -> None:
    messages = " ".join(error.message for error in validator.iter_errors(data_of(text)))
    assert re.search(re.escape(what), messages)


def test_every_option_has_a_description(validator: Draft202012Validator) -> None:
    for name, definition in validator.schema["$defs"].items():  # type: ignore[index]
        for key, option in definition.get("properties", {}).items():
            if name != "Service":
                assert option.get("description") or "$ref" in option, f"{name}.{key}"


def test_the_example_of_each_protocol_is_valid_and_loads(
    validator: Draft202012Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`overview.yaml` has every protocol, secrets by tags, and lists beside single values."""
    path = Path(__file__).parent / "overview.yaml"
    monkeypatch.setenv("SMTP_PASSWORD", "secret")
    assert [error.message for error in validator.iter_errors(data_of(path.read_text()))] == []
    services = load(path, Registry()).services
    assert [service.name for service in services] == ["echo", "hello", "web", "mail"]
