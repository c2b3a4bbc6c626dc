"""``netserve passwd``: users and their hashes in a file; see `netserve.mail.users_file`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from netserve.cli.files import open_new
from netserve.mail.users_file import (
    LARGEST,
    UsersFileError,
    name_problem,
    parse_users,
    with_user,
)

_NOT_FOR_OTHERS: Final = 0o660


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("user")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from a line of input.")
@click.option("--delete", is_flag=True, help="Take the user out.")
def passwd(file: Path, user: str, *, from_stdin: bool, delete: bool) -> None:
    """Add USER to the users of FILE, or give a new password.

    Asks for the password twice. The file is made where it is missing, for its owner alone, and
    replaced in one step; a running netserve reads it again by itself.
    """
    if delete and from_stdin:
        raise click.UsageError("--delete needs no password")
    if (problem := name_problem(user)) is not None:
        raise click.UsageError(problem)
    if delete:
        kept = None
    else:
        kept = _hash(_password_of_stdin() if from_stdin else _password_of_terminal())
    with _locked(file.resolve()) as path:
        done = _change(path, user, kept)
    click.echo(f"{user}: {done}")


def _password_of_terminal() -> str:
    password: str = click.prompt(
        "Password", hide_input=True, confirmation_prompt="The same again", err=True
    )
    return _checked(password)


def _password_of_stdin() -> str:
    try:
        line = sys.stdin.buffer.readline().decode()
    except UnicodeDecodeError:
        raise click.ClickException("the password is not UTF-8") from None
    return _checked(line.removesuffix("\n").removesuffix("\r"))


def _checked(password: str) -> str:
    if not password or "\0" in password:
        raise click.ClickException("a password is not empty, and has no NUL in it")
    return password


def _hash(password: str) -> str:
    from argon2 import PasswordHasher  # noqa: PLC0415 - not needed to take a user out

    # OWASP's choice: logins that are tried all at once must not take all the memory there is.
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1).hash(password)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Keep two commands from changing files of one folder at the same time."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise click.ClickException(f"{path.parent}: {_reason(error)}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield path
        os.fsync(folder)
    finally:
        os.close(folder)


def _change(path: Path, user: str, kept: str | None) -> str:
    try:
        text, status = _read(path)
        known = user in parse_users(text)
        if kept is None and not known:
            raise click.ClickException(f"{path} has no user {user}")
        _replace(path, with_user(text, user, kept), status)
    except UsersFileError as error:
        raise click.ClickException(f"{path}:{error.line}: {error.what}") from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{path}: not UTF-8") from None
    except OSError as error:
        raise click.ClickException(f"{path}: {_reason(error)}") from None
    return "deleted" if kept is None else "changed" if known else "added"


def _read(path: Path) -> tuple[str, os.stat_result | None]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_size > LARGEST:
                raise click.ClickException(f"{path}: too large to be a file of users")
            return file.read().decode(), status
    except FileNotFoundError:
        return "", None


def _replace(path: Path, text: str, before: os.stat_result | None) -> None:
    """Put a new file in the old one's place, with its owner, group and mode but not for others."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open_new(new) as file:
            file.write(text.encode())
            if before is not None:
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & _NOT_FOR_OTHERS)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
