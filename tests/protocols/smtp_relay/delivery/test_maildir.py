"""Delivery into a Maildir."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.protocols.smtp_relay.delivery.maildir import writing
from netserve.protocols.smtp_relay.delivery.maildir.writing import (
    Letter,
    deliver,
    file_name,
    reply_for,
)

LETTER = Letter("s@x", "r@y", "1.Q2R0.host")
HEADERS = b"Return-Path: <s@x>\nDelivered-To: r@y\n"


class Pieces:
    """A body that comes in given pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def read(self, size: int = -1, /) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def close(self) -> None: ...


def test_a_message_lies_in_new(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "box"
    deliver(folder, LETTER, io.BytesIO(b"Subject: x\r\n\r\nhello\r\n"))
    assert sorted(each.name for each in folder.iterdir()) == ["cur", "new", "tmp"]
    assert all(each.stat().st_mode & 0o777 == 0o700 for each in [folder, *folder.iterdir()])
    file = folder / "new" / "1.Q2R0.host"
    assert file.read_bytes() == HEADERS + b"Subject: x\n\nhello\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list((folder / "tmp").iterdir()) == []


@given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"x", b".\r\n"])), st.integers(1, 3))
def test_line_ends_wherever_chunks_are_cut(parts: list[bytes], size: int) -> None:
    """S5: the same bytes, with LF for CRLF, and nothing else changed."""
    body = b"".join(parts)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    assert b"".join(writing._with_lf(Pieces(pieces))) == body.replace(b"\r\n", b"\n")


def test_again_after_a_crash_it_is_there_once(tmp_path: Path) -> None:
    for _ in range(3):
        deliver(tmp_path, LETTER, io.BytesIO(b"same\r\n"))
        (tmp_path / "tmp" / LETTER.name).write_bytes(b"half of i")
    assert [each.name for each in (tmp_path / "new").iterdir()] == [LETTER.name]


def test_another_message_by_the_same_name_is_not_lost(tmp_path: Path) -> None:
    for text in (b"one\r\n", b"two\r\n", b"six\r\n"):
        deliver(tmp_path, LETTER, io.BytesIO(text))
    texts = [each.read_bytes()[len(HEADERS) :] for each in (tmp_path / "new").iterdir()]
    assert sorted(texts) == [b"one\n", b"six\n", b"two\n"]


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "link", no_links)
    for _ in range(2):
        deliver(tmp_path, LETTER, io.BytesIO(b"x\r\n"))
    assert len(list((tmp_path / "new").iterdir())) == 1


@pytest.mark.parametrize(
    ("call", "number", "status"),
    [("fsync", errno.EIO, "4.3.0"), ("fsync", errno.ENOSPC, "4.3.1"), ("link", errno.EIO, "4.3.0")],
)
def test_an_error_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, status: str
) -> None:
    deliver(tmp_path, Letter("s@x", "r@y", "first"), io.BytesIO(b"x\r\n"))

    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match=os.strerror(number)) as raised:
        deliver(tmp_path, LETTER, io.BytesIO(b"x\r\n"))
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["first"]
    reply = reply_for(raised.value)
    assert (reply.code // 100, reply.status) == (4, status)
    assert str(tmp_path) not in reply.text


def test_the_file_is_synced_before_it_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1: file, then name, then folder."""
    deliver(tmp_path, Letter("s@x", "r@y", "first"), io.BytesIO(b"x\r\n"))
    calls: list[str] = []
    fsync, link = os.fsync, os.link

    def traced_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        calls.append(f"fsync {path.relative_to(tmp_path)}")
        fsync(descriptor)

    def traced_link(source: Path, target: Path) -> None:
        calls.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "link", traced_link)
    deliver(tmp_path, LETTER, io.BytesIO(b"x\r\n"))
    assert calls == [f"fsync tmp/{LETTER.name}", "link", "fsync new"]


@pytest.mark.parametrize("address", ["a\r\nBcc: b@c", "a\n", "a\0"])
def test_no_header_from_an_address(tmp_path: Path, address: str) -> None:
    """S7."""
    for letter in (Letter(address, "r", "n"), Letter("s", address, "n")):
        with pytest.raises(ValueError, match="control character"):
            deliver(tmp_path, letter, io.BytesIO(b""))
    assert list(tmp_path.iterdir()) == []


def test_names() -> None:
    assert file_name(12.7, "AB-1", 3, "a.b") == "12.QAB-1R3.a.b"
    assert file_name(12.7, "../x", 3, "a/b:c") == "12.Q___xR3.a\\057b\\072c"
