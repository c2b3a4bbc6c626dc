"""Run the soak: ``python -m tests.soak [--minutes 9] [--seed N]``; exit code 0 where all held."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.soak.clients import Clients
from tests.soak.product import Ports, Product, write_config
from tests.soak.record import Record
from tests.soak.smarthost import Smarthost

FLUSH = 5.0
"""Seconds between two flushes of the queue."""
SETTLE = 120.0
"""Seconds that the queue has to empty after the load."""


async def soak(folder: Path, *, seconds: float, kill_every: float, rate: float, seed: int) -> bool:
    """Run the load, print the verdict, and tell whether all held.

    Arguments:
        folder: for the file, the log and the state; kept for a look after a failure.
        seconds: of load.
        kill_every: seconds between two kills, in the mean.
        rate: mails a second of each of six mail clients.
        seed: of all choices.
    """
    randomness = random.Random(seed)
    record, ports = Record(), Ports()
    smarthost = Smarthost(record, random.Random(seed + 1))
    await smarthost.start()
    config = folder / "config.yaml"
    write_config(config, ports, smarthost.port)
    product = Product(config, record)
    load = Clients(ports, record, random.Random(seed + 2), rate=rate)
    try:
        await product.start()
        background = (smarthost.flap(), _flush(product))
        tasks = [asyncio.ensure_future(each) for each in (*load.all(), *background)]
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            pause = min(left, randomness.uniform(0.5, 1.5) * kill_every)
            done, _ = await asyncio.wait(tasks, timeout=pause, return_when="FIRST_COMPLETED")
            for task in done:
                task.result()  # a bug of the soak itself
            if time.monotonic() < end - 2:
                await product.kill_and_start()
                print(f"{end - time.monotonic():6.0f} s left, {_summary(record)}", flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await smarthost.change("accept")
        await _settle(record, product)
        memory = product.memory()
        code = product.stop()
    finally:
        product.abandon()
        await smarthost.stop()
    faults = product.log_faults()
    if code != 0:
        faults.append(f"the exit code after SIGTERM was {code}")
    passed, report = record.verdict(faults)
    print(f"{report}\nmemory at the end: {memory:.0f} MB; seed {seed}; files in {folder}")
    return passed


def _summary(record: Record) -> str:
    answers = sum(record.answered.values())
    return f"{answers} answers, {len(record.acknowledged)} mails, {len(record.outages)} kills"


async def _flush(product: Product) -> None:
    """Flush from time to time: after failures the smarthost would rest for minutes."""
    while True:
        await asyncio.sleep(FLUSH)
        await product.flush()


async def _settle(record: Record, product: Product) -> None:
    """Wait until every acknowledged mail has arrived, within a bound."""
    end = time.monotonic() + SETTLE
    while record.missing() and time.monotonic() < end:
        await product.flush()
        await asyncio.sleep(1)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="of load (default 9)")
    parser.add_argument("--kill-every", type=float, default=20.0, help="seconds, in the mean")
    parser.add_argument("--rate", type=float, default=4.0, help="mails a second of each client")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="netserve-soak-"))
    passed = uvloop.run(
        soak(
            folder,
            seconds=options.minutes * 60,
            kill_every=options.kill_every,
            rate=options.rate,
            seed=options.seed,
        )
    )
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
