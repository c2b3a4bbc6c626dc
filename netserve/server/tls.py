"""OpenSSL contexts from a service's ``tls`` section.

The defaults pass Mozilla's "intermediate" profile (Server Side TLS, version 5.7).
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from netserve.plugin import TLS, Certificate

INTERMEDIATE_CIPHERS = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
    )
)
OLD_CIPHERS = ":".join(
    (
        INTERMEDIATE_CIPHERS,
        "ECDHE-ECDSA-AES128-SHA",
        "ECDHE-RSA-AES128-SHA",
        "ECDHE-ECDSA-AES256-SHA",
        "ECDHE-RSA-AES256-SHA",
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
        "AES128-SHA256",
        "AES256-SHA256",
        "AES128-SHA",
        "AES256-SHA",
        "DES-CBC3-SHA",
        "@SECLEVEL=0",  # else OpenSSL has neither the old versions nor SHA-1
    )
)
"""For devices that have nothing better: what Mozilla's "old" profile has, without DHE."""
_VERSIONS = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}


_SOON: Final = datetime.timedelta(days=14)


class TLSError(ValueError):
    """A certificate, a key or a list of ciphers does not do.

    Arguments:
        option: the way to the option inside of ``tls``.
        what: what is wrong with it.
    """

    def __init__(self, option: tuple[str | int, ...], what: str) -> None:
        super().__init__(what)
        self.option = option
        self.what = what


@implementer(IOpenSSLServerConnectionCreator)
class ServerContextFactory:
    """Gives OpenSSL's context for each connection; certificates beside the first go by SNI.

    Arguments:
        settings: the service's ``tls`` section.

    Raises:
        TLSError: a file is missing or wrong, or the key is another certificate's.
    """

    def __init__(self, settings: TLS) -> None:
        self.expires = datetime.datetime.max.replace(tzinfo=datetime.UTC)
        """When the first of the certificates runs out."""
        contexts: dict[str, Any] = {}
        default = self._context(settings, settings, ())
        for index, certificate in enumerate(settings.more):
            context = self._context(settings, certificate, ("more", index))
            for name in self._names(certificate):
                contexts.setdefault(name, context)
        if contexts:
            for name in self._names(settings):
                contexts[name] = default

            def choose(connection: Any) -> None:
                context = find_by_name(contexts, connection.get_servername())
                if context is not None:
                    connection.set_context(context)

            default.set_tlsext_servername_callback(choose)
        self._default = default

    def getContext(self) -> Any:
        """The context, for `ITLSTransport.startTLS` in its older form."""
        return self._default

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """OpenSSL's state for one connection."""
        return SSL.Connection(self._default, None)

    def _context(self, settings: TLS, certificate: Certificate, at: tuple[str | int, ...]) -> Any:
        chain = _certificates(certificate.certificate, (*at, "certificate"))
        if certificate.chain is not None:
            chain += _certificates(certificate.chain, (*at, "chain"))
        self.expires = min(self.expires, chain[0].not_valid_after_utc)
        key = _private_key(certificate.key, (*at, "key"))
        if key.public_key() != chain[0].public_key():
            raise TLSError((*at, "key"), "the key does not belong to the certificate")
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(_VERSIONS[settings.minimum_version])
        context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection costs 34 KiB less
        context.set_session_id(b"netserve")
        ciphers = settings.ciphers or (OLD_CIPHERS if settings.is_old else INTERMEDIATE_CIPHERS)
        try:
            context.set_cipher_list(ciphers.encode())
        except SSL.Error:
            raise TLSError(("ciphers",), "OpenSSL knows no cipher of this list") from None
        try:
            context.use_certificate(chain[0])
            context.use_privatekey(key)
            for one in chain[1:]:
                context.add_extra_chain_cert(one)
        except SSL.Error as error:
            what = f"OpenSSL does not take it: {_reason(error)}"
            raise TLSError((*at, "certificate"), what) from None
        if settings.client_ca is not None:
            _verify_clients(
                context, settings.client_ca, required=settings.client_certificate == "required"
            )
        return context

    @staticmethod
    def _names(certificate: Certificate) -> list[str]:
        leaf = _certificates(certificate.certificate, ("certificate",))[0]
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words, such as ``ee key too small``."""
    return "; ".join(str(words[-1]) for words in error.args[0]) or "it does not say why"


def expiry_warning(expires: datetime.datetime, now: datetime.datetime) -> str | None:
    """What the log says at the start about a certificate that has run out, or soon will."""
    if expires <= now:
        return f"a certificate has run out on {expires:%Y-%m-%d}; clients will not take it"
    if expires <= now + _SOON:
        return f"a certificate runs out on {expires:%Y-%m-%d}"
    return None


def find_by_name(contexts: dict[str, Any], server_name: bytes | None) -> Any:
    """The context for a server name: its own, else that of the wildcard one level up (RFC 6125)."""
    name = (server_name or b"").decode("ascii", "replace").lower()
    return contexts.get(name) or contexts.get("*." + name.partition(".")[2])


def _verify_clients(context: Any, client_ca: Path, *, required: bool) -> None:
    store = context.get_cert_store()
    for authority in _certificates(client_ca, ("client_ca",)):
        store.add_cert(crypto.X509.from_cryptography(authority))
        context.add_client_ca(authority)
    flags = SSL.VERIFY_PEER
    if required:
        flags |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(flags, lambda _connection, _cert, _error, _depth, ok: bool(ok))


def _read(path: Path, option: tuple[str | int, ...]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TLSError(option, f"{path}: {(error.strerror or str(error)).lower()}") from None


def _certificates(path: Path, option: tuple[str | int, ...]) -> list[x509.Certificate]:
    pem = _read(path, option)
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TLSError(option, f"{path}: no certificate in PEM form in it") from None


def _private_key(path: Path, option: tuple[str | int, ...]) -> Any:
    pem = _read(path, option)
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        raise TLSError(option, f"{path}: the key has a passphrase; give one without") from None
    except ValueError:
        raise TLSError(option, f"{path}: no private key in PEM form in it") from None
