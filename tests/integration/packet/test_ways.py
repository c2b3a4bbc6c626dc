"""Ways to the capability, and what commands say where one is missing (S30)."""

from __future__ import annotations

import grp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from twisted.logger import Logger

from netserve.packet.client import PacketHelper, choose_launcher
from netserve.packet.client.launching import COPY_NAME, Connect, Spawn
from netserve.packet.errors import PacketError
from netserve.packet.notation import parse
from netserve.packet.policy import Policy
from netserve.packet.requests import Craft, Exchange
from netserve.testing.process import BIN, wait_until
from netserve.testing.programs import missing, require_program

ROOT = Path(__file__).parents[3]
NETSERVE = BIN / "netserve"
PING = Exchange(packets=(parse('IP(dst="127.0.0.1")/ICMP()'),))
SEND = ("packet", 'IP(dst="127.0.0.1")/ICMP()')
COMMANDS = [SEND, ("ping", "127.0.0.1"), ("traceroute", "127.0.0.1"), ("scan", "127.0.0.1")]


@pytest.fixture
def root() -> None:
    if os.geteuid() != 0:
        missing("needs root")


def helper_of(launcher: object, policy: Policy | None = None) -> PacketHelper:
    return PacketHelper(
        reactor=reactor, policy=policy or Policy(), launcher=launcher, log=Logger()  # type: ignore[arg-type]
    )  # fmt: skip


# Under load


@pytest.mark.usefixtures("root")
@pytest_twisted.ensureDeferred
async def test_a_helper_killed_under_load_is_noticed_by_its_requests_alone() -> None:
    """S30."""
    helper = helper_of(Spawn(Path(sys.executable)))
    try:
        await helper.ask(PING, deadline=30)
        for _ in range(3):
            asked = [helper.ask(PING, deadline=60) for _ in range(30)]
            asked += [helper.ask(Craft(packet=parse("IP()/ICMP()")), deadline=60) for _ in range(9)]
            assert helper._running is not None
            reactor.callLater(0.005, helper._running.kill)  # type: ignore[attr-defined]
            done = await DeferredList(asked, consumeErrors=True)
            kinds = {
                result.value.kind  # type: ignore[attr-defined]
                for succeeded, result in done
                if not succeeded
            }
            assert kinds <= {"died"}
            assert sum(succeeded for succeeded, _ in done) >= 39 - helper.policy.requests
        assert helper.starts == 4
    finally:
        helper.close()


