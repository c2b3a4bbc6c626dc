"""Captures of other tools, and sample files that packages ship: decoded as tshark decodes them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from netserve.capture.reading.errors import CaptureFileError
from netserve.capture.reading.opening import opened
from netserve.testing.programs import missing, require_program
from tests.capture.packets import ethernet, pcap, talk, told
from tests.capture.traffic import DNS, HTTP, SMTP, captured, flow, records
from tests.capture.wireshark import fields

SAMPLES = {
    "golang-github-google-gopacket-dev": "/usr/share/gocode/src/github.com/google/gopacket",
    "python3-dpkt": "/usr/share/doc/python3-dpkt",
    "pcapfix": "/usr/share/doc/pcapfix",
}
"""Debian packages with captures in them, and where these are."""
OTHER_SAMPLES = [
    "/usr/share/doc/python3-libtrace", "/usr/share/doc/pktanon", "/usr/share/sip-tester",
    "/usr/lib/python3/dist-packages/pathspider/tests/data",
]  # fmt: skip
"""More of them, if they are installed."""
_ENDINGS = re.compile(r"\.(pcap|pcapng)(\.gz)?$")


def decode(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any], str]:
    """Conversations, summary and errors of ``netserve decode --json``."""
    command = [sys.executable, "-c", "from netserve.cli import main; main()", "decode"]
    done = subprocess.run(
        [*command, "--json", "--all", str(path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]["summary"] if lines else {}, done.stderr


def decoded_here(path: Path) -> list[dict[str, Any]] | None:
    """The conversations, without a process of its own; None for a file that is refused."""
    try:
        lines = [json.loads(line) for line in told(path.read_bytes(), items=None, as_json=True)]
    except CaptureFileError:
        return None
    return lines[:-1]


def samples() -> list[Path]:
    """All sample files; with CI set, each package of `SAMPLES` has to be there."""
    for package, folder in SAMPLES.items():
        if not Path(folder).is_dir() and os.environ.get("CI") == "true":
            missing(f"the package {package} is not installed")
    found = [
        path
        for folder in [*SAMPLES.values(), *OTHER_SAMPLES]
        for path in sorted(Path(folder).rglob("*"))
        if _ENDINGS.search(path.name) and path.is_file()
    ]
    return found or missing("no package with sample captures is installed")


def items(conversations: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Details of all items of a kind."""
    return [
        item["details"]
        for conversation in conversations
        for item in conversation["items"]
        if item["kind"] == kind
    ]


@pytest.mark.slow
def test_samples_have_the_packets_that_capinfos_counts() -> None:
    """Number, time and length of all packets; what capinfos refuses is refused."""
    paths = samples()
    command = [require_program("capinfos"), "-M", "-c", "-T", "-r", "-d", "-a", "-e", "-S"]
    done = subprocess.run(
        [*command, *map(str, paths)], capture_output=True, text=True, timeout=300, check=False
    )
    rows = {row[0]: row[1:] for row in (line.split("\t") for line in done.stdout.splitlines())}
    for path in paths:
        try:
            with opened(str(path)) as capture:
                found = list(capture.packets())
        except CaptureFileError:
            assert str(path) not in rows
            continue
        count, size, *times = rows[str(path)]
        assert int(count) == len(found), path
        assert int(size) == sum(packet.size for packet in found), path
        is_cut = f'"{path}" appears to have been cut short' in done.stderr
        assert is_cut == bool(capture.info.notes), path
        if found and times[0] != "n/a":
            ours = [packet.time for packet in found]
            assert min(ours) / 1e9 == pytest.approx(float(times[0]), abs=0.01), path
            assert max(ours) / 1e9 == pytest.approx(float(times[1]), abs=0.01), path
    assert len(paths) > 50


# Tunnels, and what errors of ICMP quote, are not looked into.
_OUTSIDE = "!icmp && !icmpv6 && !l2tp && !gre && !ipv6.src_6to4_gw_ipv4 && !teredo && !mdns"
_WANTED = f"((tcp && tcp.len > 0) || http || dns) && {_OUTSIDE}"
_NAMES = (
    "tcp.stream", "http.request.method", "http.request.uri", "http.response.code",
    "dns.flags.response", "dns.id", "dns.qry.name", "dns.count.queries", "_ws.malformed",
)  # fmt: skip


@pytest.mark.slow
def test_samples_are_told_as_tshark_tells_them() -> None:
    """TCP conversations, HTTP requests and responses, DNS questions and their answers."""
    seen: Counter[str] = Counter()
    for path in samples():
        if "pcapgo/tests" in str(path):
            continue  # more than fifty files about the format alone
        conversations = decoded_here(path)
        if conversations is None:
            continue
        rows = [dict(zip(_NAMES, row, strict=True)) for row in fields(path, _WANTED, *_NAMES)]
        compare(path, conversations, rows, seen)
    assert seen["tcp"] > 5, seen
    assert seen["request"] > 3, seen
    assert seen["query"] > 5, seen


