"""The processes that are measured: started on a core, waited for, their CPU and memory, ended.

Everything comes from Linux's /proc, and counts a process with all its descendants, so that a
server of one process and one of thirty are told in the same way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TICK = os.sysconf("SC_CLK_TCK")
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES = frozenset(CORES[:1])
LOAD_CORES = frozenset(CORES[1:2] or CORES)
ALL_CORES = frozenset(CORES[:2])
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs"})


class BenchError(Exception):
    """A measurement that cannot be taken; the text says why."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def on_cores(cores: frozenset[int]) -> Iterator[None]:
    """What is started within runs on these cores: a child inherits them."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def is_open(port: int) -> bool:
    """Whether something accepts connections on this port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def until(condition: Callable[[], object], seconds: float, what: str, pause: float = 0.01) -> None:
    """Ask again and again until it holds.

    Raises:
        BenchError: it did not within so many seconds; `what` is named.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not within {seconds:g} s")
        time.sleep(pause)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder on a real disk, removed afterwards: a sync to memory would cost nothing.

    Where it is can be told by the environment variable NETSERVE_BENCH_DIR.

    Raises:
        BenchError: none of the usual places is on a disk.
    """
    named = os.environ.get("NETSERVE_BENCH_DIR")
    places = [Path(named)] if named else [Path("/var/tmp"), Path.home(), Path.cwd()]
    place = next((place for place in places if os.access(place, os.W_OK) and on_disk(place)), None)
    if place is None:
        raise BenchError(f"no disk to write to in {', '.join(map(str, places))}")
    folder = Path(tempfile.mkdtemp(prefix="netserve-bench-", dir=place))
    folder.chmod(0o755)  # Postfix' daemons run as another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def on_disk(folder: Path) -> bool:
    """Whether a folder's file system is one that keeps its data."""
    best, kind = "", ""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, file_system, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, file_system
    return kind not in MEMORY_FILE_SYSTEMS


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, its threads, its descendants, and the ended ones among them."""
    total = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            total += sum(map(int, _stat(process)[11:15]))
    return total / TICK


def memory(pid: int) -> float:
    """Megabytes of a process and its descendants: pages shared among n count 1/n (PSS)."""
    kilobytes = 0
    for process in tree(pid):
        with contextlib.suppress(OSError):
            kilobytes += _pages(process)
    return kilobytes * 1024 / 1e6


def _pages(pid: int) -> int:
    """Kilobytes of a process; of one that only root may look into, shared pages count whole."""
    try:
        lines, name = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines(), "Pss:"
    except PermissionError:
        lines, name = Path(f"/proc/{pid}/status").read_text().splitlines(), "VmRSS:"
    return sum(int(line.split()[1]) for line in lines if line.startswith(name))


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    found = [pid]
    for process in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task").iterdir():
                found.extend(map(int, (task / "children").read_text().split()))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class Load:
    """How much of its core this process wanted between two moments: ran, or waited to run."""

    FULL = 0.95

    def __init__(self) -> None:
        self._start = self._wanted()
        self._began = time.monotonic_ns()

    @staticmethod
    def _wanted() -> int:
        ran, waited, _ = Path("/proc/self/schedstat").read_text().split()
        return int(ran) + int(waited)

    def saturated(self) -> bool:
        """Whether it was all of it."""
        elapsed = time.monotonic_ns() - self._began
        return self._wanted() - self._start > self.FULL * elapsed


class Server:
    """A server process in the foreground, ended with all its descendants when the block ends.

    Arguments:
        argv: what to run.
        port: it is there once this port of 127.0.0.1 accepts connections; None: at once.
        cores: the cores that it may use.
        log: a file for what it prints.
        timeout: seconds that it may take to start.
        environment: variables beside those of this process.
        folder: its working folder.

    Raises:
        BenchError: it ended, or did not listen in time; the text ends with what it printed.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        port: int | None,
        log: Path,
        cores: frozenset[int] = SERVER_CORES,
        timeout: float = 15.0,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.argv = list(map(os.fspath, argv))
        self.port = port
        self._log = log
        self._cores = cores
        self._timeout = timeout
        self._environment = {**os.environ, **(environment or {})}
        self._folder = folder

    def __enter__(self) -> Self:
        with self._log.open("wb") as log, on_cores(self._cores):
            # A session of its own, so that ending its group ends all of it and nothing else.
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            if self.port is not None:
                until(self._listens, self._timeout, f"{self.argv[0]} to listen on {self.port}")
        except BenchError:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def check(self) -> None:
        """See that it still runs.

        Raises:
            BenchError: it has ended; the text says what it printed last.
        """
        if self._process.poll() is not None:
            code = self._process.returncode
            raise BenchError(f"{Path(self.argv[0]).name} ended with {code}: {self.printed()}")

    def _listens(self) -> bool:
        self.check()
        return self.port is not None and is_open(self.port)

    def cpu(self) -> float:
        """Seconds of CPU that it has used so far, with its descendants."""
        return cpu_seconds(self.pid)

    def memory(self) -> float:
        """Megabytes that it has now, with its descendants."""
        return memory(self.pid)

    def peak_memory(self) -> float:
        """Megabytes that it had at the most (VmHWM: all pages of its main process)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024 / 1e6

    def printed(self, lines: int = 5) -> str:
        """The end of what it printed."""
        return " / ".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, grace: float = 10.0) -> None:
        """End it: asked first, and killed after so many seconds; then what it left behind."""
        all_of_it = tree(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        for process in all_of_it:
            if self._is_ours(process):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self._process.wait(grace)
        until(lambda: not any(map(self._is_ours, all_of_it)), grace, f"{self.argv[0]} to be gone")

    def _is_ours(self, process: int) -> bool:
        """Whether a process id still is a living process of the session that we started."""
        try:
            state, _, _, session, *_ = _stat(process)
        except OSError:
            return False
        return state not in "ZX" and int(session) == self.pid


def run(argv: Sequence[str | os.PathLike[str]], *, cores: frozenset[int], timeout: float) -> str:
    """Run a program to its end on these cores and give what it printed.

    Raises:
        BenchError: it is not there, failed, or took longer; the text says which.
    """
    name = Path(argv[0]).name
    try:
        with on_cores(cores):
            done = subprocess.run(
                list(map(os.fspath, argv)),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise BenchError(f"{name} did not end within {timeout:g} s") from None
    except OSError as error:
        raise BenchError(f"{name}: {errno.errorcode.get(error.errno or 0, error)}") from None
    if done.returncode:
        raise BenchError(f"{name} ended with {done.returncode}: {done.stderr[-400:]}")
    return done.stdout