@pytest.mark.usefixtures("root")
@pytest_twisted.ensureDeferred
async def test_a_helper_that_hangs_is_ended_after_the_deadline() -> None:
    helper = helper_of(Spawn(Path(sys.executable)))
    try:
        await helper.ask(PING, deadline=30)
        running = helper._running
        os.kill(running.transport.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        with pytest.raises(PacketError) as caught:
            await helper.ask(PING, deadline=0.2)
        assert caught.value.kind == "late"
        await helper.ask(PING, deadline=30)
        assert helper.starts == 2
    finally:
        helper.close()


@pytest.mark.usefixtures("root")
@pytest_twisted.ensureDeferred
async def test_the_helper_asks_the_policy_too() -> None:
    """S30: a client that does not ask it gets no further."""
    helper = helper_of(Spawn(Path(sys.executable)))
    helper._problem = lambda ask: None  # type: ignore[method-assign]
    try:
        for expression, layer, what in (
            ('IP(dst="8.8.8.8")/ICMP()', 3, "the target 8.8.8.8 is not"),
            ('IP(dst="127.0.0.1")/STP()', 3, "the layer STP is not"),
            ('IP(dst="127.0.0.1")/("x" * 1500)', 3, "packet.payload allows"),
            ('IP(dst="127.0.0.1", src="192.0.2.77")/ICMP()', 3, "the source 192.0.2.77 is not"),
            ('Ether()/IP(dst="127.0.0.1")', 2, "the interface eth0 is not"),
            ('IP(dst="127.0.0.1")/UDP(dport=(1, 1001))', 3, "more packets than the 1000"),
        ):
            ask = Exchange(
                packets=(parse(expression),), layer=layer, interface={2: "eth0"}.get(layer)
            )  # type: ignore[arg-type]
            with pytest.raises(PacketError) as caught:
                await helper.ask(ask, deadline=30)
            assert (caught.value.kind, what in caught.value.what) == ("refused", True), caught.value
        with pytest.raises(PacketError, match=r"packet\.rate allows"):
            await helper.ask(Exchange(packets=PING.packets, inter=0.0), deadline=30)
    finally:
        helper.close()


@pytest.mark.usefixtures("root")
@pytest_twisted.ensureDeferred
async def test_requests_are_worked_on_side_by_side() -> None:
    """One that waits for answers, one that builds much, and small ones in between."""
    helper = helper_of(Spawn(Path(sys.executable)))
    ended: list[str] = []
    try:
        silent = Exchange(packets=(parse('IP(dst="127.0.0.1")/TCP(flags="R")'),), timeout=5.0)
        many = Craft(packet=parse('IP(dst="127.0.0.1")/TCP(dport=(1, 1000))'))
        asked = [
            helper.ask(ask, deadline=60).addCallback(lambda _, name=name: ended.append(name))
            for name, ask in (("silent", silent), ("many", many), ("small", PING), ("small", PING))
        ]
        await DeferredList(asked)
        assert ended == ["small", "small", "many", "silent"]
    finally:
        helper.close()


# Without the capability


def without_capability(tmp_path: Path) -> list[str]:
    """What to put before a command, so that it has no capability."""
    if os.geteuid() != 0:
        return []
    keep = "-all,+dac_read_search"  # this Python may stand where only root may read
    return [
        require_program("setpriv"), "--reuid=65533", "--regid=65533", "--clear-groups",
        f"--inh-caps={keep}", f"--ambient-caps={keep}", "--no-new-privs",
    ]  # fmt: skip


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)


@pytest.mark.slow
def test_without_the_capability_each_command_says_what_is_missing(tmp_path: Path) -> None:
    before = without_capability(tmp_path)
    for command in (*COMMANDS, ("sniff",)):
        done = run(*before, str(NETSERVE), *command, cwd=Path("/"))
        assert done.returncode == 69, (command, done)
        assert "CAP_NET_RAW is missing; see netserve packet setup" in done.stderr
    done = run(*before, str(NETSERVE), "packet", "setup", cwd=Path("/"))
    assert done.returncode == 69
    assert "CAP_NET_RAW of this user: no" in done.stdout
    for way in ("--systemd", "AmbientCapabilities=CAP_NET_RAW", "--copy"):
        assert way in done.stdout
    # All that sends nothing works.
    done = run(*before, str(NETSERVE), "packet", "craft", "IP()/ICMP()", cwd=Path("/"))
    assert (done.returncode, done.stdout[:2]) == (0, "45")
    assert run(*before, str(NETSERVE), "list-layers", "IP", cwd=Path("/")).returncode == 0


# Without the extra


