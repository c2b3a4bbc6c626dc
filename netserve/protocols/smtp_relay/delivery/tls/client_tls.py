"""TLS as a client of mail servers: only encrypted, or checked by chain and name, or by TLSA.

A context of OpenSSL is made once for each kind, however many servers there are; what is different
from one server to the next belongs to the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from netserve.errors import InvalidValue
from netserve.mail.tlsa import TlsaMismatch

ChainCheck: TypeAlias = Callable[[Sequence[x509.Certificate]], None]
"""Raises where a server's chain is not to be trusted."""


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """How one server is spoken to; what Twisted's `startTLS` wants.

    Arguments:
        context: of OpenSSL.
        host: is named to the server (SNI), unless it is an address; in ASCII.
        check: is given the connection once the handshake is done, and raises to end it.
    """

    __slots__ = ("_check", "_context", "_name")

    def __init__(
        self, context: SSL.Context, host: str, check: Callable[[SSL.Connection], None] | None
    ) -> None:
        self._context = context
        self._name = None if is_address(host) else host.encode("ascii")
        self._check = check

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection: SSL.Connection
        if self._check is None:
            connection = SSL.Connection(self._context, None)
        else:
            connection = _Checked(self._context, tlsProtocol, self._check)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


class _Checked(SSL.Connection):
    """One that is held to a check when its handshake is done."""

    def __init__(
        self,
        context: SSL.Context,
        protocol: TLSMemoryBIOProtocol,
        check: Callable[[SSL.Connection], None],
    ) -> None:
        super().__init__(context, None)
        self.held: tuple[TLSMemoryBIOProtocol, Callable[[SSL.Connection], None]] | None
        self.held = (protocol, check)


def _on_info(connection: SSL.Connection, where: int, _: int) -> None:
    """OpenSSL's word on a handshake; an exception would get lost in OpenSSL."""
    if not where & SSL.SSL_CB_HANDSHAKE_DONE or not isinstance(connection, _Checked):
        return
    held, connection.held = connection.held, None  # TLS 1.3 may tell of more than one
    if held is not None:
        protocol, check = held
        try:
            check(connection)
        except Exception:
            protocol.failVerification(Failure())


class ClientTLS:
    """Makes what `startTLS` wants.

    Arguments:
        ca: the only certificates to trust, PEM; None: the system's.

    Raises:
        ValueError: `ca` can't be read, or has no certificate in it.
    """

    def __init__(self, ca: Path | None = None) -> None:
        self._trust: Callable[[], Any] = platformTrust if ca is None else _trust_in(ca)
        self._any: SSL.Context | None = None
        self._trusted: SSL.Context | None = None

    def unchecked(self, host: str) -> Handshake:
        """Encrypted, with any certificate."""
        return Handshake(self._any_context(), host, None)

    def verified(self, host: str) -> Handshake:
        """The chain is checked, and that the certificate is for this name or address."""
        if self._trusted is None:
            self._trusted = CertificateOptions(trustRoot=self._trust()).getContext()
            self._trusted.set_info_callback(_on_info)
        verify = verify_ip_address if is_address(host) else verify_hostname
        return Handshake(self._trusted, host, lambda connection: verify(connection, host))

    def matching(self, host: str, check: ChainCheck) -> Handshake:
        """The chain is what such a check lets pass, whoever has signed it."""
        return Handshake(self._any_context(), host, partial(_check_chain, check))

    def _any_context(self) -> SSL.Context:
        if self._any is None:
            self._any = CertificateOptions(verify=False).getContext()
            self._any.set_info_callback(_on_info)
        return self._any


def _check_chain(check: ChainCheck, connection: SSL.Connection) -> None:
    try:
        chain = [each.to_cryptography() for each in connection.get_peer_cert_chain() or ()]
    except ValueError:
        raise TlsaMismatch("the certificate can't be read") from None
    check(chain)


def _trust_in(ca: Path) -> Callable[[], Any]:
    try:
        certificates = x509.load_pem_x509_certificates(ca.read_bytes())
    except OSError as error:
        raise InvalidValue(
            "cannot read {ca}: " + str(error.strerror).lower(), at=("ca",), ca=ca
        ) from None
    except ValueError:
        raise InvalidValue("no certificate in {ca}", at=("ca",), ca=ca) from None
    root = trustRootFromCertificates(
        [Certificate(crypto.X509.from_cryptography(each)) for each in certificates]
    )
    return lambda: root


def is_address(host: str) -> bool:
    """Whether a host is given by its address."""
    return ":" in host or host.replace(".", "").isdigit()
