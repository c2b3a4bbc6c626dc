"""What glibc's allocator is told, since a server takes and frees large blocks all the time.

By default it gives a block of 128 KiB and more back to the system at once, and the top of the heap
as soon as that much of it is free. The next block is then new memory, which the kernel has to
clear, page by page: for a stream of large messages that was a third of all CPU time.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD of malloc.h
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD
KEPT: Final = 8 * 1024 * 1024
"""Bytes of free memory that are kept for the next block."""
LARGE: Final = 1024 * 1024
"""Blocks of so many bytes go back to the system when they are freed."""


def tune_allocator() -> bool:
    """Have freed memory kept, up to `KEPT`; says whether there was something to tune."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library than glibc
        return False
    return bool(mallopt(_TRIM_THRESHOLD, KEPT)) and bool(mallopt(_MMAP_THRESHOLD, LARGE))
