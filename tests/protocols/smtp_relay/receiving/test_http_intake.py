"""The way in over HTTP, with curl and other clients, over real sockets."""

from __future__ import annotations

import base64
import email
import json
import os
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import policy
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import requests
import trustme
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater

from netserve.mail.queued import message_options
from netserve.outbox import Incoming, Outbox, OutOfSpace, StorageFailed
from netserve.protocols.smtp_relay.receiving import http_forms, http_intake
from netserve.testing.hosting import FREE_PORT, RunningService
from netserve.testing.mail import in_thread, mails, relay
from netserve.testing.programs import require_program
from netserve.testing.queue import until

reactor: Any = _reactor
TOKEN = "0123456789abcdef-shop"
OTHER = "0123456789abcdef-other"
LEAST = {"from": "shop@b.test", "to": "c@d.test"}
RAW = b"Subject: test\r\n\r\nHello\r\n.\r\n..\r\nend\r\n"


@asynccontextmanager
async def intake(folder: Path, **options: Any) -> AsyncIterator[RunningService]:
    """A relay with a way in over HTTP."""
    http = {"listen": FREE_PORT, "tokens": {"shop": TOKEN, "other": OTHER}}
    async with relay(folder, **({"http": http} | options)) as service:
        yield service


def url(service: RunningService, query: str = "") -> str:
    return f"http://127.0.0.1:{service.addresses[1].port}/messages{query}"


async def post(
    service: RunningService, data: Any, *, query: str = "", token: str = TOKEN, **headers: str
) -> requests.Response:
    """Post JSON, or a message as it is where `data` is bytes."""
    kind = "message/rfc822" if isinstance(data, bytes) else "application/json"
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    all_headers = {
        "Content-Type": kind,
        "Authorization": f"Bearer {token}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return await in_thread(
        lambda: requests.post(url(service, query), data=body, headers=all_headers, timeout=20)
    )


def parsed(mail: bytes) -> Any:
    return email.message_from_bytes(mail, policy=policy.default)


# ---- From an application into the Maildir.


@pytest_twisted.ensureDeferred
async def test_a_json_message_arrives(tmp_path: Path) -> None:
    """202 with id and trace, which are those of the log and of the header."""
    async with intake(tmp_path) as service:
        answer = await post(
            service,
            {
                "from": "Der Laden <shop@b.test>",
                "to": ["c@d.test", {"name": "Ada", "address": "ada@d.test"}],
                "bcc": "hidden@d.test",
                "subject": "Ihre Bestellung über 5 €",
                "text": "schöne Grüße",
                "html": '<img src="cid:logo">',
                "headers": {"X-Order": "4711"},
                "attachments": [
                    {"content": base64.b64encode(b"%PDF").decode(), "filename": "r.pdf",
                     "content_type": "application/pdf"},
                    {"content": base64.b64encode(b"PNG").decode(), "cid": "logo",
                     "content_type": "image/png"},
                ],
            },
        )  # fmt: skip
        assert answer.status_code == 202, answer.text
        assert sorted(answer.json()) == ["id", "trace"]
        taken = await mails(tmp_path, 3)
        assert service.metrics.requests == 1
    message = parsed(taken[0])
    assert message["subject"] == "Ihre Bestellung über 5 €"
    assert message["message-id"] == f"<{answer.json()['id']}@mx.test>"
    assert message["date"]
    assert f"with HTTP id {answer.json()['id']}" in message["received"]
    assert "from [127.0.0.1] ([127.0.0.1])" in message["received"]
    assert message["x-order"] == "4711"
    assert "hidden@d.test" not in taken[0].decode().partition("\r\nReceived:")[2]
    assert sorted(parsed(mail)["delivered-to"] for mail in taken) == [
        "ada@d.test", "c@d.test", "hidden@d.test"
    ]  # fmt: skip


