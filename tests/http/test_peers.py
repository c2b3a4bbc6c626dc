"""Real peers of both drivers: curl, requests, http.client, Node, nginx; in clear and in TLS."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from pytest_twisted import ensureDeferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from bench.peers import nginx
from bench.peers.proxy_netserve import Relay
from bench.processes import Server as Process
from bench.processes import free_port
from netserve.http.serving import HttpServerFactory
from netserve.plugin import Hosted
from netserve.testing.hosting import RunningService, serve
from tests.http.serving.test_connection import Echo
from tests.http.upstream.peers import PoolOfTest, reactor

MIB = 1024 * 1024


def program(name: str) -> str:
    """The path of a program; without it the test is skipped, but in CI it fails."""
    found = shutil.which(name) or (nginx.find() if name == "nginx" else None)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    return found


async def echo(**options: Any) -> RunningService:
    """A service that answers with target and body."""
    factory = HttpServerFactory(Echo, reactor=reactor, log=Logger())
    return await serve(Hosted(stream=factory), **options)


def run(*command: str, data: bytes = b"") -> bytes:
    done = subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize(
    ("options", "data", "answer"),
    [
        ([], b"", b"/x "),
        (["-0"], b"", b"/x "),
        (["--data-binary", "@-"], b"abc", b"/x abc"),
        (["-0", "--data-binary", "@-"], b"abc", b"/x abc"),
        (["--data-binary", "@-", "-H", "Transfer-Encoding: chunked"], b"abc", b"/x abc"),
        (["--data-binary", "@-", "-H", "Expect: 100-continue"], b"x" * MIB, b"/x " + b"x" * MIB),
        (["-H", "Connection: close"], b"", b"/x "),
    ],
)
@ensureDeferred
async def test_curl(options: list[str], data: bytes, answer: bytes) -> None:
    curl = program("curl")
    service = await echo()
    url = f"http://127.0.0.1:{service.port}/x"
    got = await deferToThread(run, curl, "-sS", *options, url, url, data=data)
    again = b"/x " if "@-" in options and not data else answer
    assert got == answer + again
    await service.stop()


@ensureDeferred
async def test_curl_and_head() -> None:
    curl = program("curl")
    service = await echo()
    got = await deferToThread(run, curl, "-sSI", f"http://127.0.0.1:{service.port}/x")
    assert got == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
    await service.stop()


@ensureDeferred
async def test_curl_in_tls(tmp_path: Path) -> None:
    curl = program("curl")
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    chain = b"".join(each.bytes() for each in made.cert_chain_pems)
    (tmp_path / "chain.pem").write_bytes(chain)
    tls = {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}
    service = await echo(tls=tls)
    url = f"https://localhost:{service.port}/x"
    options = ["--cacert", str(tmp_path / "ca.pem"), "-4", "--data-binary", "@-"]
    body = b"y" * MIB
    got = await deferToThread(run, curl, "-sS", *options, url, data=body)
    assert got == b"/x " + body
    await service.stop()


@ensureDeferred
async def test_pythons_clients() -> None:
    service = await echo()

    def ask() -> None:
        with requests.Session() as session:
            for number in range(3):
                answer = session.post(f"http://127.0.0.1:{service.port}/{number}", data=b"abc")
                assert answer.content == b"/%d abc" % number
            pieces = iter([b"a", b"b", b"c"])
            answer = session.put(f"http://127.0.0.1:{service.port}/pieces", data=pieces)
            assert answer.content == b"/pieces abc"
        kept = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        for number in range(3):
            kept.request("GET", f"/{number}")
            assert kept.getresponse().read() == b"/%d " % number
        kept.close()

    await deferToThread(ask)
    await service.stop()


NODE = """
const http = require('http');
const agent = new http.Agent({keepAlive: true, maxSockets: 1});
let left = 3;
function ask() {
  const request = http.request(
    {port: process.argv[2], host: '127.0.0.1', path: '/n', method: 'POST', agent},
    (response) => {
      let body = '';
      response.on('data', (piece) => body += piece);
      response.on('end', () => {
        console.log(response.statusCode + ' ' + body);
        if (--left) ask(); else agent.destroy();
      });
    });
  request.write('ab');
  request.end('c');
}
ask();
"""


@ensureDeferred
async def test_node(tmp_path: Path) -> None:
    node = program("node")
    script = tmp_path / "ask.js"
    script.write_text(NODE)
    service = await echo()
    got = await deferToThread(run, node, str(script), str(service.port))
    assert got == b"200 /n abc\n" * 3
    assert service.metrics.connections_total == 1
    await service.stop()


@pytest.mark.slow
@ensureDeferred
async def test_nginx_behind_and_before(tmp_path: Path) -> None:
    """curl -> nginx -> our proxy -> nginx."""
    found, curl = program("nginx"), program("curl")
    behind, before = free_port(), free_port()
    pool = PoolOfTest()
    to = pool.to(behind)
    server = HttpServerFactory(lambda it: Relay(it, to) and None, reactor=reactor, log=Logger())
    port = reactor.listenTCP(0, server, interface="127.0.0.1")
    ours = port.getHost().port
    first = Process(
        nginx.command(found, tmp_path / "behind", behind), port=behind, log=tmp_path / "behind.log"
    )
    second = Process(
        nginx.command(found, tmp_path / "before", before, upstream=ours),
        port=before,
        log=tmp_path / "before.log",
    )
    await deferToThread(first.__enter__)
    await deferToThread(second.__enter__)
    try:
        url = f"http://127.0.0.1:{before}/"
        for options in ([], ["-I"], ["-d", "x=y"], ["-T", str(tmp_path / "before.log")]):
            got = await deferToThread(run, curl, "-sS", "-w", "%{http_code}", *options, url)
            assert got.endswith(b"200")
    finally:
        await deferToThread(second.stop)
        await deferToThread(first.stop)
        await port.stopListening()
        await pool.stop()
