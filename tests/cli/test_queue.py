"""``netserve queue``, run as a command against a queue behind a control socket."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click import ClickException
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from netserve.cli.queue import _write
from netserve.cli.queue_text import clean, duration, list_line, message_text, size
from netserve.ops.control import ControlSocket
from netserve.outbox import Outbox
from netserve.testing.queue import (
    DEFERRED,
    DELIVERED,
    Courier,
    SteeredReactor,
    opened_queue,
    put,
    until,
)
from netserve.testing.turns import share_of_turns

MAIN = "from netserve.cli import main; main()"
BODY = b"Subject: a test\r\n\r\nHello\r\n"


def run(state: Path, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, "queue", arguments[0], "--state", str(state)]
    return subprocess.run(
        [*command, *arguments[1:]],
        input=answer,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Told:
    """A queue with a control socket, and the command that talks to it."""

    def __init__(self, state: Path, outbox: Outbox, courier: Courier) -> None:
        self.state = state
        self.outbox = outbox
        self.courier = courier

    async def run(self, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        return await deferToThread(run, self.state, *arguments, answer=answer)

    async def says(self, *arguments: str) -> str:
        done = await self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    async def put(self, address: str, sender: str = "sender@example.org") -> str:
        message = await put(self.outbox, address, sender=sender, body=BODY)

        async def tried() -> bool:
            return bool((await self.outbox.verbs.show(message))["recipients"][0]["attempts"])

        await until(tried, reactor=reactor)
        return message


@asynccontextmanager
async def told(state: Path) -> AsyncIterator[Told]:
    courier = Courier(DEFERRED)
    clock = SteeredReactor(reactor)
    async with opened_queue(state / "outbox", courier, reactor=clock) as outbox:
        control = ControlSocket(state / "control", turns=share_of_turns(), log=Logger())
        control.add_queue(outbox)
        await control.start()
        yield Told(state, outbox, courier)
        await control.stop()


def test_a_header_keeps_its_folding() -> None:
    message = {
        "id": "1", "service": "mail", "sender": "", "size": 1, "created": 0, "client": "",
        "user": "", "trace": "", "recipients": [], "header": "Received: from a\n\tby b\x1b[31m\n",
    }  # fmt: skip
    assert message_text(message, 0.0).endswith("Received: from a\n        by b\ufffd[31m")


def test_without_a_daemon_it_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: netserve is not running with this state folder: {tmp_path}\n"


def test_the_state_folder_is_found_in_a_file_whose_rest_is_wrong_here(tmp_path: Path) -> None:
    """The operator's shell has neither the variables nor the credentials of the process."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "netserve: {state: ./here, status: !env STATUS}\nservices:\n"
        "  mail: {protocol: nonsense, listen: tcp:1, password: !credential smtp}\n"
    )

    def told(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", MAIN, "queue", "list", "--config", str(config), *arguments],
            capture_output=True, text=True, timeout=30, check=False,
        ).stderr  # fmt: skip

    running = "Error: netserve is not running with this state folder: "
    assert told() == f"{running}{tmp_path}/here\n"
    config.write_text("services: {}\n")
    assert told() == f"{running}{tmp_path}/var\n"
    config.write_text("netserve: {state: 5}\n")
    assert told().startswith(f"Error: {config}:1:19: netserve.state: not a path")
    config.write_text("netserve: {state: !env NO_SUCH_VARIABLE}\n")
    assert "netserve.state: the environment variable NO_SUCH_VARIABLE is not set" in told()


@ensureDeferred
async def test_list_show_and_why(tmp_path: Path) -> None:
    async with told(tmp_path) as queue:
        one = await queue.put("a@one.org")
        two = await queue.put("b@two.org", sender="")
        text = await queue.says("list")
        title, first, reply, second, _ = text.splitlines()
        assert title.split() == ["ID", "AGE", "SIZE", "STATE", "TRIES", "FROM", "TO"]
        assert first.split()[0] == one
        assert first.split()[3:] == ["queued", "1", "<sender@example.org>", "<a@one.org>"]
        assert reply.strip() == "450 4.2.0 later"
        assert second.split()[0] == two
        assert (await queue.says("list", "--sender", "<>")).split("\n")[1].startswith(two)
        listed = json.loads(await queue.says("list", "--domain", "one.org", "--json"))
        assert [message["id"] for message in listed["messages"]] == [one]
        page = await queue.says("list", "--limit", "1")
        more = page.splitlines()[-1]
        assert more.startswith("more with --after ")
        rest = await queue.says("list", "--after", more.split()[-1])
        assert one not in rest
        assert two in rest

        shown = await queue.says("show", one)
        assert "from     <sender@example.org>" in shown
        assert "<a@one.org> queued" in shown
        assert "Subject: a test" in shown
        assert "1. " in await queue.says("why", one)
        assert json.loads(await queue.says("why", one, "--json"))["id"] == one
        missing = await queue.run("show", "00000000000")
        assert missing.returncode == 1
        assert missing.stderr == "Error: no message 00000000000 is in the queue\n"
        assert "not a queue id" in (await queue.run("show", "../control")).stderr


