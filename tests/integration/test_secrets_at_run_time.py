"""S17: a secret of the file is in no log, page, answer, process list or core of the process.

A process with a secret in each place that may have one is used so that most things fail; whatever
it says then is looked through, at level debug.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import smtplib
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from netserve.cli import main
from netserve.config.load import load
from netserve.registry import Registry
from netserve.testing.process import BIN, converse, free_port, running, wait_until

MARK = "s3kr1t"
"""In each of the secrets."""
FILE = """\
netserve: {{state: ./var, status: "tcp:{status}:interface=127.0.0.1", log: {{level: debug{form}}}}}
services:
  mail:
    protocol: smtp-relay
    hostname: relay.example.org
    listen: tcp:{smtp}:interface=127.0.0.1
    tls: {{certificate: a.pem, key: a.key}}
    login_without_tls: true
    users: {{me: user-s3kr1t, you: "$argon2id$v=19$m=64,t=1,p=1$s3kr1ts3kr1t$s3kr1ts3kr1ts3kr1t"}}
    http: {{listen: "tcp:{http}:interface=127.0.0.1", tokens: {{app: token-s3kr1t-token}}}}
    retry: {{first: 1s}}
    routes:
      - match: {{recipient: "*@login.example.org"}}
        deliver:
          smarthost: "127.0.0.1:{refusing}"
          tls: none
          login: {{user: login-user, password: login-s3kr1t, in_clear: true}}
      - match: {{recipient: "*@oauth.example.org"}}
        deliver:
          smarthost: "127.0.0.1:{refusing}"
          tls: none
          login:
            user: oauth-user
            in_clear: true
            oauth2:
              token_url: "http://127.0.0.1:{broken}/token?key=s3kr1t"
              client_id: c
              client_secret: client-s3kr1t
              refresh_token: refresh-s3kr1t
      - match: {{recipient: "*@hook.example.org"}}
        deliver:
          http:
            url: "http://127.0.0.1:{broken}/mail?key=url-s3kr1t"
            token: hook-s3kr1t
            headers: {{X-Key: header-s3kr1t}}
            allow_upstreams: 127.0.0.1
      - match: {{recipient: "*@nobody.example.org"}}
        deliver:
          http: {{url: "http://127.0.0.1:{nobody}/x?key=url-s3kr1t", allow_upstreams: 127.0.0.1}}
      - match: {{recipient: "*@host.example.org"}}
        deliver:
          smarthost: "127.0.0.1:{nobody}"
          tls: none
          login: {{user: login-user, password: !env A_PASSWORD, in_clear: true}}
      - deliver: {{maildir: ./mail}}
  framed:
    protocol: http-bridge
    listen: tcp:{framed}:interface=127.0.0.1
    request:
      url: "http://127.0.0.1:{broken}/?key=url-s3kr1t&q={{request}}"
      headers: {{Authorization: "Bearer header-s3kr1t"}}
      body: '{{{{"password": "body-s3kr1t", "q": "{{request}}"}}}}'
    allow_upstreams: 127.0.0.1
  dead:
    protocol: http-bridge
    listen: tcp:{dead}:interface=127.0.0.1
    request: {{url: "http://127.0.0.1:{nobody}/?key=url-s3kr1t", headers: {{X-Key: header-s3kr1t}}}}
    allow_upstreams: 127.0.0.1
  front:
    protocol: http-bridge
    framing: http
    listen: tcp:{front}:interface=127.0.0.1
    request:
      url: "http://127.0.0.1:{broken}{{path}}?key=url-s3kr1t"
      headers: {{Authorization: !file secret.txt}}
    allow_upstreams: 127.0.0.1
