"""``netserve decode`` as users run it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.load import packets
from netserve.cli import main
from tests.capture.packets import ethernet, pcap, talk
from tests.capture.traffic import HTTP, SMTP, captured, flow, records


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "some.pcapng"
    path.write_bytes(captured(records(flow(1, "ipv4", port=25), SMTP),
                              records(flow(2, "ipv6", port=8080), HTTP)))  # fmt: skip
    return path


def decode(*arguments: object, data: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", "from netserve.cli import main; main()", "decode"]
    return subprocess.run(
        [*command, *map(str, arguments)], input=data, capture_output=True, timeout=60, check=False
    )


def test_a_file(capture: Path) -> None:
    done = decode(capture)
    assert done.returncode == 0
    assert b"> EHLO client.example.org" in done.stdout
    assert b"< HTTP/1.1 404 Not Found (chunked)" in done.stdout
    assert done.stdout.endswith(b"conversations: 1 http, 1 smtp\n")
    assert done.stderr == b""


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input(capture: Path, pack: type[bytes]) -> None:
    done = decode("-", "--json", "--protocol", "http", data=pack(capture.read_bytes()))
    conversation, summary = map(json.loads, done.stdout.splitlines())
    assert conversation["protocol"] == "http"
    assert summary["summary"]["application"] == "netserve 0.0"


def test_a_pipe_is_decoded_while_it_goes_on() -> None:
    """What has come is told at once: `tcpdump -w - | netserve decode --live -`."""
    frames = list(map(ethernet, talk(("<", b"220 mx ESMTP\r\n"), (">", b"QUIT\r\n"), port=25)))
    command = [sys.executable, "-c", "from netserve.cli import main; main()"]
    with subprocess.Popen(
        [*command, "decode", "--live", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pcap(frames[:-3]))
        process.stdin.flush()
        assert b"tcp smtp" in process.stdout.readline()
        assert process.stdout.readline().endswith(b"< 220 mx ESMTP\n")
        assert process.stdout.readline().endswith(b"> QUIT\n")
        process.stdin.close()
        assert b"not closed within the capture" in process.stdout.read()


def test_a_reader_that_has_seen_enough(capture: Path) -> None:
    command = f"{sys.executable} -c 'from netserve.cli import main; main()' decode --all {capture}"
    done = subprocess.run(
        ["sh", "-c", f"{command} | head -n 1"], capture_output=True, timeout=60, check=False
    )
    assert done.stdout.startswith(b"#1 tcp smtp")
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["/nowhere"], 1, "/nowhere: No such file or directory"),
        (["/"], 1, "/: Is a directory"),
        (["FILE", "--protocol", "smpt"], 2, "smpt is none of smtp, http"),
        (["FILE", "--as", "99"], 2, "99 is not PORT=NAME"),
        (["FILE", "--as", "99=x"], 2, "x is none of"),
        (["FILE", "--address", "localhost"], 2, "localhost is no IP address"),
        ([], 2, "Missing argument 'FILE'"),
    ],
)
def test_errors(capture: Path, arguments: list[str], code: int, words: str) -> None:
    given = [str(capture) if each == "FILE" else each for each in arguments]
    result = CliRunner().invoke(main, ["decode", *given])
    assert result.exit_code == code
    assert words in result.output


def test_a_damaged_file_is_told_up_to_the_damage(capture: Path) -> None:
    data = capture.read_bytes()
    capture.write_bytes(data + data[-12:-4] + bytes(40))
    done = decode(capture)
    assert done.returncode == 1
    assert b"1 http, 1 smtp" in done.stdout
    assert b"the file is damaged" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_was_cut_short_is_told_with_a_note(capture: Path) -> None:
    capture.write_bytes(capture.read_bytes()[:-200])
    done = decode(capture)
    assert done.returncode == 0
    assert b"note: the file ends in the middle of a block" in done.stdout


def test_a_port_read_as_a_protocol(tmp_path: Path) -> None:
    path = tmp_path / "lines.pcap"
    path.write_bytes(pcap(map(ethernet, talk((">", b"EHLO x\r\n"), ("<", b"250 y\r\n"), port=99))))
    assert b"tcp smtp" in decode(path).stdout
    assert b"tcp lines" in decode(path, "--as", "99=lines").stdout


def test_the_example_is_decoded_as_its_page_says() -> None:
    folder = Path(__file__).parents[2] / "examples" / "capture"
    page = (folder / "README.md").read_text()
    told = page.partition("$ netserve decode session.pcapng\n")[2].partition("```")[0]
    done = decode(folder / "session.pcapng")
    assert done.stdout.decode() == told


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """S8: of files of 5 and 60 MB with many conversations at the same time."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells the peak of a process")
    # Not `ru_maxrss`: a child begins with that of the process that started it.
    code = (
        "import re; from netserve.cli import main; main(standalone_mode=False)\n"
        "status = open('/proc/self/status').read()\n"
        "print('peak', re.search(r'VmHWM:\\s+([0-9]+)', status)[1])"
    )
    sizes = []
    for size in (5_000_000, 60_000_000):
        path = tmp_path / f"{size}.pcap"
        assert packets.write(path, size) > size / 1000
        with (tmp_path / "output").open("wb") as output:
            subprocess.run([sys.executable, "-c", code, "decode", path], stdout=output, check=True)
        peak = (tmp_path / "output").read_bytes().rsplit(b"\n", 2)[-2]
        sizes.append(int(peak.removeprefix(b"peak ")) / 1024)
    assert sizes[1] < 100
    assert sizes[1] < sizes[0] + 15


def test_help_imports_little() -> None:
    code = (
        "import sys; sys.argv = ['netserve', 'decode', '--help']\n"
        "from netserve.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in"
        " {'netserve', 'twisted', 'pydantic', 're2', 'asyncio', 'rich'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "['netserve', 'netserve.cli', 'netserve.cli.decode']"
