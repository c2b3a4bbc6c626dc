"""Echo: a Twisted protocol on netserve's reactor beside the same on Twisted's, asyncio, Go and C.

``python -m bench.echo`` measures this alone.
"""

from __future__ import annotations

import resource
import shutil
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.compare import Sample, Samples, by_turns
from bench.processes import LOAD_CORES, BenchError, Server, free_port, scratch
from bench.processes import run as run_program
from bench.table import Claim, Row

OURS = "Twisted protocol on netserve's reactor"
NAMES = {
    "netserve": OURS,
    "uvloop": "asyncio protocol on uvloop",
    "twisted": "the same on Twisted's epoll reactor",
    "asyncio": "asyncio protocol on asyncio",
    "go": "Go, a goroutine a connection",
    "c": "C on epoll",
}
PYTHON = ("netserve", "uvloop", "twisted", "asyncio")
SATURATION = 0.95
IDLE = 10_000
HERE = Path(__file__).parent


def run(quick: bool) -> list[Row]:
    """Messages in clear, in TLS, handshakes, and idle connections."""
    turns, seconds = (1, 0.5) if quick else (9, 0.8)
    with scratch() as folder:
        load = compiled("gcc", folder / "load", HERE / "load" / "echo.c")
        if load is None:
            return [Row(work="echo", subject="all", skipped="the load is in C: gcc is missing")]
        plain = partial(measure, turns, folder, partial(sample, [load], seconds))
        rows = plain("echo, 64 B, 100 connections", (100, 64), (*PYTHON, "go", "c"), rate=2)
        rows += plain("echo, 64 B, 1,000 connections", (1000, 64), (*PYTHON, "go", "c"), rate=2)
        rows += plain("echo, 64 KiB, 20 connections", (20, 65536), (*PYTHON, "go", "c"), rate=2)
        rows += secured(turns, seconds, folder)
        rows += [idle(folder, kind) for kind in PYTHON[:3]]
    return rows


def secured(turns: int, seconds: float, folder: Path) -> list[Row]:
    """What is measured in TLS."""
    file = certificate(folder / "certificate.pem")
    kinds = PYTHON[:3]

    def tls(what: str) -> Callable[..., list[Row]]:
        words = [sys.executable, "-m", "bench.load.tls", what]
        return partial(measure, turns, folder, partial(sample, words, seconds), pem=file)

    rows = tls("echo")("TLS echo, 64 B, 50 connections", (50, 64), kinds, cpu=1.3)
    rows += tls("echo")("TLS echo, 64 KiB, 10 connections", (10, 65536), kinds, cpu=1.3, rate=2)
    # Shaking hands is more work for the load than for the server: no slower, by the CPU of it.
    rows += tls("handshake")("TLS handshakes, 10 at a time", (10, 1), kinds, cpu=None, stock=1)
    return rows


def measure(
    turns: int,
    folder: Path,
    load: Callable[[Server, int, int], Sample],
    work: str,
    shape: tuple[int, int],
    kinds: Sequence[str],
    *,
    cpu: float | None = 1.1,
    rate: float | None = None,
    stock: float | None = None,
    pem: Path | None = None,
) -> list[Row]:
    """All kinds doing one work.

    Arguments:
        turns: how often each is measured.
        folder: for what is built and logged.
        load: takes one sample of a server.
        work: what it is called.
        shape: connections, and bytes a message.
        kinds: which servers.
        cpu: the most CPU that is promised, in uvloop's.
        rate: the least rate that is promised, in stock Twisted's.
        stock: the most CPU that is promised, in stock Twisted's.
        pem: a certificate with its key, for TLS.
    """
    rows = []
    with ExitStack() as stack:
        servers: dict[str, Server] = {}
        for kind in kinds:
            command = server_command(kind, folder)
            if command is None:
                missing = f"{'go' if kind == 'go' else 'gcc'} is not installed"
                rows.append(Row(work=work, subject=NAMES[kind], skipped=missing))
                continue
            port = free_port()
            words = [*command, str(port), *([str(pem)] if pem else [])]
            log = folder / f"{kind}.log"
            servers[kind] = stack.enter_context(Server(words, port=port, log=log))
        taken = by_turns(turns, {kind: partial(load, it, *shape) for kind, it in servers.items()})
    ours = taken["netserve"]
    claims = [
        Claim(value=ours.cpu_ratio(taken["uvloop"]), of="the CPU of uvloop", at_most=cpu),
        Claim(value=ours.rate_ratio(taken["twisted"]), of="the rate of Twisted", at_least=rate),
        Claim(value=ours.cpu_ratio(taken["twisted"]), of="the CPU of Twisted", at_most=stock),
    ]
    return [*table(work, taken, claims), *rows]


