"""What the process may do with files once it runs as its user, found out before it does.

Everything is asked of the system itself, by `access(2)`, so that groups, access lists and
read-only file systems count. For another user a child process becomes that user first.
"""

from __future__ import annotations

import grp
import itertools
import json
import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

Access: TypeAlias = Literal["read", "write", "own", "run"]
"""``read`` a file or a folder's entries; ``write`` into a folder, which may be missing; ``own``:
the same, and all that is in it and in the folders in it; ``run`` a program."""

_PARTS: Final = ("new", "cur", "tmp")
"""Of a Maildir; anything else in a folder is not ours."""
MOST: Final = 1000
"""Folders of one template, or entries of one folder, that are looked at."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user that the process becomes.

    Arguments:
        uid: the user's number.
        gid: the group's number.
    """

    uid: int
    gid: int

    @property
    def name(self) -> str:
        """The user's name, or its number where it has none."""
        return _name_of_user(self.uid)

    def take_on(self) -> None:
        """Become this user, with its groups, for good; for a child process.

        Raises:
            OSError: only root may.
        """
        try:
            os.initgroups(pwd.getpwuid(self.uid).pw_name, self.gid)
        except KeyError:
            os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)


@dataclass(frozen=True, slots=True)
class Need:
    """What a process will want to do.

    Arguments:
        path: with what; it may have placeholders in braces where `access` is ``write``.
        access: what.
    """

    path: Path
    access: Access


def refusals(needs: Sequence[Need], account: Account | None) -> list[str | None]:
    """Why each of these could not be done, in the order of `needs`; None where it could.

    Arguments:
        needs: what the process will want to do.
        account: as which user; None for the one that it is.
    """
    if account is None:
        return [_refusal(need) for need in needs]
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of the parent is touched, and nothing of it runs at the child's end
        try:
            os.close(read_end)
            with os.fdopen(write_end, "w") as out:
                out.write(json.dumps(_refusals_as(needs, account)))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as text:
        answers: list[str | None] = json.loads(text.read())
    os.waitpid(child, 0)
    return answers


def _refusals_as(needs: Sequence[Need], account: Account) -> list[str | None]:
    try:
        account.take_on()
        return [_refusal(need) for need in needs]
    except Exception as error:
        return [f"cannot find out as the user {account.name}: {error}"] * len(needs)


def python_needs() -> Iterator[Need]:
    """What a Python that runs needs of its files: the program, and its modules.

    Those that are not loaded yet lie beside those that are.
    """
    yield Need(Path(sys.executable), "run")
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.isabs(file):  # noqa: PTH117 - a thousand of them
            yield Need(Path(file), "read")


def _refusal(need: Need) -> str | None:
    if need.access == "read":
        return _cannot(need.path, os.R_OK)
    if need.access == "run":
        return _cannot(need.path, os.X_OK)
    if need.access == "own":
        everything = (need.path, *_entries(need.path, depth=2))
        return _first(_cannot_change(path) for path in everything)
    fixed = tuple(itertools.takewhile(lambda part: "{" not in part, need.path.parts))
    if fixed == need.path.parts:
        return _cannot_write_into(need.path)
    # A folder for each recipient: those that there are have to do, or new ones have to be possible.
    base, pattern = Path(*fixed), need.path.parts[len(fixed) :]
    folders = _matching(base, "/".join("*" if "{" in part else part for part in pattern))
    if not folders:
        return _cannot_write_into(base)
    return _first(_cannot_write_into(folder) for folder in folders)


def _first(reasons: Iterable[str | None]) -> str | None:
    return next(filter(None, reasons), None)


def _cannot(path: Path, mode: int) -> str | None:
    """Why a path cannot be accessed; one that is not there is somebody else's to tell."""
    if os.access(path, mode):
        return None
    target = Path(os.path.realpath(path))  # as far as this user can follow it
    for folder in (*reversed(path.parents), *reversed(target.parents)):
        if not os.access(folder, os.X_OK):
            return f"{folder} is closed to it ({_described(folder)})"
    return f"{path} is {_described(path)}" if os.path.lexists(path) else None


def _cannot_change(path: Path) -> str | None:
    is_folder = path.is_dir()
    return _cannot(path, os.R_OK | os.W_OK | (os.X_OK if is_folder else 0))


def _cannot_write_into(folder: Path) -> str | None:
    """Why nothing could be written into a folder, or the folder could not be made."""
    try:
        if not folder.exists():
            above = next(each for each in folder.parents if each.exists())
            if not above.is_dir():
                return f"{above} is not a folder"
            return _cannot(above, os.W_OK | os.X_OK)
    except PermissionError:
        return _cannot(folder, os.W_OK) or f"{folder} is closed to it"
    if not folder.is_dir():
        return f"{folder} is not a folder"
    within = (folder / name for name in _PARTS if (folder / name).is_dir())
    folders = itertools.chain((folder,), within)
    return _first(_cannot(each, os.W_OK | os.X_OK) for each in folders)


def _matching(base: Path, pattern: str) -> list[Path]:
    try:
        return list(itertools.islice((each for each in base.glob(pattern) if each.is_dir()), MOST))
    except PermissionError:
        return []


def _entries(folder: Path, *, depth: int) -> Iterator[Path]:
    """What is in a folder, sockets left out, down to so many levels."""
    try:
        entries = list(itertools.islice(os.scandir(folder), MOST))
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield path
            if depth > 1:
                yield from _entries(path, depth=depth - 1)
        elif entry.is_file(follow_symlinks=False):
            yield path


def _described(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return (error.strerror or str(error)).lower()
    user, group = _name_of_user(status.st_uid), _name_of_group(status.st_gid)
    return f"mode {stat.S_IMODE(status.st_mode):04o} of {user}:{group}"


def _name_of_user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _name_of_group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
