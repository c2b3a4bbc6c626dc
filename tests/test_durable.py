"""Folders are made for their owner alone, and are synced into the ones above them."""

import os
from pathlib import Path

import pytest

from netserve.durable import make_folders


def test_each_made_folder_is_for_its_owner_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_ino))
    (tmp_path / "a").mkdir(mode=0o755)
    make_folders(tmp_path / "a" / "b" / "c")
    made = [tmp_path / "a" / "b", tmp_path / "a" / "b" / "c"]
    assert [each.stat().st_mode & 0o777 for each in made] == [0o700, 0o700]
    assert synced == [each.parent.stat().st_ino for each in made]


def test_a_folder_that_is_there_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("there is nothing to sync"))
    tmp_path.chmod(0o750)
    make_folders(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o750


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        make_folders(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        make_folders(tmp_path / "file" / "folder")
