"""``netserve check`` builds every service, and leaves nothing of that."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from netserve.cli import main

ECHO = 'protocol: echo, listen: "tcp:0:interface=127.0.0.1"'
HTTP = 'protocol: http-bridge, listen: "tcp:0:interface=127.0.0.1"'
CLIENT_CA = "client_ca: empty.pem, client_certificate: required"
SMARTHOST = 'smarthost: "a.example:25", tls: verify'
HOOK = 'url: "https://a.example/"'
RELAY = 'protocol: smtp-relay, listen: "tcp:0:interface=127.0.0.1"'


def check(folder: Path, service: str, *options: str) -> Result:
    file = folder / "config.yaml"
    file.write_text(f"netserve: {{state: state}}\nservices:\n  one: {{{service}}}\n")
    return CliRunner().invoke(main, ["check", str(file), *options])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    for name in ("a", "b"):
        certificate = authority.issue_cert(f"{name}.example")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    (folder / "empty.pem").write_text("no certificate\n")
    return folder


@pytest.mark.parametrize(
    ("service", "place", "told"),
    [
        (
            'protocol: request-response, listen: "tcp:0", handler: "nosuch:fn"',
            "one.handler",
            "the handler nosuch:fn cannot be imported: cannot import nosuch: ModuleNotFoundError",
        ),
        (
            'protocol: request-response, listen: "tcp:0", handler: "json:nosuch"',
            "one.handler",
            "there is no nosuch in ",
        ),
        (
            'protocol: factory, listen: "tcp:0", object: "nosuch:Thing"',
            "one.object",
            "cannot import nosuch: ModuleNotFoundError",
        ),
        (
            'protocol: factory, listen: "tcp:0", object: "json:loads"',
            "one",
            "json:loads does not take these arguments",
        ),
        (
            f"{ECHO}, tls: {{certificate: missing.pem, key: a.key}}",
            "one.tls.certificate",
            "missing.pem: no such file or directory",
        ),
        (f"{ECHO}, tls: {{certificate: a.pem, key: missing.key}}", "one.tls.key", "missing.key"),
        (
            f"{ECHO}, tls: {{certificate: a.pem, key: b.key}}",
            "one.tls.key",
            "the key does not belong to the certificate",
        ),
        (
            f"{ECHO}, tls: {{certificate: a.pem, key: a.key, {CLIENT_CA}}}",
            "one.tls.client_ca",
            "no certificate in PEM form in it",
        ),
        (
            'protocol: echo, listen: "ssl:0:privateKey=missing.pem"',
            "one.listen",
            "missing.pem: no such file or directory",
        ),
        (
            f'{HTTP}, request: {{url: "https://a.example/", ca: missing.pem}}',
            "one.request.ca",
            "missing.pem: no such file or directory",
        ),
        (
            f'{HTTP}, request: {{url: "https://a.example/", ca: empty.pem}}',
            "one.request.ca",
            "empty.pem",
        ),
        (
            f"{RELAY}, routes: [{{deliver: {{{SMARTHOST}, ca: missing.pem}}}}]",
            "one.routes[0].deliver.ca",
            "missing.pem",
        ),
        (
            f"{RELAY}, routes: [{{deliver: {{http: {{{HOOK}, ca: empty.pem}}}}}}]",
            "one.routes[0].deliver.http.ca",
            "empty.pem",
        ),
    ],
)
def test_what_cannot_be_built_is_shown_at_its_option(
    tmp_path: Path, certificates: Path, service: str, place: str, told: str
) -> None:
    for file in certificates.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    result = check(tmp_path, service, "--json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)
    assert problem["path"].startswith(f"services.{place}"), problem
    assert told in problem["what"]
    assert problem["line"] == 3
    # The column is that of the option, within the line of the service.
    assert problem["column"] > (len("  one: ") if place != "one" else 0)


PLUGIN = """
from netserve.plugin import ProtocolPlugin, Settings

def build(settings, context):
    print("the plugin prints")
    {body}

plugin = ProtocolPlugin(name="mine", settings=Settings, build=build)
"""


def plugin(folder: Path, name: str, body: str) -> str:
    (folder / f"{name}.py").write_text(PLUGIN.format(body=body))
    return f'protocol: "{name}:plugin", listen: "tcp:0:interface=127.0.0.1"'


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no such table')", "no such table"),
        ("raise KeyError('table')", "its protocol cannot be built: KeyError: 'table' (in "),
        ("raise SystemExit(3)", "its protocol cannot be built: SystemExit: 3 (in "),
        ("return None", "its protocol has nothing to host"),
    ],
)
def test_a_plugin_that_raises_is_shown_at_its_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, told: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"raising_{abs(hash(body))}"
    result = check(tmp_path, plugin(tmp_path, name, body), "--json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.stdout)
    assert problem["path"] == "services.one"
    assert told in problem["what"]


def test_what_a_plugin_prints_is_not_the_answer(tmp_path: Path) -> None:
    result = check(tmp_path, plugin(tmp_path, "printing_plugin", "raise ValueError"), "--json")
    json.loads(result.stdout)
    assert "the plugin prints" in result.stderr


ALL = """
netserve: {{state: state, status: "tcp:0:interface=127.0.0.1"}}
services:
  echo: {{protocol: echo, listen: ["unix:echo.sock", "udp:0:interface=127.0.0.1"],
         tls: {{certificate: {folder}/a.pem, key: {folder}/a.key}}}}
  web: {{protocol: http-bridge, listen: "tcp:0:interface=127.0.0.1", framing: http,
        request: {{url: "https://a.example/"}}}}
  answers: {{protocol: request-response, listen: "tcp:0:interface=127.0.0.1", reply: "hello"}}
  mail:
    protocol: smtp-relay
    listen: tcp:0:interface=127.0.0.1
    users: {{bob: "geheim"}}
    tls: {{certificate: {folder}/a.pem, key: {folder}/a.key}}
    http: {{listen: "tcp:0:interface=127.0.0.1", tokens: {{app: "0123456789abcdef0123456789"}}}}
    routes:
      - {{match: {{recipient: "*@a.example"}}, deliver: {{mx: true, tls: dane+mta-sts}}}}
      - {{match: {{recipient: "*@b.example"}}, deliver: {{maildir: "mail/{{local}}"}}}}
      - {{deliver: {{http: {{url: "https://a.example/"}}}}}}
"""


def traces(folder: Path) -> tuple[set[str], int, int]:
    """The files of a folder, and how many sockets and threads this process has."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    links = (_target(each) for each in Path("/proc/self/fd").iterdir())
    return files, sum(link.startswith("socket:") for link in links), threading.active_count()


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""


@pytest.mark.parametrize("broken", [False, True])
def test_a_check_leaves_no_file_no_socket_and_no_thread(
    tmp_path: Path, certificates: Path, broken: bool
) -> None:
    file = tmp_path / "config.yaml"
    text = ALL.format(folder=certificates)
    file.write_text(text.replace("a.key", "b.key", 1) if broken else text)
    run: Callable[[], Result] = lambda: CliRunner().invoke(main, ["check", str(file)])  # noqa: E731
    first = run()  # imports, and makes the reactor where there is none
    assert first.exit_code == int(broken), first.output
    before = traces(tmp_path)
    assert before[0] == {"config.yaml"}
    assert run().output == first.output
    assert traces(tmp_path) == before


def test_the_command_itself(tmp_path: Path, certificates: Path) -> None:
    """In a process of its own, whose reactor is netserve's."""
    file = tmp_path / "config.yaml"
    file.write_text(ALL.format(folder=certificates))
    code = "from netserve.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ok\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
