"""Delivery into a Maildir: blocking, for a thread.

A message is written into `tmp`, synced, linked into `new`, and the folder is synced: only then is
it delivered, and a reader never sees a part of it. Its name comes from the queue id, so that a
delivery that is done again after a crash finds its own file and does not make a second one.

Lines end with LF, as in the Maildirs of other programs. Nothing is lost by that: the queue holds
CRLF and no other CR or LF, so each LF of the file was a CRLF. Behind the two headers that stand in
front, Return-Path and Delivered-To, the message is as it was sent, byte for byte.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netserve.durable import make_folders, sync_folder
from netserve.mail.envelope import Reply
from netserve.outbox.model import BodyReader

CHUNK: Final = 64 * 1024
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})
_LONGEST_HOST: Final = 200
"""Characters of the host in a file's name, which has 255 in all."""
_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Letter:
    """What is delivered to one recipient.

    Arguments:
        sender: for Return-Path; empty for the null sender.
        recipient: for Delivered-To.
        name: of the file; unique, and the same for every attempt.
    """

    sender: str
    recipient: str
    name: str

    def headers(self) -> bytes:
        """What stands in front of the message.

        Raises:
            ValueError: a control character in an address.
        """
        if _UNSAFE.search(self.sender) or _UNSAFE.search(self.recipient):
            raise ValueError("a control character in an address")
        return f"Return-Path: <{self.sender}>\nDelivered-To: {self.recipient}\n".encode()


def file_name(created: float, queue_id: str, recipient: int, hostname: str) -> str:
    """The name of a message's file: time, what is unique on this host, host.

    Arguments:
        created: when the message was taken in, in unix seconds.
        queue_id: of the message.
        recipient: its number within the message.
        hostname: ours.
    """
    unique = re.sub(r"[^0-9A-Za-z_-]", "_", queue_id)
    host = hostname.replace("/", "\\057").replace(":", "\\072")[:_LONGEST_HOST]
    return f"{int(created)}.Q{unique}R{recipient}.{host}"


def deliver(folder: Path, letter: Letter, body: BodyReader) -> None:
    """Put a message into a Maildir; once this returns it is there, also after a power loss.

    Arguments:
        folder: the Maildir; it is made where it is missing, for its owner alone.
        letter: for whom, and under which name.
        body: is read to its end, not closed.

    Raises:
        OSError: it is not delivered; see `reply_for`.
        ValueError: the addresses can't stand in a header.
    """
    headers = letter.headers()
    for name in ("new", "cur", "tmp"):
        make_folders(folder / name)
    temporary = folder / "tmp" / letter.name
    temporary.unlink(missing_ok=True)  # of an attempt that a crash ended
    try:
        _write(temporary, headers, body)
        _publish(temporary, folder / "new")
    finally:
        temporary.unlink(missing_ok=True)


def reply_for(error: OSError) -> Reply:
    """What the sender is told of an error; where it was stands in the log."""
    words = os.strerror(error.errno) if error.errno else "error"
    if error.errno in _NO_SPACE:
        return Reply(452, "4.3.1", f"cannot write into the Maildir: {words}")
    return Reply(451, "4.3.0", f"cannot write into the Maildir: {words}")


def _write(path: Path, headers: bytes, body: BodyReader) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(headers)
        file.writelines(_with_lf(body))
        file.flush()
        os.fsync(file.fileno())


def _with_lf(body: BodyReader) -> Iterator[bytes]:
    """The body with CRLF as LF, wherever its chunks are cut."""
    held = b""
    while chunk := body.read(CHUNK):
        chunk = held + chunk
        held = b"\r" if chunk.endswith(b"\r") else b""
        yield (chunk[:-1] if held else chunk).replace(b"\r\n", b"\n")
    yield held


def _publish(temporary: Path, new: Path) -> None:
    """Link the file into `new` under its name, or under another where that is taken."""
    target = new / temporary.name
    attempt = 0
    while True:
        try:
            _link(temporary, target)
        except FileExistsError:
            if _same(temporary, target):
                break  # an attempt before this one came so far, and could not say so
            attempt += 1
            target = new / f"{attempt}_{temporary.name}"
        else:
            break
    sync_folder(new)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without links. Nobody else makes files by this name.
        if target.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(target)) from None
        source.rename(target)


def _same(one: Path, other: Path) -> bool:
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as first, other.open("rb") as second:
        while chunk := first.read(CHUNK):
            if chunk != second.read(CHUNK):
                return False
    return True