def compare(
    path: Path, conversations: list[dict[str, Any]], rows: list[dict[str, str]], seen: Counter[str]
) -> None:
    """Compare what is told of one file."""
    streams = {row["tcp.stream"] for row in rows if row["tcp.stream"]}
    ours = [each for each in conversations if each["transport"] == "tcp" and each["items"]]
    assert len(ours) == len(streams), path
    seen["tcp"] += len(streams)
    requests = [
        (row["http.request.method"], row["http.request.uri"])
        for row in rows
        if row["http.request.method"] and row["tcp.stream"]
    ]
    targets = [(each["method"], each["target"]) for each in items(conversations, "request")]
    assert Counter(targets) == Counter(requests), path
    codes = [
        row["http.response.code"] for row in rows if row["http.response.code"] and row["tcp.stream"]
    ]
    told_codes = [str(each["status"]) for each in items(conversations, "response")]
    assert Counter(told_codes) == Counter(codes), path
    seen["request"] += len(requests)
    for is_answer, kind in ((False, "query"), (True, "answer")):
        our_names = Counter(
            (each["id"], question["name"])
            for each in items(conversations, kind)
            if len(each.get("questions", ())) == 1
            for question in each["questions"]
        )
        names = Counter(
            (int(row["dns.id"], 16), row["dns.qry.name"])
            for row in rows
            if row["dns.count.queries"] == "1" and not row["_ws.malformed"]
            and (row["dns.flags.response"] in {"1", "True"}) is is_answer
        )  # fmt: skip
        assert our_names == names, path
        seen["query"] += len(names)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "made.pcapng"
    path.write_bytes(captured(
        records(flow(1, "ipv4", port=25), SMTP), records(flow(2, "ipv6", port=80), HTTP),
        records(flow(3, "udp4", port=53), DNS),
    ))  # fmt: skip
    return path


@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng"])
def test_editcap_and_mergecap(made: Path, tmp_path: Path, form: str) -> None:
    """The same conversations after other tools have written the file again."""
    wanted, _, _ = decode(made)
    converted = tmp_path / f"converted.{form}"
    run("editcap", "-F", form, made, converted)
    halves = [tmp_path / "a", tmp_path / "b"]
    run("editcap", "-F", form, "-r", made, halves[0], "1-12")
    run("editcap", "-F", form, made, halves[1], "1-12")
    merged = tmp_path / "merged"
    run("mergecap", "-F", form, "-w", merged, *halves)
    for path in (converted, merged):
        found, summary, errors = decode(path)
        assert errors == ""
        assert summary["notes"] == []
        assert [each["items"] and [item["text"] for item in each["items"]] for each in found] == [
            [item["text"] for item in each["items"]] for each in wanted
        ]


def test_editcap_that_cuts_packets_and_drops_some(made: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.pcap"
    run("editcap", "-F", "pcap", "-s", "100", made, short, "7")
    found, summary, errors = decode(short)
    assert errors == ""
    assert summary["cut_short"] > 0
    assert found[0]["client"]["missing"] > 0


def test_tshark_that_writes_again(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.pcapng.gz"
    plain = tmp_path / "again.pcapng"
    run("tshark", "-r", made, "-Y", "dns", "-w", plain)
    run("gzip", "-k", plain)
    found, summary, _ = decode(path)
    assert [each["protocol"] for each in found] == ["dns"]
    assert "gzip" in summary["format"]


def test_tcpdump_that_captures_on_loopback(tmp_path: Path) -> None:
    """A file as tcpdump writes it while a real connection goes on."""
    import socket
    import threading

    program = require_program("tcpdump")
    if os.geteuid() != 0:
        missing("tcpdump needs root to capture")
    path = tmp_path / "loopback.pcap"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [
            program,
            "-i",
            "lo",
            "-U",
            "-n",
            "-w",
            str(path),
            "--immediate-mode",
            "tcp",
            "port",
            str(port),
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            while b"listening on" not in process.stderr.readline():
                assert process.poll() is None

            def serve() -> None:
                client, _ = server.accept()
                with client:
                    client.sendall(b"220 mx ESMTP\r\n")
                    client.recv(100)
                    client.sendall(b"221 bye\r\n")

            thread = threading.Thread(target=serve)
            thread.start()
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.recv(100)
                client.sendall(b"QUIT\r\n")
                while client.recv(100):
                    pass
            thread.join()
            wait_for_fins(path)
            process.terminate()
    found, _, errors = decode(path)
    assert errors == ""
    assert [item["text"] for item in found[0]["items"]] == ["220 mx ESMTP", "QUIT", "221 bye"]
    assert found[0]["problems"] == []


def wait_for_fins(path: Path) -> None:
    """Until tcpdump has written the end of the connection."""
    import time

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with opened(str(path)) as capture:
            flags = [packet.data[14 + 20 + 13] for packet in capture.packets()]
        if sum(each & 1 for each in flags) == 2 and not flags[-1] & 1:
            return
        time.sleep(0.05)
    raise AssertionError("tcpdump did not write the end of the connection")


@pytest.mark.parametrize("order", ["<", ">"])
def test_scapy_reads_and_writes(tmp_path: Path, order: str) -> None:
    scapy = pytest.importorskip("scapy.utils", reason="scapy is in the extra `packet`")
    frames = [ethernet(each) for each in talk((">", b"hello\n"), ("<", b"hello\n"))]
    path, again = tmp_path / "by-us.pcap", tmp_path / "by-scapy.pcap"
    path.write_bytes(pcap(frames, order=order))
    packets = scapy.rdpcap(str(path))
    scapy.wrpcap(str(again), packets, endianness=order)
    found, _, errors = decode(again)
    assert errors == ""
    assert [item["text"] for item in found[0]["items"]] == ["hello", "hello"]
    ng = tmp_path / "by-scapy.pcapng"
    scapy.wrpcapng(str(ng), packets)
    assert decode(ng)[0][0]["items"][0]["text"] == "hello"
    # and it reads what we write
    ours = tmp_path / "ours.pcapng"
    ours.write_bytes(captured(records(flow(1, "ipv4", port=25), SMTP)))
    assert len(scapy.rdpcap(str(ours))) == decode(ours)[1]["packets"]


def run(program: str, *arguments: object) -> None:
    """Run a program that has to succeed."""
    path = require_program(program)
    subprocess.run([path, *map(str, arguments)], capture_output=True, timeout=60, check=True)
