"""Packets over real links and routers: probes, traces, scans, loss (S30)."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netserve.testing.process import wait_until
from tests.integration.packet.conftest import NETSERVE, SERVER, SERVER6, Lab

pytestmark = pytest.mark.slow  # each command is a process that starts another one

LISTEN = """
import socket, sys
sockets = [socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)]
print(sockets[0].getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def port(net: Lab) -> Iterator[int]:
    """A TCP port that is open on the server."""
    with net.server.start(
        sys.executable, "-c", LISTEN, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def test_syn_probes_of_an_open_and_a_closed_port(net: Lab, port: int) -> None:
    closed = port - 1 if port > 1024 else port + 1
    expression = f'IP(dst="{SERVER}")/TCP(sport=RandShort(), dport=[{port}, {closed}], flags="S")'
    first, second = net.json("packet", expression, "--timeout", "2s")
    assert first["summary"].endswith(" SA")
    assert second["summary"].endswith(" RA")
    assert 0 < first["ms"] < 1000
    expression = f'IPv6(dst="{SERVER6}")/TCP(sport=4000, dport={port}, flags="S")'
    (answer,) = net.json("packet", "sr1", expression)
    assert answer["summary"].endswith(" SA")


def test_rounds(net: Lab) -> None:
    expression = f'IP(dst="{SERVER}")/ICMP()/"hello"'
    found = net.json("packet", "srloop", expression, "--count", "3", "--inter", "0.05")
    assert [one["round"] for one in found] == [0, 1, 2]
    assert all(one["summary"].endswith("echo-reply 0 / Raw") for one in found)
    text = net.netserve("packet", expression, "--count", "2").stdout
    assert "ICMP echo reply, 5 bytes" in text
    assert text.endswith("2 sent, 2 answered, 0% without an answer\n")


def test_packets_are_only_sent(net: Lab) -> None:
    expression = f'IP(dst="{SERVER}")/UDP(dport=9)/"x"'
    (done,) = net.json("packet", "send", expression, "--count", "200")
    assert done["sent"] == 200
    assert done["seconds"] > 199 / 500 - 0.1  # the rate of the file


def test_ping(net: Lab) -> None:
    for host in (SERVER, SERVER6):
        *replies, summed = net.json("ping", host, "--count", "3", "--interval", "50ms")
        assert [reply["from"] for reply in replies] == [host] * 3
        assert {reply["ttl"] for reply in replies} == {61}  # three routers on the way
        assert summed["loss"] == 0
        assert summed["ms"]["min"] <= summed["ms"]["avg"] <= summed["ms"]["max"] < 1000


def test_ping_of_what_is_too_far(net: Lab) -> None:
    reply, summed = net.json("ping", SERVER, "--count", "1", "--hops", "2", code=1)
    assert (reply["from"], reply["answer"]) == ("10.77.2.2", "time exceeded")
    assert (summed["received"], summed["errors"]) == (0, 1)


@pytest.mark.parametrize("method", ["udp", "tcp", "icmp"])
def test_a_trace_over_three_routers(net: Lab, method: str) -> None:
    for host, prefix in ((SERVER, "10.77.{}.2"), (SERVER6, "fd77:{}::2")):
        (trace,) = net.json("traceroute", host, "--method", method, "--hops", "8")
        assert trace["reached"]
        for number, hop in enumerate(trace["hops"], 1):
            assert hop["hop"] == number
            assert [answer["address"] for answer in hop["answers"]] == [prefix.format(number)] * 3
        assert len(trace["hops"]) == 4
    lines = net.netserve("traceroute", SERVER, "--method", method).stdout.splitlines()
    assert lines[0] == f"to {SERVER} ({SERVER}) by {method}, at most 30 hops"
    assert [line.split()[:2] for line in lines[1:]] == [
        [str(number), f"10.77.{number}.2"] for number in range(1, 5)
    ]


def test_a_lost_link_is_seen_as_loss(net: Lab) -> None:
    router, interface = net.routers[2], net.cables[3][0]
    process = net.client.start(
        NETSERVE, "ping", "--config", net.config, SERVER, "--json", "--interval", "100ms",
        "--timeout", "300ms", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    seen: list[Any] = []
    try:
        while sum(one["answer"] is not None for one in seen) < 3:
            seen.append(json.loads(process.stdout.readline()))
        router.ip("link", "set", interface, "down")
        while sum(one["answer"] != "echo reply" for one in seen) < 3:
            seen.append(json.loads(process.stdout.readline()))
    finally:
        router.ip("link", "set", interface, "up")
        router.ip("address", "replace", "fd77:4::1/64", "dev", interface, "nodad")
        # The process in the namespace, not `ip`, which became it.
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=30)
    assert process.returncode == 0, (rest, errors)
    summed = json.loads(rest.splitlines()[-1])
    assert 0.1 < summed["loss"] < 1, errors
    assert summed["sent"] > summed["received"] >= 3
    *_, summed = net.json("ping", SERVER, "--count", "2", "--interval", "50ms")
    assert summed["loss"] == 0


def test_a_trace_that_is_not_answered(net: Lab) -> None:
    (trace,) = net.json(
        "traceroute", "10.77.99.1", "--hops", "5", "--timeout", "500ms", code=1
    )  # fmt: skip
    assert not trace["reached"]
    assert trace["hops"][0]["answers"][0]["address"] == "10.77.1.2"


def test_a_scan(net: Lab, port: int) -> None:
    ports = f"{port - 3}-{port + 3}"
    for host in (SERVER, SERVER6):
        (found,) = net.json("scan", host, "-p", ports)
        assert found["counts"] == {"open": 1, "closed": 6}
        assert [one["port"] for one in found["ports"] if one["state"] == "open"] == [port]
    text = net.netserve("scan", SERVER, "-p", ports).stdout
    assert f"{port}/tcp  open" in text
    (found,) = net.json("scan", SERVER, "--udp", "-p", "9-12", code=1)
    assert found["counts"] == {"closed": 4}
    (found,) = net.json("scan", "10.77.4.99", "-p", "80", "--retry", "0", code=1)
    assert found["counts"] == {"filtered": 1}


def test_frames(net: Lab) -> None:
    interface = net.cables[0][0]
    expression = 'Ether(dst="ff:ff:ff:ff:ff:ff")/ARP(pdst="10.77.1.2")'
    (answer,) = net.json("packet", "sr1", expression, "-2", "-i", interface)
    assert "is at" in answer["summary"]
    assert "10.77.1.2" in answer["summary"]
    # Its address is known by now: frames find their way by the kernel's table of neighbours.
    net.client.run("ping", "-c1", "10.77.1.2", check=False)
    wait_until(lambda: "lladdr" in net.client.run("ip", "neighbour", "show", "10.77.1.2").stdout)
    (answer,) = net.json(
        "packet", "sr1", f'Ether()/IP(dst="{SERVER}")/ICMP()', "-2", "-i", interface
    )  # fmt: skip
    assert answer["summary"].startswith("Ether / IP / ICMP")
    done = net.netserve(
        "packet", 'Ether()/IP(dst="10.77.1.77")/ICMP()', "-2", "-i", interface, code=2
    )  # fmt: skip
    assert "the link-layer address of 10.77.1.77 is not known" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["packet", 'IP(dst="192.0.2.1")/ICMP()'], "the target 192.0.2.1 is not in packet.targets"),
        (["packet", 'IP(dst="10.77.4.2")/STP()'], "the layer STP is not in packet.layers"),
        (["packet", "send", 'IP(dst="10.77.4.2")', "--inter", "0"], "packet.rate allows one every"),
        (["packet", 'IP(dst="10.77.4.2")/("x" * 1401)'], "packet.payload allows 1400"),
        (["packet", 'Ether()/ARP(pdst="10.77.1.2")', "-2", "-i", "eth9"], "the interface eth9 "),
        (["packet", 'IP(src="10.99.0.1", dst="10.77.4.2")'], "the source 10.99.0.1 is not"),
        (["packet", 'IP(dst="10.77.4.2")/UDP(dport=(1, 2000))'], "more packets than the 1000"),
        (["ping", "192.0.2.1"], "the target 192.0.2.1 is not in packet.targets"),
        (["traceroute", "192.0.2.1"], "the target 192.0.2.1 is not in packet.targets"),
        (["scan", "192.0.2.1"], "the target 192.0.2.1 is not in packet.targets"),
    ],
)  # fmt: skip
def test_what_the_file_does_not_allow_is_refused_and_logged(
    net: Lab, arguments: list[str], error: str
) -> None:
    """S30. There is no system log in the namespace: the record goes to standard error."""
    done = net.netserve(*arguments, code=77)
    assert error in done.stderr
    (record,) = [line for line in done.stderr.splitlines() if line.startswith("log: ")]
    assert record.startswith("log: packet: user root")
    assert "refused: " in record
    assert error in record


