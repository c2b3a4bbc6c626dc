"""The allocator is told to keep what a server needs again."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from netserve.server.allocator import tune_allocator
{call}
for _ in range(200):
    block = bytearray(300_000)
    block = None
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_large_blocks_are_not_new_memory_each_time() -> None:
    def faults(call: str) -> int:
        command = [sys.executable, "-c", PROGRAM.format(call=call)]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    assert faults("tune_allocator()") < faults("")
