"""Landlock (landlock(7)): no file by name, no TCP, no abstract sockets and signals of others."""

from __future__ import annotations

import ctypes
import os
from typing import Final

from netserve.packet.confinement.system import (
    LANDLOCK_CREATE_RULESET,
    LANDLOCK_RESTRICT_SELF,
    syscall,
)

_VERSION: Final = 1 << 0
_FILE_RIGHTS: Final = ((1, 13), (2, 14), (3, 15), (5, 16))
"""Versions of Landlock, and how many rights over files there are from that one on."""
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


def restrict() -> int:
    """Give up everything that Landlock knows of; `no_new_privs` has to be set.

    Returns:
        the kernel's version of Landlock; 0 where it has none.
    """
    try:
        version = syscall(LANDLOCK_CREATE_RULESET, None, 0, _VERSION)
        ruleset = _Ruleset()
        ruleset.handled_access_fs = (1 << max(n for v, n in _FILE_RIGHTS if v <= version)) - 1
        size = 8
        if version >= _NET_FROM:
            ruleset.handled_access_net, size = _NET_RIGHTS, 16
        if version >= _SCOPES_FROM:
            ruleset.scoped, size = _SCOPES, 24
        descriptor = syscall(LANDLOCK_CREATE_RULESET, ctypes.byref(ruleset), size, 0)
        try:
            syscall(LANDLOCK_RESTRICT_SELF, descriptor, 0)
        finally:
            os.close(descriptor)
    except OSError:
        return 0
    return version
