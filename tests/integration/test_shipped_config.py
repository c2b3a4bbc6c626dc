"""What a user sees after `make run`, with real clients."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from netserve.testing.process import converse, wait_until
from netserve.testing.programs import require_program


def shell(command: str) -> str:
    return subprocess.run(
        ["bash", "-c", command], check=True, capture_output=True, text=True, timeout=30
    ).stdout


def get(port: int, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return answer.status, answer.read().decode()


def test_echo_with_netcat(shipped: Any) -> None:
    require_program("nc")
    assert shell(f"echo hi | nc -N 127.0.0.1 {shipped.ports[7007]}") == "hi\n"


def test_echo_over_udp(shipped: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(b"datagram", ("127.0.0.1", shipped.ports[7007]))
        assert client.recv(100) == b"datagram"


def test_hello(shipped: Any) -> None:
    require_program("nc")
    port = shipped.ports[7008]
    assert shell(f"printf 'x\\r\\n' | nc -N 127.0.0.1 {port}") == "Hello, client!\n"
    assert converse(port, b"my name is Ada\r\n") == b"Hello, Ada!\r\n"
    assert converse(port, b"ping\n") == b"pong\r\n"


def test_a_line_becomes_a_request(shipped: Any) -> None:
    require_program("nc")
    assert shell(f"printf 'healthz\\r\\n' | nc -N 127.0.0.1 {shipped.ports[7009]}").startswith(
        "200 ok"
    )


def test_http_through_the_proxy(shipped: Any) -> None:
    require_program("curl")
    assert shell(f"curl -sS http://127.0.0.1:{shipped.ports[7010]}/healthz") == "ok\n"


def test_a_mail_by_swaks_lies_in_the_maildir(shipped: Any) -> None:
    require_program("swaks")
    body = "first line\\n.a dot\\n..two dots\\n\\nlast line with ümlaut"
    shell(
        f"swaks --silent 2 --server 127.0.0.1:{shipped.ports[2525]} --from me@example.org"
        f" --to you@example.org --header 'Subject: byte for byte' --body $'{body}'"
    )
    new = shipped.folder / "var" / "mail" / "new"
    (mail,) = wait_until(lambda: list(new.glob("*")) if new.is_dir() else [], what="a mail")
    text = mail.read_bytes().replace(b"\r\n", b"\n")
    head, _, content = text.partition(b"\n\n")
    assert (
        content.rstrip(b"\n") == "first line\n.a dot\n..two dots\n\nlast line with ümlaut".encode()
    )
    assert b"\nSubject: byte for byte\n" in head
    assert b"Received: from " in head
    assert head.startswith(b"Return-Path: <me@example.org>\n")


def test_the_status_port(shipped: Any) -> None:
    port = shipped.ports[7000]
    assert get(port, "/healthz") == (200, "ok\n")
    assert get(port, "/readyz") == (200, "ok\n")
    converse(shipped.ports[7007], b"12345")
    status, metrics = get(port, "/metrics")
    assert status == 200
    assert 'netserve_up{service="mail"} 1.0' in metrics
    assert 'netserve_connections_open{service="echo"} 0.0' in metrics
    page = get(port, "/")[1]
    for name in ("echo", "hello", "web", "proxy", "mail"):
        assert f"<td>{name}</td>" in page


def test_metrics_count_what_moved(shipped: Any) -> None:
    def sample(name: str) -> float:
        for line in get(shipped.ports[7000], "/metrics")[1].splitlines():
            if line.startswith(f'netserve_{name}_total{{service="echo"}}'):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(name)

    before = {name: sample(name) for name in ("connections", "received_bytes", "sent_bytes")}
    assert converse(shipped.ports[7007], b"x" * 1000) == b"x" * 1000
    wait_until(lambda: sample("sent_bytes") - before["sent_bytes"] == 1000)
    assert sample("received_bytes") - before["received_bytes"] == 1000
    assert sample("connections") - before["connections"] == 1


def test_garbage_on_every_port_harms_nobody(shipped: Any) -> None:
    """S8: garbage costs bounded memory, and everybody still serves."""
    garbage = bytes(range(256)) * 64
    for port in shipped.ports.values():
        with contextlib.suppress(ConnectionError):  # a reset is a fair answer
            converse(port, garbage)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(garbage[:1400], ("127.0.0.1", port))
    assert get(shipped.ports[7000], "/readyz") == (200, "ok\n")
    assert converse(shipped.ports[7008], b"x\r\n") == b"Hello, client!\r\n"
    assert "Traceback" not in shipped.process.log()
    for line in shipped.process.log().splitlines():
        assert line.isprintable(), line


def test_idle_memory(shipped: Any) -> None:
    status = Path(f"/proc/{shipped.process.pid}/status").read_text()
    resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) < 120_000  # a bound against leaks; the figure is in bench/
