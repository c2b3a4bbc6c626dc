"""S29: the daemon survives every signal that administrators send; an ordinary stop exits 0."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from netserve.server.signals import SURVIVED
from netserve.testing.process import BIN, converse, free_port, running, wait_until

RUN = ("netserve", "run")
TWISTD = ("twistd", "-n", "--pidfile=", "netserve", "--config")
HARMLESS = (signal.SIGWINCH, signal.SIGURG, signal.SIGCONT, signal.SIGCHLD, signal.SIGPIPE)
"""Signals that end no Python program."""


def write(folder: Path, port: int, more: str = "") -> Path:
    config = folder / "config.yaml"
    config.write_text(
        "netserve: {state: ./var}\nservices:\n"
        f"  echo: {{protocol: echo, listen: [tcp:{port}:interface=127.0.0.1{more}]}}\n"
    )
    return config


@pytest.mark.parametrize("command", [RUN, TWISTD])
def test_signals_change_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    """S29: each is logged in one line, the service answers on, and the exit code is 0."""
    port = free_port()
    with running(write(tmp_path, port), command=command) as process:
        for number in [*sorted(SURVIVED), *HARMLESS]:
            os.kill(process.pid, number)
            assert converse(port, b"x") == b"x", number
        wait_until(lambda: process.log().count(" changes nothing: ") == len(SURVIVED))
        assert "warn [netserve] SIGHUP changes nothing: the config file is read" in process.log()
        assert process.stop() == 0
        assert "Traceback" not in process.log()


@pytest.mark.parametrize("command", [RUN, TWISTD])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ordinary_stop_exits_0(tmp_path: Path, command: tuple[str, ...], number: int) -> None:
    """S29: also with a connection open, and with other signals before it."""
    port = free_port()
    with running(write(tmp_path, port), command=command) as process:
        os.kill(process.pid, signal.SIGHUP)
        assert process.stop(number=number) == 0
        assert process.log().splitlines()[-1].endswith("stopped")


def test_signals_during_the_start(tmp_path: Path) -> None:
    """S29: from the command's first moment on, whatever it is loading then."""
    port = free_port()
    with running(write(tmp_path, port), until="") as process:
        # As soon as Python itself has begun; before, nothing of netserve can take a signal.
        wait_until(lambda: int(_status(process.pid, "SigCgt"), 16) & 1 << signal.SIGHUP - 1)
        while "ready: " not in process.log():
            assert process.process.poll() is None, process.log()
            os.kill(process.pid, signal.SIGHUP)
            time.sleep(0.01)
        assert converse(port, b"x") == b"x"
        process.wait_for("SIGHUP changes nothing")
        assert process.stop() == 0


def test_signals_while_it_stops(tmp_path: Path) -> None:
    """S29: one that is no second stop does not cut what the stop waits for."""
    port = free_port()
    (tmp_path / "slow.py").write_text(
        "from twisted.internet.task import deferLater\n"
        "async def answer(request):\n"
        "    from twisted.internet import reactor\n"
        "    await deferLater(reactor, 1.0)\n"
        "    return request.data\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        "netserve: {state: ./var}\nservices:\n  slow: {protocol: request-response,"
        f" listen: 'tcp:{port}:interface=127.0.0.1', framing: line, handler: 'slow:answer'}}\n"
    )
    with running(config) as process:
        client = socket.create_connection(("127.0.0.1", port), timeout=20)
        client.sendall(b"late\r\n")
        wait_until(lambda: f":{port:04X} " in _established())
        os.kill(process.pid, signal.SIGTERM)
        process.wait_for("stopping")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT):
            os.kill(process.pid, number)
        assert client.recv(100) == b"late\r\n"
        client.close()
        assert process.process.wait(20) == 0


def _established() -> str:
    return "\n".join(
        line
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "01"
    )


def _status(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(
    ("options", "umask", "of_log", "of_socket"),
    [
        (("-n",), 0o022, 0o644, 0o644),
        (("-n",), 0o077, 0o600, 0o600),
        (("-n", "--umask", "007"), 0o022, 0o660, 0o660),
        (("--umask", "027"), 0o022, 0o640, 0o640),
        ((), 0o022, 0o600, 0o600),  # twistd's own umask for a daemon is 077
    ],
)
def test_modes_follow_the_umask(
    tmp_path: Path, options: tuple[str, ...], umask: int, of_log: int, of_socket: int
) -> None:
    """S29: of the log file and of UNIX sockets; an address that gives a mode has it exactly."""
    more = ", 'unix:plain.sock', 'unix:open.sock:mode=666', 'unix:closed.sock:mode=600'"
    write(tmp_path, free_port(), more)
    command = [BIN / "twistd", "--pidfile=x.pid", "--logfile=x.log", *options, "netserve"]
    process = subprocess.Popen(command, cwd=tmp_path, umask=umask)
    try:
        path = tmp_path / "x.log"
        wait_until(lambda: path.exists() and "ready: " in path.read_text())
        assert mode(path) == of_log
        assert mode(tmp_path / "plain.sock") == of_socket
        assert mode(tmp_path / "open.sock") == 0o666
        assert mode(tmp_path / "closed.sock") == 0o600
        path.rename(tmp_path / "moved.log")
        pid = int((tmp_path / "x.pid").read_text())
        os.kill(pid, signal.SIGUSR1)
        wait_until(path.exists)
        assert mode(path) == of_log
    finally:
        os.kill(int((tmp_path / "x.pid").read_text()), signal.SIGTERM)
        assert process.wait(20) == 0
        wait_until(lambda: "stopped" in (tmp_path / "x.log").read_text())
    # A daemon has another process number than it had when it opened the sockets.
    assert not list(tmp_path.glob("*.sock*"))
    assert " critical " not in (tmp_path / "x.log").read_text()


def test_the_mode_of_a_datagram_socket(tmp_path: Path) -> None:
    """S29: the same for `unixgram:`."""
    config = write(tmp_path, free_port(), ", 'unixgram:a.sock', 'unixgram:b.sock:mode=622'")
    with running(config):
        mask = os.umask(0o022)
        os.umask(mask)
        assert mode(tmp_path / "a.sock") == 0o666 & ~mask
        assert mode(tmp_path / "b.sock") == 0o622
