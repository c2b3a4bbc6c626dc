"""Listening to an interface: what is in the file, on the screen, and in the counts."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netserve.testing.namespaces import Host, lab
from netserve.testing.process import BIN, wait_until
from netserve.testing.programs import missing

pytestmark = pytest.mark.slow  # each command is a process that starts another one

NETSERVE = BIN / "netserve"
SEND = """
import socket, sys
count, size, port = map(int, sys.argv[2:])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(count):
    sender.sendto(number.to_bytes(4, "big") + bytes(size - 4), (sys.argv[1], port))
"""


def sends(host: Host, target: str, count: int, size: int = 64, port: int = 4444) -> None:
    """Send so many numbered datagrams."""
    host.run(sys.executable, "-c", SEND, target, str(count), str(size), str(port))


@dataclass(frozen=True)
class Record:
    """A packet of a file."""

    time: float
    size: int
    data: bytes


def read_pcap(path: Path) -> tuple[int, list[Record]]:
    """The type of the link layer and the packets of a file, or an AssertionError."""
    data = path.read_bytes()
    magic, major, minor, _, _, _, link = struct.unpack_from("=IHHiIII", data)
    assert (magic, major, minor) == (0xA1B23C4D, 2, 4)
    records, at = [], 24
    while at < len(data):
        seconds, nanoseconds, kept, size = struct.unpack_from("=IIII", data, at)
        assert nanoseconds < 1_000_000_000
        assert kept <= size
        records.append(Record(seconds + nanoseconds / 1e9, size, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    assert at == len(data)
    return link, records


@dataclass
class Listener:
    """A `netserve sniff` that listens."""

    process: subprocess.Popen[str]

    @property
    def sniffer(self) -> int:
        """The process that it has started."""
        pid = self.process.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(child)

    def end(self) -> dict[str, Any]:
        """Its last words, after Ctrl-C if it runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        output, errors = self.process.communicate(timeout=60)
        lines = output.splitlines()
        assert lines, errors
        done: dict[str, Any] = json.loads(lines[-1])["done"]
        return done


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host, str]]:
    """Two hosts, and the interface of the second one."""
    with lab("one", "two") as (one, two):
        _, interface = one.link(two, "10.78.0.1/24", "10.78.0.2/24")
        # Without these, each end would now and then ask for the other, and for routers.
        for host in (one, two):
            host.set("net.ipv6.conf.all.disable_ipv6=1")
        sends(one, "10.78.0.2", 1)
        yield one, two, interface


@pytest.fixture
def config(tmp_path: Path, hosts: tuple[Host, Host, str]) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"packet: {{interfaces: [lo, {hosts[2]}], targets: 10.78.0.0/24, layers: '*'}}\n"
    )
    return path


