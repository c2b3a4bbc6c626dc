"""strace on a process that runs: what it syncs, links and removes, and a fault at one of these."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from netserve.testing.process import wait_until
from netserve.testing.programs import missing, require_program

CALLS = (
    "fsync", "fdatasync", "sync_file_range", "link", "linkat", "rename", "renameat", "renameat2",
    "unlink", "unlinkat", "mkdir", "mkdirat",
)  # fmt: skip
"""Whatever makes something durable, gives it a name, or takes that away."""

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
_TEXT = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Step:
    """One system call that was seen.

    Arguments:
        call: its name.
        path: what it was about, with what changes from run to run put plainly.
        number: the how manieth of its thread; strace counts each thread by itself.
        raw: the path as it is.
        number_there: the how manieth of its thread with this path.
        failed: it was refused, so it changes nothing.
    """

    call: str
    path: str
    number: int
    raw: str
    number_there: int
    failed: bool

    @property
    def point(self) -> tuple[str, str]:
        """What it is, whenever it happens."""
        return self.call, self.path


@contextmanager
def traced(pid: int, output: Path, *, inject: str = "", path: str = "") -> Iterator[None]:
    """Trace all threads of a process.

    Arguments:
        pid: of the process.
        output: a file for what is seen.
        inject: strace's expression for a fault; none where it is empty.
        path: only calls about this path are seen and counted; all where it is empty.
    """
    # With --seccomp-bpf, which is faster, `when` is miscounted.
    command = [require_program("strace"), "-f", "-y", "-p", str(pid), "-o", str(output)]
    command += ["-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
    if inject:
        command += ["-e", f"inject={inject}"]
    if path:
        command += ["-P", path]
    with output.with_suffix(".errors").open("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=errors)

        def attached() -> bool:
            text = Path(errors.name).read_text()
            if "Operation not permitted" in text:
                missing("strace may not attach to a process here")
            return "attached" in text

        try:
            wait_until(attached, what="strace to attach")
            yield
        finally:
            _end(process)


def _end(strace: subprocess.Popen[bytes]) -> None:
    """Let go of the traced process, if it still is there.

    Now and then strace waits for ever for one that was killed; that is a zombie until it is gone.
    """
    strace.terminate()
    try:
        strace.wait(2)
    except subprocess.TimeoutExpired:
        strace.kill()
        strace.wait(20)


def steps(output: Path, root: Path) -> list[Step]:
    """What was seen, in order.

    Arguments:
        output: as strace wrote it.
        root: paths are told from here.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    seen = []
    for line in output.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None or match[2] not in CALLS:
            continue
        thread, call, arguments = match.groups()
        raw = _path(call, arguments)
        counts[thread, call] += 1
        counts[thread, call, raw] += 1
        seen.append(
            Step(
                call,
                _plain(raw, root),
                counts[thread, call],
                raw,
                counts[thread, call, raw],
                failed=") = -1 " in arguments,
            )
        )
    return seen


def _path(call: str, arguments: str) -> str:
    """The path that a call is about."""
    folders, names = _DESCRIPTOR.findall(arguments), _TEXT.findall(arguments)
    if call.endswith("sync") or call == "sync_file_range":
        return folders[0]
    if call in {"linkat", "renameat", "renameat2"}:
        return f"{folders[-1]}/{names[-1]}"
    if call in {"unlinkat", "mkdirat"}:
        return f"{folders[0]}/{names[0]}"
    return names[-1]


def _plain(path: str, root: Path) -> str:
    path = path.removeprefix(str(root)).removeprefix("/") or "."
    path = re.sub(r"#\d+( \(deleted\))?$", "(without a name)", path)
    path = re.sub(r"\d+\.Q[0-9a-z]+R\d+\.[\w.]+", "NAME", path)
    path = re.sub(r"/[0-9a-z]{11}$", "/ID", path)
    return re.sub(r"^box/[\w-]+", "box", path)
