"""A process that has imported netserve, and forks: a start then takes a tenth of the time.

What is forked runs ``netserve run FILE`` as the command does, from its first line on, with a
reactor and threads of its own. As a script it reads one request a line, ``FILE OUTPUT WAITS
CHECKPOINT``, and answers by ``born PID``; when such a process has ended it says ``ended PID
CODE``, with the code as `subprocess` has it. With WAITS it begins on SIGUSR1; CHECKPOINT is the
size of the WAL that is written back, 0 for what it is.
"""

from __future__ import annotations

import atexit
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import netserve.outbox.sqlite.commit
from netserve.testing.process import wait_until

ROOT = Path(__file__).parents[3]


class Forked:
    """One ``netserve run``.

    Arguments:
        pid: of it.
        output: the file with all that it prints.
    """

    def __init__(self, pid: int, output: Path) -> None:
        self.pid = pid
        self.code: int | None = None
        "How it ended, as `subprocess` tells it; None while it runs."
        self._output = output

    def log(self) -> str:
        """All that it has printed."""
        return self._output.read_text(errors="replace")

    def wait_for(self, text: str, *, seconds: float = 20.0) -> None:
        """Wait until it has printed a text, or has ended.

        Raises:
            AssertionError: it did not print it in time, or ended without.
        """
        wait_until(
            lambda: text in self.log() or self.code is not None, seconds=seconds, what=repr(text)
        )
        assert text in self.log(), f"it ended with {self.code}:\n{self.log()}"

    def go(self) -> None:
        """Let it begin, where it waits."""
        os.kill(self.pid, signal.SIGUSR1)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait until it has ended, and give its code."""
        wait_until(lambda: self.code is not None, seconds=seconds, what="its end")
        assert self.code is not None
        return self.code

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal, and give its code."""
        if self.code is None:
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)
        return self.wait()


class Nursery:
    """The process that forks, as its parent sees it.

    Arguments:
        process: it.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._born: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._alive: dict[int, Forked] = {}
        self._codes: dict[int, int] = {}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(
        self,
        config: Path,
        output: Path,
        *,
        until: str = "ready: ",
        waits: bool = False,
        checkpoint: int = 0,
    ) -> Forked:
        """Start ``netserve run`` in the folder of the file, and wait until it prints a text.

        Arguments:
            config: the file.
            output: another one, for what it prints.
            until: the text; empty not to wait.
            waits: it begins when it is told by `Forked.go`.
            checkpoint: bytes of the WAL after which it is written back, instead of the usual.
        """
        assert self._process.stdin is not None
        output.write_text("")
        self._process.stdin.write(f"{config} {output} {int(waits)} {checkpoint}\n")
        self._process.stdin.flush()
        forked = Forked(self._born.get(timeout=20), output)
        self._alive[forked.pid] = forked
        if forked.pid in self._codes:  # it was quick
            forked.code = self._codes[forked.pid]
        if until:
            forked.wait_for(until)
        return forked

    @contextmanager
    def running(self, config: Path, output: Path, **options: Any) -> Iterator[Forked]:
        """The same, and it is ended behind the block, if it runs still."""
        forked = self.start(config, output, **options)
        try:
            yield forked
        finally:
            if forked.code is None:
                forked.stop(signal.SIGKILL)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            word, pid, *rest = line.split()
            if word == "born":
                self._born.put(int(pid))
            else:
                self._codes[int(pid)] = int(rest[0])
                if int(pid) in self._alive:
                    self._alive[int(pid)].code = int(rest[0])


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Start it; what runs still is killed behind the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name if __spec__ else "tests.integration.crash.nursery"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Nursery(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        finally:
            process.kill()


def main() -> None:
    """Fork for each line, until there is no more."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    _import_all()
    children: set[int] = set()
    while True:
        line = _next_line(children)
        if line is None:
            break
        config, output, waits, checkpoint = line.split()
        pid = os.fork()
        if pid == 0:
            _become(config, output, waits=waits == "1", checkpoint=int(checkpoint))
        children.add(pid)
        os.write(1, f"born {pid}\n".encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _next_line(children: set[int]) -> str | None:
    """The next request, or None at the end; meanwhile say who has ended."""
    while not select.select([0], [], [], 0.01)[0]:
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.discard(pid)
                os.write(1, f"ended {pid} {os.waitstatus_to_exitcode(status)}\n".encode())
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return None
        line += byte
    return line.decode()


def _import_all() -> None:
    """Everything but the reactor, which each process makes for itself."""
    from twisted.application.service import IServiceMaker
    from twisted.plugin import getPlugins

    from netserve.registry import Registry

    list(getPlugins(IServiceMaker))
    Registry().find("smtp-relay")
    assert "twisted.internet.reactor" not in sys.modules


def _become(config: str, output: str, *, waits: bool, checkpoint: int) -> None:
    """Be ``netserve run``; never returns."""
    file = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (file, 1), (file, 2)):
        os.dup2(old, new)
    os.setsid()
    os.chdir(Path(config).parent)
    if waits:
        signal.sigwait({signal.SIGUSR1})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    if checkpoint:
        netserve.outbox.sqlite.commit.CHECKPOINT = checkpoint  # type: ignore[misc]
    code = 1
    try:
        from netserve.cli import main as command

        command(["run", config])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    finally:
        atexit._run_exitfuncs()  # one of them tells a failure by the exit code
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
