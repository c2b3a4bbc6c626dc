"""The steps of the confinement, in their order."""

from __future__ import annotations

import contextlib
import os
import pwd
import resource
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from netserve.packet.confinement import landlock, seccomp, system

_SECURE_BITS: Final = 0b1110_1111
"""NOROOT, NO_SETUID_FIXUP, not KEEP_CAPS, NO_CAP_AMBIENT_RAISE, each locked (capabilities(7))."""
_MEMORY: Final = 1 << 30
_DESCRIPTORS: Final = 256
_NOBODY: Final = 65534
_CAPABILITIES: Final = 64


class ConfinementError(Exception):
    """The process cannot be confined, and must not go on."""


@dataclass(frozen=True, slots=True)
class Report:
    """The restrictions that are in force.

    Arguments:
        uid: the user that the process runs as.
        capabilities: the bits that it has left.
        chroot: whether its root is an empty folder.
        landlock: the version of Landlock that holds; 0 for none.
        seccomp: whether system calls are filtered.
    """

    uid: int
    capabilities: int
    chroot: bool
    landlock: int
    seccomp: bool

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def confine(
    *,
    user: str,
    keep: frozenset[int],
    calls: frozenset[str],
    reads: tuple[Path, ...] = (),
    writes_files: bool = False,
) -> Report:
    """Give up everything else; there is no way back.

    Arguments:
        user: the user that a process of root switches to; another process keeps its own.
        keep: the capabilities that are kept, if the process has them.
        calls: the system calls that are left, names of `seccomp`.
        reads: files that may still be read, where Landlock sees to it that it is no others; with
            `seccomp.READS` among the calls, until another filter takes those away.
        writes_files: whether files are open that may grow.

    Raises:
        ConfinementError: the process would still be root, or have more capabilities.
    """
    try:
        is_root = os.geteuid() == 0
        ids = _ids(user) if is_root else None  # while there are files to look them up in
        reads = reads if landlock.version() else ()
        chroot = is_root and not reads and _leave_files()
        kept = system.capabilities()[1] & _bits(keep)
        if ids is not None:
            _leave_root(*ids)
        _leave_capabilities(kept)
        system.prctl(system.PR_SET_DUMPABLE, 0)  # a change of the user sets it again
        system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
    except (OSError, KeyError) as error:
        raise ConfinementError(f"the privileges cannot be dropped: {error}") from None
    _limit(writes_files=writes_files)
    version = landlock.restrict(reads)
    report = Report(
        uid=os.geteuid(),
        capabilities=system.capabilities()[1],
        chroot=chroot,
        landlock=version,
        seccomp=seccomp.restrict(calls),
    )
    if report.uid == 0 or report.capabilities & ~_bits(keep):
        raise ConfinementError("the process would be root, or have capabilities besides its own")
    return report


def _bits(capabilities: frozenset[int]) -> int:
    return sum(1 << number for number in capabilities)


def _ids(user: str) -> tuple[int, int]:
    if user.isdecimal():
        return int(user), int(user)
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        if user != "nobody":
            raise KeyError(f"there is no user {user}") from None
        return _NOBODY, _NOBODY
    return entry.pw_uid, entry.pw_gid


def _leave_files() -> bool:
    """Make an empty folder the root of all paths, and remove it."""
    try:
        path = Path(tempfile.mkdtemp(prefix="netserve-empty-"))
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        os.chroot(path)
        os.chdir("/")
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            os.rmdir(path.name, dir_fd=above)
        os.close(above)
    return True


def _leave_root(uid: int, gid: int) -> None:
    system.prctl(system.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def _leave_capabilities(kept: int) -> None:
    _, permitted, _ = system.capabilities()
    if permitted >> system.CAP_SETPCAP & 1:
        system.set_capabilities(1 << system.CAP_SETPCAP, permitted, 0)
        for number in range(_CAPABILITIES):
            if not kept >> number & 1:
                with contextlib.suppress(OSError):  # one that this kernel does not have
                    system.prctl(system.PR_CAPBSET_DROP, number)
        system.prctl(system.PR_SET_SECUREBITS, _SECURE_BITS)
    system.prctl(system.PR_CAP_AMBIENT, system.PR_CAP_AMBIENT_CLEAR_ALL)
    system.set_capabilities(kept, kept, 0)


def _limit(*, writes_files: bool) -> None:
    limits = {
        resource.RLIMIT_AS: _MEMORY,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_NPROC: 0,
    }
    if not writes_files:
        limits[resource.RLIMIT_FSIZE] = 0
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (limit, limit))
