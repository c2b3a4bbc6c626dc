"""Values from elsewhere: the environment, files, systemd's credentials."""

from __future__ import annotations

from pathlib import Path

import pytest

from netserve.config.tags import KNOWN, MAX_FILE_SIZE, Tags


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NAME", "value"), ("EMPTY", ""), ("NAME:-other", "value"), ("EMPTY:-other", "other"),
        ("MISSING:-other", "other"), ("MISSING:-", ""), ("MISSING:-a:-b", "a:-b"), ("NUMBER",
        "007"),
    ],
)  # fmt: skip
def test_env(text: str, value: str) -> None:
    tags = Tags(Path(), {"NAME": "value", "EMPTY": "", "NUMBER": "007"})
    assert tags.resolve("!env", text) == value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"x\n", "x"),
        (b"x\r\n", "x"),
        (b"x\n\n", "x\n"),
        (b"x", "x"),
        (b"", ""),
        (b"a\nb\n", "a\nb"),
    ],
)
def test_one_newline_at_the_end_is_taken_off(content: bytes, value: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert Tags(tmp_path, {}).resolve("!file", "secret") == value
    assert Tags(Path("/"), {}).resolve("!file", str(tmp_path / "secret")) == value
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert Tags(Path("/"), credentials).resolve("!credential", "secret") == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"x" * (MAX_FILE_SIZE + 1), "is larger than 64 KiB"),
        (b"\xff", "is not a text in UTF-8"),
        (b"a\0b", "has a NUL in it"),
    ],
)
def test_a_file_that_is_no_text(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        Tags(tmp_path, {}).resolve("!file", "secret")


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * MAX_FILE_SIZE)
    assert len(Tags(tmp_path, {}).resolve("!file", "secret")) == MAX_FILE_SIZE


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\0b"])
def test_a_credential_stays_in_its_folder(name: str, tmp_path: Path) -> None:
    tags = Tags(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(ValueError, match="write !credential NAME"):
        tags.resolve("!credential", name)


def test_a_credential_that_is_not_there(tmp_path: Path) -> None:
    tags = Tags(tmp_path, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(ValueError, match="cannot read this credential: no such file"):
        tags.resolve("!credential", "smtp")


def test_these_are_all() -> None:
    assert KNOWN == ("!env", "!file", "!credential")
