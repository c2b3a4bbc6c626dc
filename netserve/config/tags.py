"""The three tags of the file: values that come from elsewhere, always as a text.

==================  =============================================================
tag                 value
==================  =============================================================
``!env NAME``       the environment variable; ``!env NAME:-text`` has a default
                    for one that is unset or empty, as in a shell
``!file PATH``      the content of a file, one newline at its end taken off; a
                    relative path starts at the folder of the config file
``!credential N``   a systemd credential: the file N in $CREDENTIALS_DIRECTORY
==================  =============================================================

No tag runs code, and none of these values is shown in an error. What stands behind a tag is shown
where it cannot be taken for the secret itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netserve.config.types import expand_home

MAX_FILE_SIZE: Final = 64 * 1024
"""Bytes that ``!file`` and ``!credential`` read at most."""

_LONGEST_REFERENCE: Final = 255
_ENV: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Tags:
    """Resolves the tags of one file.

    Arguments:
        folder: where relative paths start.
        environment: the process's environment.
    """

    folder: Path
    environment: Mapping[str, str]

    def resolve(self, tag: str, text: str) -> str:
        """The value of a tagged scalar.

        Arguments:
            tag: with its exclamation mark, one of `KNOWN`.
            text: what stands behind it.

        Raises:
            ValueError: what is wrong, without the value.
        """
        return _RESOLVERS[tag](self, text)

    def _env(self, text: str) -> str:
        match = _ENV.fullmatch(text)
        if match is None:
            raise ValueError("write !env NAME, or !env NAME:-default")
        value = self.environment.get(match[1])
        if match[2] is not None:
            return value or match[2]
        if value is None:
            if not is_reference("!env", text):
                # Somebody may have put the secret in the place of a name.
                raise ValueError(
                    "this environment variable is not set; set it, or give a default:"
                    " !env NAME:-default"
                )
            raise ValueError(
                f"the environment variable {text} is not set; set it,"
                f" or give a default: !env {text}:-default"
            )
        return value

    def _file(self, text: str) -> str:
        if not text or "\0" in text:
            raise ValueError("write !file PATH")
        path = self.folder / expand_home(text)
        return _read(path, f"the file {path}" if is_reference("!file", text) else "this file")

    def _credential(self, text: str) -> str:
        if not text or "/" in text or "\0" in text or text in {".", ".."}:
            raise ValueError("write !credential NAME, where NAME is the name of a file")
        folder = self.environment.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ValueError(
                "there is no $CREDENTIALS_DIRECTORY; systemd sets it for a unit"
                f" with LoadCredential={text if is_reference('!credential', text) else 'NAME'}:PATH"
            )
        known = is_reference("!credential", text)
        return _read(Path(folder) / text, f"the credential {text}" if known else "this credential")


_RESOLVERS: Final[Mapping[str, Callable[[Tags, str], str]]] = {
    "!env": Tags._env,  # noqa: SLF001 - the table of the class's own methods
    "!file": Tags._file,  # noqa: SLF001
    "!credential": Tags._credential,  # noqa: SLF001
}

KNOWN: Final = tuple(_RESOLVERS)
"""The tags that a file may have, beside YAML's own."""


_WORDS: Final = "[a-z]+(?:[._-][A-Za-z0-9]+)+"
_REFERENCES: Final[Mapping[str, re.Pattern[str]]] = {
    "!env": re.compile("[A-Z_][A-Z0-9_]*|[A-Za-z]+(?:_[A-Za-z0-9]+)+"),
    "!file": re.compile(rf"[^\n]*[/.][^\n]*|{_WORDS}"),
    "!credential": re.compile(_WORDS),
}
"""What stands behind a tag where it is used as it is meant to be."""


def is_reference(tag: str, text: str) -> bool:
    """Whether a tagged scalar plainly says where a secret is, so that it may be shown itself.

    Arguments:
        tag: one of `KNOWN`.
        text: what stands behind it. A name that could just as well be a secret is none, nor is one
            with a default behind it.
    """
    return _REFERENCES[tag].fullmatch(text) is not None and len(text) <= _LONGEST_REFERENCE


def for_file(folder: Path) -> Tags:
    """The tags of a file in this folder, with this process's environment."""
    return Tags(folder, os.environ)


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"cannot read {name}: {reason}") from None
    if len(data) > MAX_FILE_SIZE:
        raise ValueError(f"{name} is larger than {MAX_FILE_SIZE // 1024} KiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{name} is not a text in UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{name} has a NUL in it")
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")
