"""What may be done with files, as the process is. Other users: see tests/integration."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from netserve.server.rights import Account, Need, python_needs, refusals

nobody_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = Account(65534, 65534)


def test_what_is_not_there_is_no_matter_of_rights(tmp_path: Path) -> None:
    needs = [Need(tmp_path / "none", "read"), Need(tmp_path / "a" / "b", "write")]
    assert refusals(needs, None) == [None, None]


@pytest.mark.parametrize("name", ["file", "file/below", "file/{local}"])
def test_a_file_in_the_place_of_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    assert refusals([Need(tmp_path / name, "write")], None) == [f"{tmp_path}/file is not a folder"]


def test_the_python_of_the_tests_can_be_read_by_who_runs_them() -> None:
    needs = list(python_needs())
    assert Need(Path(sys.executable), "run") in needs
    assert Need(Path(pytest.__file__), "read") in needs
    assert set(refusals(needs, None)) == {None}


@nobody_only
def test_another_user_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "file").touch()
    before = os.getresuid(), os.getresgid(), os.getgroups()
    (reason,) = refusals([Need(tmp_path / "file", "read")], NOBODY)
    assert reason is not None
    assert "is closed to it (mode 0700 of root:root)" in reason
    assert (os.getresuid(), os.getresgid(), os.getgroups()) == before


@nobody_only
def test_what_cannot_be_found_out_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(uid: int) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(os, "setuid", fails)
    (reason,) = refusals([Need(Path("/"), "read")], NOBODY)
    assert reason == "cannot find out as the user nobody: not permitted"
