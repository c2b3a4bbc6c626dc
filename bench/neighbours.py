"""``python -m bench.neighbours [ATTACK …]``: how long other clients wait while one attacks.

Each attack comes from one address of loopback, at a netserve that has just been started. Two probes
ask from another address, all the time: one a service that nobody attacks (`other`), one the service
under attack itself, where it answers such requests at all (`same`). Server and probes come first on
the machine, where that is allowed, so that what else runs on it counts less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.load.attacks import ATTACKS, names

HEADING = """\
| attack | other service: median, 99 %, longest (s) | same service | peak MB |
| --- | --- | --- | --- |"""
SMALL_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PROBE = "127.0.0.2"
PAUSE = 0.02
"""Seconds between two questions of a probe."""
PATIENCE = 120.0
"""Seconds after which a probe gives up; they are what it has waited then."""
LARGE = 4_000_000
HTTP = b"GET /small HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
QUESTIONS = {
    "hello": b"x\n", "lines": b"x\n", "bridge": b"small\n", "form": b"small\n", "echo": b"x\n",
    "proxy": HTTP, "status": HTTP.replace(b"small", b"healthz"), "posts": HTTP,
    "mail": b"EHLO probe\r\n", "tls": b"x\n",
}  # fmt: skip

PYTHON = [sys.executable, "-m"]
SERVICES = ["status", "hello", "lines", "tls", "echo", "discard", "mail", "posts", "bridge", "form",
            "proxy", "upstream"]  # fmt: skip

CONFIG = """\
netserve: {{state: ./var, status: "tcp:{status}:interface=127.0.0.1", drain: 1s}}
services:
  hello:
    protocol: request-response
    listen: tcp:{hello}:interface=127.0.0.1
    reply: "Hello, client!"
  lines:
    protocol: request-response
    listen: ["tcp:{lines}:interface=127.0.0.1", "udp:{lines}:interface=127.0.0.1"]
    rules:
      - match: {{regex: "^my name is (?P<name>\\\\w+)$"}}
        reply: "Hello, {{name}}!"
      - match: {{regex: "0[01]{{{{100}}}}2"}}
        reply: "no"
    reply: "Hello, client!"
    amplify: true
  tls:
    protocol: request-response
    listen: tcp:{tls}:interface=127.0.0.1
    tls: {{certificate: cert.pem, key: key.pem}}
    limits: {{connections_per_address: 1000}}
    reply: "Hello, client!"
  echo:
    protocol: echo
    listen: ["tcp:{echo}:interface=127.0.0.1", "udp:{echo}:interface=127.0.0.1"]
  discard: {{protocol: echo, kind: discard, listen: "tcp:{discard}:interface=127.0.0.1"}}
  mail:
    protocol: smtp-relay
    listen: tcp:{mail}:interface=127.0.0.1
    hostname: relay.example.org
    limits: {{connections: 6000, connections_per_address: 5100}}
    http: {{listen: "tcp:{posts}:interface=127.0.0.1", tokens: {{me: "0123456789abcdef"}}}}
    routes: [{{deliver: {{discard: true}}}}]
  bridge:
    protocol: http-bridge
    listen: tcp:{bridge}:interface=127.0.0.1
    limits: {{connections_per_address: 1000}}
    request: {{url: "http://127.0.0.1:{upstream}/{{path}}", timeout: 30s}}
    allow_upstreams: 127.0.0.1
  form:
    protocol: http-bridge
    listen: tcp:{form}:interface=127.0.0.1
    request: {{url: "http://127.0.0.1:{upstream}/x", form: {{value: "{{request}}"}}, timeout: 30s}}
    allow_upstreams: 127.0.0.1
  proxy:
    protocol: http-bridge
    listen: tcp:{proxy}:interface=127.0.0.1
    framing: http
    request: {{url: "http://127.0.0.1:{upstream}{{target}}", timeout: 30s}}
    allow_upstreams: 127.0.0.1
"""


def free_ports(wanted: list[str]) -> dict[str, int]:
    """Free ports of loopback, by name."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in wanted]
        return {name: s.getsockname()[1] for name, s in zip(wanted, sockets, strict=True)}


