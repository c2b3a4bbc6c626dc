"""``netserve list-layers``: the layers of packet expressions."""

from __future__ import annotations

from typing import Any

import click

from netserve.cli.packets import Session, Work, uses_helper


@click.command(name="list-layers")
@click.argument("name", required=False)
@uses_helper
def list_layers(name: str | None) -> Work:
    """Show the layers that a packet expression may name, or the fields of layer NAME.

    A minus marks layers that the file does not allow.
    """

    async def work(session: Session) -> int:
        from netserve.packet.requests import DescribeLayers  # noqa: PLC0415

        done = await session.helper.ask(DescribeLayers(name=name), deadline=30.0)
        if name is None:
            for layer, words, is_allowed in done["layers"]:
                value = {"layer": layer, "name": words, "allowed": is_allowed}
                session.print(f"{' ' if is_allowed else '-'} {layer:<32} {words}", value)
            return 0
        if session.as_json:
            session.print("", {"layer": name, "fields": done["fields"]})
            return 0
        for field in done["fields"]:
            _print(field)
        return 0

    return work


def _print(field: dict[str, Any]) -> None:
    """One field, with the values that have names."""
    kind = field["type"]
    if "bits" in field:
        kind += f", {field['bits']} bits"
    if "conditional" in field:
        kind += ", at times"
    click.echo(f"{field['name']:<16} {kind:<36} {field['default']}")
    if "flags" in field:
        click.echo(f"{'':<16} flags: {' '.join(field['flags'])}")
    if "values" in field:
        click.echo(f"{'':<16} {', '.join(f'{text}={number}' for number, text in field['values'])}")
