"""TLS as a client of smarthosts: checked, or only encrypted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer


@implementer(IOpenSSLClientConnectionCreator)
class Unchecked:
    """Encrypts, and takes any certificate.

    Arguments:
        host: is named to the server (SNI), unless it is an address.
    """

    def __init__(self, host: str) -> None:
        self._context = CertificateOptions(verify=False).getContext()
        self._name = None if _is_address(host) else host.encode("idna")

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


class ClientTLS:
    """Makes what `startTLS` wants, once for each host.

    Arguments:
        verify: chain and name are checked.
        ca: the only certificates to trust, PEM; None: the system's.

    Raises:
        ValueError: `ca` can't be read, or has no certificate in it.
    """

    def __init__(self, *, verify: bool, ca: Path | None = None) -> None:
        self._verify = verify
        self._trust: Callable[[], Any] = platformTrust if ca is None else _trust_in(ca)
        self._made: dict[str, Any] = {}

    def for_host(self, host: str) -> Any:
        """For a server by this name or address."""
        made = self._made.get(host)
        if made is None:
            made = (
                optionsForClientTLS(host, trustRoot=self._trust())
                if self._verify
                else Unchecked(host)
            )
            self._made[host] = made
        return made


def _trust_in(ca: Path) -> Callable[[], Any]:
    try:
        certificates = x509.load_pem_x509_certificates(ca.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot read {ca}: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"no certificate in {ca}") from None
    root = trustRootFromCertificates(
        [Certificate(crypto.X509.from_cryptography(each)) for each in certificates]
    )
    return lambda: root


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
