"""netserve's process during a soak: its file, its start, its sudden end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from netserve.testing.process import BIN, free_port
from tests.soak.record import Outage, Record

READY_SECONDS = 60.0
TOKEN = "a-token-for-the-soak"
_SUSPECT = re.compile(r"Traceback|Unhandled|(?: critical )|quarantine|Error: ")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of 127.0.0.1 that the services listen on."""

    echo: int = field(default_factory=free_port)
    hello: int = field(default_factory=free_port)
    web: int = field(default_factory=free_port)
    proxy: int = field(default_factory=free_port)
    mail: int = field(default_factory=free_port)
    post: int = field(default_factory=free_port)
    status: int = field(default_factory=free_port)


def write_config(path: Path, ports: Ports, smarthost: int) -> None:
    """Write the file that the soak runs."""

    def at(port: int, kind: str = "tcp") -> str:
        return f"{kind}:{port}:interface=127.0.0.1"

    upstream = f"http://127.0.0.1:{ports.status}"
    services = {
        "echo": {"protocol": "echo", "listen": [at(ports.echo), at(ports.echo, "udp")]},
        "hello": {
            "protocol": "request-response",
            "listen": at(ports.hello),
            "framing": "line",
            "rules": [
                {"match": {"regex": "^my name is (?P<name>\\w+)$"}, "reply": "Hello, {name}!"}
            ],
            "reply": "Hello, client!",
        },
        "web": {
            "protocol": "http-bridge",
            "listen": at(ports.web),
            "framing": "line",
            "request": {"method": "GET", "url": upstream + "/{request}", "timeout": "5s"},
            "response": "{status} {body}",
            "allow_upstreams": ["127.0.0.1"],
        },
        "proxy": {
            "protocol": "http-bridge",
            "listen": at(ports.proxy),
            "framing": "http",
            "request": {"url": upstream + "{target}", "timeout": "5s"},
            "allow_upstreams": ["127.0.0.1"],
        },
        "mail": {
            "protocol": "smtp-relay",
            "listen": at(ports.mail),
            "hostname": "relay.example",
            "http": {"listen": at(ports.post), "tokens": {"soak": TOKEN}},
            "retry": {"first": "1s", "longest": "3s"},
            "routes": [
                {"deliver": {"smarthost": f"127.0.0.1:{smarthost}", "tls": "none"}},
            ],
        },
    }
    process = {"state": "./var", "status": at(ports.status)}
    path.write_text(yaml.safe_dump({"netserve": process, "services": services}))


class Product:
    """Starts, kills and stops netserve.

    Arguments:
        config: the file.
        record: gets the outages.
    """

    def __init__(self, config: Path, record: Record) -> None:
        self._config = config
        self._record = record
        self._log = config.with_name("netserve.log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs now."""
        assert self._process is not None
        return self._process.pid

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [BIN / "netserve", "run", self._config],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self._config.parent,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            AssertionError: it ended, or was not ready in time; with the end of its log.
        """
        begin = self._log.stat().st_size if self._log.exists() else 0
        self._process = self._spawn()
        end = time.monotonic() + READY_SECONDS
        while b"ready: " not in self._text()[begin:]:
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"netserve did not start:\n{self._text()[-2000:].decode()}")
            await asyncio.sleep(0.05)

    async def kill_and_start(self) -> None:
        """End it without warning, and start it again on what is left."""
        begin = time.monotonic()
        self._record.outages.append(Outage(begin, float("inf")))
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        await self.start()
        self._record.outages[-1] = Outage(begin, time.monotonic())

    async def flush(self) -> None:
        """Have it try all queued mail now, as an administrator does; it may be down."""
        flushing = await asyncio.create_subprocess_exec(
            BIN / "netserve", "queue", "flush", "--config", self._config,
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await flushing.wait()

    def stop(self) -> int:
        """Stop it as an administrator does, and give its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def abandon(self) -> None:
        """See that no process is left, whatever happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def memory(self) -> float:
        """Megabytes of resident memory now."""
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{self.pid}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
            return int(line.split()[1]) / 1024
        return 0.0

    def _text(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    def log_faults(self) -> list[str]:
        """Lines of its log that tell of a bug."""
        lines = self._text().decode(errors="replace").splitlines()
        return [line[:300] for line in lines if _SUSPECT.search(line)]
