"""A seccomp filter (seccomp(2)) of the system calls that are left; all others give EPERM.

The filter is a program for the kernel's classic BPF machine, over `struct seccomp_data`: the number
of the call at offset 0, the architecture at 4, six arguments of 64 bits from 16.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Collection
from typing import Final

from netserve.packet.confinement.system import (
    MACHINE,
    PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER,
    prctl,
)

_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of linux/audit.h."""

_NUMBERS: Final[dict[str, tuple[int, int]]] = {
    # name: number on x86_64, on aarch64; -1 where there is none
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "close": (3, 57),
    "fstat": (5, 80), "lseek": (8, 62), "ftruncate": (77, 46), "fdatasync": (75, 83),
    "fsync": (74, 82), "poll": (7, -1), "ppoll": (271, 73), "select": (23, -1),
    "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, -1), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441),
    "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214), "madvise": (28, 233),
    "futex": (202, 98), "sched_yield": (24, 124), "getrandom": (318, 278),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132), "setitimer": (38, 103), "restart_syscall": (219, 128),
    "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "getpid": (39, 172), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getresuid": (118, 148), "capget": (125, 90), "fcntl": (72, 25),
    "exit": (60, 93), "exit_group": (231, 94),
    "bind": (49, 200), "getsockname": (51, 204), "getpeername": (52, 205),
    "setsockopt": (54, 208), "getsockopt": (55, 209), "sendto": (44, 206), "recvfrom": (45, 207),
    "sendmsg": (46, 211), "recvmsg": (47, 212), "shutdown": (48, 210),
    "openat": (257, 56), "newfstatat": (262, 79), "pread64": (17, 67), "access": (21, -1),
    "faccessat": (269, 48),
    "socket": (41, 198), "mmap": (9, 222), "mprotect": (10, 226), "ioctl": (16, 29),
    "prctl": (157, 167),
}  # fmt: skip

FILES: Final = frozenset({"ftruncate", "fsync", "fdatasync"})
"""System calls for writing to an open file."""
READS: Final = frozenset({"openat", "newfstatat", "pread64", "access", "faccessat", "prctl"})
"""System calls for reading files. They are allowed for a while only: filters are cumulative, and a
second filter, for which `prctl` stays allowed, removes them."""
SOCKETS: Final = frozenset({"socket", "bind"})
"""System calls for opening packet sockets; see `_SOCKETS_LEFT`."""
BASIC: Final = frozenset(_NUMBERS) - FILES - READS - SOCKETS
"""System calls that a running Python program with open descriptors needs."""

_SOCKETS_LEFT: Final = ((17, 3), (17, 2), (2, 3), (10, 3))
"""Families and types: AF_PACKET (raw, cooked), raw IPv4 and IPv6."""
_IOCTLS_LEFT: Final = (0x5421, 0x5450, 0x5451)
"""FIONBIO, FIONCLEX, FIOCLEX: Python makes sockets non-blocking and not inheritable by these."""
_TYPE_MASK: Final = 0xF
_PROT_EXEC: Final = 4

_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_AT_LEAST: Final = 0x35
_ANY_BIT: Final = 0x45
_AND: Final = 0x54
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_DENY: Final = 0x00050000 | errno.EPERM

_Instruction = tuple[int, int, int, int]


def restrict(calls: Collection[str]) -> bool:
    """Leave only these system calls; `no_new_privs` has to be set.

    Returns:
        False where the architecture is not known, or the kernel has no filters.
    """
    if MACHINE not in _ARCHITECTURES:
        return False
    program = b"".join(struct.pack("HBBI", *one) for one in _program(calls))
    buffer = ctypes.create_string_buffer(program, len(program))
    length = len(program) // 8
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", length, ctypes.addressof(buffer)))
    try:
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header))
    except OSError:
        return False
    return True


def _program(calls: Collection[str]) -> list[_Instruction]:
    column = list(_ARCHITECTURES).index(MACHINE)
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, _ARCHITECTURES[MACHINE]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, 0x40000000),  # the numbers of the x32 ABI
        (_RETURN, 0, 0, _KILL),
    ]
    for name in sorted(calls):
        number = _NUMBERS[name][column]
        if number >= 0:
            rule = _rule(name)
            program += [(_EQUAL, 0, len(rule), number), *rule]
    return [*program, (_RETURN, 0, 0, _DENY)]


def _rule(name: str) -> list[_Instruction]:
    """The instructions for one call; every path ends with a verdict."""
    if name in {"mmap", "mprotect"}:
        return [
            (_LOAD, 0, 0, 16 + 8 * 2),
            (_ANY_BIT, 0, 1, _PROT_EXEC),
            (_RETURN, 0, 0, _DENY),
            (_RETURN, 0, 0, _ALLOW),
        ]
    if name == "ioctl":
        rule = [(_LOAD, 0, 0, 16 + 8)]
        for request in _IOCTLS_LEFT:
            rule += [(_EQUAL, 0, 1, request), (_RETURN, 0, 0, _ALLOW)]
        return [*rule, (_RETURN, 0, 0, _DENY)]
    if name == "prctl":
        return [
            (_LOAD, 0, 0, 16),
            (_EQUAL, 0, 1, PR_SET_SECCOMP),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _DENY),
        ]
    if name == "socket":
        rule = []
        for family, kind in _SOCKETS_LEFT:
            rule += [
                (_LOAD, 0, 0, 16),
                (_EQUAL, 0, 4, family),
                (_LOAD, 0, 0, 16 + 8),
                (_AND, 0, 0, _TYPE_MASK),
                (_EQUAL, 0, 1, kind),
                (_RETURN, 0, 0, _ALLOW),
            ]
        return [*rule, (_RETURN, 0, 0, _DENY)]
    return [(_RETURN, 0, 0, _ALLOW)]
