"""Body files: nameless until they are published, on file systems that can and that cannot."""

import errno
import os
from pathlib import Path

import pytest

from netserve.outbox.errors import BodyMissing, OutOfSpace, StorageFailed
from netserve.outbox.ids import encode_id
from netserve.outbox.sqlite import bodies as module
from netserve.outbox.sqlite.bodies import BodyFolder


@pytest.fixture(params=["nameless", "named"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """A folder; with ``named``, on a file system that knows no O_TMPFILE."""
    if request.param == "named":
        monkeypatch.setattr(BodyFolder, "_create_nameless", lambda self: None)
    folder = BodyFolder(tmp_path)
    yield folder
    folder.close()


def test_a_published_body_is_there_and_whole(folder: BodyFolder) -> None:
    body = folder.create(7)
    body.write(b"one ")
    body.write(b"two")
    assert list(folder.numbers()) == []
    body.sync()
    body.publish()
    folder.sync()
    body.close()
    body.discard()
    assert list(folder.numbers()) == [7]
    with folder.open(7, 7) as reader:
        assert reader.read() == b"one two"
    folder.remove(7)
    folder.remove(7)
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize("published", [False, True])
def test_a_discarded_body_leaves_nothing(folder: BodyFolder, published: bool) -> None:
    body = folder.create(7)
    body.write(b"x")
    if published:
        body.publish()
    body.discard()
    body.discard()
    assert list(folder.path.iterdir()) == []


def test_half_written_ones_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"{encode_id(5)}.tmp").write_bytes(b"half")
    (tmp_path / encode_id(6)).write_bytes(b"whole")
    folder = BodyFolder(tmp_path)
    assert folder.remove_temporary() == 1
    assert list(folder.numbers()) == [6]
    folder.close()


def test_a_body_of_another_size_is_not_read(folder: BodyFolder) -> None:
    with pytest.raises(BodyMissing, match="is missing"):
        folder.open(7, 3)
    (folder.path / encode_id(7)).write_bytes(b"four")
    with pytest.raises(BodyMissing, match="has 4 bytes instead of 3"):
        folder.open(7, 3)


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, OutOfSpace), (errno.EDQUOT, OutOfSpace), (errno.EIO, StorageFailed)],
)
def test_what_the_system_refuses(
    folder: BodyFolder, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    body = folder.create(7)
    monkeypatch.setattr(module.os, "write", refuse)
    with pytest.raises(kind):
        body.write(b"x")
    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(kind):
        folder.create(8)
    body.discard()


def test_a_file_system_without_nameless_files_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: object, flags: int, *rest: int, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not here")
        return real(path, flags, *rest, **options)

    folder = BodyFolder(tmp_path)
    monkeypatch.setattr(module.os, "open", refuse)
    body = folder.create(7)
    assert [path.name for path in tmp_path.iterdir()] == [f"{encode_id(7)}.tmp"]
    body.discard()
    folder.close()
