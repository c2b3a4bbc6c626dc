"""The example of a packet, as its page has it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

from netserve.testing.process import BIN, running
from netserve.testing.programs import missing
from tests.integration.test_examples import copy


def test_hello_server(tmp_path: Path) -> None:
    if os.geteuid() != 0 or importlib.util.find_spec("scapy") is None:
        missing("needs root and Scapy")
    config, (port,) = copy("packet", tmp_path)

    def sr1(expression: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "netserve", "packet", "sr1", expression],
            capture_output=True, text=True, cwd=config.parent, timeout=60, check=False,
        )  # fmt: skip

    with running(config):
        done = sr1(f'IP(dst="127.0.0.1")/TCP(dport={port}, flags="S")/"Hello, server!"')
        assert done.returncode == 0, done.stderr
        assert f"127.0.0.1:{port}: TCP [S], 14 bytes" in done.stdout
        assert f"127.0.0.1:{port} > 127.0.0.1:20: TCP [SA], 0 bytes" in done.stdout
        done = sr1('IP(dst="192.0.2.1")/TCP(dport=80)')
        assert done.returncode == 77
        assert "netserve: the target 192.0.2.1 is not in packet.targets\n" in done.stderr
