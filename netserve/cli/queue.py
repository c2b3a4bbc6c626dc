"""``netserve queue``: look at the durable queue, and act on it, through the control socket."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from netserve.cli.asking import Age, Asked, asks_daemon
from netserve.cli.files import open_new
from netserve.cli.queue_repair import check, repair
from netserve.cli.queue_text import attempts_text, list_line, list_title, message_text

F = TypeVar("F", bound=Callable[..., Any])

_PAGE: Final = 500


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def queue() -> None:
    """Look at the durable queue, and act on it."""


queue.add_command(check)
queue.add_command(repair)


def chosen_by_filter(command: F) -> F:
    """The options that choose messages, for a verb that acts on several."""
    decorators = (
        click.argument("ids", nargs=-1),
        click.option("--sender", help="Of this sender; '<>' for reports."),
        click.option("--recipient", help="With this recipient."),
        click.option("--domain", help="With a recipient in this domain."),
        click.option("--reply", help="With this text in the last reply to a recipient."),
        click.option("--older", type=Age(), help="At least so old: 30m, 4h, 2d."),
        click.option("--younger", type=Age(), help="At most so old."),
        click.option(
            "--status",
            type=click.Choice(["queued", "held"]),
            help="With a recipient in this state.",
        ),
        click.option("--service", help="Taken in by this service."),
    )
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def _filter(ids: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: value for name, value in options.items() if value is not None}
    if "status" in wanted:
        wanted["state"] = wanted.pop("status")
    if wanted.get("sender") == "<>":
        wanted["sender"] = ""
    if ids:
        wanted["ids"] = ",".join(ids)
    return wanted


@queue.command("list")
@chosen_by_filter
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="So many messages at most.",
)
@click.option("--after", help="Go on behind this place, which the last list told.")
@asks_daemon
def list_command(
    asked: Asked, ids: tuple[str, ...], limit: int, after: str | None, **options: Any
) -> None:
    """List messages, the oldest first."""
    wanted = _filter(ids, options)
    now = time.time()
    page = _page(asked, wanted, after, min(limit, _PAGE))
    messages: list[dict[str, Any]] = []
    if not asked.as_json:
        click.echo(list_title())
    while True:
        messages += page["messages"]
        if not asked.as_json:
            for message in page["messages"]:
                click.echo(list_line(message, now))
        if page["next"] is None or len(messages) >= limit:
            break
        page = _page(asked, wanted, page["next"], min(limit - len(messages), _PAGE))
    if asked.as_json:
        asked.print({"messages": messages, "next": page["next"]}, "")
    elif page["next"] is not None:
        click.echo(f"more with --after {page['next']}")


def _page(asked: Asked, wanted: dict[str, Any], after: str | None, limit: int) -> dict[str, Any]:
    place = {} if after is None else {"after": after}
    page: dict[str, Any] = asked.control.get("/queue", {**wanted, **place, "limit": limit})
    return page


@queue.command()
@click.argument("message_id", metavar="ID")
@asks_daemon
def show(asked: Asked, message_id: str) -> None:
    """Show a message: its envelope, its recipients, its header."""
    message = asked.control.get(f"/queue/{_safe(message_id)}")
    asked.print(message, message_text(message, time.time()))


@queue.command()
@click.argument("message_id", metavar="ID")
@asks_daemon
def why(asked: Asked, message_id: str) -> None:
    """Show why a message is still here: every attempt, with the reply to it."""
    message = asked.control.get(f"/queue/{_safe(message_id)}/why")
    asked.print(message, attempts_text(message, time.time()))


def _acts(name: str, done: str, doc: str, *, asks: bool = False) -> None:
    """Add a verb that acts on messages chosen by ids or by a filter."""

    @chosen_by_filter
    @click.option("--all", "everything", is_flag=True, help="All messages.")
    @click.option("--yes", is_flag=True, hidden=not asks, help="Do not ask.")
    @asks_daemon
    def act(
        asked: Asked, ids: tuple[str, ...], everything: bool, yes: bool, **options: Any
    ) -> None:
        wanted = _filter(ids, options)
        if not wanted and not everything:
            raise click.UsageError("which messages? give ids, a filter, or --all")
        if asks and not yes:
            click.confirm(f"{name} {_in_words(wanted)}?", abort=True)
        answer = asked.control.post(f"/queue/{name}", wanted)
        asked.print(answer, f"{done}: {_messages(answer['count'])}")

    queue.command(name, help=doc)(act)


_acts("retry", "tried now", "Try messages now, whatever their next time is.")
_acts("hold", "held", "Keep messages from being tried, until they are released.")
_acts("release", "released", "Queue held messages again.")
_acts("drop", "dropped", "Delete messages, and tell nobody.", asks=True)


@queue.command()
@asks_daemon
def flush(asked: Asked) -> None:
    """Try all queued messages now."""
    answer = asked.control.post("/queue/retry", {})
    asked.print(answer, f"tried now: {_messages(answer['count'])}")


@queue.command()
@chosen_by_filter
@click.option("--all", "everything", is_flag=True, help="All messages.")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The folder for the files; default: here.",
)
@asks_daemon
def export(
    asked: Asked, ids: tuple[str, ...], everything: bool, folder: Path, **options: Any
) -> None:
    """Write messages to files: ID.eml, and ID.json with the envelope. They stay in the queue."""
    wanted = _filter(ids, options)
    if not wanted and not everything:
        raise click.UsageError("which messages? give ids, a filter, or --all")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for message_id in _ids(asked, wanted):
        body = folder / f"{message_id}.eml"
        message = asked.control.get(f"/queue/{message_id}")
        described = json.dumps(message, indent=2, ensure_ascii=False).encode()
        _write(body, asked.control.stream(f"/queue/{message_id}/body"))
        _write(folder / f"{message_id}.json", [described])
        files.append(str(body))
        if not asked.as_json:
            click.echo(body)
    if asked.as_json:
        asked.print({"files": files}, "")


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file, for its owner alone; nothing is left of one that does not come to its end.

    Raises:
        ClickException: it is there already, or cannot be written.
    """
    try:
        with open_new(path) as file:
            try:
                file.writelines(pieces)
            except BaseException:
                path.unlink()
                raise
    except FileExistsError:
        raise click.ClickException(f"{path} is there already") from None
    except OSError as error:
        raise click.ClickException(f"{path}: {(error.strerror or str(error)).lower()}") from None


def _ids(asked: Asked, wanted: dict[str, Any]) -> Iterator[str]:
    after: str | None = None
    while True:
        page = _page(asked, wanted, after, _PAGE)
        for message in page["messages"]:
            yield _safe(message["id"])
        after = page["next"]
        if after is None:
            return


def _safe(message_id: str) -> str:
    """An id that is fit for a path and a file name."""
    if not message_id.isascii() or not message_id.isalnum():
        raise click.ClickException(f"not a queue id: {message_id!r}")
    return message_id.lower()


def _in_words(wanted: dict[str, Any]) -> str:
    """What a verb is about to act on: ``1k0zfr7wre3``, ``all messages with domain example.com``."""
    ids = wanted.get("ids", "").replace(",", ", ")
    filters = " and ".join(
        f"{name} {value:g}s" if isinstance(value, float) else f"{name} {value or '<>'}"
        for name, value in wanted.items()
        if name != "ids"
    )
    if ids and filters:
        return f"those of {ids} with {filters}"
    return ids or (f"all messages with {filters}" if filters else "ALL messages")


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"
