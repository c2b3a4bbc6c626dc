"""Filters in the language of pcap-filter(7), compiled by libpcap; the library is C, by ctypes.

It is loaded while there are files to load it from, and given text from outside only in a process
that has nothing left to lose.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

_NAMES: Final = ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so")
_UNKNOWN_NETMASK: Final = 0xFFFFFFFF
_MOST_INSTRUCTIONS: Final = 4096
_LONGEST: Final = 8192
MISSING: Final = (
    "libpcap is not installed, which compiles filters; install it: apt install libpcap0.8"
)


class FilterError(ValueError):
    """The text is no filter; the error is libpcap's."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


class Libpcap:
    """The library.

    Raises:
        OSError: it is not installed.
    """

    def __init__(self) -> None:
        self._library = _load()
        self._library.pcap_open_dead.restype = ctypes.c_void_p
        self._library.pcap_geterr.restype = ctypes.c_char_p
        for name in ("pcap_compile", "pcap_geterr", "pcap_close"):
            getattr(self._library, name).argtypes = {
                "pcap_compile": [
                    ctypes.c_void_p, ctypes.POINTER(_Program), ctypes.c_char_p, ctypes.c_int,
                    ctypes.c_uint32,
                ],
                "pcap_geterr": [ctypes.c_void_p],
                "pcap_close": [ctypes.c_void_p],
            }[name]  # fmt: skip

    def compile(self, text: str, *, link: int, snap: int) -> list[tuple[int, int, int, int]]:
        """The instructions of a filter.

        Arguments:
            text: such as ``tcp port 80 and host 127.0.0.1``; empty takes everything.
            link: the type of the link layer.
            snap: the bytes of a packet that are kept.

        Raises:
            FilterError: it is none.
        """
        if len(text) > _LONGEST or "\0" in text:
            raise FilterError(f"a filter has at most {_LONGEST} characters, and no NUL")
        handle = self._library.pcap_open_dead(link, snap)
        if not handle:
            raise FilterError("libpcap has no memory")
        program = _Program()
        try:
            done = self._library.pcap_compile(
                handle, ctypes.byref(program), text.encode(), 1, _UNKNOWN_NETMASK
            )
            if done != 0:
                reason = self._library.pcap_geterr(handle).decode(errors="replace")
                raise FilterError(" ".join(reason.split()))
            if program.length > _MOST_INSTRUCTIONS:
                raise FilterError(f"the filter has more than {_MOST_INSTRUCTIONS} instructions")
            # The memory is not given back: the process compiles one filter.
            return [
                (one.code, one.if_true, one.if_false, one.operand)
                for one in program.instructions[: program.length]
            ]
        finally:
            self._library.pcap_close(handle)


def _load() -> Any:
    for name in _NAMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise OSError(MISSING)
