"""What the start finds out about files, for the user that the process becomes."""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from argon2 import PasswordHasher

from netserve.testing.dns import Zone, unbound
from netserve.testing.process import BIN, converse, free_port, running, wait_until
from tests.integration.other_user import USER, can_read, command_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def refused(folder: Path, command: tuple[str, ...]) -> list[str]:
    """The lines that are printed by a start that is refused, those of the source left out."""
    done = subprocess.run(
        [BIN / command[0], *command[1:], "config.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("config.yaml")]


def write(folder: Path, services: str, process: str = "") -> Path:
    config = folder / "config.yaml"
    config.write_text(f"netserve: {{state: ./var, user: {USER}{process}}}\nservices:\n{services}")
    return config


ECHO = "  echo: {{protocol: echo, listen: 'tcp:{port}:interface=127.0.0.1'}}\n"
MAIL = """\
  mail:
    protocol: smtp-relay
    hostname: relay.example.org
    listen: tcp:{port}:interface=127.0.0.1
    routes:
      - match: {{recipient: "*@templates.example.org"}}
        deliver: {{maildir: "{folder}/{{domain}}/{{local}}"}}
      - deliver: {{maildir: {folder}/one}}
"""


@pytest.mark.skipif(
    os.geteuid() == 0 and can_read(Path(os.path.realpath(BIN / "python"))),
    reason="every user can read the Python of the tests",
)
@pytest.mark.parametrize("command", [("netserve", "run"), ("twistd", "netserve", "--config")])
def test_a_user_who_cannot_read_the_python(open_folder: Path, command: tuple[str, ...]) -> None:
    write(open_folder, ECHO.format(port=free_port()))
    lines = refused(open_folder, command)
    assert lines[0].startswith(
        "config.yaml:1:32: netserve.user: the user nobody cannot read the Python that runs"
        " netserve: /"
    )
    assert "is closed to it (mode 0700 of root:root); install netserve where" in lines[0]
    assert len(lines) == 1


def test_a_plugin_that_the_user_cannot_read(open_folder: Path) -> None:
    (open_folder / "mine.py").write_text(
        "from twisted.internet.protocol import Factory, Protocol\n"
        "factory = Factory.forProtocol(Protocol)\n"
    )
    (open_folder / "mine.py").chmod(0o600)
    services = "  mine: {protocol: factory, object: 'mine:factory', listen: 'tcp:0:127.0.0.1'}\n"
    write(open_folder, services)
    lines = refused(open_folder, command_for(open_folder, "netserve", "run"))
    (line,) = lines
    assert line == (
        "config.yaml:1:32: netserve.user: the user nobody cannot read a module beside the config"
        f" file: {open_folder}/mine.py is mode 0600 of root:root"
    )


@pytest.mark.parametrize(
    ("made", "mode", "reason"),
    [
        ((), 0o755, "{mail} is mode 0755 of root:root"),
        ((), 0o700, "{mail} is closed to it (mode 0700 of root:root)"),
        (("one",), 0o777, "{mail}/one is mode 0755 of root:root"),
        (("one/new",), 0o777, "{mail}/one is mode 0755 of root:root"),
    ],
)
def test_a_maildir_that_the_user_cannot_write(
    open_folder: Path, made: tuple[str, ...], mode: int, reason: str
) -> None:
    """One that is there, one that would have to be made, each at its line of the file."""
    mail = open_folder / "mail"
    mail.mkdir()
    for name in made:
        (mail / name).mkdir(parents=True)
    mail.chmod(mode)
    write(open_folder, MAIL.format(port=free_port(), folder=mail))
    lines = refused(open_folder, command_for(open_folder, "netserve", "run"))
    place = "config.yaml:10:28: services.mail.routes[1].deliver.maildir: "
    assert [line for line in lines if line.startswith(place)] == [
        f"{place}the user nobody cannot write into {mail}/one: {reason.format(mail=mail)}"
    ]
    if mode != 0o777:
        assert lines[0].startswith("config.yaml:9:28: services.mail.routes[0].deliver.maildir: ")


def test_a_folder_of_a_template_that_the_user_cannot_write(open_folder: Path) -> None:
    mail = open_folder / "mail"
    folder = mail / "templates.example.org" / "somebody"
    folder.mkdir(parents=True)
    mail.chmod(0o777)
    write(open_folder, MAIL.format(port=free_port(), folder=mail))
    lines = refused(open_folder, command_for(open_folder, "netserve", "run"))
    (line,) = lines
    assert line == (
        "config.yaml:9:28: services.mail.routes[0].deliver.maildir: the user nobody cannot write"
        f" into {mail}/{{domain}}/{{local}}: {folder} is mode 0755 of root:root"
    )


def test_a_file_of_users_and_a_state_of_root(open_folder: Path) -> None:
    """All of it is told at once."""
    (open_folder / "users").write_text("")
    (open_folder / "users").chmod(0o640)
    (open_folder / "var" / "outbox").mkdir(parents=True)
    (open_folder / "var" / "outbox" / "queue.db").touch()
    (open_folder / "var").chmod(0o777)
    services = MAIL.format(port=free_port(), folder=open_folder / "var" / "mail")
    write(open_folder, services + "    users_file: users\n    login_without_tls: true\n")
    lines = refused(open_folder, command_for(open_folder, "netserve", "run"))
    outbox = open_folder / "var" / "outbox"
    assert lines[0] == (
        "config.yaml:1:19: netserve.state: the user nobody cannot use the state folder"
        f" {open_folder}/var: {outbox} is mode 0755 of root:root"
    )
    assert lines[1] == (
        f"config.yaml:11:17: services.mail.users_file: the user nobody cannot read {open_folder}"
        f"/users, which is read again when it has changed: {open_folder}/users is mode 0640 of"
        " root:root"
    )
    assert len(lines) == 2


def test_a_key_that_only_root_can_read(open_folder: Path) -> None:
    """netserve reads it as root, as other servers do; the log says what a new one will take."""
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_pem.write_to_path(open_folder / "a.key")
    issued.cert_chain_pems[0].write_to_path(open_folder / "a.pem")
    (open_folder / "a.key").chmod(0o600)
    (open_folder / "a.pem").chmod(0o644)
    tls = "{tls: {certificate: a.pem, key: a.key}, p"
    services = ECHO.format(port=free_port()).replace("{p", tls)
    config = write(open_folder, services)
    with running(config, command=command_for(open_folder, "netserve", "run")) as process:
        warnings = [line for line in process.log().splitlines() if " warn " in line]
    assert len(warnings) == 1
    assert "config.yaml:3:41: services.echo.tls.key: the user nobody cannot read" in warnings[0]
    assert "is mode 0600 of root:root; netserve has read it before" in warnings[0]


def test_a_user_who_can_do_everything(open_folder: Path) -> None:
    """And what the file names is made for it, used by it, and logged without a warning."""
    port = free_port()
    mail = open_folder / "mail"
    mail.mkdir()
    os.chown(mail, pwd.getpwnam(USER).pw_uid, -1)
    config = write(open_folder, MAIL.format(port=port, folder=mail))
    with running(config, command=command_for(open_folder, "netserve", "run")) as process:
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.sendmail(
                "a@example.org", ["b@templates.example.org", "c@example.org"], "Subject: x\r\n\r\nx"
            )
        wait_until(lambda: list(mail.glob("templates.example.org/b/new/*")))
        wait_until(lambda: list(mail.glob("one/new/*")))
        assert process.stop() == 0
        assert " warn " not in process.log()


def test_sockets_in_a_folder_that_only_root_can_write_to(open_folder: Path) -> None:
    """Their files stay when it stops, in order; the next start replaces them."""
    port = free_port()
    addresses = (
        "['tcp:{port}:interface=127.0.0.1', 'unix:a.sock', 'unix:b.sock', 'unixgram:c.sock']"
    )
    services = ECHO.replace("'tcp:{port}:interface=127.0.0.1'", addresses).format(port=port)
    config = write(open_folder, services)
    command = command_for(open_folder, "netserve", "run")
    for _ in range(2):
        with running(config, command=command) as process:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(open_folder / "b.sock"))
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            assert process.stop() == 0
            assert " critical " not in process.log()
        assert (open_folder / "a.sock").is_socket()


def test_groups_of_the_user_count(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `ssl-cert`, by whose group keys are read."""
    from netserve.server.rights import Account, Need, refusals

    secret = open_folder / "key"
    secret.touch(mode=0o640)
    os.chown(secret, 0, 4242)
    nobody = pwd.getpwnam(USER)
    account = Account(nobody.pw_uid, nobody.pw_gid)
    assert refusals([Need(secret, "read")], account)[0] is not None
    groups: Any = lambda name, gid: os.setgroups([gid, 4242])  # noqa: E731
    monkeypatch.setattr(os, "initgroups", groups)
    assert refusals([Need(secret, "read")], account) == [None]


LETTER = "Subject: =?utf-8?q?x=C3=A9?=\r\n\r\nx\r\n"
AS_OTHER = """\
netserve: {{state: ./var, user: {user}, status: "tcp:{status}:interface=127.0.0.1"}}
services:
  mail:
    protocol: smtp-relay
    hostname: relay.example.org
    listen: tcp:{smtp}:interface=127.0.0.1
    tls: {{certificate: a.pem, key: a.key}}
    users_file: users
    http: {{listen: "tcp:{http}:interface=127.0.0.1", tokens: {{app: a-token-of-many-characters}}}}
    dns: {{servers: ["127.0.0.1:{dns}"]}}
    routes:
      - match: {{recipient: "*@mx.example.org"}}
        deliver: {{mx: true, port: {nobody_there}, tls: dane+mta-sts, allow_addresses: [127.0.0.1]}}
      - match: {{recipient: "*@hook.example.org"}}
        deliver: {{http: {{url: "http://127.0.0.1:{nobody_there}/", allow_upstreams: 127.0.0.1}}}}
      - match: {{recipient: "*@host.example.org"}}
        deliver: {{smarthost: "127.0.0.1:{nobody_there}"}}
      - deliver: {{maildir: ./var/mail}}
  front:
    protocol: http-bridge
    framing: http
    listen: tcp:{front}:interface=127.0.0.1
    request: {{url: "http://localhost:{status}{{path}}"}}
    allow_upstreams: [localhost, 127.0.0.1]
"""


def test_nothing_is_imported_late(open_folder: Path, tmp_path: Path) -> None:
    """What is imported late is loaded before the process becomes another user."""
    names = ("status", "smtp", "http", "dns", "nobody_there", "front")
    ports = {name: free_port() for name in names}
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_pem.write_to_path(open_folder / "a.key")
    issued.cert_chain_pems[0].write_to_path(open_folder / "a.pem")
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")
    (open_folder / "users").write_text(f"alice:{hashed}\n")
    (open_folder / "late.py").write_text(
        "import os, sys\n"
        "from netserve.server.daemon import Daemon\n"
        "start = Daemon.startService\n"
        "class Told:\n"
        "    def find_spec(self, name, *_):\n"
        "        os.write(1, f'imported late: {name}\\n'.encode())\n"
        "def begin(self):\n"
        "    sys.meta_path.insert(0, Told())\n"
        "    start(self)\n"
        "Daemon.startService = begin\n"
        "from twisted.internet.protocol import Factory, Protocol\n"
        "factory = Factory.forProtocol(Protocol)\n"
    )
    config = open_folder / "config.yaml"
    config.write_text(
        AS_OTHER.format(user=USER, **ports)
        + "  late: {protocol: factory, object: 'late:factory', listen: 'tcp:0:127.0.0.1'}\n"
    )
    command = command_for(open_folder, "netserve", "run")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    zone = Zone("example.org", "mx A 127.0.0.1\nmta-sts.mx A 127.0.0.1", signed=True)
    with unbound(tmp_path, [zone]) as server:
        config.write_text(config.read_text().replace(f"127.0.0.1:{ports['dns']}", server))
        use_everything(config, command, ports, context)


def use_everything(
    config: Path, command: tuple[str, ...], ports: dict[str, int], context: ssl.SSLContext
) -> None:
    """Run it, and find that it imports nothing."""
    with running(config, command=command) as process:
        with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=20) as client:
            client.starttls(context=context)
            client.login("alice", "secret")
            for name in ("mx", "hook", "host", "here"):
                client.sendmail("a@example.org", [f"b@{name}.example.org"], LETTER)
        with smtplib.SMTP("127.0.0.1", ports["smtp"], timeout=20) as client:
            client.ehlo()
            client.send("MAIL FROM:<ü@ü.example> SMTPUTF8\r\n".encode())
            assert client.getreply()[0] == 250
        post = {"from": "a@example.org", "to": ["ü@ü.example"], "subject": "ü", "text": "ü"}
        for _ in range(2):
            request = urllib.request.Request(
                f"http://127.0.0.1:{ports['http']}/messages",
                data=json.dumps(post).encode(),
                headers={
                    "Authorization": "Bearer a-token-of-many-characters",
                    "Content-Type": "application/json",
                },
            )
            with urllib.request.urlopen(request, timeout=20) as answer:
                assert answer.status == 202
            post["text"] = "x" * 100_000
        for path in ("/", "/metrics", "/readyz", "/nothing"):
            for port in (ports["status"], ports["front"]):
                with suppress(urllib.error.HTTPError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20).read()
        converse(ports["front"], b"no HTTP\r\n\r\n")
        for words in (
            ["send", "--wait=1s", "b@here.example"],
            ["queue", "list"],
            ["queue", "flush"],
        ):
            command = [BIN / "netserve", *words, f"--config={config}"]
            subprocess.run(command, check=True, timeout=60)
        os.kill(process.pid, signal.SIGHUP)
        wait_until(lambda: "<b@mx.example.org>" in process.log())
        wait_until(lambda: "<b@hook.example.org>" in process.log())
        assert process.stop() == 0
        late = re.findall("imported late: (.*)", process.log())
    assert [name for name in late if is_installed(name)] == []


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that is not there
        return False
