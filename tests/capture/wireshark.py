"""Wireshark's programs, by which captures are judged."""

from __future__ import annotations

import subprocess
from pathlib import Path

from netserve.testing.programs import require_program

_CHECKS = [
    option
    for name in ("ip.check_checksum", "tcp.check_checksum", "udp.check_checksum")
    for option in ("-o", f"{name}:TRUE")
]
WRONG = (
    "_ws.malformed || tcp.analysis.flags || tcp.checksum.status == 0 || ip.checksum.status == 0"
    " || udp.checksum.status == 0 || _ws.expert.severity == 8388608"
)
"""Packets with which anything is wrong: malformed, sequence, checksums, errors of experts."""


def tshark(path: Path, *options: str) -> str:
    """What tshark prints about a file."""
    command = [require_program("tshark"), "-n", "-r", str(path), *_CHECKS, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    # A file that was cut short is read up to there, with an error at the end.
    assert done.returncode == 0 or "cut short" in done.stderr, done.stderr
    return done.stdout


def wrong(path: Path) -> str:
    """The packets with which anything is wrong."""
    return tshark(path, "-Y", WRONG)


def fields(path: Path, wanted: str, *names: str) -> list[tuple[str, ...]]:
    """Fields of the packets that match a filter, one tuple a packet."""
    options = [option for name in names for option in ("-e", name)]
    text = tshark(path, "-Y", wanted, "-T", "fields", "-E", "separator=/t", *options)
    return [tuple(line.split("\t")) for line in text.splitlines()]


def followed(path: Path, count: int) -> list[tuple[bytes, bytes]]:
    """TCP streams as tshark puts them together: what each client said, and what its server."""
    options = [each for number in range(count) for each in ("-z", f"follow,tcp,raw,{number}")]
    found: dict[int, tuple[bytearray, bytearray]] = {}
    sides = (bytearray(), bytearray())
    for line in tshark(path, "-q", *options).splitlines():
        if line.startswith("Filter: tcp.stream eq "):
            sides = found[int(line.split()[-1])] = (bytearray(), bytearray())
        data = line.strip()
        if data and all(character in "0123456789abcdef" for character in data):
            sides[line.startswith("\t")].extend(bytes.fromhex(data))
    return [(bytes(client), bytes(server)) for _, (client, server) in sorted(found.items())]


def capinfos(path: Path) -> dict[str, str]:
    """What capinfos says about a file, by its own names."""
    command = [require_program("capinfos"), "-M", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
