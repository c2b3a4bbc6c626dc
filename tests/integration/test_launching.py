"""twistd and `netserve run`: start, stop, and every start that must be refused."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netserve.testing.process import BIN, converse, free_port, running, wait_until


def write(folder: Path, services: str, process: str = "") -> Path:
    config = folder / "config.yaml"
    config.write_text(f"netserve: {{state: ./var{process}}}\nservices:\n{services}")
    return config


def echo(port: int) -> str:
    return f"  echo:\n    protocol: echo\n    listen: tcp:{port}:interface=127.0.0.1\n"


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / arguments[0], *arguments[1:]],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command",
    [
        ("netserve", "run"),
        ("twistd", "-n", "--pidfile=", "netserve", "--config"),
        ("twistd", "-n", "--pidfile=", "--reactor", "netserve", "netserve", "--config"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_serve_stop(tmp_path: Path, command: tuple[str, ...], number: int) -> None:
    port = free_port()
    with running(write(tmp_path, echo(port)), command=command) as process:
        assert converse(port, b"hi") == b"hi"
        process.stop(number=number)
        assert "stopped" in process.log()
    with pytest.raises(ConnectionRefusedError):
        converse(port, b"hi")


def test_daemon_with_pidfile_and_logfile(tmp_path: Path) -> None:
    port = free_port()
    write(tmp_path, echo(port))
    started = run("twistd", "--pidfile", "x.pid", "--logfile", "x.log", "netserve", folder=tmp_path)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pid = int((tmp_path / "x.pid").read_text())
    try:
        wait_until(lambda: "ready: " in (tmp_path / "x.log").read_text())
        assert converse(port, b"hi") == b"hi"
        (tmp_path / "x.log").rename(tmp_path / "x.log.1")
        os.kill(pid, signal.SIGUSR1)
        wait_until((tmp_path / "x.log").exists)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not (tmp_path / "x.pid").exists())
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert "stopped" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "netserve", "--config")])
def test_a_taken_port_stops_the_start(tmp_path: Path, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write(tmp_path, echo(free_port()).replace("echo:", "first:", 1) + echo(port))
        refused = run(*command, config.name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"config.yaml:8:13: services.echo.listen: cannot listen on tcp:{port}:interface=127.0.0.1:"
        " address in use\n"
    )
    assert "Traceback" not in refused.stderr + refused.stdout
    assert not (tmp_path / "twistd.pid").exists()


def test_a_wrong_file_tells_everything_at_once(tmp_path: Path) -> None:
    config = write(
        tmp_path, "  a:\n    protocol: ecko\n    listen: tcp:0\n  b:\n    protocol: echo\n"
    )
    refused = run("netserve", "run", config.name, folder=tmp_path)
    assert refused.returncode == 1
    assert "config.yaml:4:15: services.a.protocol: " in refused.stderr
    assert "did you mean echo?" in refused.stderr
    assert "services.b" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused = run("twistd", "-n", "netserve", folder=tmp_path)
    assert refused.returncode == 1
    assert "config.yaml: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_missing_certificate(tmp_path: Path) -> None:
    services = echo(free_port()) + "    tls: {certificate: none.pem, key: none.key}\n"
    refused = run("netserve", "run", write(tmp_path, services).name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("config.yaml:6:24: services.echo.tls.certificate: ")
    assert "no such file or directory" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_another_reactor_is_refused(tmp_path: Path) -> None:
    write(tmp_path, echo(free_port()))
    refused = run("twistd", "-n", "--reactor", "epoll", "netserve", folder=tmp_path)
    assert refused.returncode == 1
    assert "leave out --reactor, or give --reactor netserve" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_logs_as_json(tmp_path: Path) -> None:
    config = write(tmp_path, echo(free_port()), process=", log: {format: json, level: debug}")
    with running(config) as process:
        process.stop()
        records = [json.loads(line) for line in process.log().splitlines()]
    messages = [(record["level"], record["origin"], record["message"]) for record in records]
    assert ("info", "netserve", "ready: 1 services") in messages
    assert ("info", "netserve", "stopped") in messages


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own are closed, and closed again at times."""
    with tempfile.TemporaryDirectory(prefix="netserve-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_privileges_are_dropped_after_binding(open_folder: Path) -> None:
    # A port that only root may open, on an address that nobody else uses.
    services = "  low:\n    protocol: echo\n    listen: tcp:7:interface=127.0.0.77\n"
    with running(write(open_folder, services, process=", user: nobody")) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        uid = pwd.getpwnam("nobody").pw_uid
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
        assert (open_folder / "var").stat().st_uid == uid
        with socket.create_connection(("127.0.0.77", 7), timeout=5) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"


def test_stop_drains(tmp_path: Path) -> None:
    """A request in flight is answered after SIGTERM, and new connections are refused."""
    port = free_port()
    (tmp_path / "slow.py").write_text(
        "from twisted.internet.task import deferLater\n"
        "async def answer(request):\n"
        "    from twisted.internet import reactor\n"
        "    await deferLater(reactor, 1.0)\n"
        "    return b'late ' + request.data\n"
    )
    services = (
        "  slow:\n    protocol: request-response\n"
        f"    listen: tcp:{port}:interface=127.0.0.1\n    framing: line\n    handler: slow:answer\n"
    )
    with running(write(tmp_path, services)) as process:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"but true\r\n")
            wait_until(lambda: _has_connection(port))
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("stopping")
            assert client.recv(100) == b"late but true\r\n"
        # twistd ends by the signal that it was stopped by.
        assert process.process.wait(20) == -signal.SIGTERM
        assert "stopped" in process.log()


def _has_connection(port: int) -> bool:
    wanted = f":{port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(wanted in line and line.split()[3] == "01" for line in lines)
