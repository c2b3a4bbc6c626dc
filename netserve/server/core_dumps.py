"""No core dump of a process that has secrets in its memory."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4
"""See prctl(2)."""


def forbid_core_dumps() -> None:
    """See to it that a crash writes the process's memory nowhere.

    The limit of the size is for a system that writes core files. Where it hands them to a program,
    as to systemd-coredump, that limit is not asked, but the process's mark is. It also keeps other
    processes of the same user from reading this one's memory and environment; a debugger has to be
    root's.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
