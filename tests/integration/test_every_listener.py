"""S10: every listener has a handshake timeout and an idle timeout, whatever its kind and protocol.

And S16, for each of them: whatever a peer sends, a record of the log is one line.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from netserve.testing.process import RunningProcess, free_port, running, wait_until

HANDSHAKE, IDLE = 0.7, 1.5
"""Seconds; the sweep for idle connections comes every quarter of its time."""
LATE = 20.0
"""Seconds that a busy machine may take beyond it."""
LIMITS = "{handshake_timeout: 700ms, idle_timeout: 1500ms}"

CLEAR = ("echo", "unix", "line", "bridge", "front", "factory", "smtp", "submission", "http")
ENCRYPTED = ("tls", "ssl", "option", "haproxy", "smtps", "https")
"""Which expect a handshake at once; behind `haproxy`, once the PROXY header has come."""
FILE = """\
netserve: {{state: ./var, log: {{level: debug{form}}}}}
services:
  echo:
    protocol: echo
    listen:
      - tcp:{echo}:interface=127.0.0.1
      - unix:echo.sock
      - tls:{tls}:interface=127.0.0.1
      - ssl:{ssl}:interface=127.0.0.1:privateKey=a.key:certKey=a.pem
      - haproxy:ssl:{haproxy}:interface=127.0.0.1:privateKey=a.key:certKey=a.pem
    tls: &tls {{certificate: a.pem, key: a.key}}
    limits: &limits {limits}
  clear:
    protocol: echo
    listen: [tcp:{plain}:interface=127.0.0.1, "unix:clear.sock"]
    limits: *limits
  option:
    protocol: echo
    listen: tcp:{option}:interface=127.0.0.1
    tls: *tls
    limits: *limits
  line:
    protocol: request-response
    listen: tcp:{line}:interface=127.0.0.1
    reply: x
    limits: *limits
  bridge:
    protocol: http-bridge
    listen: tcp:{bridge}:interface=127.0.0.1
    request: {{url: "http://127.0.0.1:1/"}}
    allow_upstreams: 127.0.0.1
    limits: *limits
  front:
    protocol: http-bridge
    framing: http
    listen: tcp:{front}:interface=127.0.0.1
    request: {{url: "http://127.0.0.1:1{{path}}"}}
    allow_upstreams: 127.0.0.1
    limits: *limits
  factory:
    protocol: factory
    object: mine:factory
    listen: tcp:{factory}:interface=127.0.0.1
    limits: *limits
  smtp:
    protocol: smtp-relay
    hostname: relay.example.org
    listen: [tcp:{smtp}:interface=127.0.0.1, tls:{smtps}:interface=127.0.0.1]
    tls: *tls
    users: {{me: secret}}
    limits: *limits
    http:
      listen: [tcp:{http}:interface=127.0.0.1, tls:{https}:interface=127.0.0.1]
      tokens: {{app: a-token-of-many-characters}}
    routes: [{{deliver: {{maildir: ./mail}}}}]
