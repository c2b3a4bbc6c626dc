"""What verbs share that ask a running daemon: which one, and how to print what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Final

import click

from netserve.cli.control import Control

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Age(click.ParamType[float]):
    """``30m``, ``4h``, ``2d`` as seconds."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See click."""
        if isinstance(value, float):
            return value
        number, unit = str(value)[:-1], str(value)[-1:]
        if not (number.isdecimal() and unit in _UNITS):
            self.fail(f"{value!r} is not an age; write 30s, 10m, 4h or 2d", param, ctx)
        return float(number) * _UNITS[unit]


class Asked:
    """What every verb is given: the daemon, and how to print.

    Arguments:
        state: gives the daemon's state folder.
        as_json: print JSON.
    """

    def __init__(self, state: Callable[[], Path], *, as_json: bool) -> None:
        self.as_json = as_json
        self._state = state

    @cached_property
    def state(self) -> Path:
        """The daemon's state folder.

        Raises:
            ClickException: the file that tells where it is cannot be read.
        """
        return self._state()

    @cached_property
    def control(self) -> Control:
        """The daemon's control socket.

        Raises:
            ClickException: the file that tells where it is cannot be read.
        """
        return Control(self.state)

    def print(self, answer: Any, text: str) -> None:
        """Print an answer as JSON, or the text."""
        click.echo(json.dumps(answer, indent=2, ensure_ascii=False) if self.as_json else text)


def asks_daemon(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every verb; the command is given an `Asked` first."""

    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=Path("config.yaml"),
        show_default=True,
        help="The file that the daemon runs.",
    )
    @click.option(
        "--state",
        type=click.Path(path_type=Path),
        help="The daemon's state folder, in place of the one that the file names.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def with_daemon(config: Path, state: Path | None, as_json: bool, **options: Any) -> None:
        command(Asked(lambda: state or _state_of(config), as_json=as_json), **options)

    return with_daemon


def _state_of(config: Path) -> Path:
    """The state folder that a file names. The loader is imported only where it is needed."""
    from netserve.config.load import load_state  # noqa: PLC0415
    from netserve.errors import NetserveError  # noqa: PLC0415

    try:
        return load_state(config)
    except NetserveError as error:
        raise click.ClickException(str(error)) from None
