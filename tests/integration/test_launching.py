"""twistd and `netserve run`: start, stop, and every start that must be refused."""

from __future__ import annotations

import json
import os
import pwd
import signal
import smtplib
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from netserve.server.signals import ONE_SIGNAL
from netserve.testing.process import BIN, converse, free_port, running, wait_until
from tests.integration.other_user import command_for


def write(folder: Path, services: str, process: str = "") -> Path:
    config = folder / "config.yaml"
    config.write_text(f"netserve: {{state: ./var{process}}}\nservices:\n{services}")
    return config


def echo(port: int) -> str:
    return f"  echo:\n    protocol: echo\n    listen: tcp:{port}:interface=127.0.0.1\n"


SILENT = """\
  mail:
    protocol: smtp-relay
    listen: tcp:{port}:interface=127.0.0.1
    hostname: relay.example.org
    routes:
      - deliver: {{smarthost: "127.0.0.1:{silent}", tls: none}}
"""
"""A relay to a server that takes connections, and says nothing."""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / arguments[0], *arguments[1:]],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "command",
    [
        ("netserve", "run"),
        ("twistd", "-n", "--pidfile=", "netserve", "--config"),
        ("twistd", "-n", "--pidfile=", "--reactor", "netserve", "netserve", "--config"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_serve_stop(tmp_path: Path, command: tuple[str, ...], number: int) -> None:
    port = free_port()
    with running(write(tmp_path, echo(port)), command=command) as process:
        assert converse(port, b"hi") == b"hi"
        assert process.stop(number=number) == 0
        assert "stopped" in process.log()
    with pytest.raises(ConnectionRefusedError):
        converse(port, b"hi")


def test_a_second_signal_cuts_what_the_first_one_waits_for(tmp_path: Path) -> None:
    """Of connections and of deliveries. Two signals right after each other are one."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = write(
            tmp_path, SILENT.format(port=port, silent=silent.getsockname()[1]), ", drain: 1m"
        )
        with running(config) as process, smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nx\r\n")
            process.wait_for("accepted")
            client.docmd("MAIL FROM:<a@example.org>")
            next_hop, _ = silent.accept()
            os.kill(process.pid, signal.SIGINT)
            os.kill(process.pid, signal.SIGTERM)
            process.wait_for("stopping: ")
            time.sleep(ONE_SIGNAL + 0.1)  # from now on it is another one
            assert "at once" not in process.log()
            assert client.docmd("NOOP")[0] == 250, "a transaction is under way"
            assert process.stop(seconds=5) == 0
            log = process.log()
            with suppress(smtplib.SMTPServerDisconnected):
                client.close()
            next_hop.close()
    assert log.count("stopping at once") == 1
    assert "did not end in time, and stay queued: 1" in log
    assert "Traceback" not in log
    assert log.splitlines()[-1].endswith("stopped")


def test_daemon_with_pidfile_and_logfile(tmp_path: Path) -> None:
    port = free_port()
    write(tmp_path, echo(port))
    started = run("twistd", "--pidfile", "x.pid", "--logfile", "x.log", "netserve", folder=tmp_path)
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    pid = int((tmp_path / "x.pid").read_text())
    try:
        wait_until(lambda: "ready: " in (tmp_path / "x.log").read_text())
        assert converse(port, b"hi") == b"hi"
        (tmp_path / "x.log").rename(tmp_path / "x.log.1")
        os.kill(pid, signal.SIGUSR1)
        wait_until((tmp_path / "x.log").exists)
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not (tmp_path / "x.pid").exists())
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert "stopped" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "netserve", "--config")])
def test_a_taken_port_stops_the_start(tmp_path: Path, command: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write(tmp_path, echo(free_port()).replace("echo:", "first:", 1) + echo(port))
        refused = run(*command, config.name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"config.yaml:8:13: services.echo.listen: cannot listen on tcp:{port}:interface=127.0.0.1:"
        " address in use\n"
    )
    assert "Traceback" not in refused.stderr + refused.stdout
    assert not (tmp_path / "twistd.pid").exists()


def test_a_wrong_file_tells_everything_at_once(tmp_path: Path) -> None:
    config = write(
        tmp_path, "  a:\n    protocol: ecko\n    listen: tcp:0\n  b:\n    protocol: echo\n"
    )
    refused = run("netserve", "run", config.name, folder=tmp_path)
    assert refused.returncode == 1
    assert "config.yaml:4:15: services.a.protocol: " in refused.stderr
    assert "did you mean echo?" in refused.stderr
    assert "services.b" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    refused = run("twistd", "-n", "netserve", folder=tmp_path)
    assert refused.returncode == 1
    assert "config.yaml: " in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_file_that_is_no_option(tmp_path: Path) -> None:
    refused = run("twistd", "-n", "netserve", "mine.yaml", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stdout.endswith("the file is named by an option: --config mine.yaml\n")


def mail(port: int) -> str:
    return (
        f"  mail:\n    protocol: smtp-relay\n    listen: tcp:{port}:interface=127.0.0.1\n"
        "    routes: [{deliver: {maildir: ./mail}}]\n"
    )


@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "netserve", "--config")])
def test_a_queue_in_use_stops_the_start(tmp_path: Path, command: tuple[str, ...]) -> None:
    """Also as a daemon it is said on the terminal, before twistd goes to the background."""
    with running(write(tmp_path, mail(free_port()))) as process:
        second = tmp_path / "second.yaml"
        second.write_text("netserve: {state: ./var}\nservices:\n" + mail(free_port()))
        refused = run(*command, second.name, folder=tmp_path)
        assert refused.returncode == 1
        assert refused.stderr.startswith(
            f"second.yaml:1:19: netserve.state: the queue {tmp_path}/var/outbox is in use by"
            f" process {process.pid}\n"
        )
        assert not (tmp_path / "twistd.pid").exists()


@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "netserve", "--config")])
def test_a_state_folder_that_cannot_be_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "var").write_text("no folder")
    refused = run(*command, write(tmp_path, echo(free_port())).name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        f"config.yaml:1:19: netserve.state: cannot make the state folder {tmp_path}/var:"
    )


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    write(tmp_path, echo(free_port()))
    refused = run("twistd", "--logfile", "none/x.log", "netserve", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr == "cannot open the log none/x.log: no such file or directory\n"


def test_twistds_own_logs_go_before_ours(tmp_path: Path) -> None:
    (tmp_path / "observer.py").write_text(
        "from pathlib import Path\n"
        "from twisted.logger import jsonFileLogObserver\n"
        "def make():\n"
        "    return jsonFileLogObserver(Path('events').open('w', 1))\n"
    )
    command = ("twistd", "-n", "--pidfile=", "--logger", "observer.make", "netserve", "--config")
    config, environment = write(tmp_path, echo(free_port())), {"PYTHONPATH": str(tmp_path)}
    with running(config, command=command, environment=environment, until="") as process:
        events = tmp_path / "events"
        wait_until(lambda: events.exists() and "ready: " in events.read_text())
        process.stop()
        assert process.log() == ""


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (
            "protocol: plugins:fails",
            "its protocol cannot be built: ZeroDivisionError: division by zero",
        ),
        ("protocol: plugins:nothing", "its protocol has nothing to host: build gave no factory"),
    ],
)
def test_a_plugin_with_a_bug(tmp_path: Path, line: str, what: str) -> None:
    (tmp_path / "plugins.py").write_text(
        "from netserve.plugin import ProtocolPlugin, Settings\n"
        "fails = ProtocolPlugin(name='x', settings=Settings, build=lambda *_: 1 / 0)\n"
        "nothing = ProtocolPlugin(name='x', settings=Settings, build=lambda *_: None)\n"
    )
    services = f"  mine:\n    {line}\n    listen: tcp:{free_port()}:interface=127.0.0.1\n"
    refused = run("netserve", "run", write(tmp_path, services).name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"config.yaml:3:3: services.mine: {what}")
    if "ZeroDivisionError" in what:
        assert "plugins.py, line 2)" in refused.stderr
    assert "Traceback" not in refused.stderr + refused.stdout


def test_what_is_wrong_with_an_option_is_told_at_its_place(tmp_path: Path) -> None:
    """Also where it shows only when the service is built."""
    services = (
        "  web:\n    protocol: http-bridge\n    listen: tcp:0:interface=127.0.0.1\n"
        "    request: {url: 'http://10.0.0.1/'}\n"
    )
    refused = run("netserve", "run", write(tmp_path, services).name, folder=tmp_path)
    assert refused.stderr.startswith(
        "config.yaml:6:20: services.web.request.url: 10.0.0.1 is private; list it in"
    )


def test_a_missing_certificate(tmp_path: Path) -> None:
    services = echo(free_port()) + "    tls: {certificate: none.pem, key: none.key}\n"
    refused = run("netserve", "run", write(tmp_path, services).name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("config.yaml:6:24: services.echo.tls.certificate: ")
    assert "no such file or directory" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
def test_another_reactor_is_refused(tmp_path: Path, reactor: str) -> None:
    write(tmp_path, echo(free_port()))
    refused = run("twistd", "-n", "--reactor", reactor, "netserve", folder=tmp_path)
    assert refused.returncode == 1
    assert "leave out --reactor, or give --reactor netserve" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_logs_as_json(tmp_path: Path) -> None:
    config = write(tmp_path, echo(free_port()), process=", log: {format: json, level: debug}")
    with running(config) as process:
        process.stop()
        records = [json.loads(line) for line in process.log().splitlines()]
    messages = [(record["level"], record["origin"], record["message"]) for record in records]
    assert ("info", "netserve", "ready: 1 service") in messages
    assert ("info", "netserve", "stopped") in messages


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_privileges_are_dropped_after_binding(open_folder: Path) -> None:
    # A port that only root may open, on an address that nobody else uses.
    services = "  low:\n    protocol: echo\n    listen: tcp:7:interface=127.0.0.77\n"
    command = command_for(open_folder, "netserve", "run")
    with running(
        write(open_folder, services, process=", user: nobody"), command=command
    ) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        uid = pwd.getpwnam("nobody").pw_uid
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}" in status
        assert (open_folder / "var").stat().st_uid == uid
        with socket.create_connection(("127.0.0.77", 7), timeout=5) as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "netserve", "--config")])
def test_a_state_folder_of_others_is_not_taken_over(
    open_folder: Path, command: tuple[str, ...]
) -> None:
    """One that has something of root's in it stays root's, and the start says so."""
    (open_folder / "var").mkdir()
    (open_folder / "var" / "something").touch()
    config = write(open_folder, echo(free_port()), process=", user: nobody")
    refused = run(*command_for(open_folder, *command), config.name, folder=open_folder)
    assert refused.returncode == 1
    assert refused.stderr.startswith(
        "config.yaml:1:19: netserve.state: the user nobody cannot use the state folder"
        f" {open_folder}/var: {open_folder}/var is mode 0755 of root:root\n"
    )
    assert (open_folder / "var").stat().st_uid == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_log_that_cannot_be_opened_again_goes_on(open_folder: Path) -> None:
    """The user that the process has become may not write beside it."""
    config = write(open_folder, echo(free_port()), process=", user: nobody")
    words = ("twistd", "-n", "--pidfile=", "--logfile=x.log", "netserve", "--config")
    command = command_for(open_folder, *words)
    with running(config, command=command, until="") as process:
        log = open_folder / "x.log"
        wait_until(lambda: log.exists() and "ready: " in log.read_text())
        log.rename(open_folder / "x.log.1")
        os.kill(process.pid, signal.SIGUSR1)
        moved = open_folder / "x.log.1"
        wait_until(lambda: "cannot open the log again" in moved.read_text())
        process.stop()
        assert "stopped" in moved.read_text()
        assert not log.exists()


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("user: no-such-user", "netserve.user: this machine has no user no-such-user"),
        ("user: nobody, group: no-such", "netserve.group: this machine has no group no-such"),
    ],
)
def test_a_user_who_does_not_exist(tmp_path: Path, option: str, what: str) -> None:
    config = write(tmp_path, echo(free_port()), process=f", {option}")
    refused = run("netserve", "run", config.name, folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0].startswith("config.yaml:1:")
    assert refused.stderr.splitlines()[0].endswith(what)


def test_stop_drains(tmp_path: Path) -> None:
    """A request in flight is answered after SIGTERM, and new connections are refused."""
    port = free_port()
    (tmp_path / "slow.py").write_text(
        "from twisted.internet.task import deferLater\n"
        "async def answer(request):\n"
        "    from twisted.internet import reactor\n"
        "    await deferLater(reactor, 1.0)\n"
        "    return b'late ' + request.data\n"
    )
    services = (
        "  slow:\n    protocol: request-response\n"
        f"    listen: tcp:{port}:interface=127.0.0.1\n    framing: line\n    handler: slow:answer\n"
    )
    with running(write(tmp_path, services)) as process:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"but true\r\n")
            wait_until(lambda: _has_connection(port))
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("stopping")
            assert client.recv(100) == b"late but true\r\n"
        assert process.process.wait(20) == 0
        assert "stopped" in process.log()


def _has_connection(port: int) -> bool:
    wanted = f":{port:04X} "
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(wanted in line and line.split()[3] == "01" for line in lines)
