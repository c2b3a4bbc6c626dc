"""netserve as it is measured: from a config, through its own command, in a process of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.processes import SERVER_CORES, BenchError, Server
from bench.table import Row

OURS = "netserve"


def command() -> str:
    """The path of the `netserve` command of this environment.

    Raises:
        BenchError: it is not installed.
    """
    beside = Path(sys.executable).with_name("netserve")
    found = str(beside) if beside.exists() else shutil.which("netserve")
    if found is None:
        raise BenchError("the netserve command is not installed")
    return found


def netserve(
    folder: Path,
    config: str,
    port: int | None,
    *,
    cores: frozenset[int] = SERVER_CORES,
    program: str | None = None,
) -> Server:
    """netserve with this config, its state and log in a folder.

    Arguments:
        folder: made here; the config's relative paths start there.
        config: the text of the file.
        port: a port that it listens on; it is there once that one answers. None: at once.
        cores: the cores that it may use.
        program: the path of the `netserve` command, or None for that of this environment.
    """
    folder.mkdir()
    file = folder / "config.yaml"
    file.write_text(config)
    return Server(
        [program or command(), "run", str(file)],
        port=port,
        log=folder / "output.log",
        cores=cores,
        folder=folder,
    )


def or_failed(work: str, measure: Callable[[], Iterable[Row]]) -> list[Row]:
    """The rows of a measurement; where it breaks, one row that says how, so that others go on."""
    try:
        return list(measure())
    except (BenchError, OSError) as error:
        return [Row(work=work, subject=OURS, failed=str(error))]