@pytest_twisted.ensureDeferred
async def test_a_raw_message_arrives_byte_for_byte(tmp_path: Path) -> None:
    """S5: but for the added header fields."""
    async with intake(tmp_path) as service:
        answer = await post(service, RAW, query="?from=a@b.test&to=c@d.test")
        assert answer.status_code == 202, answer.text
        (mail,) = await mails(tmp_path)
    added, _, text = mail.partition(b"Subject: test")
    assert b"Subject: test" + text == RAW
    assert b"Return-Path: <a@b.test>" in added
    assert b"\tfor <c@d.test>;" in added
    assert b"\r\nDate: " in added


@pytest_twisted.ensureDeferred
async def test_a_client_of_ipv6_is_told_as_mail_has_it(tmp_path: Path) -> None:
    """RFC 5321, 4.1.3."""
    http = {"listen": r"tcp6:0:interface=\:\:1", "tokens": {"shop": TOKEN}}
    async with relay(tmp_path, http=http) as service:
        target = f"http://[::1]:{service.addresses[1].port}/messages"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = await in_thread(
            lambda: requests.post(target, json=LEAST, headers=headers, timeout=20)
        )
        assert answer.status_code == 202, answer.text
        (mail,) = await mails(tmp_path)
    assert b"Received: from [IPv6:::1] ([IPv6:::1])" in mail


@pytest_twisted.ensureDeferred
async def test_curl_with_a_file(tmp_path: Path) -> None:
    """As a file of Unix has it, with line feeds; larger than what curl sends without asking."""
    curl = require_program("curl")
    text = b"From: a@b.test\nSubject: large\n\n" + b"0123456789" * 7 * 30_000 + b"\n"
    text = text.replace(b"0123456789" * 7, b"0123456789" * 7 + b"\n")
    (tmp_path / "mail.eml").write_bytes(text)
    async with intake(tmp_path) as service:
        command = [
            curl, "-sS", "-H", f"Authorization: Bearer {TOKEN}",
            "-H", "Content-Type: message/rfc822", "--data-binary", f"@{tmp_path}/mail.eml",
            url(service, "?from=a@b.test&to=c@d.test"),
        ]  # fmt: skip
        done = await in_thread(
            lambda: subprocess.run(command, capture_output=True, timeout=30, check=False)
        )
        assert done.returncode == 0, done.stderr
        assert "id" in json.loads(done.stdout), done.stdout
        (mail,) = await mails(tmp_path)
        assert mail.endswith(text.replace(b"\n", b"\r\n"))


