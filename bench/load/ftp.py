"""Fetches a file by FTP over several connections, again and again.

Arguments: the port, the server's process, connections, seconds. It prints what `bench.load.lines`
prints.
"""

from __future__ import annotations

import ftplib
import json
import sys
import threading
import time

from bench.processes import Load, cpu_seconds

WARM_UP = 0.3


class Fetcher(threading.Thread):
    """One connection for commands, with a new one for each file."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.files = 0
        self.client = ftplib.FTP(timeout=10)
        self.client.connect("127.0.0.1", port)
        self.client.login()

    def run(self) -> None:
        while True:
            self.client.retrbinary("RETR file", len)
            self.files += 1


def main(port: int, pid: int, connections: int, seconds: float) -> None:
    fetchers = [Fetcher(port) for _ in range(connections)]
    for fetcher in fetchers:
        fetcher.start()
    time.sleep(WARM_UP)
    load, cpu, start = Load(), cpu_seconds(pid), time.monotonic()
    before = sum(fetcher.files for fetcher in fetchers)
    time.sleep(seconds)
    elapsed, cpu = time.monotonic() - start, cpu_seconds(pid) - cpu
    files = sum(fetcher.files for fetcher in fetchers) - before
    if not files or not all(fetcher.is_alive() for fetcher in fetchers):
        raise SystemExit("the server does not answer")
    print(json.dumps(
        {"rate": files / elapsed, "cpu": cpu / files, "saturated": load.saturated()}
    ))  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