def table(work: str, taken: dict[str, Samples], claims: Sequence[Claim]) -> list[Row]:
    """Rows of all that was measured; the claims stand with ours."""
    return [
        samples.row(work, NAMES[kind], claims if kind == "netserve" else ())
        for kind, samples in taken.items()
    ]


def sample(
    load: Sequence[str | Path], seconds: float, server: Server, connections: int, size: int
) -> Sample:
    """One run of the load."""
    words = [server.port, server.pid, connections, size, seconds]
    printed = run_program(
        [*load, *map(str, words)], cores=LOAD_CORES, timeout=seconds + connections / 100 + 30
    )
    done, took, cpu, own = map(float, printed.split())
    if not done:
        raise BenchError("nothing came back")
    return Sample(rate=done / took, cpu=cpu / done, saturated=own / took > SATURATION)


def server_command(kind: str, folder: Path) -> list[str] | None:
    """How a kind of server is started, but for its port; None where its compiler is missing."""
    if kind == "go":
        built = compiled("go", folder / "echo_go", HERE / "peers" / "echo.go")
    elif kind == "c":
        built = compiled("gcc", folder / "echo_c", HERE / "peers" / "echo_epoll.c")
    else:
        return [sys.executable, "-m", "bench.peers.echo_python", kind]
    return None if built is None else [str(built)]


def compiled(compiler: str, program: Path, source: Path) -> Path | None:
    """Compile a source file, once; None where the compiler is missing."""
    found = shutil.which(compiler)
    if found is None:
        return None
    if not program.exists():
        options = ["build"] if compiler == "go" else ["-O2"]
        words = [found, *options, "-o", str(program), str(source)]
        run_program(words, cores=LOAD_CORES, timeout=120)
    return program


def certificate(file: Path) -> Path:
    """A certificate for localhost with its key, in one file."""
    import trustme

    made = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert(
        "localhost", key_type=trustme.KeyType.RSA
    )
    made.private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


def idle(folder: Path, kind: str) -> Row:
    """What an idle connection takes of the server's memory."""
    work = f"{IDLE:,} idle connections"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < IDLE + 100:
        return Row(work=work, subject=NAMES[kind], skipped=f"only {most} descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    port = free_port()
    command = [*(server_command(kind, folder) or ()), str(port)]
    with Server(command, port=port, log=folder / f"{kind}.log") as server, ExitStack() as stack:
        before = server.memory()
        for _ in range(IDLE):
            # Each has said something: an accepted connection that was never read from is less.
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"x")
            client.recv(1)
        grown = server.memory() - before
    each = grown * 1e6 / IDLE / 1024
    claim = Claim(
        value=each,
        unit=" KiB",
        of="a connection",
        at_most=8 if kind == "netserve" else None,
    )
    return Row(work=work, subject=NAMES[kind], memory=grown, claims=[claim])


def main() -> None:
    """Print the table of this work alone."""
    from bench.table import render

    print(render(run(quick="--quick" in sys.argv)))


if __name__ == "__main__":
    main()
