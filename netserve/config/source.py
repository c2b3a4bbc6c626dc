"""A config file's bytes -> its text, with a clear word for each way in which that can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from netserve.errors import ConfigError, Problem

MAX_SIZE: Final = 1024 * 1024
"""Bytes of a config file."""


def read_text(path: Path) -> str:
    """The text of a config file, without a byte order mark.

    Raises:
        ConfigError: it cannot be read, is larger than `MAX_SIZE`, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except IsADirectoryError:
        raise _problem(path, "this is a folder; name the file in it") from None
    except FileNotFoundError:
        raise _problem(path, "there is no such file") from None
    except PermissionError:
        raise _problem(path, "no permission to read it") from None
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise _problem(path, f"cannot be read: {reason}") from None
    if len(data) > MAX_SIZE:
        raise _problem(path, "larger than 1 MiB; a config file may not be that large")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace").replace("\r\n", "\n")
        lines = before.replace("\r", "\n").split("\n")
        what = "not a text in UTF-8: the byte here is of another encoding"
        raise _problem(path, what, len(lines), len(lines[-1]) + 1) from None


def _problem(path: Path, what: str, line: int = 0, column: int = 0) -> ConfigError:
    return ConfigError([Problem(str(path), line, column, "", what)])
