"""How a fuzzer's bytes become a session: short inputs, long sessions.

A byte below 128 stands for itself. Each one above stands for a word of the protocol, so that a
mutation of one byte puts a whole command in another's place, and an input of forty bytes is a
session of a thousand. A corpus is a text file with one input a line, in hex.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")


def decode(data: bytes, words: Sequence[bytes]) -> bytes:
    """What the input stands for.

    Arguments:
        data: the input.
        words: what 128 and so on stand for; behind the last they begin again.
    """
    if data.isascii():
        return data
    count = len(words)
    return b"".join([words[(byte - 128) % count] if byte > 127 else b"%c" % byte for byte in data])


def encode(parts: Iterable[bytes | int], words: Sequence[bytes]) -> bytes:
    """The input that stands for these parts; those that are words become a byte.

    Arguments:
        parts: words or ASCII, and numbers for bytes as they are.
        words: as for `decode`.
    """
    return b"".join(
        bytes([part])
        if isinstance(part, int)
        else bytes([128 + words.index(part)])
        if part in words
        else part
        for part in parts
    )


def read_corpus(name: str) -> list[bytes]:
    """The inputs that are kept for a target."""
    lines = (FOLDER / f"{name}.txt").read_text().splitlines()
    return [bytes.fromhex(line) for line in lines if not line.startswith("#")]


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs for a target, the shortest first."""
    lines = [data.hex() for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")
