"""The examples, as their readers would run them."""

from __future__ import annotations

import ftplib
import io
import json
import os
import re
import shutil
import smtplib
import subprocess
from pathlib import Path

import pytest

from netserve.testing.process import BIN, converse, free_port, running, wait_until
from netserve.testing.programs import require_program
from netserve.testing.provider import Provider, TokenEndpoint

EXAMPLES = Path(__file__).parents[2] / "examples"


def copy(name: str, folder: Path) -> tuple[Path, list[int]]:
    """A copy of an example with its ports moved to free ones, and these."""
    target = folder / name
    shutil.copytree(EXAMPLES / name, target)
    config = target / "config.yaml"
    ports: list[int] = []

    def move(match: re.Match[str]) -> str:
        ports.append(free_port())
        return f"{match[1]}{ports[-1]}"

    config.write_text(re.sub(r"(\b(?:tcp|udp):)\d+", move, config.read_text()))
    return config, ports


def test_a_plugin_in_one_file(tmp_path: Path) -> None:
    config, ports = copy("shout", tmp_path)
    lines = (EXAMPLES / "shout" / "shout.py").read_text().splitlines()
    assert len(lines) <= 25
    with running(config):
        assert b"HELLO" in converse(ports[0], b"hello\r\n")


def test_twisted_s_ftp_server_is_hosted(tmp_path: Path) -> None:
    config, ports = copy("ftp", tmp_path)
    with running(config):
        client = ftplib.FTP()
        client.connect("127.0.0.1", ports[0], timeout=10)
        client.login()
        names = client.nlst(".")
        assert names
        content = io.BytesIO()
        client.retrbinary(f"RETR {names[0]}", content.write)
        assert content.getvalue()
        with pytest.raises(ftplib.error_perm):
            client.storbinary("STOR new.txt", io.BytesIO(b"x"))
        client.quit()


def test_mail_over_http(tmp_path: Path) -> None:
    """As its page has it, with curl."""
    curl = require_program("curl")
    config, ports = copy("mail-over-http", tmp_path)
    token = "0123456789abcdef0123"

    def post(**message: str) -> dict[str, str]:
        command = [
            curl, "-sS", f"http://127.0.0.1:{ports[1]}/messages", "--oauth2-bearer", token,
            "-H", "Content-Type: application/json", "-d", json.dumps(message),
        ]  # fmt: skip
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        answer: dict[str, str] = json.loads(done.stdout)
        return answer

    with running(config, environment={"SHOP_TOKEN": token}):
        message = {"from": "The Shop <orders@shop.example.org>", "to": "ada@example.com"}
        assert post(**message, subject="Your order", text="It is on its way.")["id"]
        new = config.parent / "var/mail/example.com/ada/new"
        wait_until(lambda: new.is_dir() and bool(list(new.iterdir())))
        (mail,) = new.iterdir()
        assert "Subject: Your order\n" in mail.read_text()
        assert post(**{"from": "boss@example.org", "to": "ada@example.com"}) == {
            "error": "This sender address is not one of yours", "field": "from",
        }  # fmt: skip


def test_a_listener_for_devices(tmp_path: Path) -> None:
    """As its page has it: bare line feeds, and no date."""
    config, ports = copy("devices", tmp_path)
    said = (
        b"HELO ups\nMAIL FROM:ups@example.org\nRCPT TO:admin@example.org\nDATA\n"
        b"Subject: power\n\nback\n\r\n.\r\nQUIT\n"
    )
    with running(config):
        assert b"queued as" in converse(ports[0], said)
        new = config.parent / "var/mail/admin/new"
        wait_until(lambda: new.is_dir() and bool(list(new.iterdir())))
        (mail,) = new.iterdir()
        assert "\nDate: " in mail.read_text()


@pytest.mark.slow
def test_a_plugin_as_a_package(tmp_path: Path) -> None:
    """Installed beside netserve it is listed with its package, and serves."""
    config, ports = copy("packaged-plugin", tmp_path)
    site = tmp_path / "site"
    subprocess.run(
        [
            BIN / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-build-isolation",
            "--target",
            site,
            config.parent,
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    environment = {"PYTHONPATH": str(site)}
    listed = subprocess.run(
        [BIN / "netserve", "list"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
    ).stdout
    assert "reverse" in listed
    with running(config, environment=environment):
        assert converse(ports[0], b"abc\r\n").startswith(b"cba")


@pytest.mark.filterwarnings("ignore:Requiring AUTH:UserWarning")
def test_a_scanner_and_a_provider(tmp_path: Path) -> None:
    """With doubles of the provider's servers in place of the real ones."""
    config, ports = copy("scanner-to-provider", tmp_path)
    with (
        TokenEndpoint(refresh_token="the-refresh-token", rotates=True) as endpoint,
        Provider(
            tokens=endpoint.tokens, mechanisms=["XOAUTH2"], senders=["office@example.org"]
        ) as provider,
    ):
        text = config.read_text()
        text = re.sub(r'"https://login[^"]*"', f'"{endpoint.url}"', text)
        # The double has no certificate that the system trusts.
        here = f'"127.0.0.1:{provider.port}"\n          tls: none'
        text = text.replace('"smtp.office365.com:587"', here)
        text = text.replace("user: office", "in_clear: true\n            user: office")
        config.write_text(text)
        with running(config), smtplib.SMTP("127.0.0.1", ports[0], timeout=10) as client:
            message = "From: Scanner <scanner@lan>\r\nSubject: scan\r\n\r\nHello\r\n"
            client.sendmail("scanner@lan", ["you@example.net"], message)
            wait_until(lambda: provider.taken, what="the mail at the provider")
    (taken,) = provider.taken
    assert (taken.sender, taken.user) == ("office@example.org", "office@example.org")
    header = b"From: Scanner <office@example.org>\r\nReply-To: Scanner <scanner@lan>\r\n"
    assert header in taken.content
    assert endpoint.requests[0]["client_secret"] == "the-client-secret"
    (kept,) = (config.parent / "var" / "oauth2").iterdir()
    assert endpoint.refresh_token in kept.read_text()


# The packaged plugin's needs its package; see test_a_plugin_as_a_package.
CHECKED = sorted(set(EXAMPLES.glob("*/config.yaml")) - {EXAMPLES / "packaged-plugin/config.yaml"})


@pytest.mark.parametrize("config", CHECKED, ids=lambda path: path.parent.name)
def test_every_example_passes_the_check(config: Path) -> None:
    checked = subprocess.run(
        [BIN / "netserve", "check", config],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SHOP_TOKEN": "0123456789abcdef0123"},
    )
    assert (checked.returncode, checked.stdout.strip()) == (0, "ok"), (
        checked.stdout + checked.stderr
    )
