r"""A mail provider for tests: an SMTP server that may want OAuth2, and a token endpoint over HTTP.

::

    with TokenEndpoint() as endpoint, Provider(tokens=endpoint.tokens) as provider:
        ...                       # let something log in at 127.0.0.1:{provider.port}
    assert provider.taken[0].content == b"Subject: x\r\n\r\nHello\r\n"
    assert endpoint.requests[0]["grant_type"] == "refresh_token"

Both run in threads of their own. The SMTP server is aiosmtpd's.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from aiosmtpd.smtp import MISSING, AuthResult

from netserve.testing.next_hop import CuttingController
from netserve.testing.process import free_port

__all__ = ["Provider", "Taken", "TokenEndpoint"]

_CHALLENGE = '{"status":"401","schemes":"bearer","scope":"mail"}'


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that the provider has taken."""

    sender: str
    options: list[str]
    """Parameters of MAIL."""
    recipients: list[str]
    content: bytes
    user: str
    """Who had logged in, or an empty string."""


class Provider:
    """The SMTP server.

    Arguments:
        tokens: access tokens that are good now; it may change.
        mechanisms: of AUTH; with none nobody needs to log in.
        lacks: extensions that it does not offer, such as ``8BITMIME``.
        senders: the addresses in From that are taken; empty: all.
        options: other arguments of aiosmtpd's `Controller`, such as `tls_context`.
    """

    def __init__(
        self,
        *,
        tokens: Collection[str] = (),
        mechanisms: Collection[str] = (),
        lacks: Collection[str] = (),
        senders: Collection[str] = (),
        **options: Any,
    ) -> None:
        self.taken: list[Taken] = []
        self.refusals = 0
        """How many logins were refused."""
        self.sessions: set[Any] = set()
        """The peers that were greeted."""
        self.tokens = tokens
        self._lacks = lacks
        self._senders = senders
        self.port = free_port()
        self._controller = CuttingController(
            self,
            hostname="127.0.0.1",
            port=self.port,
            auth_required=bool(mechanisms),
            auth_require_tls="tls_context" in options,
            auth_exclude_mechanism={"PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"} - set(mechanisms),
            enable_SMTPUTF8="SMTPUTF8" not in lacks,
            data_size_limit=options.pop("data_size_limit", 2**26),
            **options,
        )

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._controller.stop()

    # What aiosmtpd calls.

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.sessions.add(session.peer)
        return [line for line in responses if line[4:].split()[0] not in self._lacks]

    async def auth_XOAUTH2(self, server: Any, args: list[str]) -> AuthResult:
        return await self._token(server, args, "XOAUTH2")

    async def auth_OAUTHBEARER(self, server: Any, args: list[str]) -> AuthResult:
        return await self._token(server, args, "OAUTHBEARER")

    async def _token(self, server: Any, args: list[str], mechanism: str) -> AuthResult:
        if len(args) > 1:
            response: Any = b64decode(args[1], validate=True)
        else:
            response = await server.challenge_auth("")
        if response is MISSING:
            return AuthResult(success=False)
        head, auth, *rest = response.decode().split("\x01")
        user = head.removeprefix("user=") if mechanism == "XOAUTH2" else head.split(",")[1][2:]
        token = auth.removeprefix("auth=Bearer ")
        if token in self.tokens and rest == ["", ""]:
            return AuthResult(success=True, auth_data=user)
        self.refusals += 1
        answer = await server.challenge_auth(_CHALLENGE)
        if answer != (b"" if mechanism == "XOAUTH2" else b"\x01"):
            return AuthResult(success=False, handled=False, message="501 5.5.2 what is that")
        return AuthResult(success=False, handled=False)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        authors = [
            line for line in envelope.original_content.split(b"\r\n\r\n")[0].split(b"\r\n")
            if line.lower().startswith(b"from:")
        ]  # fmt: skip
        allowed = [sender.encode() for sender in self._senders]
        if allowed and not any(sender in line for line in authors for sender in allowed):
            return "550 5.7.60 SendAsDenied: this is not an address of yours"
        self.taken.append(
            Taken(
                envelope.mail_from,
                list(envelope.mail_options),
                list(envelope.rcpt_tos),
                envelope.original_content,
                str(session.auth_data or ""),
            )
        )
        return "250 2.0.0 taken"


@dataclass
class TokenEndpoint:
    """The token endpoint: a refresh token is traded for an access token, and never twice.

    Arguments:
        refresh_token: the one that is good now; each answer has another one in it where `rotates`.
        rotates: whether a refresh token is good once.
        life: seconds, as the answers have it.
        failures: answers that are given first, each a status and a body.
        prefix: of access tokens.
    """

    refresh_token: str = "refresh-0"  # noqa: S105 - of a test
    rotates: bool = False
    life: float = 3600
    failures: list[tuple[int, dict[str, Any] | bytes]] = field(default_factory=list)
    prefix: str = "access"
    tokens: set[str] = field(default_factory=set)
    """The access tokens that were given and are good."""
    requests: list[dict[str, str]] = field(default_factory=list)
    """The forms that came."""

    def __enter__(self) -> Self:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = endpoint.answer(dict(parse_qsl(body.decode())))
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/token"

    def answer(self, form: dict[str, str]) -> tuple[int, dict[str, Any] | bytes]:
        """Status and body for a request."""
        self.requests.append(form)
        if self.failures:
            return self.failures.pop(0)
        if form.get("grant_type") == "refresh_token":
            if form.get("refresh_token") != self.refresh_token:
                return 400, {"error": "invalid_grant", "error_description": "it is revoked"}
        elif not form.get("client_secret"):
            return 401, {"error": "invalid_client"}
        token = f"{self.prefix}-{len(self.requests)}"
        self.tokens.add(token)
        granted = {"access_token": token, "token_type": "Bearer", "expires_in": self.life}
        if self.rotates:
            self.refresh_token = f"refresh-{len(self.requests)}"
            granted["refresh_token"] = self.refresh_token
        return 200, granted