async def _upstream(port: int) -> None:
    """Answers ``ok``, or something large; what it is sent it reads."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE + bytes(LARGE)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(Exception):
            while head := await reader.readuntil(b"\r\n\r\n"):
                for line in head.lower().split(b"\r\n"):
                    if line.startswith(b"content-length:"):
                        await reader.readexactly(int(line[15:]))
                    elif line.startswith(b"transfer-encoding:"):
                        await reader.readuntil(b"0\r\n\r\n")
                is_large = b"large" in head.split(b"\r\n", 1)[0]
                writer.write(large if is_large else SMALL_ANSWER)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=1 << 24)
    await server.serve_forever()


def probe(name: str, port: int, seconds: float) -> list[float]:
    """Connect, ask, read, close, again and again; the seconds that each took."""
    waits, end = [], time.monotonic() + seconds
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    while time.monotonic() < end:
        began = time.monotonic()
        client = socket.socket()
        try:
            client.settimeout(PATIENCE)
            client.bind((PROBE, 0))
            client.connect(("127.0.0.1", port))
            if name == "tls":
                client = context.wrap_socket(client)
            if name == "mail":
                client.recv(1000)
            client.sendall(QUESTIONS[name])
            good = bool(client.recv(1000))
        except OSError:
            good = False
        finally:
            client.close()
        waits.append(time.monotonic() - began if good else PATIENCE)
        time.sleep(PAUSE)
    return waits


def _certificate(folder: Path) -> None:
    import trustme

    certificate = trustme.CA().issue_cert("localhost")
    (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (folder / "cert.pem").write_bytes(b"".join(p.bytes() for p in certificate.cert_chain_pems))


def _come_first(pid: int) -> None:
    """Let a process come before whatever else runs on this machine, where that is allowed."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -15)


@contextlib.contextmanager
def _daemon(folder: Path, ports: dict[str, int]) -> Iterator[int]:
    (folder / "config.yaml").write_text(CONFIG.format(**ports))
    _certificate(folder)
    log = (folder / "log").open("wb")
    command = [str(Path(sys.executable).with_name("netserve")), "run", "config.yaml"]
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    _come_first(process.pid)
    try:
        for _ in range(400):
            if b"ready: " in (folder / "log").read_bytes():
                break
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()


def _peak(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What one attack did.

    Arguments:
        attack: its name.
        other: seconds that each question to another service took, sorted.
        same: the same for the service itself; empty where it cannot be asked.
        peak: the most megabytes that the process had.
        log: what it said.
    """

    attack: str
    other: list[float]
    same: list[float]
    peak: float
    log: str

    def row(self) -> str:
        """As a line of a table."""
        return f"| {self.attack} | {_waits(self.other)} | {_waits(self.same)} | {self.peak:.0f} |"


def _waits(waits: list[float]) -> str:
    if not waits:
        return "-"
    middle, high = waits[len(waits) // 2], waits[len(waits) * 99 // 100]
    return f"{middle:.3f}, {high:.3f}, {waits[-1]:.3f}"


def measure(attack: str, seconds: float) -> Measured:
    """Run one attack, and tell what it did to others."""
    target = ATTACKS[attack][0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ports = free_ports(SERVICES)
        upstream = subprocess.Popen(
            [*PYTHON, "bench.neighbours", "--upstream", str(ports["upstream"])]
        )
        try:
            with _daemon(folder, ports) as pid:
                probed = {"other": "hello"} | ({"same": target} if target in QUESTIONS else {})
                probes = {
                    kind: _probing(service, ports[service], seconds + 2)
                    for kind, service in probed.items()
                }
                time.sleep(1)
                attacker = subprocess.Popen(
                    [*PYTHON, "bench.load.attacks", attack, str(ports[target]), str(seconds)]
                )
                waits = {
                    kind: sorted(map(float, probe.communicate()[0].split()))
                    for kind, probe in probes.items()
                }
                peak = _peak(pid)
                attacker.wait(60)
            log = (folder / "log").read_text(errors="replace")
        finally:
            upstream.kill()
            upstream.wait()
    return Measured(attack, waits["other"], waits.get("same", []), peak, log)


def _probing(service: str, port: int, seconds: float) -> subprocess.Popen[str]:
    probing = subprocess.Popen(
        [*PYTHON, "bench.neighbours", "--probe", service, str(port), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    _come_first(probing.pid)
    return probing


def main() -> None:
    """Measure, and print one table."""
    if sys.argv[1:2] == ["--probe"]:
        name, port, seconds = sys.argv[2:]
        print(*(f"{wait:.4f}" for wait in probe(name, int(port), float(seconds))))
        return
    if sys.argv[1:2] == ["--upstream"]:
        asyncio.run(_upstream(int(sys.argv[2])))
        return
    parser = argparse.ArgumentParser(prog="python -m bench.neighbours")
    parser.add_argument("attacks", nargs="*", help=f"of {', '.join(names())}")
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    print(HEADING)
    for attack in options.attacks or names():
        print(measure(attack, options.seconds).row(), flush=True)


if __name__ == "__main__":
    main()