"""
NAMES = ("echo", "tls", "ssl", "haproxy", "plain", "option", "line", "bridge", "front", "factory",
         "smtp", "smtps", "http", "https")  # fmt: skip


@dataclass(frozen=True)
class Served:
    process: RunningProcess
    folder: Path
    ports: dict[str, int]

    def connect(self, name: str) -> socket.socket:
        if name == "unix":
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(LATE)
            client.connect(str(self.folder / "clear.sock"))
            return client
        port = self.ports[{"echo": "plain", "submission": "smtp"}.get(name, name)]
        client = socket.create_connection(("127.0.0.1", port), timeout=LATE)
        if name == "haproxy":
            client.sendall(b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n")
        return client


@contextlib.contextmanager
def served(folder: Path, form: str = "") -> Iterator[Served]:
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "a.key")
    issued.cert_chain_pems[0].write_to_path(folder / "a.pem")
    (folder / "mine.py").write_text(
        "from twisted.internet.protocol import Factory, Protocol\n"
        "factory = Factory.forProtocol(Protocol)\n"
    )
    ports = {name: free_port() for name in NAMES}
    config = folder / "config.yaml"
    config.write_text(FILE.format(form=form, limits=LIMITS, **ports))
    with running(config) as process:
        yield Served(process, folder, ports)


@pytest.fixture(scope="module")
def listeners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("listeners")) as running_process:
        yield running_process


def over_tls(client: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(client)


def ends(client: socket.socket) -> float:
    """Seconds until the other side has closed; what it says meanwhile is read."""
    begin = time.monotonic()
    client.settimeout(LATE)
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while client.recv(4096):
            pass
    return time.monotonic() - begin


@pytest.mark.parametrize("name", ENCRYPTED)
def test_a_handshake_that_does_not_come(listeners: Served, name: str) -> None:
    """S10: it has its own time, which is shorter than that of an idle connection."""
    with listeners.connect(name) as client:
        assert HANDSHAKE * 0.9 < ends(client) < LATE
    errors = listeners.process.log().count("no TLS handshake in time")
    assert errors >= 1


def test_a_handshake_behind_starttls_that_does_not_come(listeners: Served) -> None:
    """S10."""
    with listeners.connect("smtp") as client:
        replies = client.makefile("rb")
        replies.readline()
        client.sendall(b"EHLO x\r\n")
        while not replies.readline().startswith(b"250 "):
            pass
        client.sendall(b"STARTTLS\r\n")
        assert replies.readline().startswith(b"220")
        assert HANDSHAKE * 0.9 < ends(client) < LATE


@pytest.mark.parametrize("name", [*CLEAR, *ENCRYPTED])
def test_a_connection_on_which_nothing_moves(listeners: Served, name: str) -> None:
    """S10."""
    with listeners.connect(name) as raw:
        client = raw
        if name in ENCRYPTED:
            client = over_tls(raw)
        with client:
            assert IDLE / 2 < ends(client) < LATE


def auth(user: bytes) -> bytes:
    return b"EHLO x\r\nAUTH PLAIN " + b64encode(b"\0" + user + b"\0wrong") + b"\r\n"


HOSTILE = (
    b"\r\n2026-01-01T00:00:00.000Z info [netserve] ready: 99 services\r\n",
    b"a\rb\nc\x00d\x1b[31me\x1b]0;f\x07\x7f\x85\x9b31m\r\n",
    "\u2028\u2029\u202e\u2066x\u200b\ud83d".encode("utf-8", "surrogatepass") + b"\r\n",
    b"{password} {0} {self.__class__} %s %(x)s {log_level!r:>99}\r\n",
    b"EHLO {x}\r\nMAIL FROM:<a\x1b[2J@b.example>\r\nRCPT TO:<{y}\x00@c>\r\n",
    auth(b"{x}\x1b[2J\n{y}"),
    b"GET /{x}%0d%0a\x1b[2J HTTP/1.1\r\nHost: a\x1b[2J\r\nX-\x00: {y}\r\n\r\n",
    b"POST /messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {x}\x1b\r\n\r\n",
    b"\xff\xfe\xfd" * 3000 + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 3,
)  # fmt: skip
"""Line ends of every kind, sequences that steer a terminal, and forms of messages."""


def send_hostile(client: socket.socket, data: bytes) -> None:
    """Send it, and wait a little for an answer, so that it is acted on."""
    with contextlib.suppress(OSError):
        client.settimeout(0.1)
        client.sendall(data)
        client.recv(65536)
        client.shutdown(socket.SHUT_WR)
        client.recv(65536)


@pytest.mark.parametrize("form", ["", ", format: json"])
def test_each_record_is_one_line(tmp_path: Path, form: str) -> None:
    """S16: peers' data is escaped, and is never a format; at level debug, by every listener."""
    with served(tmp_path, form) as listening:
        for name in (*CLEAR, *ENCRYPTED):
            for data in HOSTILE:
                with listening.connect(name) as client:
                    send_hostile(client, data)
                if name in ENCRYPTED:
                    with listening.connect(name) as raw, over_tls(raw) as client:
                        send_hostile(client, data)
        with listening.connect("smtps") as raw, over_tls(raw) as client:
            client.sendall(auth(b"{x} %s {self.__class__}"))
            wait_until(lambda: "refused a login" in listening.process.log())
        assert listening.process.stop() == 0
        log = (tmp_path / "output").read_bytes()
    lines = log.decode("ascii" if form else "utf-8").split("\n")
    assert lines.pop() == ""
    for line in lines:
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", line), line
        assert "could not be formatted" not in line
        if form:
            assert isinstance(json.loads(line)["message"], str)
        else:
            assert re.match(r"[\d-]{10}T[\d:.]{12}Z (debug|info|warn|error|critical) \[", line), (
                line
            )
    assert any("[2J" in line for line in lines), "hostile texts are among them"
    assert any("refused a login" in line and "{x} %s {self" in line for line in lines)
