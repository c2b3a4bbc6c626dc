"""System calls that Python has no function for. Linux; numbers and constants from its headers."""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
from collections.abc import Sequence
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

MACHINE: Final = platform.machine()

PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_SECUREBITS: Final = 28
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
PR_SET_SECCOMP: Final = 22
SECCOMP_MODE_FILTER: Final = 2

# From the same numbers on all architectures since Linux 5.1.
LANDLOCK_CREATE_RULESET: Final = 444
LANDLOCK_ADD_RULE: Final = 445
LANDLOCK_RESTRICT_SELF: Final = 446

_SO_ATTACH_FILTER: Final = 26
_CAPABILITY_VERSION_3: Final = 0x20080522

CAP_SETPCAP: Final = 8
CAP_NET_RAW: Final = 13


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, *arguments: int) -> int:
    """Call prctl (see its manual page, section 2).

    Raises:
        OSError: the kernel refuses.
    """
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(int(_libc.prctl(option, *padded)), f"prctl {option}")


def syscall(number: int, *arguments: object) -> int:
    """Make a system call by its number.

    Arguments:
        number: of the call, on this architecture.
        arguments: integers are passed as longs, everything else as ctypes has it.

    Raises:
        OSError: the call fails.
    """
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *passed)), f"system call {number}")


def capabilities() -> tuple[int, int, int]:
    """The effective, permitted and inheritable capabilities of this thread, as bits.

    Raises:
        OSError: the kernel refuses.
    """
    header, data = _Header(_CAPABILITY_VERSION_3, 0), (_Data * 2)()
    _checked(int(_libc.capget(ctypes.byref(header), ctypes.byref(data))), "capget")
    low, high = data
    return (
        low.effective | high.effective << 32,
        low.permitted | high.permitted << 32,
        low.inheritable | high.inheritable << 32,
    )


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """Set the capabilities of this thread.

    Raises:
        OSError: the kernel refuses.
    """
    header, data = _Header(_CAPABILITY_VERSION_3, 0), (_Data * 2)()
    for index, shift in enumerate((0, 32)):
        data[index].effective = effective >> shift & 0xFFFFFFFF
        data[index].permitted = permitted >> shift & 0xFFFFFFFF
        data[index].inheritable = inheritable >> shift & 0xFFFFFFFF
    _checked(int(_libc.capset(ctypes.byref(header), ctypes.byref(data))), "capset")


def has_capability(number: int) -> bool:
    """Whether this process may use a capability, or give it to a program that it starts as root."""
    try:
        return bool(capabilities()[1] >> number & 1)
    except OSError:
        return os.geteuid() == 0


def hand_down(number: int) -> None:
    """Let programs that this process starts have a capability of its own.

    Raises:
        OSError: it has none.
    """
    effective, permitted, inheritable = capabilities()
    set_capabilities(effective, permitted, inheritable | 1 << number)
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def bind_packet(descriptor: int, protocol: int, interface: int) -> None:
    """Bind a packet socket; Python's own `bind` asks for the interface by its name, by an ioctl.

    Arguments:
        descriptor: of the socket.
        protocol: an EtherType, or ETH_P_ALL.
        interface: an index, or 0 for all.

    Raises:
        OSError: the kernel refuses.
    """
    address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(protocol), interface, 0, 0, 0)
    _checked(int(_libc.bind(descriptor, address, len(address))), "bind")


def attach_filter(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Let the kernel drop the packets that a program of classic BPF rejects.

    Arguments:
        sock: the socket.
        program: operation, distance if true, distance if false, operand.

    Raises:
        OSError: the kernel refuses it.
    """
    code = b"".join(struct.pack("=HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
