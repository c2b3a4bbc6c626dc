"""The power is lost while the tables of an earlier version are upgraded."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from netserve.outbox.sqlite.database import VERSION, open_writer
from netserve.testing.programs import require_program
from tests.integration.crash.disk import copy_image, make_image, mounted
from tests.outbox.earlier import make_earlier

CALLS = "pwrite64,write,fdatasync,fsync,unlink"
OPEN = (
    "import sys; from pathlib import Path; from netserve.outbox.sqlite.database import open_writer;"
    "open_writer(Path(sys.argv[1])).close()"
)


def rows(database: Path) -> list[str]:
    """All that is in the tables once they are upgraded."""
    with closing(open_writer(database)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [line for line in connection.iterdump() if 'INTO "spool"' not in line]


@pytest.mark.slow
@pytest.mark.parametrize("version", [2, 3])
def test_a_power_loss_leaves_the_old_tables_or_the_new_ones(tmp_path: Path, version: int) -> None:
    strace = require_program("strace")
    expected_in = tmp_path / "expected"
    make_earlier(expected_in, version)
    expected = rows(expected_in / "queue.db")
    image = tmp_path / "made.img"
    make_image(image)
    with mounted(image, tmp_path / "made") as disk:
        shutil.rmtree(expected_in)
        make_earlier(disk.folder / "queue", version)
    versions = set()
    for when in range(1, 200):
        crashed = tmp_path / "crashed.img"
        copy_image(image, crashed)
        with mounted(crashed, tmp_path / "disk") as disk:
            database = disk.folder / "queue" / "queue.db"
            command: list[Any] = [
                strace, "-f", "-o", "/dev/null", "-P", database, "-P", f"{database}-wal",
                "-e", f"trace={CALLS}", "-e", f"inject={CALLS}:signal=KILL:when={when}",
                sys.executable, "-c", OPEN, database,
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            disk.lose_power()
            with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
                versions.add(connection.execute("PRAGMA user_version").fetchone()[0])
            assert rows(database) == expected
        if done.returncode == 0:
            break
        assert done.returncode in {-9, 137}, done.stderr
    else:
        pytest.fail("it never came to its end")
    assert versions == {version, VERSION}, "it was lost before the commit and after it"
