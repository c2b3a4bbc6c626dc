"""Fuzzing without coverage: ``python -m tests.fuzz.blind TARGET FOLDER SECONDS [SEED]``.

Inputs are mutations of those in the folder, which a run with coverage has found. Nothing is learned
from them, but nothing is instrumented either: there are ten times as many in the same time. An
input that fails is printed in hex, and ends the run.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

MAX_LEN = 64
"""Bytes of an input."""


def mutated(source: random.Random, inputs: list[bytes]) -> bytes:
    """One more input: parts of some of them, with a few bytes changed."""
    data = bytearray(source.choice(inputs))
    for _ in range(source.randint(1, 5)):
        way, at = source.random(), source.randrange(len(data) + 1)
        if way < 0.3:
            data[at:at] = bytes([source.randrange(256)])
        elif way < 0.55:
            data[at : at + 1] = bytes([source.randrange(256)])
        elif way < 0.7:
            del data[at : at + source.randint(1, 4)]
        elif way < 0.85:
            other = source.choice(inputs)
            begin = source.randrange(len(other) + 1)
            data[at:at] = other[begin : begin + source.randint(1, 12)]
        else:
            data[at:at] = data[at : at + source.randint(1, 6)]
    return bytes(data[:MAX_LEN])


def main(arguments: list[str]) -> None:
    """Run one target."""
    from tests.fuzz import targets

    name, folder, seconds, *seed = arguments
    target = targets.find(name)
    inputs = [path.read_bytes() for path in sorted(Path(folder).iterdir())] or target.seeds()
    source = random.Random(int(seed[0]) if seed else time.time_ns())
    end, count = time.monotonic() + float(seconds), 0
    while time.monotonic() < end:
        data = mutated(source, inputs)
        try:
            target.run_one(data)
        except BaseException:
            print(f"{name}: input {count} in hex: {data.hex()}", flush=True)
            raise
        count += 1
        if count % 50_000 == 0:
            print(f"{name}: {count} inputs", flush=True)
    print(f"{name}: {count} inputs, none failed", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