def test_the_helper_has_one_capability_and_is_not_root(net: Lab) -> None:
    """S30: seen from outside, while it works."""
    process = net.client.start(
        NETSERVE, "ping", "--config", net.config, SERVER, "--interval", "200ms",
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert "bytes from" in process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (helper,) = children
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{helper}/status").read_text().splitlines()
        )
        assert "netserve.packet.helper" in Path(f"/proc/{helper}/cmdline").read_text()
        assert set(status["Uid"].split()) == {"65534"}
        for name in ("CapPrm", "CapEff", "CapBnd"):
            assert status[name] == f"{1 << 13:016x}"
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        descriptors = list(Path(f"/proc/{helper}/fd").iterdir())
        assert len(descriptors) < 16
        assert list(Path(f"/proc/{helper}/root").iterdir()) == []
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    wait_until(lambda: not Path(f"/proc/{helper}").exists(), what="the end of the helper")


def test_names_are_resolved_before_they_go_to_the_helper(net: Lab) -> None:
    (answer,) = net.json("packet", "sr1", 'IP(dst="localhost")/ICMP()')
    assert "127.0.0.1" in answer["summary"]
    done = net.netserve("packet", 'IP(dst="no.such.name.invalid")/ICMP()', code=2)
    assert "no.such.name.invalid: " in done.stderr


def test_ctrl_c_ends_a_wait_for_an_answer_with_the_sums(net: Lab) -> None:
    """The signal comes while a request is on its way, far from its deadline."""
    process = net.client.start(
        NETSERVE, "ping", "--config", net.config, "10.77.4.99", "--json", "--interval", "10ms",
        "--timeout", "300ms", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert process.returncode == 1, errors
    summed = json.loads(rest.splitlines()[-1])
    assert (summed["received"], summed["loss"]) == (0, 1), errors


def test_ctrl_c_ends_it_with_the_sums(net: Lab) -> None:
    process = net.client.start(
        NETSERVE, "packet", "srloop", "--config", net.config, f'IP(dst="{SERVER}")/ICMP()',
        "--inter", "50ms", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(4):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    rest, _ = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert "answered, 0% without an answer" in rest
    assert process.returncode == 0
