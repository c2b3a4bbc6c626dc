"""What was measured, on what: the lines above the table."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from pathlib import Path

from bench.peers import nginx, postfix
from bench.processes import CORES, scratch

PACKAGES = ("netserve", "Twisted", "uvloop", "aiohttp", "treq", "requests", "aiosmtpd", "scapy")


def heading(quick: bool) -> str:
    """The heading of the table as Markdown: versions, cores, the disk's speed."""
    kernel, memory = platform.release(), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    parts = [
        f"{platform.python_implementation()} {platform.python_version()}",
        *(f"{name} {version}" for name in PACKAGES if (version := package(name))),
        *programs(),
    ]
    return (
        f"# netserve beside its peers{', quick' if quick else ''}\n\n"
        f"{', '.join(parts)}.\n\n"
        f"Linux {kernel}, {platform.machine()}, {cpu_model()}, {len(CORES)} cores,"
        f" {memory / 1e9:.0f} GB; a 4 KiB write with fdatasync takes {sync_time() * 1e6:.0f} us.\n"
    )


def package(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def programs() -> list[str]:
    """The peers that are programs, with their versions."""
    found = []
    if program := nginx.find():
        found.append(said([program, "-v"], r"nginx/([\d.]+)", "nginx"))
    if program := postfix.find("postconf"):
        found.append(said([program, "-d", "-h", "mail_version"], r"([\d.]+)", "Postfix"))
    if program := postfix.find("go"):
        found.append(said([program, "version"], r"go([\d.]+)", "Go"))
    if program := postfix.find("tshark"):
        found.append(said([program, "--version"], r"TShark[^\d]*([\d.]+)", "TShark"))
    return found


def said(argv: list[str], pattern: str, name: str) -> str:
    """A name with the version that a program tells of itself."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    match = re.search(pattern, done.stdout + done.stderr)
    return f"{name} {match[1] if match else '(version unknown)'}"


def cpu_model() -> str:
    """The processor's name."""
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else "unknown processor"


def sync_time(count: int = 50) -> float:
    """Seconds for a small write to be safe on the disk that the mail benchmarks use."""
    with scratch() as folder, (folder / "sync").open("wb", buffering=0) as file:
        start = time.monotonic()
        for _ in range(count):
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
        return (time.monotonic() - start) / count
