"""``netserve queue check`` and ``repair``, of a running process or of one that has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from netserve.cli.asking import Asked, asks_daemon
from netserve.cli.control import NotRunning
from netserve.cli.queue_text import clean

if TYPE_CHECKING:
    from netserve.outbox.records import Report

_TOLD: Final = 50
"""Damaged messages that are listed; JSON has all of them."""
OUTBOX: Final = "outbox"
"""The queue's folder in the state folder."""
_SAFE: Final = "nothing was removed, and `netserve queue repair` can be run again"


@click.command()
@asks_daemon
def check(asked: Asked) -> None:
    """Look for damage in the whole queue; nothing is changed.

    All pages of the database, all rows and all bodies are read. The exit code is 1 where something
    is wrong.
    """
    try:
        found = asked.control.get("/queue/check")
    except NotRunning:
        found = _without_process(asked.state / OUTBOX)
    asked.print(found, "\n".join(_lines(found)))
    if not found["sound"]:
        raise SystemExit(1)


def _without_process(folder: Path) -> dict[str, Any]:
    from netserve.outbox.sqlite.repair import check as check_folder  # noqa: PLC0415 - few need it
    from netserve.outbox.sqlite.repair import locked  # noqa: PLC0415

    with _as_owner(folder), locked(folder, to_look=True):
        return check_folder(folder).as_json()


@click.command()
@click.option(
    "--adopt",
    is_flag=True,
    help="This folder is a copy, and goes on in the place of the original, which is gone for good.",
)
@click.option(
    "--anywhere",
    is_flag=True,
    help="Adopt it, and do not look for copies from now on: where the machine's id or inode numbers"
    " change by themselves.",
)
@click.option(
    "--hold", is_flag=True, help="Hold all messages, since some may have been sent already."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_daemon
def repair(asked: Asked, adopt: bool, anywhere: bool, hold: bool, yes: bool) -> None:
    """Repair the queue; nothing is removed.

    Messages that are damaged are held. Where the process does not run, the database is repaired
    too: what can be read of it is copied into a new one, and the old one is put aside.
    """
    try:
        found = asked.control.post("/queue/repair", {})
    except NotRunning:
        wishes = {"adopt": adopt or anywhere, "anywhere": anywhere, "hold": hold}
        found = _repair_folder(asked, wishes, yes=yes)
        text = [f"done: {step}" for step in found["done"]] or ["nothing was to be repaired"]
    else:
        text = [f"held now: {found['held_now']}"]
        if adopt or anywhere or hold or found["findings"]:
            text.append("the rest can only be repaired while the process does not run")
    asked.print(found, "\n".join([*text, *_lines(found)]))
    if found["findings"]:
        raise SystemExit(1)


def _repair_folder(asked: Asked, wishes: dict[str, bool], *, yes: bool) -> dict[str, Any]:
    from netserve.outbox.errors import StorageFailed  # noqa: PLC0415
    from netserve.outbox.sqlite.repair import Repair, Wishes, locked  # noqa: PLC0415 - few need it

    folder = asked.state / OUTBOX
    stamp = time.strftime("%Y%m%d-%H%M%S")
    with _as_owner(folder), locked(folder):
        plan = Repair(folder, Wishes(**wishes), stamp=stamp)
        findings = plan.findings
        if obstacle := plan.obstacle():
            raise click.ClickException("; ".join([*findings, obstacle]))
        if (findings or wishes["hold"]) and not yes:
            for finding in findings:
                click.echo(f"found: {clean(finding)}", err=True)
            for step in plan.plan():
                click.echo(f"to do: {step}", err=True)
            click.confirm("go on?", abort=True, err=True)
        try:
            report: Report = plan.run()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{where}{error.strerror or error}; {_SAFE}") from None
        except StorageFailed as error:
            raise click.ClickException(f"{error}; {_SAFE}") from None
    return {"found": findings, "done": plan.done, **report.as_json()}


@contextmanager
def _as_owner(folder: Path) -> Iterator[None]:
    """Be the owner of the folder, where we are root: what root makes there is useless to him."""
    from netserve.errors import StartError  # noqa: PLC0415 - see cli/__init__.py

    owner = folder.stat() if folder.exists() else None
    changes = owner is not None and os.geteuid() == 0 != owner.st_uid
    try:
        if owner is not None and changes:
            os.setegid(owner.st_gid)
            os.seteuid(owner.st_uid)
        yield
    except StartError as error:
        raise click.ClickException(str(error)) from None
    finally:
        if changes:
            os.seteuid(0)
            os.setegid(0)


def _lines(found: dict[str, Any]) -> Iterator[str]:
    for finding in found["findings"]:
        yield f"wrong: {clean(finding)}"
    for note in found["notes"]:
        yield f"note: {clean(note)}"
    for damage in found["damaged"][:_TOLD]:
        yield f"damaged: {damage['id']}: {clean(damage['what'])}"
    if (more := len(found["damaged"]) - _TOLD) > 0:
        yield f"damaged: {more} more messages, which --json lists"
    if found["unknown"]:
        yield f"bodies without a message: {found['unknown']}; the next start moves them away"
    if found["quarantine"]:
        yield f"in quarantine: {found['quarantine']} bodies without a message"
    counts = (
        f"{found['messages']} messages, {found['queued']} recipients queued, {found['held']} held"
    )
    yield f"{'sound' if found['sound'] else 'NOT SOUND'}: {counts}"