@ensureDeferred
async def test_what_acts(tmp_path: Path) -> None:
    async with told(tmp_path) as queue:
        one = await queue.put("a@one.org")
        await queue.put("b@two.org")
        assert await queue.says("hold", one) == "held: 1 message\n"
        assert one in await queue.says("list", "--status", "held")
        assert await queue.says("release", "--domain", "one.org") == "released: 1 message\n"
        assert await queue.says("retry", "--all", "--json") == '{\n  "count": 2\n}\n'
        refused = await queue.run("drop")
        assert refused.returncode == 2
        assert "which messages? give ids, a filter, or --all" in refused.stderr
        kept = await queue.run("drop", one, answer="n\n")
        assert kept.returncode == 1
        assert f"drop {one}? [y/N]" in kept.stdout
        kept = await queue.run("drop", "--domain", "one.org", "--sender", "<>", answer="n\n")
        assert "drop all messages with domain one.org and sender <>? [y/N]" in kept.stdout
        kept = await queue.run("drop", one, "--older", "1m", answer="n\n")
        assert f"drop those of {one} with older 60s? [y/N]" in kept.stdout
        kept = await queue.run("drop", "--all", answer="n\n")
        assert "drop ALL messages? [y/N]" in kept.stdout
        assert await queue.says("drop", one, "--yes") == "dropped: 1 message\n"
        queue.courier.answer = DELIVERED
        assert await queue.says("flush") == "tried now: 1 message\n"
        bad = await queue.run("list", "--older", "soon")
        assert "write 30s, 10m, 4h or 2d" in bad.stderr


@ensureDeferred
async def test_export(tmp_path: Path) -> None:
    async with told(tmp_path) as queue:
        one = await queue.put("a@one.org")
        folder = tmp_path / "out"
        assert await queue.says("export", one, "--to", str(folder)) == f"{folder}/{one}.eml\n"
        assert (folder / f"{one}.eml").read_bytes() == BODY
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
        envelope = json.loads((folder / f"{one}.json").read_text())
        assert envelope["sender"] == "sender@example.org"
        assert envelope["recipients"][0]["address"] == "a@one.org"
        again = await queue.run("export", one, "--to", str(folder))
        assert again.returncode == 1
        assert "is there already" in again.stderr
        assert len((await queue.outbox.verbs.list()).messages) == 1


def test_a_file_that_does_not_come_to_its_end_is_not_left(tmp_path: Path) -> None:
    """The next export would take it for one that is there."""
    path = tmp_path / "x.eml"

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ClickException("the answer ended early")

    with pytest.raises(ClickException, match="ended early"):
        _write(path, pieces())
    assert not path.exists()
    with pytest.raises(ClickException, match=r"no-folder/x: no such file or directory"):
        _write(tmp_path / "no-folder" / "x", [b""])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (119, "119s"), (120, "2m"), (7300, "2h"), (200_000, "2d")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes() -> None:
    assert [size(n) for n in (512, 4100, 25_000_000)] == ["512", "4.1k", "25.0M"]


def test_what_peers_said_does_nothing_to_a_terminal() -> None:
    """S16: CR, LF, ESC and NUL from peers are replaced before they are printed."""
    assert clean("a\x1b[31m\r\n\x00b") == "a\N{REPLACEMENT CHARACTER}[31m" + (
        "\N{REPLACEMENT CHARACTER}" * 3 + "b"
    )
    message = {
        "id": "0",
        "created": 0,
        "size": 1,
        "sender": "\x1b]0;x\x07",
        "recipient_count": 2,
        "recipients": [{"address": "\x9b", "state": "queued", "attempts": 1, "last": "\x1b[2J"}],
    }
    assert not set("\x1b\x07\x9b") & set(list_line(message, 0))