"""


@contextlib.contextmanager
def server(answer: bytes) -> Iterator[int]:
    """A server on a free port that reads something, and answers everybody with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    with client, contextlib.suppress(OSError):
                        client.settimeout(1)
                        client.recv(65536)
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A mail server that refuses every login with a reply that has the login in it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def talk(client: socket.socket) -> None:
            lines = client.makefile("rb")
            client.sendall(b"220 x\r\n")
            for line in lines:
                if line.startswith(b"EHLO"):
                    client.sendall(b"250-x\r\n250 AUTH PLAIN LOGIN XOAUTH2 OAUTHBEARER\r\n")
                elif line.startswith(b"QUIT"):
                    client.sendall(b"221 x\r\n")
                else:
                    client.sendall(b"535 5.7.8 No\r\n")

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    with client, contextlib.suppress(OSError):
                        client.settimeout(2)
                        talk(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize("form", ["", ", format: json"])
def test_nothing_that_the_process_says_has_a_secret(tmp_path: Path, form: str) -> None:
    """S17: logs at debug, status pages, metrics, verbs, replies, the process list."""
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_pem.write_to_path(tmp_path / "a.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "a.pem")
    (tmp_path / "secret.txt").write_text("Bearer file-s3kr1t\n")
    names = ("status", "smtp", "http", "framed", "dead", "front", "nobody")
    ports = {name: free_port() for name in names}
    config = tmp_path / "config.yaml"
    said: list[str] = []
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhalf"
    with refusing() as login_port, server(broken) as broken_port:
        config.write_text(FILE.format(form=form, refusing=login_port, broken=broken_port, **ports))
        with running(config, environment={"A_PASSWORD": "env-s3kr1t"}) as process:
            said += use(ports)
            for words in (["queue", "list"], ["queue", "list", "--json"], ["queue", "flush"]):
                said.append(netserve(config, *words))
            ids = [item["id"] for item in json.loads(said[-2])["messages"]]
            assert ids
            for verb in ("show", "why"):
                said += [netserve(config, "queue", verb, *extra, each) for each in ids
                         for extra in ([], ["--json"])]  # fmt: skip
            said.append(Path(f"/proc/{process.pid}/cmdline").read_text())
            said.append(subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True,
                                       text=True, check=True).stdout)  # fmt: skip
            os.kill(process.pid, signal.SIGHUP)
            wait_until(lambda: "SIGHUP changes nothing" in process.log())
            assert process.stop() == 0
            said.append(process.log())
    assert "refused a login" in said[-1], "the log tells of what has failed"
    assert "s3kr1t" in config.read_text()
    for text in said:
        assert MARK not in text, [line for line in text.splitlines() if MARK in line]


def use(ports: dict[str, int]) -> list[str]:
    """Everything that can fail; what was answered."""
    said = []
    for credentials in (b"\0me\0wrong", b"\0you\0wrong", b"\0nobody\0wrong"):
        with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=20) as client:
            client.ehlo()
            said.append(repr(client.docmd("AUTH", f"PLAIN {b64encode(credentials).decode()}")))
    for name in ("login", "oauth", "hook", "nobody", "host", "here"):
        with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=20) as client:
            client.sendmail("a@example.org", [f"b@{name}.example.org"], "Subject: x\r\n\r\nx\r\n")
    requests = [
        (ports["http"], "/messages", {"Authorization": "Bearer wrong-token-of-nobody"}, b"{}"),
        (ports["http"], "/messages", {"Authorization": "Bearer token-s3kr1t-token"}, b"{nonsense"),
        *((ports["status"], path, {}, None) for path in ("/", "/metrics", "/readyz", "/healthz")),
        *((ports["front"], path, {}, None) for path in ("/", "/x", "/%zz")),
    ]
    for port, path, headers, body in requests:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", data=body,
            headers={"Content-Type": "application/json", **headers},
        )  # fmt: skip
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                said.append(str(answer.headers) + answer.read().decode(errors="replace"))
        except urllib.error.HTTPError as error:
            said.append(str(error.headers) + error.read().decode(errors="replace"))
        except OSError as error:
            said.append(str(error))
    return said + [
        converse(ports[name], b"hello\r\n\r\n").decode(errors="replace")
        for name in ("framed", "dead", "front", "http", "smtp")
    ]


def netserve(config: Path, *words: str) -> str:
    command = [BIN / "netserve", *words, f"--config={config}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_no_core_has_a_secret(tmp_path: Path) -> None:
    """S17: a process that crashes writes no core, however large the system lets it be."""
    config = tmp_path / "config.yaml"
    port = free_port()
    config.write_text(
        "netserve: {state: ./var}\nservices:\n"
        f"  echo: {{protocol: echo, listen: 'tcp:{port}:interface=127.0.0.1'}}\n"
    )
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    with running(config) as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
        assert line.split()[4] == "0"
        # What belongs to a process that may be dumped belongs to its user, else to root.
        os.kill(process.pid, signal.SIGABRT)
        assert process.process.wait(20) == -signal.SIGABRT
    assert not list(tmp_path.glob("core*"))


def test_what_is_exported_has_no_secret(tmp_path: Path) -> None:
    """S17: the schema, the lists of options, the repr of a loaded file."""
    config = tmp_path / "config.yaml"
    ports = dict.fromkeys(
        ("status", "smtp", "http", "framed", "dead", "front", "nobody", "refusing", "broken"), 1
    )
    text = FILE.format(form="", **{name: free_port() for name in ports})
    config.write_text(
        text.replace("!env A_PASSWORD", "s3kr1t").replace("!file secret.txt", "s3kr1t")
    )
    configuration = load(config, Registry())
    shown = [repr(configuration), str(configuration), repr(configuration.document)]
    shown += [repr(service) + str(service.settings) for service in configuration.services]
    for words in (["schema"], ["list"], ["list", "smtp-relay"], ["list", "http-bridge", "--json"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0
        shown.append(done.output)
    assert not any(MARK in each for each in shown)
