"""Landlock (landlock(7)): no file by name, no TCP, no abstract sockets and signals of others."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from netserve.packet.confinement.system import (
    LANDLOCK_ADD_RULE,
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

_VERSION: Final = 1 << 0
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Versions of Landlock, and how many rights over files there are from that one on."""
_READ_FILE: Final = 1 << 2
_RULE_PATH_BENEATH: Final = 1
_NET_FROM: Final = 4
_NET_RIGHTS: Final = 0b11
_SCOPES_FROM: Final = 6
_SCOPES: Final = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; 0 where it has none."""
    try:
        return syscall(LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict(reads: Iterable[Path] = ()) -> int:
    """Give up everything that Landlock knows of; `no_new_privs` has to be set.

    Arguments:
        reads: files that may still be read, as far as they exist.

    Returns:
        the version of Landlock that holds; 0 where there is none.
    """
    try:
        known = syscall(LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
        ruleset = _Ruleset()
        ruleset.handled_access_fs = (1 << max(n for v, n in _FILE_RIGHTS if v <= known)) - 1
        size = 8
        if known >= _NET_FROM:
            ruleset.handled_access_net, size = _NET_RIGHTS, 16
        if known >= _SCOPES_FROM:
            ruleset.scoped, size = _SCOPES, 24
        descriptor = syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
        try:
            for path in reads:
                _allow_reading(descriptor, path)
            syscall(LANDLOCK_RESTRICT_SELF, descriptor, 0)
        finally:
            os.close(descriptor)
    except OSError:
        return 0
    return known


def _allow_reading(ruleset: int, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # this machine has no such file
    try:
        rule = _PathBeneath(_READ_FILE, descriptor)
        syscall(LANDLOCK_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)
