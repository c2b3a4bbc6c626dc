"""Folders and files are made for their owner alone, and are synced."""

import os
from pathlib import Path

import pytest

from netserve.durable import make_folders, replace_file


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


def test_a_file_is_replaced_when_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "file.json"
    replace_file(path, b"old")
    path.with_suffix(".new").write_text("half of one")
    seen: list[tuple[str, bytes]] = []
    names = {"file.new": path.with_suffix(".new"), "folder": path.parent}

    def fsync(file: int) -> None:
        found = os.fstat(file).st_ino
        name = next(n for n, p in names.items() if p.exists() and p.stat().st_ino == found)
        seen.append((name, path.read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    replace_file(path, b"new")
    assert seen == [("file.new", b"old"), ("folder", b"new")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]
    assert path.read_text() == "old"
