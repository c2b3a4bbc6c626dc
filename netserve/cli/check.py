"""``netserve check``: everything that is wrong with a file, before it runs."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from random import SystemRandom

import click

from netserve.errors import ConfigError


@click.command()
@click.argument("file", default="config.yaml", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print a list of problems, for editors.")
def check(file: Path, *, as_json: bool) -> None:
    """Show everything that is wrong with FILE (default: config.yaml).

    Every service is built as the start would build it, so that handlers are imported, and
    certificates, keys and files of authorities are read. Nothing is opened or written, and no
    network is touched.

    Prints `ok`, or each problem with its place; the exit code is then 1.
    """
    try:
        # What a plugin prints is not our answer.
        with redirect_stdout(sys.stderr):
            warnings = build(file)
    except ConfigError as error:
        if as_json:
            shown = ("file", "line", "column", "path", "what")
            problems = [{key: getattr(problem, key) for key in shown} for problem in error.problems]
            print(json.dumps(problems, indent=2))
        else:
            print(error, file=sys.stderr)
        sys.exit(1)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print("[]" if as_json else "ok")


def build(file: Path) -> list[str]:
    """Build all services of a file, and drop them.

    Arguments:
        file: the config file.

    Returns:
        What the log would warn of.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    # It listens in memory only, and its clock stands still: no reactor is installed for a check.
    from twisted.internet.testing import MemoryReactorClock  # noqa: PLC0415 - see cli/__init__.py

    from netserve.config.load import load  # noqa: PLC0415 - see above
    from netserve.registry import Registry  # noqa: PLC0415 - see above
    from netserve.server.build import Process, build_services  # noqa: PLC0415 - see above

    configuration = load(file, Registry())
    process = Process.of(configuration, reactor=MemoryReactorClock(), random=SystemRandom())
    services = build_services(configuration, process)
    return [f"{built.name}: {warning}" for built in services for warning in built.warnings]
