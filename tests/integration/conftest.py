"""The shipped configuration on free ports, served by a real process; a folder for other users."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from netserve.testing.process import RunningProcess, free_port, running

ROOT = Path(__file__).parents[2]


@dataclass
class Shipped:
    """The shipped file as it runs.

    Arguments:
        process: it.
        folder: where its file and its state are.
        ports: free port by the port that the shipped file has.
    """

    process: RunningProcess
    folder: Path
    ports: dict[int, int]


def move_ports(text: str) -> tuple[str, dict[int, int]]:
    """The text with each port replaced by a free one."""
    ports = {int(port): free_port() for port in re.findall(r"\b(?:70\d\d|2525)\b", text)}
    return re.sub(r"\b(?:70\d\d|2525)\b", lambda match: str(ports[int(match[0])]), text), ports


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    folder = tmp_path_factory.mktemp("shipped")
    text, ports = move_ports((ROOT / "config.yaml").read_text())
    (folder / "config.yaml").write_text(text)
    with running(folder / "config.yaml") as process:
        yield Shipped(process, folder, ports)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own are closed, and closed again at times."""
    with tempfile.TemporaryDirectory(prefix="netserve-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
