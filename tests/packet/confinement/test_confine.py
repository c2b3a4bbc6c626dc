"""What a confined process can do (S30): a program confines itself, and tries everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netserve.packet.confinement import seccomp
from netserve.testing.programs import missing, require_program

PROGRAM = Path(__file__).with_name("program.py")
ROOT = Path(__file__).parents[3]
LEFT = {"raw IPv4", "raw IPv6", "a packet socket"}
OWN_USER = 65_533


def confined(*arguments: str, before: tuple[str, ...] = ()) -> dict[str, Any]:
    done = subprocess.run(
        [*before, sys.executable, str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    found["status"] = dict(line.split(":\t", 1) for line in found["status"].splitlines())
    return found


def test_without_root() -> None:
    """An unprivileged process loses what it has, too."""
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # Of root's only the number is left: this Python may stand where only root may read.
        keep = "-all,+dac_read_search"
        before = (
            require_program("setpriv"), f"--reuid={OWN_USER}", f"--regid={OWN_USER}",
            "--clear-groups", f"--inh-caps={keep}", f"--ambient-caps={keep}",
        )  # fmt: skip
    found = confined("nobody", "keep", "sockets", before=before)
    assert found["report"]["uid"] == (OWN_USER if before else os.geteuid())
    assert found["report"]["capabilities"] == 0
    done = {name for name, how in found["tries"].items() if how == "done"}
    assert done == set()


def test_landlock_alone_takes_all_files() -> None:
    code = (
        "from netserve.packet.confinement import landlock, system\n"
        "system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)\n"
        "print(landlock.restrict(), flush=True)\n"
        "open('/etc/passwd')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT,
    )  # fmt: skip
    if done.stdout.strip() == "0":
        missing("this kernel has no Landlock")
    assert "Permission denied: '/etc/passwd'" in done.stderr


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        missing("needs root")


@pytest.mark.usefixtures("root")
def test_root_keeps_one_capability_and_nothing_else() -> None:
    """S30."""
    found = confined("nobody", "keep", "sockets")
    tries, status = found["tries"], found["status"]
    assert {name for name, how in tries.items() if how == "done"} == LEFT
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
    assert status["Groups"].strip() == ""
    raw = f"{1 << 13:016x}"
    assert [status[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [raw] * 3
    assert [status[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert found["report"]["chroot"] is True
    assert found["report"]["landlock"] >= 1


@pytest.mark.usefixtures("root")
def test_root_can_keep_nothing_at_all() -> None:
    found = confined("nobody", "none", "none")
    assert found["report"]["capabilities"] == 0
    assert {name for name, how in found["tries"].items() if how == "done"} == set()


@pytest.mark.usefixtures("root")
def test_the_user_is_chosen() -> None:
    assert confined("12345", "keep", "sockets")["report"]["uid"] == 12345


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("user", ["0", "root", "no-such-user"])
def test_root_does_not_stay_root(user: str) -> None:
    with pytest.raises(AssertionError, match="ConfinementError"):
        confined(user, "keep", "sockets")


def test_each_system_call_that_is_left_has_a_number() -> None:
    for calls in (seccomp.BASIC, seccomp.SOCKETS, seccomp.FILES):
        assert len(seccomp._program(calls)) > len(calls)


def test_dangerous_system_calls_are_not_left() -> None:
    left = seccomp.BASIC | seccomp.SOCKETS | seccomp.FILES
    dangerous = {
        "execve", "execveat", "fork", "vfork", "clone", "clone3", "ptrace", "kill", "tgkill",
        "open", "openat", "openat2", "creat", "unlink", "connect", "accept", "listen", "mount",
        "setuid", "setresuid", "capset", "prctl", "bpf", "io_uring_setup", "process_vm_writev",
        "name_to_handle_at", "open_by_handle_at", "unshare", "setns", "chroot", "keyctl",
    }  # fmt: skip
    assert not left & dangerous
