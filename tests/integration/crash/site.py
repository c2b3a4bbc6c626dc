"""A relay on a disk of its own, the server behind it, and what became of each message.

Each message has a name, which is in its sender's address: ``NAME@box.test``. Mail for ``box.test``
goes into Maildirs on the same disk, the other to a server that runs on: it takes mail for ``ok``,
puts off mail for ``later``, and refuses mail for ``no``, so that a bounce goes into the sender's
Maildir.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import smtplib
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from netserve.outbox.ids import encode_id
from netserve.outbox.sqlite.marker import MARKER, Marker, Place
from netserve.testing.next_hop import CuttingController
from netserve.testing.process import free_port, wait_until
from tests.integration.crash.nursery import Forked, Nursery

CONFIG = """\
netserve: {{state: ./var}}
services:
  mail:
    protocol: smtp-relay
    listen: tcp:{port}:interface=127.0.0.1
    hostname: relay.test
    limits: {{message_size: {size}}}
    retry: {{first: 1h, longest: 1h}}
    routes:
      - match: {{recipient: "*@box.test"}}
        deliver: {{maildir: "./box/{{local}}"}}
      - deliver: {{smarthost: "127.0.0.1:{hop}", tls: none}}
"""


class Hop:
    """The server behind the relay."""

    def __init__(self) -> None:
        self.port = free_port()
        self.taken: list[tuple[str, bytes]] = []
        """Sender and content of each message."""
        self._controller = CuttingController(self, hostname="127.0.0.1", port=self.port)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, to: str, _: Any) -> str:
        if to.startswith("no@"):
            return "550 5.1.1 nobody"
        if to.startswith("later@"):
            return "450 4.2.0 later"
        envelope.rcpt_tos.append(to)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append((envelope.mail_from, envelope.content))
        return "250 2.0.0 taken"

    @contextmanager
    def running(self) -> Iterator[Hop]:
        """Run it in a thread."""
        self._controller.start()
        try:
            yield self
        finally:
            self._controller.stop()


def message(name: str, size: int) -> bytes:
    """A message of about a size that says whether it is whole."""
    filling = b"".join(b"%08d %s\r\n" % (at, b"x" * 60) for at in range(size // 71))
    digest = hashlib.sha256(filling).hexdigest().encode()
    return b"Subject: %s\r\nX-Digest: %s\r\n\r\n%s" % (name.encode(), digest, filling)


def check_whole(text: bytes) -> None:
    """See that a message is as `message` made it, behind the header fields that were added."""
    head, _, filling = text.replace(b"\r\n", b"\n").partition(b"\n\n")
    match = re.search(rb"^X-Digest: ([0-9a-f]+)$", head, re.MULTILINE)
    assert match, head
    right = hashlib.sha256(filling.replace(b"\n", b"\r\n")).hexdigest().encode()
    assert match[1] == right, f"damaged: {head!r}, {len(filling)} bytes"


@dataclass
class Contents:
    """What is in a folder of a relay that does not run.

    Arguments:
        queued: the names of the messages that are queued, or whose bounce is.
        delivered: how often each is in a Maildir, or its bounce.
    """

    queued: set[str]
    delivered: Counter[str]


def contents(root: Path, scratch: Path) -> Contents:
    """Look into a folder, which stays as it is; every message there must be whole.

    Arguments:
        root: of the relay.
        scratch: a folder to be made for a copy of its queue.
    """
    delivered: Counter[str] = Counter()
    for file in root.glob("box/*/new/*"):
        text = file.read_bytes()
        first, second = text.split(b"\n", 2)[:2]
        sender = first.removeprefix(b"Return-Path: ")
        recipient = second.removeprefix(b"Delivered-To: ")
        if sender == b"<>":
            assert b"multipart/report" in text
            assert text.rstrip().endswith(b"--")
        else:
            check_whole(text)
        delivered[name_of((sender if sender != b"<>" else recipient).decode())] += 1
    queue = root / "var" / "outbox"
    if not (queue / "queue.db").exists():
        return Contents(set(), delivered)
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(queue, scratch)
    with closing(sqlite3.connect(scratch / "queue.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            return Contents(set(), delivered)
        rows = database.execute(
            "SELECT message.id, sender, address, size, in_file, data FROM message"
            " JOIN recipient ON message = message.id LEFT JOIN body ON body.id = message.id"
            " WHERE state = 0"
        ).fetchall()
    for number, sender, _, size, in_file, data in rows:
        body = (queue / "bodies" / encode_id(number)).read_bytes() if in_file else data
        assert len(body) == size
        if sender:
            check_whole(body)
    return Contents({name_of(row[1] or row[2]) for row in rows}, delivered)


def take_for_the_original(queue: Path) -> None:
    """Let a copy of a queue be the queue itself, as `netserve queue repair --adopt` does."""
    marker = Marker.read(queue / MARKER)
    if marker is not None:
        replace(marker, place=Place.of(queue)).write(queue / MARKER)


def name_of(address: str) -> str:
    """The name of the message with this sender."""
    return address.strip("<>").partition("@")[0]


@dataclass
class Site:
    """A relay and its client.

    Arguments:
        root: its folder.
        nursery: starts it.
        hop: the server behind it.
        port: where it takes mail.
        size: of the largest message.
    """

    root: Path
    nursery: Nursery
    hop: Hop
    port: int
    size: str = "4MiB"
    taken: list[str] = field(default_factory=list)
    """The names of the messages that got their 250."""
    process: Forked | None = None
    killed: bool = False
    """Whether it was killed in its story."""

    def configure(self) -> None:
        """Write its file."""
        text = CONFIG.format(port=self.port, hop=self.hop.port, size=self.size)
        (self.root / "config.yaml").write_text(text)

    @contextmanager
    def running(self, *, output: Path, **options: Any) -> Iterator[Forked]:
        """Run it; killed behind the block, if it runs still."""
        with self.nursery.running(self.root / "config.yaml", output, **options) as process:
            self.process = process
            yield process

    def send(self, name: str, to: str, *, size: int = 500) -> str:
        """Hand a message over; the reply, or an empty string where the relay is gone."""
        try:
            with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client", timeout=20) as smtp:
                smtp.ehlo()
                for command in (f"MAIL FROM:<{name}@box.test>", f"RCPT TO:<{to}>"):
                    code, text = smtp.docmd(command)
                    if code != 250:
                        return f"{code} {text.decode()}"
                code, text = smtp.data(message(name, size))
                if code == 250:
                    self.taken.append(name)
                return f"{code} {text.decode()}"
        except smtplib.SMTPDataError as error:
            text = error.smtp_error
            return f"{error.smtp_code} {text.decode() if isinstance(text, bytes) else text}"
        except (OSError, smtplib.SMTPException):
            return ""

    def wait_for(self, text: str) -> None:
        """Wait for a line of its log, or its end."""
        process = self.process
        assert process is not None
        wait_until(
            lambda: process.code is not None or text in process.log(), what=f"{text} in the log"
        )

    def wait_until_idle(self) -> None:
        """Wait until nothing is due and no body is left to remove, or until its end."""
        process = self.process
        assert process is not None
        folder = self.root / "var" / "outbox"
        path = folder / "queue.db"

        def idle() -> bool:
            if process.code is not None:
                return True
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
                due = "SELECT count(*) FROM recipient WHERE state = 0 AND next_at <= ?"
                finished = database.execute("SELECT id FROM finished").fetchall()
                if any((folder / "bodies" / encode_id(number)).exists() for (number,) in finished):
                    return False  # the writer removes it after the commit
                return bool(database.execute(due, (time.time(),)).fetchone()[0] == 0)

        wait_until(idle, what="an idle queue")


def hop_delivered(taken: Sequence[tuple[str, bytes]]) -> Counter[str]:
    """How often each message came to the server behind; each must be whole."""
    for _, text in taken:
        check_whole(text)
    return Counter(name_of(sender) for sender, _ in taken)