@pytest.fixture(scope="module")
def no_scapy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The netserve command of an environment in which Scapy is not installed."""
    folder = tmp_path_factory.mktemp("env")
    packages = folder / "packages"
    packages.mkdir()
    (site,) = [path for path in map(Path, sys.path) if path.name == "site-packages"]
    for path in site.iterdir():
        if not path.name.lower().startswith(("scapy", "__editable__", "netserve")):
            (packages / path.name).symlink_to(path)
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = folder / "venv/bin/python"
    (own,) = (folder / "venv/lib").glob("python*/site-packages")
    (own / "all.pth").write_text(f"{ROOT}\n{packages}\n")
    command = folder / "netserve"
    command.write_text(f"#!{python}\nfrom netserve.cli import main\nmain()\n")
    command.chmod(0o755)
    return command


@pytest.mark.slow
def test_without_the_extra_each_command_says_what_is_missing(
    no_scapy: Path, tmp_path: Path
) -> None:
    for command in (*COMMANDS, ("list-layers",), ("packet", "craft", "IP()/ICMP()")):
        done = run(str(no_scapy), *command, cwd=tmp_path)
        assert done.returncode == 69, (command, done)
        assert "Scapy is not installed; install it by pip install 'netserve[packet]'" in done.stderr
    done = run(str(no_scapy), "packet", "setup", cwd=tmp_path)
    assert done.returncode == 69
    assert "Scapy: missing: pip install 'netserve[packet]'" in done.stdout
    assert run(str(no_scapy), "check", str(ROOT / "config.yaml"), cwd=tmp_path).returncode == 0


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_sniffing_needs_no_scapy(no_scapy: Path, tmp_path: Path) -> None:
    done = run(str(no_scapy), "sniff", "--duration", "200ms", "-w", "x.pcap", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.pcap").stat().st_size >= 24


# The copy of the interpreter


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """netserve where a user who is not root can run it; the folder of its commands.

    By the system's Python, since that of the tests may stand where only root may read.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = shutil.which(f"python{version}", path="/usr/bin:/usr/local/bin")
    site = next(path for path in map(Path, sys.path) if path.name == "site-packages")
    if python is None:
        missing(f"there is no Python {version} that everybody may run")
    folder = Path(f"/var/tmp/netserve-test-{random.randrange(10**9)}")
    folder.mkdir(mode=0o755)
    try:
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (own,) = (folder / "venv/lib").glob("python*/site-packages")
        (own / "all.pth").write_text(f"{ROOT}\n{site}\n")
        command = folder / "venv/bin/netserve"
        command.write_text(f"#!{folder}/venv/bin/python\nfrom netserve.cli import main\nmain()\n")
        command.chmod(0o755)
        probe = [require_program("setpriv"), "--reuid=65533", "--regid=65533", "--clear-groups"]
        if subprocess.run(
            [*probe, command, "--version"], capture_output=True, check=False
        ).returncode:
            missing("the tests are where only root may read")
        yield folder / "venv/bin"
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_a_copy_of_the_interpreter(installed: Path) -> None:
    """S30: made by root once; the group's members can send, and nobody else."""
    netserve = str(installed / "netserve")
    group, number = "daemon", grp.getgrnam("daemon").gr_gid
    user = [require_program("setpriv"), "--reuid=65533", "--regid=65533", "--reset-env"]
    stranger, member = [*user, "--clear-groups"], [*user, f"--groups={number}"]
    assert run(*member, netserve, *SEND, cwd=Path("/")).returncode == 69
    done = run(netserve, "packet", "setup", "--copy", "--group", group, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert (installed / COPY_NAME).stat().st_mode & 0o777 == 0o750
    done = run(*member, netserve, *SEND, "--json", cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert "echo-reply" in json.loads(done.stdout)["summary"]
    done = run(*member, netserve, "packet", "setup", cwd=Path("/"))
    assert "copy of the interpreter with CAP_NET_RAW: yes" in done.stdout
    assert run(*member, netserve, "sniff", "--duration", "100ms", cwd=Path("/")).returncode == 0
    assert run(*stranger, netserve, *SEND, cwd=Path("/")).returncode == 69


def test_setup_needs_a_group(tmp_path: Path) -> None:
    done = run(str(NETSERVE), "packet", "setup", "--copy", cwd=tmp_path)
    assert (done.returncode, "--group" in done.stderr) == (2, True)
    done = run(str(NETSERVE), "packet", "setup", "--copy", "--group", "no-such", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        1, "Error: there is no group no-such; make it by groupadd\n",
    )  # fmt: skip


# The system service


@pytest.fixture
def service(tmp_path: Path, root: None) -> Iterator[Path]:
    """What systemd does for the units: a helper for each connection, with a policy of root's."""
    activate = require_program("systemd-socket-activate")
    policy, socket = tmp_path / "policy.json", tmp_path / "packet.socket"
    strict = Policy(layers=("IP", "ICMP"), packets=5)
    policy.write_text(json.dumps(strict.to_json()))
    process = subprocess.Popen(
        [activate, "--accept", "-l", socket, sys.executable, "-I", "-m", "netserve.packet.helper",
         "--policy", policy],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(socket.is_socket)
    yield socket
    process.terminate()
    process.wait(10)


@pytest_twisted.ensureDeferred
async def test_the_system_service(service: Path) -> None:
    """S30: its policy holds, whatever the one who asks brings along."""
    free = Policy(layers=("*",), packets=100, forge=True)
    launcher = choose_launcher(service)
    assert launcher == Connect(service)
    helper, other = helper_of(launcher, free), helper_of(launcher, free)
    try:
        done = await helper.ask(PING, deadline=30)
        assert done["answers"] == 1
        assert (await other.ask(PING, deadline=30))["answers"] == 1
        for expression, what in (
            ('IP(dst="127.0.0.1")/UDP()', "the layer UDP is not in packet.layers"),
            ('IP(dst="127.0.0.1", id=(1, 6))/ICMP()', "more packets than the 5"),
            ('IP(dst="127.0.0.1", src="192.0.2.9")/ICMP()', "the source 192.0.2.9 is not"),
        ):
            with pytest.raises(PacketError) as caught:
                await helper.ask(Exchange(packets=(parse(expression),)), deadline=30)
            assert what in caught.value.what
    finally:
        helper.close()
        other.close()


@pytest.mark.slow
def test_sniffing_by_the_system_service(service: Path, tmp_path: Path) -> None:
    """The file is the user's own: it goes to the service as an open descriptor."""
    config = tmp_path / "config.yaml"
    config.write_text(f"packet: {{socket: {service}, interfaces: [lo, eth0]}}\n")
    file = tmp_path / "x.pcap"
    command = [str(NETSERVE), "sniff", "--config", str(config)]
    done = run(*command, "-w", str(file), "--duration", "300ms", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert file.stat().st_size >= 24
    other = tmp_path / "y.pcap"
    done = run(*command, "-w", str(other), "-i", "eth0", cwd=tmp_path)
    assert done.returncode == 77
    assert "the interface eth0 is not in packet.interfaces" in done.stderr
    assert not other.exists()


def test_the_units(tmp_path: Path) -> None:
    analyze = require_program("systemd-analyze")
    config = tmp_path / "config.yaml"
    config.write_text("packet: {targets: 10.0.0.0/8}\n")
    units = tmp_path / "units"
    done = run(
        str(NETSERVE), "packet", "setup", "--config", str(config), "--systemd", str(units),
        "--policy-file", str(tmp_path / "packet.json"), "--group", "daemon", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    policy = Policy.from_json(json.loads((tmp_path / "packet.json").read_text()))
    assert list(map(str, policy.targets)) == ["10.0.0.0/8"]
    service = units / "netserve-packet@.service"
    done = run(analyze, "verify", "--recursive-errors=no", str(units / "netserve-packet.socket"),
               str(service), cwd=units)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run(analyze, "security", "--offline=true", "--threshold=18", str(service), cwd=units)
    assert done.returncode == 0, done.stdout[-2000:]


def test_nothing_but_the_helper_imports_scapy() -> None:
    """Beside the import contract: every module but the helper's is imported, and there is none."""
    code = (
        "import sys, pkgutil, importlib, netserve\n"
        "from netserve.reactor import install\n"
        "install()\n"
        "for found in pkgutil.walk_packages(netserve.__path__, 'netserve.'):\n"
        "    if not found.name.startswith(('netserve.packet.helper', 'netserve.testing')):\n"
        "        importlib.import_module(found.name)\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'scapy'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "[]\n", done.stderr
