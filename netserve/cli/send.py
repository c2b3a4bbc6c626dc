"""``netserve send``: hand a test message over, and follow it to its end."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from netserve.cli.asking import Age, Asked, asks_daemon
from netserve.cli.control import NotThere
from netserve.cli.story import EXIT_CODES, Step, Story, ending_text, step_text

_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 2.0
_QUEUED_AS: Final = re.compile(r"queued as ([0-9a-hjkmnp-tv-z]{11})\b")


class Printed:
    """The steps as they are printed: at once for people, together as JSON.

    Arguments:
        asked: how to print.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._steps: list[Step] = []

    def step(self, step: Step) -> None:
        """One more step."""
        self._steps.append(step)
        if not self._asked.as_json:
            click.echo(step_text(step))

    def end(self, result: str, code: int, seen: Mapping[str, Any] | None = None) -> None:
        """The end of all, with the command's exit code."""
        self._asked.print({"result": result, "steps": self._steps}, ending_text(result, seen))
        sys.exit(code)


@click.command()
@click.argument("to", nargs=-1, required=True)
@click.option("--from", "sender", help="The sender; default: postmaster at the service's host.")
@click.option("--subject", default="A test message of netserve", show_default=True)
@click.option("--text", default="This is a test.", show_default=True)
@click.option("--service", help="The service whose routes it takes, where there are several.")
@click.option(
    "--wait", type=Age(), default="1m", show_default=True, help="Follow it for so long at most."
)
@click.option("--server", metavar="HOST[:PORT]", help="Send it by SMTP to this server instead.")
@click.option(
    "--tls",
    type=click.Choice(["none", "may", "verify"]),
    help="With --server: how far TLS is needed; default: may, with --user verify.",
)
@click.option("--user", help="With --server: log in; the password is read from a line of input.")
@asks_daemon
def send(
    asked: Asked,
    *,
    to: tuple[str, ...],
    sender: str | None,
    subject: str,
    text: str,
    service: str | None,
    wait: float,
    server: str | None,
    tls: str | None,
    user: str | None,
) -> None:
    """Hand a test message for TO over to the running netserve, and follow it to its end.

    Prints each step: the queue id, the route, every attempt with the remote's reply. The exit code
    is 0 when all recipients have it, 1 when one failed, 75 when it may still arrive.
    """
    message: dict[str, Any] = {"to": list(to), "subject": subject, "text": text}
    if sender is not None:
        message |= {"from": sender}
    printed = Printed(asked)
    if server is None:
        if tls or user:
            raise click.UsageError("--tls and --user are for --server")
        accepted = asked.control.post("/send", {"service": service, "message": message})
        printed.step({"step": "accepted", **accepted})
        _follow(asked, printed, accepted["id"], to, wait)
        return
    if service is not None:
        raise click.UsageError("--service is for the running netserve; leave out --server")
    said = _by_smtp(printed, message, server, tls or ("verify" if user else "may"), user)
    known = _QUEUED_AS.search(said)
    if known is None:
        printed.step({"step": "unfollowed", "why": "the server told no queue id of netserve's"})
        printed.end("accepted", 0)
    else:
        _follow(asked, printed, known[1], (), wait, foreign=True)


def _by_smtp(
    printed: Printed, message: dict[str, Any], server: str, tls: str, user: str | None
) -> str:
    """Send it by SMTP; what the server said at the end."""
    from netserve.cli.submitting import Refused, submit  # noqa: PLC0415 - few send so

    password = None if user is None else sys.stdin.readline().rstrip("\r\n")
    try:
        return submit(
            message,
            server,
            tls=tls,
            user=user,
            password=password,
            tell=lambda said: printed.step({"step": "server", "said": said}),
        )
    except Refused as refused:
        printed.step({"step": "server", "said": str(refused)})
        printed.end("refused", 75 if refused.is_temporary else 1)
        raise  # never reached: the end exits


def _follow(
    asked: Asked,
    printed: Printed,
    message_id: str,
    to: tuple[str, ...],
    wait: float,
    *,
    foreign: bool = False,
) -> None:
    """Look at it again and again, until it has ended or the time is over."""
    story, until, pause = Story(to), time.monotonic() + wait, _FIRST_WAIT
    while True:
        try:
            seen = asked.control.get(f"/queue/{message_id}/follow")
        except click.ClickException as error:
            if not foreign and not isinstance(error, NotThere):
                raise
            printed.step({"step": "unfollowed", "why": error.message})
            printed.end("accepted" if foreign else "dropped", 0 if foreign else 1)
            return
        for step in story.look(seen):
            printed.step(step)
        left = max(until - time.monotonic(), 0.0)
        result = story.result(seen, left=left)
        if result is None and not left:
            result = "deferred"
        if result is not None:
            printed.end(result, EXIT_CODES[result], seen)
            return
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, _LONGEST_WAIT)
