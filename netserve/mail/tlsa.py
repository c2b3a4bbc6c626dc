"""TLSA records (RFC 6698, 7671) as SMTP uses them (RFC 7672): which chain is a server's own.

Only the usages that SMTP has count:

============  ======================================================================
usage         what it names, and what is checked
============  ======================================================================
DANE-EE (3)   the server's own certificate or key; neither names nor dates
DANE-TA (2)   an authority that the chain leads to; names, dates and signatures
============  ======================================================================

Everything else is unusable: PKIX-TA (0) and PKIX-EE (1), selectors and digests that are not
known, data of the wrong length. A server with secure records of which none is usable must be
spoken to by TLS, but there is nothing to check its certificate by.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import NameOID
from OpenSSL import crypto
from service_identity.cryptography import extract_patterns
from service_identity.exceptions import CertificateError, VerificationError
from service_identity.hazmat import DNS_ID, DNSPattern, verify_service_identity

from netserve.errors import UpstreamError

DANE_TA: Final = 2
DANE_EE: Final = 3
MAX_RECORDS: Final = 32
"""Records of one server that are looked at."""
MAX_CHAIN: Final = 10
"""Certificates of one chain that are looked at."""

_CERTIFICATE, _KEY = 0, 1  # selectors
_FULL: Final = 0
_DIGESTS: Final[dict[int, Callable[[bytes], bytes]]] = {
    _FULL: bytes,
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}
_LENGTHS: Final = {1: 32, 2: 64}

_BROKEN: Final = (ValueError, TypeError, UnsupportedAlgorithm)
"""What `cryptography` raises for certificates and keys that it can't read."""


class TlsaMismatch(UpstreamError):
    """The server's certificate is not what its TLSA records name."""


@dataclass(frozen=True, slots=True)
class TLSA:
    """One record.

    Arguments:
        usage: 0 to 3.
        selector: 0 for the whole certificate, 1 for its key.
        matching: 0 for the data itself, 1 for its SHA-256, 2 for its SHA-512.
        data: what the certificate is compared with.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def usable(self) -> bool:
        """Whether SMTP can check a certificate by it (RFC 7672, 3.1)."""
        if self.usage not in {DANE_TA, DANE_EE} or self.selector not in {_CERTIFICATE, _KEY}:
            return False
        if self.matching != _FULL:
            return len(self.data) == _LENGTHS.get(self.matching)
        try:
            if self.selector == _CERTIFICATE:
                x509.load_der_x509_certificate(self.data)
            else:
                load_der_public_key(self.data)
        except _BROKEN:
            return False
        return True

    def matches(self, certificate: x509.Certificate) -> bool:
        """Whether the certificate, or its key, is the one that the record names."""
        return _DIGESTS[self.matching](_selected(certificate, self.selector)) == self.data


def usable(records: Iterable[TLSA]) -> list[TLSA]:
    """The records that count.

    Where one certificate or key stands there by digests of two kinds, only the stronger kind
    counts (RFC 7671, 9), so that a weak digest takes nothing from a strong one.
    """
    found = [record for record in list(records)[:MAX_RECORDS] if record.usable]
    strongest: dict[tuple[int, int], int] = {}
    for record in found:
        kind = (record.usage, record.selector)
        strongest[kind] = max(strongest.get(kind, _FULL), record.matching)
    return [
        record
        for record in found
        if record.matching in {_FULL, strongest[record.usage, record.selector]}
    ]


def verify(
    records: Sequence[TLSA],
    chain: Sequence[x509.Certificate],
    names: Sequence[str],
    now: datetime.datetime,
) -> None:
    """Hold a server's chain against its records; one that matches is enough.

    Arguments:
        records: usable ones.
        chain: as the server sent it, its own certificate first.
        names: the names that a certificate under DANE-TA may be for.
        now: the time, for the dates of a chain; it has a time zone.

    Raises:
        TlsaMismatch: none matches; the text says what is nearest to the reason.
    """
    chain = chain[:MAX_CHAIN]
    if not chain:
        raise TlsaMismatch("the server has no certificate")
    if any(record.usage == DANE_EE and record.matches(chain[0]) for record in records):
        return
    reason = "the certificate is not one that TLSA names"
    for record in records:
        if record.usage != DANE_TA:
            continue
        problem = _problem_with_authority(record, chain, now)
        if problem is None:
            if _is_for(chain[0], names):
                return
            reason = f"the certificate is not for {' or '.join(names)}"
        elif problem:
            reason = problem
    raise TlsaMismatch(reason)


def _selected(certificate: x509.Certificate, selector: int) -> bytes:
    if selector == _CERTIFICATE:
        return certificate.public_bytes(Encoding.DER)
    try:
        return certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    except _BROKEN:
        return b""


# DANE-TA.


def _problem_with_authority(
    record: TLSA, chain: Sequence[x509.Certificate], now: datetime.datetime
) -> str | None:
    """None where the chain leads to the authority of the record; else why not, if it nearly does.

    The authority is in the chain, or (RFC 7671, 5.2.2) only the record has it, as a whole
    certificate or as a key.
    """
    anchors = [certificate for certificate in chain[1:] if record.matches(certificate)]
    if not anchors and record.matching == _FULL:
        if record.selector == _CERTIFICATE:
            anchors = [x509.load_der_x509_certificate(record.data)]
        else:
            anchors = [each for each in chain if _is_signed_by(each, record.data)]
    problem: str | None = ""
    for anchor in anchors:
        problem = _problem_with_path(chain, anchor, now)
        if problem is None:
            break
    return problem


def _problem_with_path(
    chain: Sequence[x509.Certificate], anchor: x509.Certificate, now: datetime.datetime
) -> str | None:
    """OpenSSL's word on whether the chain leads to this certificate."""
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now.astimezone(datetime.UTC).replace(tzinfo=None))
    store.add_cert(crypto.X509.from_cryptography(anchor))
    leaf, *others = (crypto.X509.from_cryptography(each) for each in chain)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        return f"the chain to the authority that TLSA names is broken: {error}"
    return None


def _is_signed_by(certificate: x509.Certificate, der: bytes) -> bool:
    """Whether a key that is known without a certificate has signed this one."""
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        key = load_der_public_key(der)
        algorithm = certificate.signature_hash_algorithm
        parameters = certificate.signature_algorithm_parameters
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            if not isinstance(parameters, (padding.PKCS1v15, padding.PSS)):
                return False
            key.verify(signature, signed, parameters, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
            key.verify(signature, signed, parameters)
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, signed)
        else:
            return False
    except (InvalidSignature, *_BROKEN):
        return False
    return True


def _is_for(certificate: x509.Certificate, names: Iterable[str]) -> bool:
    """Whether the certificate has one of the names; a common name counts if there is no other."""
    try:
        patterns = [one for one in extract_patterns(certificate) if isinstance(one, DNSPattern)]
        if not patterns:
            subject = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            patterns = [DNSPattern.from_bytes(str(one.value).encode()) for one in subject[-1:]]
    except (CertificateError, *_BROKEN):
        return False
    for name in names:
        try:
            verify_service_identity(patterns, [DNS_ID(name)], [])
        except (VerificationError, CertificateError, ValueError):
            continue
        return True
    return False