@contextmanager
def listening(host: Host, config: Path, *arguments: str) -> Iterator[Listener]:
    """A `netserve sniff` from the moment on at which it listens."""
    process = host.start(
        NETSERVE, "sniff", "--config", config, "--json", *arguments,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        while "begins" not in (line := process.stderr.readline()):
            assert line, "it ended"
        yield Listener(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_into_a_file(hosts: tuple[Host, Host, str], config: Path, tmp_path: Path) -> None:
    one, two, interface = hosts
    file = tmp_path / "packets.pcap"
    began = time.time()
    with listening(
        two, config, "-i", interface, "-w", str(file), "udp port 4444 and less 200"
    ) as listener:
        sends(one, "10.78.0.2", 5000)
        sends(one, "10.78.0.2", 50, port=4445)
        sends(one, "10.78.0.2", 50, size=900)
        wait_until(lambda: file.stat().st_size >= 24 + 5000 * (16 + 106))
        done = listener.end()
    assert (done["captured"], done["dropped"], done["why"]) == (5000, 0, "stopped")
    assert done["written"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    link, records = read_pcap(file)
    assert link == 1
    assert [int.from_bytes(record.data[42:46], "big") for record in records] == list(range(5000))
    assert {len(record.data) for record in records} == {record.size for record in records} == {106}
    times = [record.time for record in records]
    assert times == sorted(times)
    assert began - 1 < times[0] < times[-1] < time.time() + 1


def test_loopback_packets_come_once(
    hosts: tuple[Host, Host, str], config: Path, tmp_path: Path
) -> None:
    _, two, _ = hosts
    file = tmp_path / "packets.pcap"
    with listening(
        two, config, "-i", "lo", "-w", str(file), "-c", "40", "udp port 4444"
    ) as listener:
        sends(two, "127.0.0.1", 40)
        listener.process.wait(30)
        done = listener.end()
    assert done["why"] == "count"
    _, records = read_pcap(file)
    assert [int.from_bytes(record.data[42:46], "big") for record in records] == list(range(40))


def test_what_the_kernel_drops_is_counted(
    hosts: tuple[Host, Host, str], config: Path, tmp_path: Path
) -> None:
    """The sniffer is held up until its ring is full."""
    one, two, interface = hosts
    file = tmp_path / "packets.pcap"
    with listening(
        two, config, "-i", interface, "-w", str(file), "--buffer", "2MiB", "udp port 4444"
    ) as listener:
        sniffer = listener.sniffer
        os.kill(sniffer, signal.SIGSTOP)
        sends(one, "10.78.0.2", 20_000, size=200)
        os.kill(sniffer, signal.SIGCONT)
        # It counts what was dropped only with a packet that it can take.
        wait_until(lambda: file.stat().st_size > 24)
        done = listener.end()
    assert done["dropped"] > 0
    assert done["captured"] > 0
    assert done["captured"] + done["dropped"] == done["received"] == 20_000
    _, records = read_pcap(file)
    assert len(records) == done["captured"]


def test_a_tag_that_the_kernel_took_out_is_put_back(
    hosts: tuple[Host, Host, str], config: Path, tmp_path: Path
) -> None:
    one, two, interface = hosts
    file = tmp_path / "packets.pcap"
    (near,) = [
        each["ifname"]
        for each in json.loads(one.run("ip", "-j", "link", "show", "type", "veth").stdout)
    ]
    config.write_text(config.read_text().replace("lo, ", f"lo, {near}, "))
    expression = (
        'Ether(dst="ff:ff:ff:ff:ff:ff", src="02:00:00:00:00:01")/Dot1Q(vlan=77, prio=3)'
        '/IP(src="10.78.0.1", dst="10.78.0.2")/UDP(dport=4446)/"tagged"'
    )
    with listening(two, config, "-i", interface, "-w", str(file)) as listener:
        one.run(
            NETSERVE, "packet", "send", "--config", config, expression, "-2", "-i", near, timeout=60
        )
        wait_until(lambda: file.stat().st_size > 24)
        listener.end()
    _, records = read_pcap(file)
    (data,) = [record.data for record in records if record.data.endswith(b"tagged")]
    assert data[12:16] == b"\x81\x00" + (3 << 13 | 77).to_bytes(2, "big")
    assert data[16:18] == b"\x08\x00"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--max-size", "20KiB"], "size"),
        (["--duration", "1s"], "time"),
        (["-c", "7"], "count"),
    ],
)
def test_limits(
    hosts: tuple[Host, Host, str], config: Path, tmp_path: Path, arguments: list[str], why: str
) -> None:
    one, two, interface = hosts
    file = tmp_path / "packets.pcap"
    with listening(two, config, "-i", interface, "-w", str(file), *arguments) as listener:
        while listener.process.poll() is None:
            sends(one, "10.78.0.2", 50)
        done = listener.end()
    assert done["why"] == why
    _, records = read_pcap(file)
    assert len(records) == done["captured"]
    if why == "count":
        assert len(records) == 7
    if why == "size":
        assert 20 << 10 <= file.stat().st_size < (20 << 10) + (1 << 20)


def test_snapped(hosts: tuple[Host, Host, str], config: Path, tmp_path: Path) -> None:
    one, two, interface = hosts
    file = tmp_path / "packets.pcap"
    with listening(
        two, config, "-i", interface, "-w", str(file), "--snap", "60", "-c", "5", "udp"
    ) as listener:
        sends(one, "10.78.0.2", 5, size=1000)
        listener.process.wait(30)
        listener.end()
    _, records = read_pcap(file)
    assert {(len(record.data), record.size) for record in records} == {(60, 1042)}


def test_onto_the_screen(hosts: tuple[Host, Host, str], config: Path) -> None:
    one, two, interface = hosts
    process = two.start(
        NETSERVE, "sniff", "--config", config, "-i", interface, "-c", "2", "--hex", "udp port 4444",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    while "begins" not in process.stderr.readline():
        pass
    sends(one, "10.78.0.2", 2, size=10)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "10.78.0.1:" in output
    assert "> 10.78.0.2:4444: UDP, 10 bytes" in output
    assert "    00 00 00 01 00 00 00 00" in output or "00 00 00 01" in output
    assert "2 packets captured, 0 dropped by the kernel" in errors


def test_the_sniffer_has_no_capability_and_no_scapy(
    hosts: tuple[Host, Host, str], config: Path, tmp_path: Path
) -> None:
    """S30: once its socket is open, it needs none."""
    _, two, interface = hosts
    with listening(two, config, "-i", interface, "-w", str(tmp_path / "x")) as listener:
        pid = listener.sniffer
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"):
            assert status[name] == "0" * 16
        assert set(status["Uid"].split()) == {"65534"}
        assert status["NoNewPrivs"] == "1"
        assert int(status["Seccomp_filters"]) == 2
        assert "scapy" not in Path(f"/proc/{pid}/maps").read_text()
        listener.end()


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["-i", "eth9"], 77, "the interface eth9 is not in packet.interfaces"),
        (["-i", "lo", "tcp", "prot", "80"], 2, "syntax error"),
        (["-i", "lo", "port", "no-such-service"], 2, "unknown port 'no-such-service'"),
        (["-i", "lo", "x" * 9000], 2, "a filter has at most 8192 characters"),
        (["-i", "lo", "-w", "/proc/x"], 1, "/proc/x: "),
        (["-i", "lo", "--max-size", "many"], 2, "not a size"),
    ],
)
def test_what_cannot_be_done(
    hosts: tuple[Host, Host, str], config: Path, arguments: list[str], code: int, error: str
) -> None:
    done = hosts[1].run(
        NETSERVE, "sniff", "--config", config, *arguments, check=False, timeout=60
    )  # fmt: skip
    assert done.returncode == code
    assert error in done.stderr


def test_a_file_is_never_written_over(
    hosts: tuple[Host, Host, str], config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "kept"
    file.write_text("kept")
    done = hosts[1].run(NETSERVE, "sniff", "--config", config, "-w", file, check=False, timeout=60)
    assert done.returncode == 1
    assert "File exists" in done.stderr
    assert file.read_text() == "kept"


def test_a_full_disk_ends_it(hosts: tuple[Host, Host, str], config: Path) -> None:
    if not Path("/dev/full").exists():
        missing("there is no /dev/full")
    one, two, interface = hosts
    process = two.start(
        "sh", "-c", f"exec {NETSERVE} sniff --config {config} -i {interface} -w - >/dev/full",
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    while "begins" not in process.stderr.readline():
        pass
    while process.poll() is None:
        sends(one, "10.78.0.2", 50)
    assert process.returncode == 75
    assert "No space left on device" in process.stderr.read()
    process.stderr.close()
