"""Real programs on netserve's reactor and on Twisted's: what is left of the echo's gain.

Most of their CPU is spent in the programs themselves, which no reactor changes.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.compare import Sample, by_turns
from bench.http_bridge import upstream_server
from bench.load import ask_lines, fetch_files
from bench.processes import Server, free_port, scratch
from bench.table import Claim, Row

REACTORS = {"netserve": "on netserve's reactor", "twisted": "on Twisted's epoll reactor"}
CONNECTIONS = 20
GET = "GET / HTTP/1.1\r\nHost: a.test\r\n"
FILE_SIZE = 65536


def run(quick: bool) -> list[Row]:
    """A web page, an HTTP client, and a server of files."""
    turns, seconds = (1, 0.5) if quick else (9, 0.8)
    with scratch() as folder:
        return [
            *web_page(folder, turns, seconds),
            *http_client(folder, turns, seconds),
            *files(folder, turns, seconds),
        ]


def web_page(folder: Path, turns: int, seconds: float) -> list[Row]:
    """A static page of twisted.web, over connections that are kept."""

    def ask(server: Server) -> Sample:
        newlines = newlines_of_an_answer(server)
        return ask_lines(
            server, connections=CONNECTIONS, seconds=seconds, line=GET, newlines=newlines
        )

    def command(reactor: str, port: str) -> list[str]:
        return ["bench.peers.programs_twisted", reactor, "web", port]

    return compare(f"twisted.web, a page of 1 KiB, {CONNECTIONS} connections", command, ask,
                   folder, turns)  # fmt: skip


def http_client(folder: Path, turns: int, seconds: float) -> list[Row]:
    """A line in, a GET by treq out."""
    work = f"treq, a GET for each line, {CONNECTIONS} at a time"
    if importlib.util.find_spec("treq") is None:
        return [Row(work=work, subject="all", skipped="treq is not installed")]
    upstream, name = upstream_server(folder)
    with upstream:
        url = f"http://127.0.0.1:{upstream.port}/"

        def command(reactor: str, port: str) -> list[str]:
            return ["bench.peers.bridge_treq", port, url, reactor]

        ask = partial(ask_lines, connections=CONNECTIONS, seconds=seconds, line="healthz")
        return compare(f"{work}, upstream {name}", command, ask, folder, turns)


def files(folder: Path, turns: int, seconds: float) -> list[Row]:
    """Files by FTP, each over a connection of its own."""
    served = folder / "files"
    served.mkdir()
    (served / "file").write_bytes(bytes(FILE_SIZE))

    def command(reactor: str, port: str) -> list[str]:
        return ["bench.peers.programs_twisted", reactor, "ftp", port, str(served)]

    fetch = partial(fetch_files, connections=4, seconds=seconds)
    return compare("Twisted's FTP server, a file of 64 KiB, 4 connections", command, fetch,
                   folder, turns)  # fmt: skip


def compare(
    work: str,
    command: Callable[[str, str], list[str]],
    sample: Callable[[Server], Sample],
    folder: Path,
    turns: int,
) -> list[Row]:
    """One program on both reactors.

    Arguments:
        work: what it does.
        command: the module and its arguments, by reactor and port.
        sample: takes one sample of a server.
        folder: for logs.
        turns: how often each is measured.
    """
    with ExitStack() as stack:
        servers = {}
        for reactor in REACTORS:
            port = free_port()
            words = [sys.executable, "-m", *command(reactor, str(port))]
            log = folder / f"{reactor}.log"
            servers[reactor] = stack.enter_context(Server(words, port=port, log=log))
        taken = by_turns(turns, {name: partial(sample, it) for name, it in servers.items()})
    ours, theirs = taken["netserve"], taken["twisted"]
    claim = Claim(value=ours.cpu_ratio(theirs), of="the CPU of Twisted")
    return [
        ours.row(work, REACTORS["netserve"], [claim]),
        theirs.row(work, REACTORS["twisted"]),
    ]


def newlines_of_an_answer(server: Server) -> int:
    """How many newlines the answer to `GET` has, whose body has none."""
    with socket.create_connection(("127.0.0.1", server.port or 0), timeout=5) as client:
        client.sendall(GET.encode() + b"\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(65536)
    return answer.count(b"\n")
