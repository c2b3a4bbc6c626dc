"""One account, one budget, whichever services use it, and over restarts too (S26)."""

from __future__ import annotations

import signal
import smtplib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiosmtpd.smtp import AuthResult

from netserve.testing.process import free_port, running, wait_until
from netserve.testing.provider import Provider, TokenEndpoint

SERVICE = """\
  {name}:
    protocol: smtp-relay
    listen: tcp:{port}:interface=127.0.0.1
    hostname: relay.test
    routes: [{{deliver: {{{deliver}}}}}]
"""


class Relay:
    """A process with several services, each with a route of its own.

    Arguments:
        folder: for its file and its state.
        delivers: the options of `deliver` of each service.
    """

    def __init__(self, folder: Path, delivers: Sequence[str]) -> None:
        self.ports = [free_port() for _ in delivers]
        self.config = folder / "config.yaml"
        services = "".join(
            SERVICE.format(name=f"mail{at}", port=port, deliver=deliver)
            for at, (port, deliver) in enumerate(zip(self.ports, delivers, strict=True))
        )
        self.config.write_text(f"netserve: {{state: ./var}}\nservices:\n{services}")

    def send(self, count: int) -> None:
        """Hand so many mails to each service, to all of them at the same time."""

        def send(port: int) -> None:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                for number in range(count):
                    text = f"Subject: {port} {number}\r\n\r\nHello\r\n"
                    client.sendmail("me@example.org", ["you@example.net"], text)

        with ThreadPoolExecutor(len(self.ports)) as pool:
            list(pool.map(send, self.ports))


def stays(provider: Provider, count: int) -> None:
    """See that the provider has taken so many mails, and takes no more for a while."""
    wait_until(lambda: len(provider.taken) >= count)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert len(provider.taken) == count
        time.sleep(0.1)


QUOTAS = {
    "the same in all": (["2/hour", "2/hour", "2/hour"], 2),
    "in one of them": (["", "2/hour", ""], 2),
    "the strictest counts": (["5/hour", "50/day", "3/hour"], 3),
    "by different times": (["4/hour", "1/day", "9/hour"], 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", QUOTAS)
def test_a_quota_is_the_account_s_over_services_and_restarts(tmp_path: Path, what: str) -> None:
    """S26: three services with one login send as much as one; so they do after each end."""
    quotas, count = QUOTAS[what]
    with Provider() as provider:
        hosts = [f"127.0.0.1:{provider.port}", f"127.0.0.1:{free_port()}"]
        lists = (f"[{hosts[0]}]", f"[{hosts[0]}, {hosts[1]}]", f"[{hosts[1]}, {hosts[0]}]")
        delivers = [
            f"smarthost: {smarthosts}, tls: none" + (f", quota: {quota}" if quota else "")
            for smarthosts, quota in zip(lists, quotas, strict=True)
        ]
        relay = Relay(tmp_path, delivers)
        with running(relay.config) as process:
            relay.send(4)
            stays(provider, count)
            process.stop(number=signal.SIGKILL)
        with running(relay.config) as process:
            relay.send(1)
            stays(provider, count)
            assert process.stop() in {0, -signal.SIGTERM}
        with running(relay.config):
            relay.send(1)
            stays(provider, count)


def test_other_logins_have_quotas_of_their_own(tmp_path: Path) -> None:
    good = AuthResult(success=True)
    with Provider(mechanisms=["PLAIN"], authenticator=lambda *_: good) as provider:
        deliver = (
            f"smarthost: 127.0.0.1:{provider.port}, tls: none, quota: 1/hour,"
            " login: {{user: user{}, password: p, in_clear: true}}"
        )
        relay = Relay(tmp_path, [deliver.format(1), deliver.format(2), deliver.format(1)])
        with running(relay.config):
            relay.send(1)
            wait_until(lambda: len(provider.taken) == 2)
            stays(provider, 2)


def test_one_token_is_asked_for_by_all_services(tmp_path: Path) -> None:
    """S26: at once, and one after the other; a refresh token that is good once is never lost."""
    with (
        TokenEndpoint(rotates=True) as endpoint,
        Provider(tokens=endpoint.tokens, mechanisms=["XOAUTH2"]) as provider,
    ):
        deliver = (
            f"smarthost: 127.0.0.1:{provider.port}, tls: none, login: {{user: me, in_clear: true,"
            f" oauth2: {{token_url: '{endpoint.url}', client_id: c, refresh_token: refresh-0"
        )
        scoped = f"{deliver}, scope: other}}}}"
        relay = Relay(tmp_path, [f"{deliver}}}}}"] * 3 + [scoped])
        with running(relay.config) as process:
            relay.send(2)
            wait_until(lambda: len(provider.taken) == 8)
            assert len(endpoint.requests) == 2, "one more for another scope"
            assert " warn " not in process.log()
            assert " error " not in process.log()


class CountingHop:
    """An SMTP server that is slow to take mail, and counts the sessions that there are."""

    def __init__(self) -> None:
        self.open = self.most = self.taken = 0
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]

    @contextmanager
    def running(self) -> Iterator[CountingHop]:
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self.open += 1
            self.most = max(self.most, self.open)
        try:
            self._talk(client)
        except OSError:
            pass
        finally:
            with self._lock:
                self.open -= 1
            client.close()

    def _talk(self, client: socket.socket) -> None:
        lines = client.makefile("rb")
        client.sendall(b"220 hop\r\n")
        for line in lines:
            if line.upper().startswith(b"DATA"):
                client.sendall(b"354 go\r\n")
                while next(lines) != b".\r\n":
                    pass
                time.sleep(0.05)
                self.taken += 1
            if line.upper().startswith(b"QUIT"):
                return
            client.sendall(b"250 ok\r\n")


@pytest.mark.parametrize("connections", [(2, 2, 2), (1, 20, 20)])
def test_sessions_are_counted_over_services(tmp_path: Path, connections: Sequence[int]) -> None:
    """S26: kept ones too; each service has its turn, and none waits for the end of another one."""
    hop = CountingHop()
    with hop.running():
        delivers = [
            f"smarthost: 127.0.0.1:{hop.port}, tls: none, connections: {limit}"
            for limit in connections
        ]
        relay = Relay(tmp_path, delivers)
        with running(relay.config):
            relay.send(15)
            wait_until(lambda: hop.taken == 45)
        assert hop.most <= min(connections)
