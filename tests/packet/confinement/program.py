"""A program that confines itself and then tries everything; prints JSON about what it could do."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netserve.packet.confinement import confine, seccomp, system

libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
status = os.open("/proc/self/status", os.O_RDONLY)
here = os.open("/", os.O_RDONLY | os.O_DIRECTORY)


def executable_memory() -> None:
    libc.mmap.restype = ctypes.c_void_p
    if libc.mmap(None, 4096, 7, 0x22, -1, 0) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


def capability() -> None:
    system.set_capabilities(1 << 12, 1 << 12, 0)


def trace() -> None:
    if libc.ptrace(16, parent, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")


def stream(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def thread() -> None:
    threading.Thread(target=int).start()


TRIES: dict[str, Callable[[], Any]] = {
    "read a file": lambda: Path("/etc/passwd").read_bytes(),
    "write a file": lambda: Path("/tmp/netserve-confined").write_bytes(b""),
    "read by a folder that is open": lambda: os.open("etc/passwd", os.O_RDONLY, dir_fd=here),
    "look at a file": lambda: Path("/etc/passwd").stat(),
    "list a folder": lambda: list(Path("/").iterdir()),
    "open TCP": lambda: stream(socket.AF_INET, socket.SOCK_STREAM),
    "open UDP": lambda: stream(socket.AF_INET, socket.SOCK_DGRAM),
    "open UDP by IPv6": lambda: stream(socket.AF_INET6, socket.SOCK_DGRAM),
    "open a UNIX socket": lambda: stream(socket.AF_UNIX, socket.SOCK_STREAM),
    "open netlink": lambda: stream(socket.AF_NETLINK, socket.SOCK_RAW),
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
    "start a thread": thread,
    "be root again": lambda: os.setuid(0),
    "be another group": lambda: os.setgid(0),
    "signal the parent": lambda: os.kill(parent, 0),
    "signal another process": lambda: os.kill(1, signal.SIGTERM),
    "trace the parent": trace,
    "get another capability": capability,
    "write and run memory": executable_memory,
    "change the root": lambda: os.chroot("/"),
    "set the host's name": lambda: socket.sethostname("x"),
    "raw IPv4": lambda: stream(socket.AF_INET, socket.SOCK_RAW, 255),
    "raw IPv6": lambda: stream(socket.AF_INET6, socket.SOCK_RAW, 255),
    "a packet socket": lambda: stream(socket.AF_PACKET, socket.SOCK_DGRAM),
}


def main() -> None:
    user, keeps, sockets = sys.argv[1], sys.argv[2] == "keep", sys.argv[3] == "sockets"
    report = confine(
        user=user,
        keep=frozenset({system.CAP_NET_RAW} if keeps else ()),
        calls=seccomp.BASIC | (seccomp.SOCKETS if sockets else frozenset()),
    )
    done = {}
    for name, attempt in TRIES.items():
        try:
            attempt()
        except (OSError, RuntimeError) as error:
            done[name] = getattr(error, "errno", None) or "no"
        else:
            done[name] = "done"
    print(
        json.dumps(
            {"report": report.to_json(), "tries": done, "status": os.read(status, 1 << 16).decode()}
        )
    )


main()
