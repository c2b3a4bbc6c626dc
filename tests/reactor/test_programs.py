"""Programs that nobody here wrote, unchanged on netserve's reactor."""

import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.processes import free_port, is_open, until

pytestmark = pytest.mark.slow


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def running(folder: Path, source: str, port: int) -> Iterator[None]:
    """A Twisted program as a file of its own; only the reactor's installation is before it."""
    file = folder / "program.py"
    prologue = f"import netserve.reactor\nnetserve.reactor.install()\nPORT = {port}\n"
    file.write_text(prologue + textwrap.dedent(source))
    with (folder / "output.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, file], cwd=folder, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or is_open(port), 20, "the program to listen")
        assert process.poll() is None, (folder / "output.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(10)


WEB = """
from twisted.internet import reactor
from twisted.web.server import Site
from twisted.web.static import Data, File
root = File(".")
root.putChild(b"hello", Data(b"Hello, client!", "text/plain"))
reactor.listenTCP(PORT, Site(root), interface="127.0.0.1")
reactor.run()
"""


def test_twisted_web_serves_wrk(tmp_path: Path) -> None:
    wrk, port = program("wrk"), free_port()
    with running(tmp_path, WEB, port):
        url = f"http://127.0.0.1:{port}/hello"
        done = subprocess.run([wrk, "-c50", "-t1", "-d2s", url], capture_output=True, text=True,
                              timeout=30, check=True)  # fmt: skip
    assert "Non-2xx" not in done.stdout
    assert "Socket errors" not in done.stdout
    rate = float(done.stdout.split("Requests/sec:")[1].split()[0])
    # No request waited for an acknowledgement: 50 connections would then make 1,250 a second.
    assert rate > 1300, done.stdout


def test_twisted_web_sends_a_large_file_to_curl(tmp_path: Path) -> None:
    curl, port = program("curl"), free_port()
    content = os.urandom(30_000_000)
    (tmp_path / "large.bin").write_bytes(content)
    with running(tmp_path, WEB, port):
        url = f"http://127.0.0.1:{port}/large.bin"
        done = subprocess.run([curl, "-sS", url], capture_output=True, timeout=60, check=True)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(content).digest()


def test_treq_asks_a_web_server(tmp_path: Path) -> None:
    port = free_port()
    client = f"""
    import netserve.reactor
    netserve.reactor.install()
    import treq
    from twisted.internet.task import react

    async def main(reactor):
        for _ in range(20):
            answer = await treq.get("http://127.0.0.1:{port}/hello")
            print(answer.code, await treq.text_content(answer))

    react(lambda reactor: __import__("twisted.internet.defer").internet.defer.ensureDeferred(
        main(reactor)))
    """
    with running(tmp_path, WEB, port):
        words = [sys.executable, "-c", textwrap.dedent(client)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout.splitlines() == ["200 Hello, client!"] * 20, done.stderr


SSH = """
from twisted.conch import avatar
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.ssh import factory, keys, session
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.conch.interfaces import IConchUser, ISession
from zope.interface import implementer

@implementer(ISession)
class Session:
    def __init__(self, avatar): pass
    def execCommand(self, protocol, command):
        protocol.makeConnection(self.Nothing())
        transport = protocol.session
        transport.write(b"you said: " + command + b"\\n")
        reactor.callLater(0, self.end, transport)
    class Nothing:
        def loseConnection(self): pass
        def write(self, data): pass
    def end(self, channel):
        channel.conn.sendRequest(channel, b"exit-status", b"\\0\\0\\0\\0")
        channel.loseConnection()
    def getPty(self, *a): pass
    def openShell(self, protocol): protocol.loseConnection()
    def eofReceived(self): pass
    def closed(self): pass

class User(avatar.ConchUser):
    def __init__(self):
        super().__init__()
        self.channelLookup[b"session"] = session.SSHSession

from twisted.python import components
components.registerAdapter(Session, User, ISession)

class Realm:
    def requestAvatar(self, name, mind, *interfaces):
        return IConchUser, User(), lambda: None

key = keys.Key.fromFile("host")
checker = SSHPublicKeyChecker(InMemorySSHKeyDB({b"user": [keys.Key.fromFile("client.pub")]}))
server = factory.SSHFactory()
server.portal = Portal(Realm(), [checker])
server.publicKeys = {key.sshType(): key.public()}
server.privateKeys = {key.sshType(): key}
reactor.listenTCP(PORT, server, interface="127.0.0.1")
reactor.run()
"""


def test_conch_serves_a_real_ssh(tmp_path: Path) -> None:
    ssh, keygen, port = program("ssh"), program("ssh-keygen"), free_port()
    for name in ("host", "client"):
        words = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(words, check=True, timeout=20)
    options = ["-F", "/dev/null", "-i", str(tmp_path / "client"), "-p", str(port)]
    for option in ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"):
        options += ["-o", option]
    with running(tmp_path, SSH, port):
        done = subprocess.run([ssh, *options, "user@127.0.0.1", "hello there"],
                              capture_output=True, text=True, timeout=30, check=False)  # fmt: skip
    assert done.stdout == "you said: hello there\n", (
        done.stderr + (tmp_path / "output.log").read_text()
    )
    assert done.returncode == 0


DNS = """
from twisted.internet import reactor
from twisted.names import dns, server, client
class Answers:
    def query(self, query, timeout=None):
        from twisted.internet.defer import succeed
        name = query.name.name
        answer = dns.RRHeader(name, dns.A, ttl=60, payload=dns.Record_A("192.0.2.7"))
        return succeed(([answer], [], []))
factory = server.DNSServerFactory(clients=[Answers()])
reactor.listenUDP(PORT, dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
reactor.listenTCP(PORT, factory, interface="127.0.0.1")
reactor.run()
"""


@pytest.mark.parametrize("transport", ["+notcp", "+tcp"])
def test_names_answers_dig(tmp_path: Path, transport: str) -> None:
    dig, port = program("dig"), free_port()
    words = [dig, "@127.0.0.1", "-p", str(port), transport, "+short", "+time=3", "host.example"]
    with running(tmp_path, DNS, port):
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout == "192.0.2.7\n"
