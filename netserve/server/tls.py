"""OpenSSL contexts from a service's ``tls`` section.

The defaults pass Mozilla's "intermediate" profile (Server Side TLS, version 5.7):

====================  ===========================================================================
the profile names     here
====================  ===========================================================================
versions              TLS 1.2 and 1.3
ciphers               ECDHE with AES-GCM and ChaCha20 only; the client's order counts
curves                X25519, P-256, P-384
DH parameters         none are needed: no cipher uses finite-field Diffie-Hellman
renegotiation         refused (RFC 9325, section 3.5); the extension of RFC 5746 is answered
compression           off (RFC 9325, section 3.3)
session tickets       encrypted with a key that is replaced daily (RFC 9325, section 3.4)
OCSP stapling         not done: the authorities that issue most certificates ended OCSP in 2025
====================  ===========================================================================
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from OpenSSL._util import lib as _openssl
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from netserve.errors import OptionError
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
CURVES: Final = b"X25519:P-256:P-384"
"""For ECDHE, in the order of preference. Both profiles have these and no others."""
TICKET_KEY_LIFE: Final = 24 * 3600.0
"""Seconds after which session tickets are encrypted with a new key. Whoever takes a key out of the
process can read the sessions of that time, forward secrecy or not."""
_VERSIONS = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}


_SOON: Final = datetime.timedelta(days=14)


class TLSError(OptionError):
    """A certificate, a key or a list of ciphers does not do; its option is inside of ``tls``."""


@dataclass(frozen=True, slots=True)
class _Identity:
    """A certificate with its chain and its key.

    Arguments:
        option: the way to it inside of ``tls``.
        chain: the certificate, then those between it and the root.
        key: its private key.
    """

    option: tuple[str | int, ...]
    chain: list[x509.Certificate]
    key: Any

    @property
    def names(self) -> list[str]:
        """The host names in the certificate."""
        extensions = self.chain[0].extensions
        try:
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return []
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What the files of a ``tls`` section hold.

    Arguments:
        settings: the section.
        first: the certificate for clients that give no name that is known.
        more: further ones.
        authorities: that may sign certificates of clients.
    """

    settings: TLS
    first: _Identity
    more: list[_Identity]
    authorities: list[x509.Certificate]


def load(settings: TLS) -> _Loaded:
    """Read the files of a ``tls`` section.

    Raises:
        TLSError: a file is missing or wrong, or the key is another certificate's.
    """
    authority = settings.client_ca
    return _Loaded(
        settings,
        _load(settings, ()),
        [_load(one, ("more", index)) for index, one in enumerate(settings.more)],
        [] if authority is None else _certificates(authority, ("client_ca",)),
    )


@implementer(IOpenSSLServerConnectionCreator)
class ServerContextFactory:
    """Gives OpenSSL's context for each connection; certificates beside the first go by SNI.

    Arguments:
        settings: the service's ``tls`` section.
        clock: gives monotonic seconds, for the life of keys of session tickets.

    Raises:
        TLSError: a file is missing or wrong, or the key is another certificate's.
    """

    def __init__(self, settings: TLS, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loaded = load(settings)
        self._default: Any = None
        self._renew_at = 0.0
        self._renew()

    @property
    def expires(self) -> datetime.datetime:
        """When the first of the certificates expires."""
        loaded = self._loaded
        return min(one.chain[0].not_valid_after_utc for one in (loaded.first, *loaded.more))

    def prepare(self, settings: TLS | None = None) -> ServerContextFactory:
        """Read files again, and change nothing yet.

        Arguments:
            settings: other ones; the same without it.

        Returns:
            What `use` takes.

        Raises:
            TLSError: a file is missing or wrong.
        """
        return ServerContextFactory(settings or self._loaded.settings, clock=self._clock)

    def use(self, prepared: ServerContextFactory) -> None:
        """Go by what `prepare` has read, for the connections that begin from now on."""
        self._loaded = prepared._loaded
        self._default = prepared._default
        self._renew_at = prepared._renew_at

    def getContext(self) -> Any:
        """The context, for `ITLSTransport.startTLS` in its older form."""
        if self._clock() >= self._renew_at:
            self._renew()
        return self._default

    def serverConnectionForTLS(self, tlsProtocol: Any) -> Any:
        """OpenSSL's state for one connection."""
        return SSL.Connection(self.getContext(), None)

    def _renew(self) -> None:
        """Make the contexts; OpenSSL gives each a new key for its session tickets."""
        self._renew_at = self._clock() + TICKET_KEY_LIFE
        self._default = self._context(self._loaded.first)
        contexts: dict[str, Any] = {}
        for identity in self._loaded.more:
            context = self._context(identity)
            for name in identity.names:
                contexts.setdefault(name, context)
        if not contexts:
            return
        contexts.update(dict.fromkeys(self._loaded.first.names, self._default))

        def choose(connection: Any) -> None:
            context = find_by_name(contexts, connection.get_servername())
            if context is not None:
                connection.set_context(context)

        self._default.set_tlsext_servername_callback(choose)

    def _context(self, identity: _Identity) -> Any:
        settings = self._loaded.settings
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
        _set_curves(context)
        try:
            context.use_certificate(identity.chain[0])
            context.use_privatekey(identity.key)
            for one in identity.chain[1:]:
                context.add_extra_chain_cert(one)
        except SSL.Error as error:
            what = "OpenSSL does not take it: " + _reason(error)
            raise TLSError((*identity.option, "certificate"), what) from None
        if self._loaded.authorities:
            required = settings.client_certificate == "required"
            _verify_clients(context, self._loaded.authorities, required=required)
        return context


def _load(settings: Certificate, at: tuple[str | int, ...]) -> _Identity:
    chain = _certificates(settings.certificate, (*at, "certificate"))
    if settings.chain is not None:
        chain += _certificates(settings.chain, (*at, "chain"))
    key = _private_key(settings.key, (*at, "key"))
    if key.public_key() != chain[0].public_key():
        raise TLSError((*at, "key"), "the key does not belong to the certificate")
    return _Identity(at, chain, key)


def _set_curves(context: Any) -> None:
    """Hold key agreement to `CURVES`; OpenSSL's default has X448 and P-521 beside them."""
    # pyOpenSSL has no call for several curves. Its context is a pointer that OpenSSL's own takes.
    set_list = getattr(_openssl, "SSL_CTX_set1_curves_list", None)
    if set_list is not None:
        done = set_list(context._context, CURVES)  # noqa: SLF001
        assert done == 1, "OpenSSL does not know the curves"  # noqa: S101 - every one does
    else:  # cryptography before 47: the one curve that every client has (RFC 8446, section 9.1)
        context.set_tmp_ecdh(crypto.get_elliptic_curve("prime256v1"))


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


def _verify_clients(
    context: Any, authorities: Iterable[x509.Certificate], *, required: bool
) -> None:
    store = context.get_cert_store()
    for authority in authorities:
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
        reason = (error.strerror or str(error)).lower()
        raise TLSError(option, "{path}: " + reason, path=path) from None


def _certificates(path: Path, option: tuple[str | int, ...]) -> list[x509.Certificate]:
    pem = _read(path, option)
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TLSError(option, "{path}: no certificate in PEM form in it", path=path) from None


def _private_key(path: Path, option: tuple[str | int, ...]) -> Any:
    pem = _read(path, option)
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:
        what = "{path}: the key has a passphrase; give one without"
        raise TLSError(option, what, path=path) from None
    except ValueError:
        raise TLSError(option, "{path}: no private key in PEM form in it", path=path) from None
