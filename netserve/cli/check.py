"""``netserve check``: everything that is wrong with a file, before it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from netserve.config.load import load
from netserve.errors import ConfigError
from netserve.registry import Registry


@click.command()
@click.argument("file", default="config.yaml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a list of problems, for editors.")
def check(file: Path, *, as_json: bool) -> None:
    """Tell everything that is wrong with FILE (default: config.yaml).

    Prints `ok`, or each problem with its place; the exit code is then 1. Nothing is opened, and no
    network is touched.
    """
    try:
        load(file, Registry())
    except ConfigError as error:
        if as_json:
            shown = ("file", "line", "column", "path", "what")
            problems = [{key: getattr(problem, key) for key in shown} for problem in error.problems]
            print(json.dumps(problems, indent=2))
        else:
            print(error, file=sys.stderr)
        sys.exit(1)
    print("[]" if as_json else "ok")
