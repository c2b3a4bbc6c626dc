"""A message by SMTP to any server, with each of its replies told; smtplib does the talking."""

from __future__ import annotations

import re
import secrets
import smtplib
import socket
import ssl
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final

import click

from netserve.mail.draft import DraftError, read_draft
from netserve.mail.mime import build, pieces

_TIMEOUT: Final = 60.0
_TLS_PORT: Final = 465
_PORT: Final = re.compile(r"[0-9]{1,5}")


class Refused(Exception):
    """The server does not take it.

    Arguments:
        what: what it said, or why there was no server to say something.
        is_temporary: whether it may take it another time.
    """

    def __init__(self, what: str, *, is_temporary: bool) -> None:
        super().__init__(what)
        self.is_temporary = is_temporary


def submit(
    message: dict[str, Any],
    server: str,
    *,
    tls: str,
    user: str | None,
    password: str | None,
    tell: Callable[[str], None],
) -> str:
    """Send a message; the server's last reply.

    Arguments:
        message: see `netserve.mail.draft`; without ``from`` it is of this host's postmaster.
        server: ``HOST`` or ``HOST:PORT``.
        tls: ``none``; ``may``: with any certificate, where it is offered; ``verify``.
        user: who logs in, or None.
        password: the user's.
        tell: is given each reply.

    Raises:
        Refused: it is not taken.
        ClickException: the message cannot be built, or the server is none.
    """
    host, port = _host_and_port(server)
    name = _own_name()
    try:
        draft = read_draft({"from": f"postmaster@{name}", **message})
    except DraftError as error:
        raise click.ClickException(str(error)) from None
    fields = f"Date: {formatdate()}\r\nMessage-ID: <{secrets.token_hex(12)}@{name}>\r\n"
    content = fields.encode() + b"".join(pieces(build(draft, token=secrets.token_hex(16))))
    try:
        with _connected(host, port, name, tls, tell) as client:
            if user is not None:
                code, said = client.login(user, password or "")
                tell(f"logged in as {user}: {_text(code, said)}")
            options = ("SMTPUTF8",) if draft.is_internationalised else ()
            _expect(client.mail(draft.sender, options), tell, "MAIL")
            for _, address in draft.recipients():
                _expect(client.rcpt(address), tell, f"RCPT <{address}>")
            return _expect(client.data(content), tell, "message")
    except smtplib.SMTPResponseException as error:
        text = _text(error.smtp_code, error.smtp_error)
        raise Refused(text, is_temporary=error.smtp_code < 500) from None
    except (OSError, smtplib.SMTPException) as error:
        raise Refused(f"{server}: {error}", is_temporary=True) from None


def _connected(
    host: str, port: int, name: str, tls: str, tell: Callable[[str], None]
) -> smtplib.SMTP:
    """A client behind EHLO, and behind TLS as far as that is wanted."""
    context = ssl.create_default_context()
    if tls != "verify":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if port == _TLS_PORT and tls != "none":
        client: smtplib.SMTP = smtplib.SMTP_SSL(host, port, name, timeout=_TIMEOUT, context=context)
    else:
        client = smtplib.SMTP(host, port, name, timeout=_TIMEOUT)
    client.ehlo_or_helo_if_needed()
    if port != _TLS_PORT and tls != "none" and (tls == "verify" or client.has_extn("starttls")):
        client.starttls(context=context)
        client.ehlo_or_helo_if_needed()
    version = getattr(client.sock, "version", lambda: None)()
    tell(f"connected to {host}:{port}, {f'by {version}' if version else 'in clear'}")
    return client


def _expect(reply: tuple[int, bytes], tell: Callable[[str], None], what: str) -> str:
    code, said = reply
    if not 200 <= code <= 299:
        raise smtplib.SMTPResponseException(code, said)
    text = _text(code, said)
    tell(f"{what}: {text}")
    return text


def _text(code: int, said: bytes | str) -> str:
    text = said if isinstance(said, str) else said.decode("utf-8", "replace")
    return f"{code} {' '.join(text.split())}"


def _host_and_port(server: str) -> tuple[str, int]:
    """From ``HOST``, ``HOST:PORT``, ``::1`` or ``[::1]:PORT``.

    Raises:
        ClickException: it is none of these.
    """
    host, colon, port = server.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        host, port = server, "25"
    host = host.removeprefix("[").removesuffix("]")
    if not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise click.ClickException(f"not a server: {server!r}; write HOST or HOST:PORT")
    return host, int(port)


def _own_name() -> str:
    name = socket.gethostname()
    return name if name.replace("-", "").replace(".", "").isalnum() else "localhost"
