"""Runs the real command in a process of its own, for tests of a whole configuration.

::

    def test_my_config(tmp_path):
        port = free_port()
        config = tmp_path / "config.yaml"
        config.write_text(f"services: {{echo: {{protocol: echo, listen: tcp:{port}}}}}")
        with running(config) as netserve:
            ...
            assert "refused" not in netserve.log()
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
"""Where the commands of this environment are."""
_PORTS = (10240, 32768)
"""Above those of well-known services, below net.ipv4.ip_local_port_range."""


def free_port() -> int:
    """A port of 127.0.0.1 that is free over TCP and over UDP, just now.

    It is outside of the range that Linux takes the ports of outgoing connections from, so that none
    of these has it by the time that a server binds it.
    """
    while True:
        port = random.randrange(*_PORTS)  # noqa: S311 - not for secrets
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            try:
                stream.bind(("127.0.0.1", port))
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_until(condition: Callable[[], Any], *, seconds: float = 20.0, what: str = "") -> Any:
    """Ask until the condition gives something true, and give that.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what or condition} did not come true in {seconds:g} s")
        time.sleep(0.02)


class RunningProcess:
    """A process that was started, with its output in a file.

    Arguments:
        process: it.
        output: the file that has its standard output and standard error.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._output = output

    def log(self) -> str:
        """All that it has printed."""
        return self._output.read_text(errors="replace")

    def wait_for(self, text: str, *, seconds: float = 20.0) -> None:
        """Wait until it has printed a text; fails at once when it ends before.

        Raises:
            AssertionError: it did not, with all that it printed.
        """

        def printed() -> bool:
            if text in self.log():
                return True
            if self.process.poll() is not None and text not in self.log():
                raise AssertionError(f"it ended before it printed {text!r}:\n{self.log()}")
            return False

        try:
            wait_until(printed, seconds=seconds, what=f"printing {text!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    def stop(self, *, number: int = signal.SIGTERM, seconds: float = 20.0) -> int:
        """Send a signal, and give the exit code; a process that does not end is killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it did not end in {seconds:g} s:\n{self.log()}") from None


@contextmanager
def running(
    config: Path,
    *,
    command: Sequence[str] = ("netserve", "run"),
    environment: Mapping[str, str] | None = None,
    until: str = "ready: ",
) -> Iterator[RunningProcess]:
    """Run a configuration until the block is left.

    Arguments:
        config: the file; its folder gets a file `output` beside it.
        command: what comes before the file; the first word is a command of this environment.
        environment: variables beside those that are there.
        until: what it prints when it is ready; empty not to wait.
    """
    output = config.parent / "output"
    arguments = [str(BIN / command[0]), *command[1:], str(config)]
    with output.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - what the test asks for
            arguments,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=config.parent,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
    started = RunningProcess(process, output)
    try:
        if until:
            started.wait_for(until)
        yield started
    finally:
        started.stop()


def converse(port: int, data: bytes, *, seconds: float = 10.0) -> bytes:
    """Connect to a port of 127.0.0.1, send, close the sending side, and read to the end."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received
