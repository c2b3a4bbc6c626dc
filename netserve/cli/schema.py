"""``netserve schema``: the JSON Schema of the file, for editors."""

from __future__ import annotations

import json

import click

from netserve.config.schema import file_schema
from netserve.registry import Registry


@click.command()
def schema() -> None:
    """Print the JSON Schema of the file, with every installed protocol in it."""
    plugins = [(listed.name, listed.plugin) for listed in Registry().plugins() if listed.plugin]
    print(json.dumps(file_schema(plugins), indent=2))
