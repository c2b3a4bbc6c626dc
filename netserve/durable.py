"""Folders and files that are there after a power loss."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def make_folders(path: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner alone.

    Each is synced into the one above it.

    Raises:
        OSError: one cannot be made, or not synced.
    """
    missing = [path, *(each for each in path.parents if not each.exists())]
    for each in reversed(missing):
        try:
            each.mkdir(mode=0o700)
        except FileExistsError:
            if each.is_dir():
                continue
            raise
        sync_folder(each.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: it cannot be read, or not synced.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another, or of none, in one step, for the owner alone.

    Raises:
        OSError: it is not kept; what was there stays.
    """
    make_folders(path.parent)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
