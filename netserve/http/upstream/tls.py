"""TLS to upstreams: the chain and the name are checked, always.

The checks are Twisted's and service-identity's (RFC 6125, RFC 9525). One context of OpenSSL serves
all connections with the same `UpstreamTLS`; what differs, the name, belongs to the connection.
"""

from __future__ import annotations

import ipaddress
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from service_identity.pyopenssl import verify_hostname, verify_ip_address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer


class UpstreamTLS:
    """How TLS is spoken to the upstreams of one place in the file.

    Two of them are never the same origin, so one is made for each place and kept.

    Arguments:
        ca: PEM file of the authorities that are trusted in place of the system's.
        certificate: PEM file of our certificate, with its chain, for upstreams that ask for one.
        key: PEM file of its private key.
        server_name: the name that is asked for (SNI) and that the certificate has to be for; by
            default the host that is connected to.

    Raises:
        ValueError: a file cannot be read, or key and certificate do not belong together.
    """

    def __init__(
        self,
        *,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        server_name: str | None = None,
    ) -> None:
        self.server_name = server_name
        self._trust: Any = _trust_in(ca) if ca is not None else platformTrust()
        self._chain = _certificates(certificate) if certificate is not None else []
        self._key: Any = _private_key(key) if key is not None else None
        if bool(self._chain) != bool(self._key):
            raise ValueError("a client certificate needs its key, and a key its certificate")
        if self._key and self._chain[0].public_key() != self._key.public_key():
            raise ValueError(f"{key}: the key does not belong to {certificate}")

    def for_host(self, host: str) -> Any:
        """What `ITLSTransport.startTLS` takes, for one connection.

        Arguments:
            host: that is connected to.
        """
        return _Handshake(self._context, self.server_name or host)

    @cached_property
    def _context(self) -> Any:
        options: dict[str, Any] = {}
        if self._chain:
            leaf, *rest = [crypto.X509.from_cryptography(each) for each in self._chain]
            options["certificate"], options["extraCertChain"] = leaf, rest
            options["privateKey"] = crypto.PKey.from_cryptography_key(self._key)
        context = CertificateOptions(
            trustRoot=self._trust,
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableProtocols=[b"http/1.1"],
            **options,
        ).getContext()
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_info_callback(_on_info)
        return context


@implementer(IOpenSSLClientConnectionCreator)
class _Handshake:
    """Makes the state of OpenSSL for one connection."""

    def __init__(self, context: Any, name: str) -> None:
        self._context = context
        self._name = name

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> Any:
        return _Checked(self._context, tlsProtocol, self._name)


class _Checked(SSL.Connection):
    """One whose peer has to be the one that was asked for."""

    def __init__(self, context: Any, protocol: TLSMemoryBIOProtocol, name: str) -> None:
        super().__init__(context, None)
        self.unchecked: tuple[TLSMemoryBIOProtocol, str] | None = (protocol, name)
        if not _is_address(name):
            # A server name is a host name, and never an address (RFC 6066, 3).
            self.set_tlsext_host_name(name.encode("idna" if not name.isascii() else "ascii"))


def _on_info(connection: Any, where: int, _: int) -> None:
    """OpenSSL's word on a handshake; an exception would get lost in OpenSSL."""
    if not where & SSL.SSL_CB_HANDSHAKE_DONE or not isinstance(connection, _Checked):
        return
    unchecked, connection.unchecked = connection.unchecked, None  # TLS 1.3 may tell of it again
    if unchecked is not None:
        protocol, name = unchecked
        verify = verify_ip_address if _is_address(name) else verify_hostname
        try:
            verify(connection, name)
        except Exception:
            protocol.failVerification(Failure())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _trust_in(ca: Path) -> Any:
    return trustRootFromCertificates(
        [Certificate(crypto.X509.from_cryptography(each)) for each in _certificates(ca)]
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        if str(error).startswith("cannot read"):
            raise
        raise ValueError(f"{path}: no certificate in PEM form in it") from None


def _private_key(path: Path) -> Any:
    pem = _read(path)
    try:
        return load_pem_private_key(pem, password=None)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: no private key in PEM form without a passphrase in it") from None
