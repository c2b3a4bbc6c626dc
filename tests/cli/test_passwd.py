"""``netserve passwd``."""

from __future__ import annotations

import os
import pty
import stat
import subprocess
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner

from netserve.cli.passwd import passwd
from netserve.mail.users_file import LARGEST, parse_users
from netserve.testing.process import BIN


def run(*arguments: str | Path, text: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(passwd, [str(one) for one in arguments], input=text)
    return result.exit_code, result.output


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def verify(path: Path, user: str, password: str) -> bool:
    return PasswordHasher().verify(parse_users(path.read_text())[user], password)


def test_users_are_added_changed_and_deleted(tmp_path: Path) -> None:
    file = tmp_path / "users"
    assert run(file, "me", "--stdin", text="secret\n") == (0, "me: added\n")
    assert mode(file) == 0o600
    assert verify(file, "me", "secret")
    assert run(file, "jürgen", "--stdin", text="pässwörd") == (0, "jürgen: added\n")
    assert run(file, "me", "--stdin", text="other\r\n") == (0, "me: changed\n")
    assert verify(file, "me", "other")
    assert verify(file, "jürgen", "pässwörd")
    assert run(file, "me", "--delete") == (0, "me: deleted\n")
    assert list(parse_users(file.read_text())) == ["jürgen"]
    assert list(tmp_path.iterdir()) == [file]


def test_at_a_terminal_it_is_asked_for_twice(tmp_path: Path) -> None:
    """And is not shown."""
    file = tmp_path / "users"
    code, output = run(file, "me", text="secret\nother\nsecret\nsecret\n")
    assert code == 0
    assert "secret" not in output
    assert verify(file, "me", "secret")


def test_over_a_real_terminal(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [BIN / "netserve", "passwd", tmp_path / "users", "me"],
        stdin=follower, stdout=follower, stderr=follower, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    seen = b""
    for question in (b"Password: ", b"again: "):
        while question not in seen:
            seen += os.read(leader, 1000)
        os.write(leader, b"secret\n")
    assert process.wait(timeout=20) == 0
    os.close(leader)
    assert b"secret" not in seen
    assert verify(tmp_path / "users", "me", "secret")


def test_owner_and_mode_stay_but_not_for_others(tmp_path: Path) -> None:
    """And a link to it stays a link."""
    file, link = tmp_path / "users", tmp_path / "link"
    run(file, "me", "--stdin", text="secret\n")
    file.chmod(0o644)
    link.symlink_to(file)
    if os.geteuid() == 0:
        os.chown(file, 4711, 4712)
    assert run(link, "you", "--stdin", text="secret\n")[0] == 0
    assert mode(file) == 0o640
    assert link.is_symlink()
    if os.geteuid() == 0:
        assert (file.stat().st_uid, file.stat().st_gid) == (4711, 4712)


@pytest.mark.parametrize(
    ("arguments", "text", "what"),
    [
        (("users", "a:b", "--stdin"), "x\n", "no colon"),
        (("users", "me", "--stdin"), "\n", "not empty"),
        (("users", "me", "--stdin"), "a\0b\n", "no NUL"),
        (("users", "me", "--delete"), "", "has no user me"),
        (("users", "me", "--delete", "--stdin"), "", "needs no password"),
        (("none/users", "me", "--stdin"), "x\n", "no such file or directory"),
    ],
)
def test_what_does_not_do(tmp_path: Path, arguments: tuple[str, ...], text: str, what: str) -> None:
    code, output = run(tmp_path / arguments[0], *arguments[1:], text=text)
    assert code != 0
    assert what in output
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_wrong_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("root:x:0:0\n")
    code, output = run(file, "me", "--stdin", text="secret\n")
    assert code == 1
    assert f"{file}:1: not a hash" in output
    assert file.read_text() == "root:x:0:0\n"


def test_a_file_that_is_too_large_is_left_alone(tmp_path: Path) -> None:
    """S8."""
    file = tmp_path / "users"
    with file.open("wb") as made:
        made.truncate(LARGEST + 1)
    code, output = run(file, "me", "--stdin", text="secret\n")
    assert (code, "too large" in output) == (1, True)
    assert file.stat().st_size == LARGEST + 1


def test_a_disk_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "users"
    run(file, "me", "--stdin", text="secret\n")
    before = file.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, output = run(file, "me", "--stdin", text="other\n")
    assert (code, "no space left" in output) == (1, True)
    assert file.read_text() == before
    assert list(tmp_path.iterdir()) == [file]


def test_two_at_a_time_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "users"
    processes = [
        subprocess.Popen(
            [BIN / "netserve", "passwd", "--stdin", file, f"user{n}"], stdin=subprocess.PIPE
        )
        for n in range(4)
    ]
    for process in processes:
        process.communicate(b"secret\n", timeout=60)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert sorted(parse_users(file.read_text())) == ["user0", "user1", "user2", "user3"]
