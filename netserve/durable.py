"""Folders that are there after a power loss: each made one is synced into the one above it."""

from __future__ import annotations

import os
from pathlib import Path


def make_folders(path: Path) -> None:
    """Make a folder, and those above it that are missing, for the owner alone.

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
