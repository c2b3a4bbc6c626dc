"""``python -m bench [ITEM …] [--quick] [--write]``: measure, and print one table.

Ends with 1 when a promise is not kept or a measurement broke.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
import time
from functools import partial
from pathlib import Path

from bench.subject import or_failed
from bench.table import Row, render
from bench.versions import heading

ITEMS = (
    "echo",
    "programs",
    "request_response",
    "http_bridge",
    "http_proxy",
    "smtp_relay",
    "long_queue",
    "footprint",
    "decode",
    "packets",
)
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> int:
    options = arguments()
    # Ended from outside, the servers are ended too: by the blocks that they were started in.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows: list[Row] = []
    for item in options.items or ITEMS:
        print(f"{item} …", end=" ", file=sys.stderr, flush=True)
        start = time.monotonic()
        module = importlib.import_module(f"bench.{item}")
        rows += or_failed(item.replace("_", " "), partial(module.run, options.quick))
        print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    text = f"{heading(options.quick)}\n{render(rows)}"
    print(text)
    if options.write:
        RESULTS.write_text(text)
    return 1 if any(row.missed for row in rows) else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="netserve and its peers")
    parser.add_argument("items", nargs="*", metavar="ITEM", help=f"of {', '.join(ITEMS)}")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name} too")
    options = parser.parse_args()
    if unknown := sorted(set(options.items) - set(ITEMS)):
        parser.error(f"no such item: {', '.join(unknown)}; there are {', '.join(ITEMS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
