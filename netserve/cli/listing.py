"""``netserve list``: every protocol with its source, and the options of one."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netserve.config.reference import Option, options_of
from netserve.errors import PluginError
from netserve.registry import Listed, Registry, summary_of


@click.command(name="list")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def listing(name: str | None, *, as_json: bool) -> None:
    """Show every protocol, or the options of the protocol NAME.

    NAME may be `module:object`, too; modules in the current folder are found.
    """
    if name is None:
        _list_protocols(Registry().plugins(), as_json=as_json)
    else:
        _list_options(name, as_json=as_json)


def _list_protocols(plugins: Sequence[Listed], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": each.name, "source": each.source, "summary": each.summary, "error": each.error}
            for each in plugins
        ]
        print(json.dumps(rows, indent=2))
        return
    _print_table(
        ("protocol", "source", "summary"),
        [
            (each.name, each.source, f"broken: {each.error}" if each.error else each.summary)
            for each in plugins
        ],
    )


def _list_options(name: str, *, as_json: bool) -> None:
    try:
        plugin = Registry().find(name, Path.cwd())
    except PluginError as error:
        raise click.ClickException(f"{name}: {error}") from None
    options = options_of(plugin.settings)
    if as_json:
        print(json.dumps([dataclasses.asdict(option) for option in options], indent=2))
        return
    print(f"{name}: {summary_of(plugin)}\n")
    _print_table(("option", "type", "default", "meaning"), [_row(option) for option in options])


def _row(option: Option) -> tuple[str, ...]:
    default = "(required)" if option.required else option.default
    return (option.path, option.type, default, option.meaning)


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for a terminal; columns of plain text, one line a row, for anything else."""
    if sys.stdout.isatty():
        table = Table(*heads, box=None, pad_edge=False, header_style="bold")
        table.columns[0].no_wrap = True
        for row in rows:
            table.add_row(*map(Text, row))  # Text: what stands in [brackets] is no markup
        Console().print(table)
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