@pytest_twisted.ensureDeferred
async def test_curl_with_json_over_tls(tmp_path: Path) -> None:
    curl = require_program("curl")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(tmp_path / "mx.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "mx.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    http = {"listen": FREE_PORT.replace("tcp", "tls"), "tokens": {"shop": TOKEN}}
    tls = {"certificate": "mx.pem", "key": "mx.key"}
    async with intake(tmp_path, http=http, tls=tls) as service:
        command = [
            curl, "-sS", "--cacert", str(tmp_path / "ca.pem"), "--oauth2-bearer", TOKEN,
            "--json", json.dumps(LEAST | {"text": "hi"}), url(service).replace("http", "https", 1),
        ]  # fmt: skip
        done = await in_thread(
            lambda: subprocess.run(command, capture_output=True, timeout=30, check=False)
        )
        assert done.returncode == 0, done.stderr
        assert "id" in json.loads(done.stdout), done.stdout
        assert b"with HTTPS id" in (await mails(tmp_path))[0]


@pytest.mark.parametrize(
    ("data", "query", "options", "body"),
    [
        (LEAST | {"text": "ü"}, "", False, "7BIT"),
        (LEAST | {"from": "ü@b.test"}, "", True, "8BITMIME"),
        (LEAST | {"from": "x@bücher.test"}, "", False, "7BIT"),
        (b"Subject: x\r\n\r\nx\r\n", "?from=&to=c@d.test", False, "7BIT"),
        ("Subject: x\r\n\r\nü\r\n".encode(), "?from=&to=c@d.test", False, "8BITMIME"),
        ("Subject: ü\r\n\r\nx\r\n".encode(), "?from=&to=c@d.test", True, "8BITMIME"),
        ("Subject: ü\r\n".encode(), "?from=&to=c@d.test", True, "8BITMIME"),
        ("\r\nü\r\n\r\nx\r\n".encode(), "?from=&to=c@d.test", False, "8BITMIME"),
        ("No header, ü\r\n\r\nx\r\n".encode(), "?from=&to=c@d.test", False, "8BITMIME"),
        ("Subject: ü\r\n\r\nx\r\n".encode("latin-1"), "?from=&to=c@d.test", False, "8BITMIME"),
        (b"Subject: x\r\n\r\nx\r\n", "?from=%C3%BC@b.test&to=c@d.test", True, "7BIT"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_the_next_hop_has_to_know(
    tmp_path: Path, data: Any, query: str, options: bool, body: str
) -> None:
    """SMTPUTF8 and 8BITMIME are said where they are needed, and nowhere else."""
    routes = ({"deliver": {"smarthost": "127.0.0.1:1"}},)
    async with intake(tmp_path, routes=routes) as service:
        answer = await post(service, data, query=query)
        assert answer.status_code == 202, answer.text
        assert service.outbox is not None
        _, message = await service.outbox.verbs.export(answer.json()["id"])
        assert message_options(message.meta)[:2] == (body, options)
        assert (message.user, message.client) == ("shop", "127.0.0.1")
        assert message.trace == answer.json()["trace"]


# ---- 202 is for what is kept safe.


@pytest_twisted.ensureDeferred
async def test_202_goes_out_after_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S1: not before the outbox says that it holds the message."""
    committed: Deferred[str] = Deferred()
    monkeypatch.setattr(Incoming, "commit", lambda *_: committed)
    async with intake(tmp_path) as service:
        answers: list[requests.Response] = []
        sending = post(service, LEAST)
        sent = Deferred.fromCoroutine(sending).addCallback(answers.append)
        with pytest.raises(AssertionError):
            await until(lambda: answers, reactor=reactor, seconds=0.3)
        committed.callback("Q1")
        await sent
        assert (answers[0].status_code, answers[0].json()["id"]) == (202, "Q1")


@pytest.mark.parametrize("data", [LEAST, RAW])
@pytest.mark.parametrize("method", ["commit", "write"])
@pytest.mark.parametrize(
    ("error", "status"), [(StorageFailed("no"), 503), (OutOfSpace("no"), 503), (KeyError("x"), 500)]
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_kept_is_not_accepted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: Any,
    method: str,
    error: Exception,
    status: int,
) -> None:
    """S2, S3: 503 with the time to come again; and then it is taken."""

    def failing(*_: object) -> Deferred[str]:
        if method == "commit":
            return fail(error)
        raise error

    query = "?from=a@b.test&to=c@d.test" if data is RAW else ""
    async with intake(tmp_path) as service:
        with monkeypatch.context() as broken:
            broken.setattr(Incoming, method, failing)
            answer = await post(service, data, query=query)
            assert answer.status_code == status
            assert ("Retry-After" in answer.headers) == (status == 503)
            assert "no" not in answer.json()["error"].split()
        assert (await post(service, data, query=query)).status_code == 202
        assert len(await mails(tmp_path)) == 1


@pytest_twisted.ensureDeferred
async def test_too_little_space_is_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3."""
    async with intake(tmp_path, limits={"message_size": 100_000}) as service:
        monkeypatch.setattr(Outbox, "free_space", lambda _: 149_999)

        def head_only() -> bytes:
            with socket.create_connection(("127.0.0.1", service.addresses[1].port)) as client:
                client.sendall(
                    b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    b"Content-Length: 1000\r\nAuthorization: Bearer " + TOKEN.encode()
                    + b"\r\n\r\n"
                )  # fmt: skip
                return client.makefile("rb").readline()

        assert (await in_thread(head_only)).startswith(b"HTTP/1.1 503 ")
        answer = await post(service, LEAST)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        monkeypatch.setattr(Outbox, "free_space", lambda _: 150_000)
        assert (await post(service, LEAST)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path) -> None:
    async with intake(tmp_path) as service:

        def work() -> None:
            with socket.create_connection(("127.0.0.1", service.addresses[1].port)) as client:
                client.sendall(
                    b"POST /messages?from=a@b.test&to=c@d.test HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Type: message/rfc822\r\nContent-Length: 1000000\r\n"
                    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\nSubject: x\r\n\r\n"
                )
                client.sendall(b"x" * 60 + b"\r\n" + b"y" * 100)

        await in_thread(work)
        await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        assert service.outbox is not None
        assert service.outbox.depth()["queued"] == 0
        assert service.metrics.requests == 0


# ---- What is refused, and how.


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"{TOKEN}"],
)
@pytest_twisted.ensureDeferred
async def test_without_a_token_nothing_is_taken(tmp_path: Path, authorization: str | None) -> None:
    """S7: not even from loopback, which may relay over SMTP."""
    async with intake(tmp_path) as service:

        def work() -> bytes:
            line = b""
            if authorization is not None:
                line = f"Authorization: {authorization}\r\n".encode("utf-8", "surrogateescape")
            with socket.create_connection(("127.0.0.1", service.addresses[1].port)) as client:
                client.sendall(
                    b"POST /messages HTTP/1.1\r\nHost: x\r\n" + line
                    + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
                )  # fmt: skip
                return client.makefile("rb").read()

        said = await in_thread(work)
        assert said.startswith(b"HTTP/1.1 401 "), said
        assert b"\r\nWWW-Authenticate: Bearer" in said
        assert service.metrics.errors == {"login": 1}
        assert TOKEN.encode() not in said


@pytest.mark.parametrize(
    ("data", "query", "status", "field", "error"),
    [
        ({}, "", 400, "from", "is missing"),
        (LEAST | {"to": ["c@d.test", "d"]}, "", 400, "to[1]", "no domain"),
        (LEAST | {"subject": "a\r\nBcc: x@y.test"}, "", 400, "subject", "line end"),
        (LEAST | {"attachments": [{"content": "?"}]}, "", 400, "attachments[0].content", "base64"),
        (LEAST | {"from": "boss@b.test"}, "", 403, "from", "not one of yours"),
        (LEAST | {"to": ["c@d.test", "x@closed.test"]}, "", 403, "to[1]", "Moved away"),
        (LEAST | {"bcc": "x@other.test"}, "", 403, "bcc[0]", "not taken here"),
        (LEAST | {"to": [f"{n}@d.test" for n in range(6)]}, "", 400, "to[5]", "more than 5"),
        (LEAST | {"text": "x" * 400_000}, "", 413, None, "too large"),
        (LEAST | {"text": "x" * 120_000}, "", 413, None, "larger than"),
        (b"x: y\r\n\r\nz\r\n", "?from=shop@b.test", 400, "to", "is missing"),
        (b"x: y\r\n\r\nz\r\n", "?to=c@d.test", 400, "from", "one sender"),
        (b"x: y\r\n\r\nz\r\n", "?from=shop@b.test&from=&to=c@d.test", 400, "from", "one sender"),
        (b"x: y\r\n\r\nz\r\n", "?from=shop@b.test&to=c%0D%0A@d.test", 400, "to[0]", "characters"),
        (b"x: y\r\n\r\nz\r\n", "?from=shop@b.test&to=c@d.test&x=1", 400, "x", "is not known"),
        (b"x: y\r\n\r\nz\r\n", "?from=boss@b.test&to=c@d.test", 403, "from", "not one of yours"),
        (b"x: y\r\n\r\nz\0\r\n", "?from=shop@b.test&to=c@d.test", 400, None, "NUL"),
        (b"", "?from=shop@b.test&to=c@d.test", 400, None, "is empty"),
        (b"x: y\r\n\r\n" + b"z" * 3000, "?from=shop@b.test&to=c@d.test", 400, None, "too long"),
        (b"Received: x\r\n" * 4 + b"\r\n", "?from=shop@b.test&to=c@d.test", 400, None, "hops"),
        (b"x: y\r\n" * 200 + b"\r\n", "?from=shop@b.test&to=c@d.test", 413, None, "header"),
        (b"x: y\r\n\r\n" + b"z\r\n" * 50_000, "?from=shop@b.test&to=c@d.test", 413, None, "large"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_rules_are_those_of_mail_over_smtp(
    tmp_path: Path, data: Any, query: str, status: int, field: str | None, error: str
) -> None:
    """S4, S7, S8: senders, routes, line ends, size, header, hops, recipients."""
    options = {
        "senders": {"shop": "shop@*"},
        "limits": {
            "message_size": 100_000,
            "recipients": 5,
            "hops": 3,
            "header_size": 1000,
            "line_length": 2048,
        },
        "routes": (
            {"match": {"recipient": "*@closed.test"}, "deliver": {"refuse": "Moved away"}},
            {"match": {"recipient": "*@d.test"}, "deliver": {"discard": True}},
        ),
    }
    async with intake(tmp_path, **options) as service:
        answer = await post(service, data, query=query)
        assert answer.status_code == status, answer.text
        assert answer.json().get("field") == field
        assert error in answer.json()["error"]
        assert service.metrics.requests == 0
        assert service.metrics.errors == {"refused": 1}
        assert (await post(service, LEAST)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_a_message_as_it_is_loses_what_its_recipients_should_not_see(tmp_path: Path) -> None:
    """S28: as over SMTP."""
    routes = ({"deliver": {"maildir": "mail"}},)
    content = b"From root Mon\r\nBcc : secret@d.test\r\nSubject : x\r\nno field\r\nBcc: y\r\n"
    async with intake(tmp_path, routes=routes) as service:
        answer = await post(service, content, query="?from=shop@b.test&to=c@d.test")
        assert answer.status_code == 202, answer.text
        (mail,) = await mails(tmp_path)
    assert mail.endswith(b"\r\nSubject: x\r\n\r\nno field\r\nBcc: y\r\n")
    assert b"secret" not in mail


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "line 1, column 1"),
        (b'{"from": }', "line 1, column 10"),
        (b"[" * 15_000, "not JSON"),
        (b'{"from": "\xff"}', "not UTF-8"),
        (b"1" * 5000, "is not an object"),
        (b'{"x": [' + (b"9" * 4000 + b",") * 8000 + b"1]}", "is not known"),
        (b'{"x": ' + b"1." + b"9" * 1_000_000 + b"e-300}", "is not known"),
        (b"{" + b",".join(b'"%d":1' % n for n in range(30_000)) + b"}", "more than 20000 values"),
        (b"[]", "is not an object"),
        (b"NaN", "is not an object"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_json(tmp_path: Path, body: bytes, error: str) -> None:
    async with intake(tmp_path) as service:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        answer = await in_thread(
            lambda: requests.post(url(service), data=body, headers=headers, timeout=20)
        )
        assert answer.status_code == 400
        assert error in answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/messages", {}, 405),
        ("POST", "/", {}, 404),
        ("POST", "/messages", {"Content-Type": "text/plain"}, 415),
        ("POST", "/messages", {"Content-Encoding": "gzip"}, 415),
        ("POST", "/messages", {"Idempotency-Key": ""}, 400),
        ("POST", "/messages", {"Idempotency-Key": "x" * 256}, 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_other_requests(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with intake(tmp_path) as service:
        target = url(service).replace("/messages", path)
        all_headers = {
            "Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json", **headers
        }  # fmt: skip
        answer = await in_thread(
            lambda: requests.request(
                method, target, data=json.dumps(LEAST), headers=all_headers, timeout=20
            )
        )
        assert answer.status_code == status
        assert answer.json()["error"]


@pytest_twisted.ensureDeferred
async def test_a_request_s_line_and_headers_are_limited(tmp_path: Path) -> None:
    """S8: there is room for a thousand recipients, and not for more than 64 KiB."""
    async with intake(tmp_path) as service:
        many = "".join(f"&to=recipient-number-{n}@a-longer-name.test" for n in range(1000))
        answer = await post(service, RAW, query=f"?from=a@b.test{many}")
        assert answer.status_code == 202, answer.text
        answer = await post(service, RAW, query=f"?from=a@b.test{many}{many}")
        assert answer.status_code == 400
        several = ",".join(f"{n}@b.test" for n in range(1000))
        answer = await post(service, RAW, X_Envelope_From="", X_Envelope_To=several)
        assert answer.status_code == 202, answer.text
        answer = await post(service, RAW, X_Envelope_From="", X_Envelope_To="x" * 65_537)
        assert answer.status_code == 400


@pytest_twisted.ensureDeferred
async def test_two_lengths_are_refused(tmp_path: Path) -> None:
    """S13."""
    async with intake(tmp_path) as service:

        def work() -> bytes:
            with socket.create_connection(("127.0.0.1", service.addresses[1].port)) as client:
                client.sendall(
                    b"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                    b"Transfer-Encoding: chunked\r\nAuthorization: Bearer " + TOKEN.encode()
                    + b"\r\n\r\n0\r\n\r\n"
                )  # fmt: skip
                return client.makefile("rb").read()

        assert b" 400 " in (await in_thread(work)).splitlines()[0]


@pytest_twisted.ensureDeferred
async def test_the_header_is_held_to_the_senders_where_asked(tmp_path: Path) -> None:
    options = {"senders": {"shop": "shop@*"}, "senders_in_header": True}
    async with intake(tmp_path, **options) as service:
        query = "?from=shop@b.test&to=c@d.test"
        answer = await post(service, b"From: boss@b.test\r\n\r\nx\r\n", query=query)
        assert (answer.status_code, answer.json()["field"]) == (403, "from")
        answer = await post(service, LEAST | {"from": "boss@b.test", "sender": "shop@b.test"})
        assert (answer.status_code, answer.json()["field"]) == (403, "from")
        assert (await post(service, LEAST)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_rates_are_told_with_the_time_to_wait(tmp_path: Path) -> None:
    """S8: of a token, and of an address."""
    rates = {"per_user": "1/hour", "per_address": "2/hour", "exempt": ()}
    async with intake(tmp_path, rates=rates) as service:
        assert (await post(service, LEAST)).status_code == 202
        answer = await post(service, LEAST)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3600")
        assert "this user" in answer.json()["error"]
        assert (await post(service, LEAST, token=OTHER)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_recipients_have_a_rate(tmp_path: Path) -> None:
    """S8."""
    async with intake(tmp_path, rates={"recipients_per_user": "3/hour"}) as service:
        assert (await post(service, LEAST | {"cc": "x@d.test"})).status_code == 202
        assert (await post(service, LEAST | {"cc": "x@d.test"})).status_code == 429
        assert (await post(service, LEAST)).status_code == 202
        answer = await post(service, LEAST | {"cc": ["x@d.test", "y@d.test", "z@d.test"]})
        assert (answer.status_code, answer.json()["field"]) == (400, "to[0]")


@pytest_twisted.ensureDeferred
async def test_requests_of_a_user_at_one_time_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: as connections over SMTP are, and together with them."""
    late, held = _held_commits()
    async with intake(tmp_path, limits={"connections_per_user": 1}) as service:
        with monkeypatch.context() as slow:
            slow.setattr(Incoming, "commit", late)
            first = Deferred.fromCoroutine(post(service, LEAST))
            await until(lambda: held, reactor=reactor)
        answer = await post(service, LEAST)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        assert (await post(service, LEAST, token=OTHER)).status_code == 202
        held[0]()
        assert (await first).status_code == 202
        assert (await post(service, LEAST)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_a_message_has_its_time(tmp_path: Path) -> None:
    """S8: 408, and nothing is left of it."""
    async with intake(tmp_path, limits={"data_timeout": 0.2}) as service:

        def work() -> bytes:
            with socket.create_connection(("127.0.0.1", service.addresses[1].port)) as client:
                client.sendall(
                    b"POST /messages?from=a@b.test&to=c@d.test HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Type: message/rfc822\r\nContent-Length: 1000\r\n"
                    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\nSubject: x\r\n"
                )
                return client.makefile("rb").readline()

        assert (await in_thread(work)).startswith(b"HTTP/1.1 408 ")


# ---- What is asked twice.


def _held_commits() -> tuple[Callable[..., Deferred[str]], list[Callable[[], None]]]:
    """A `commit` that tells of its end only when the test says so."""
    real, held = Incoming.commit, list[Callable[[], None]]()

    def late(self: Incoming, service: str, envelope: Any) -> Deferred[str]:
        result: Deferred[str] = Deferred()
        done = real(self, service, envelope)
        done.addCallback(lambda queue_id: held.append(lambda: result.callback(queue_id)))
        return result

    return late, held


@pytest_twisted.ensureDeferred
async def test_a_key_is_answered_once(tmp_path: Path) -> None:
    """The second answer is the first one's, and there is one message; keys are each user's own."""
    async with intake(tmp_path) as service:
        first = await post(service, LEAST, Idempotency_Key="order-1")
        again = await post(service, LEAST, Idempotency_Key="order-1")
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json() == again.json()
        other = await post(service, LEAST | {"text": "x"}, Idempotency_Key="order-1")
        assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
        foreign = await post(service, LEAST, Idempotency_Key="order-1", token=OTHER)
        assert foreign.json()["id"] != first.json()["id"]
        assert service.metrics.requests == 2


@pytest_twisted.ensureDeferred
async def test_a_key_covers_the_envelope_too(tmp_path: Path) -> None:
    async with intake(tmp_path) as service:
        key = {"Idempotency_Key": "1"}
        first = await post(service, RAW, query="?from=&to=c@d.test", **key)
        again = await post(service, RAW, query="?from=&to=c@d.test", **key)
        assert first.json() == again.json()
        answer = await post(service, RAW, query="?from=&to=x@d.test", **key)
        assert answer.status_code == 422


@pytest_twisted.ensureDeferred
async def test_what_was_refused_may_come_again_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with intake(tmp_path) as service:
        key = {"Idempotency_Key": "1"}
        assert (await post(service, {}, **key)).status_code == 400
        with monkeypatch.context() as broken:
            broken.setattr(Incoming, "commit", lambda *_: fail(OutOfSpace("no")))
            assert (await post(service, LEAST, **key)).status_code == 503
        assert (await post(service, LEAST, **key)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_a_client_that_did_not_wait_for_its_answer_gets_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is under way until the commit is done, also when the client has gone meanwhile."""
    late, held = _held_commits()
    async with intake(tmp_path) as service:
        with monkeypatch.context() as slow:
            slow.setattr(Incoming, "commit", late)
            sending = in_thread(
                lambda: requests.post(
                    url(service), json=LEAST, timeout=0.3,
                    headers={"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "1"},
                )
            )  # fmt: skip
            with pytest.raises(requests.exceptions.ReadTimeout):
                await sending
            await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
            assert (await post(service, LEAST, Idempotency_Key="1")).status_code == 409
        held[0]()
        await until(lambda: service.metrics.requests == 1, reactor=reactor)
        assert (await post(service, LEAST, Idempotency_Key="1")).status_code == 202
        assert len(await mails(tmp_path)) == 1
        assert service.metrics.requests == 1


# ---- Much at once.


@pytest_twisted.ensureDeferred
async def test_large_json_is_built_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: what waits is in files, so that memory is bounded; and all of it arrives."""
    building, most = 0, 0
    real = http_intake.read_json

    def watched(file: Any) -> Any:
        nonlocal building, most
        building += 1
        most = max(most, building)
        try:
            return real(file)
        finally:
            building -= 1

    monkeypatch.setattr(http_intake, "read_json", watched)
    content = base64.b64encode(bytes(range(256)) * 2000).decode()
    data = LEAST | {"attachments": [{"content": content, "filename": "b"}]}
    async with intake(tmp_path) as service:
        answers = await _all([post(service, data) for _ in range(12)])
        assert [answer.status_code for answer in answers] == [202] * 12
        for mail in await mails(tmp_path, 12):
            (part,) = parsed(mail).iter_attachments()
            assert part.get_content() == bytes(range(256)) * 2000
    assert most == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith("tmp")]  # noqa: PTH208


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_does_not_give_its_turn_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: what is in memory is in memory until its thread ends."""
    building, most = 0, 0
    end = threading.Event()

    def slow(file: Any) -> Any:
        nonlocal building, most
        building += 1
        most = max(most, building)
        end.wait(10)
        building -= 1
        raise RuntimeError("nobody waits for this any more")

    data = json.dumps(LEAST | {"text": "x" * 100_000}).encode()
    request = (
        f"POST /messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    ).encode() + data
    async with intake(tmp_path) as service:
        try:
            with monkeypatch.context() as patch:
                patch.setattr(http_intake, "read_json", slow)
                for _ in range(3):
                    port = service.addresses[1].port
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.sendall(request)
                        await until(lambda: building, reactor=reactor)
                    await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        finally:
            end.set()
        assert (await post(service, LEAST | {"text": "x" * 100_000})).status_code == 202
    assert most == 1
    assert service.metrics.errors == {}


@pytest.mark.parametrize("inside", ["{},", "[],", '"",', '{"":0},', "1,"])
@pytest_twisted.ensureDeferred
async def test_json_of_many_values_is_refused_before_it_takes_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    """S8: an empty object is 3 bytes here, and 64 in memory. In texts all signs are free."""
    bomb = f'{{"from": "a@b.test", "x": "\\"", "to": [{inside * 110_000}0]}}'
    harmless = LEAST | {"text": "[{," * 110_000, "html": '"\\' * 1000}
    async with intake(tmp_path) as service:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        with monkeypatch.context() as patch:
            patch.setattr(http_forms.json, "loads", lambda _: pytest.fail("it is parsed"))
            answer = await in_thread(
                lambda: requests.post(url(service), data=bomb, headers=headers, timeout=20)
            )
        assert (answer.status_code, "values" in answer.json()["error"]) == (400, True)
        assert (await post(service, harmless)).status_code == 202


@pytest_twisted.ensureDeferred
async def test_many_attachments_are_built_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S9: a thousand of them take a quarter of a second, however small they are."""
    threads: list[bool] = []
    real = http_intake.build

    def watched(*arguments: Any, **options: Any) -> Any:
        threads.append(threading.current_thread() is not threading.main_thread())
        return real(*arguments, **options)

    monkeypatch.setattr(http_intake, "build", watched)
    async with intake(tmp_path) as service:
        for count in (20, 21):
            data = LEAST | {"attachments": [{"content": ""}] * count}
            assert (await post(service, data)).status_code == 202
    assert threads == [False, True]


async def _all(coroutines: list[Any]) -> list[Any]:
    waiting = [Deferred.fromCoroutine(one) for one in coroutines]
    return [await one for one in waiting]


@pytest_twisted.ensureDeferred
async def test_a_raw_message_is_never_in_memory_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S8: it goes on while it comes, and a client that is faster waits."""
    largest = 0
    real = Incoming.write

    def watched(self: Incoming, data: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(data))
        real(self, data)

    monkeypatch.setattr(Incoming, "write", watched)
    text = b"Subject: x\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 100_000
    async with intake(tmp_path) as service:
        answer = await post(service, text, query="?from=a@b.test&to=c@d.test")
        assert answer.status_code == 202
        assert (await mails(tmp_path))[0].endswith(text)
    assert largest < 1024 * 1024


@pytest_twisted.ensureDeferred
async def test_a_stop_lets_a_request_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with intake(tmp_path) as service:
        late, held = _held_commits()
        monkeypatch.setattr(Incoming, "commit", late)
        sending = Deferred.fromCoroutine(post(service, LEAST))
        await until(lambda: held, reactor=reactor)
        stopping = Deferred.fromCoroutine(service.hosted_service.drain(5.0))
        await deferLater(reactor, 0)
        held[0]()
        assert (await sending).status_code == 202
        await stopping


@pytest_twisted.ensureDeferred
async def test_limits_of_connections_are_shared_with_smtp(tmp_path: Path) -> None:
    """S8: a service has so many connections, whichever way they came in."""
    async with intake(tmp_path, limits={"connections": 1}) as service:
        with socket.create_connection(("127.0.0.1", service.addresses[0].port)) as client:
            await until(lambda: service.metrics.connections_open == 1, reactor=reactor)
            with pytest.raises(requests.exceptions.ConnectionError):
                await post(service, LEAST)
            client.close()
        await until(lambda: service.metrics.connections_open == 0, reactor=reactor)
        assert (await post(service, LEAST)).status_code == 202
