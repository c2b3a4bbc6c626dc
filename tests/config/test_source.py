"""Files that cannot be read as a text at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netserve.config.source import MAX_SIZE, read_text
from netserve.errors import ConfigError


def message(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_text(path)
    return str(caught.value).replace(str(path), "FILE")


def test_a_missing_file(tmp_path: Path) -> None:
    assert message(tmp_path / "no.yaml") == "FILE: there is no such file"


def test_a_folder(tmp_path: Path) -> None:
    assert message(tmp_path) == "FILE: this is a folder; name the file in it"


def test_a_file_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert message(tmp_path / "a" / "b") == "FILE: cannot be read: not a directory"


def test_a_name_with_nul(tmp_path: Path) -> None:
    assert message(tmp_path / "a\0b") == "FILE: cannot be read: embedded null byte"


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.touch(mode=0)
    if os.geteuid() != 0:
        assert message(path) == "FILE: no permission to read it"
        return
    os.seteuid(65534)  # root may read everything; the folders above may be closed to others too
    try:
        assert message(path) == "FILE: no permission to read it"
    finally:
        os.seteuid(0)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("services:\r\n  größe: ".encode() + b"\xff\n")
    what = "not a text in UTF-8: the byte here is of another encoding"
    assert message(path) == f"FILE:2:10: {what}"


def test_utf_16_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("services: {}", encoding="utf-16")
    assert message(path).startswith("FILE:1:1: not a text in UTF-8")


def test_more_than_1_mib_is_refused(tmp_path: Path) -> None:
    """S15: files over 1 MiB are refused; one of exactly 1 MiB is read."""
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * MAX_SIZE)
    assert len(read_text(path)) == MAX_SIZE
    path.write_bytes(b"#" * (MAX_SIZE + 1))
    assert message(path) == "FILE: larger than 1 MiB; a config file may not be that large"


def test_an_endless_file_is_refused() -> None:
    assert message(Path("/dev/zero")).startswith("FILE: larger than 1 MiB")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xef\xbb\xbfservices: {}")
    assert read_text(path) == "services: {}"


def test_a_pipe_can_be_read() -> None:
    """`netserve check <(generate)` works."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as file:
        file.write(b"a: 1")
    try:
        assert read_text(Path(f"/dev/fd/{reader}")) == "a: 1"
    finally:
        os.close(reader)
