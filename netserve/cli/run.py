"""``netserve run``: twistd in the foreground, without its pidfile."""

from __future__ import annotations

import sys

import click

from netserve.server.signals import hold


@click.command()
@click.argument("file", default="config.yaml", type=click.Path())
def run(file: str) -> None:
    """Serve what FILE (default: config.yaml) describes, in the foreground."""
    hold()
    # The same way in as for `twistd -n netserve`, so that there is one way only.
    from twisted.scripts.twistd import run as run_twistd  # noqa: PLC0415 - see cli/__init__.py

    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "netserve", "--config", file]
    run_twistd()
