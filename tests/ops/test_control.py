"""The control socket: who may, what is left behind, and what a request that fails gets."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector, web
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger

from netserve.crossing import from_asyncio
from netserve.errors import PeerError, StartError
from netserve.ops.control import ControlSocket
from netserve.outbox.errors import NoSuchMessage
from netserve.testing.queue import DEFERRED, Courier, opened_queue, put
from netserve.testing.turns import share_of_turns


async def ask(path: Path, method: str, url: str, **options: Any) -> tuple[int, Any]:
    """Status and answer of a request."""

    async def talk() -> tuple[int, Any]:
        async with (
            ClientSession(connector=UnixConnector(str(path))) as session,
            session.request(method, f"http://localhost{url}", **options) as response,
        ):
            text = await response.text()
            json_type = response.content_type == "application/json"
            return response.status, json.loads(text) if json_type else text

    return await from_asyncio(talk(), timeout=10)


def control(path: Path) -> ControlSocket:
    made = ControlSocket(path, turns=share_of_turns(), log=Logger())

    async def hello(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"hello": request.query["name"]})

    async def fails(request: web.BaseRequest) -> web.StreamResponse:
        raise {
            "lookup": NoSuchMessage, "peer": PeerError, "bug": ZeroDivisionError, "key": KeyError
        }[request.query["by"]]("reason")  # fmt: skip

    made.route("GET", "/hello", hello)
    made.route("GET", "/fails", fails)
    return made


@ensureDeferred
async def test_it_answers_its_owner_only_and_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "control"
    made = control(path)
    await made.start()
    assert path.stat().st_mode & 0o777 == 0o600
    assert await ask(path, "GET", "/hello?name=you") == (200, {"hello": "you"})
    await made.stop()
    assert not path.exists()
    await made.stop()


@pytest.mark.parametrize(
    ("by", "status", "error"),
    [
        ("lookup", 404, "reason"),
        ("peer", 400, "reason"),
        ("bug", 500, "ZeroDivisionError: reason"),
        ("key", 500, "KeyError: 'reason'"),
    ],
)
@ensureDeferred
async def test_every_failure_is_an_answer(tmp_path: Path, by: str, status: int, error: str) -> None:
    made = control(tmp_path / "control")
    await made.start()
    assert await ask(tmp_path / "control", "GET", f"/fails?by={by}") == (status, {"error": error})
    await made.stop()


@ensureDeferred
async def test_a_socket_of_a_dead_process_is_replaced_a_live_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "control"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    first, second = control(path), control(path)
    await first.start()
    with pytest.raises(StartError, match="another netserve answers on the control socket"):
        await second.start()
    await second.stop()
    assert (await ask(path, "GET", "/hello?name=you"))[0] == 200
    await first.stop()


@ensureDeferred
async def test_a_long_path_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    made = control(folder / "control")
    await made.start()
    assert (folder / "control").is_socket()
    await made.stop()


@ensureDeferred
async def test_a_path_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot make the control socket .*/nowhere/control"):
        await control(tmp_path / "nowhere" / "control").start()


@ensureDeferred
async def test_the_routes_of_the_queue(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with opened_queue(tmp_path / "queue", Courier(DEFERRED), reactor=reactor) as outbox:
        made = ControlSocket(path, turns=share_of_turns(), log=Logger())
        made.add_queue(outbox)
        await made.start()
        body = b"Subject: x\r\n\r\n" + b"0123456789" * 20_000
        one = await put(outbox, "a@one.org", body=body)
        two = await put(outbox, "b@two.org", sender="")

        status, page = await ask(path, "GET", "/queue?limit=1")
        assert (status, [m["id"] for m in page["messages"]]) == (200, [one])
        _, page = await ask(path, "GET", f"/queue?limit=10&after={page['next']}")
        assert [m["id"] for m in page["messages"]] == [two]
        assert page["next"] is None
        _, page = await ask(path, "GET", "/queue?sender=&domain=two.org&older=0&state=queued")
        assert [m["id"] for m in page["messages"]] == [two]
        assert (await ask(path, "GET", f"/queue/{one}"))[1]["header"] == "Subject: x\r\n"
        assert "history" in (await ask(path, "GET", f"/queue/{one}/why"))[1]["recipients"][0]
        assert (await ask(path, "GET", f"/queue/{one}/body"))[1].encode() == body
        for verb in ("hold", "release", "retry"):
            assert await ask(path, "POST", f"/queue/{verb}", json={"ids": one}) == (
                200,
                {"count": 1},
            )
        assert await ask(path, "POST", "/queue/drop", json={}) == (200, {"count": 2})

        for method, url, options, status in [
            ("GET", f"/queue/{one}", {}, 404),
            ("GET", "/queue/nonsense/body", {}, 404),
            ("GET", "/queue?color=red", {}, 400),
            ("GET", "/queue?older=red", {}, 400),
            ("GET", "/queue?state=red", {}, 400),
            ("POST", "/queue/drop", {"json": ["all"]}, 400),
            ("POST", "/queue/drop", {"data": b"{"}, 400),
        ]:
            assert (await ask(path, method, url, **options))[0] == status, url
        await made.stop()
