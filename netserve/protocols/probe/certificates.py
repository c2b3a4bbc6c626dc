"""The problems of a chain of certificates, and its expiry. Pure: it makes no connection.

`judge` reports every problem of a chain, not only the first one, and always the dates, so an alert
on an expired certificate can say when it expired.

===================  ==========================================================
reason               means
===================  ==========================================================
``expired``          a certificate of the chain has expired
``not_yet_valid``    a certificate is not valid yet
``wrong_name``       the server's certificate is for other names
``self_signed``      the server's certificate is self-signed
``untrusted_root``   the chain ends at an untrusted root
``incomplete``       an issuer is missing: the server did not send it, nor is it trusted
``invalid``          any other error of OpenSSL
===================  ==========================================================
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from OpenSSL import crypto
from service_identity import VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from service_identity.exceptions import CertificateError

_NO_CHECK_TIME: Final = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
_PARTIAL_CHAIN: Final = 0x80000
_REASONS: Final = {
    2: "incomplete",  # unable to get the issuer's certificate
    18: "self_signed",
    19: "untrusted_root",
    20: "incomplete",  # unable to get the local issuer's certificate
    21: "incomplete",  # unable to verify the leaf's signature
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of a chain.

    Arguments:
        problems: reasons (see the module) and explanations; empty for a valid chain.
        earliest_expiry: of the certificates that the server sent, in seconds since 1970.
        chain_expiry: of the chain up to a trusted root; None without such a chain.
        leaf: the server's certificate.
    """

    problems: tuple[tuple[str, str], ...]
    earliest_expiry: float
    chain_expiry: float | None
    leaf: x509.Certificate

    def labels(self) -> dict[str, str]:
        """The labels of ``probe_ssl_last_chain_info``."""
        leaf = self.leaf
        try:
            extension = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            names = ",".join(map(_name_text, extension.value))
        except (x509.ExtensionNotFound, ValueError):
            names = ""
        return {
            "fingerprint_sha256": leaf.fingerprint(hashes.SHA256()).hex(),
            "subject": leaf.subject.rfc4514_string(),
            "issuer": leaf.issuer.rfc4514_string(),
            "subjectalternative": names,
            "serialnumber": f"{leaf.serial_number:x}",
        }


def judge(
    chain: Sequence[crypto.X509], store: crypto.X509Store, name: str, now: datetime.datetime
) -> Verdict:
    """Judge a chain.

    Arguments:
        chain: as the server sent it, its own certificate first; not empty.
        store: the trusted roots; `judge` changes its flags, so that OpenSSL ignores the time.
        name: the host name or address that the certificate must have.
        now: the time, with a time zone.
    """
    certificates = [certificate.to_cryptography() for certificate in chain]
    leaf = certificates[0]
    problems: list[tuple[str, str]] = []
    built: list[x509.Certificate] | None = None
    store.set_flags(_NO_CHECK_TIME)
    try:
        context = crypto.X509StoreContext(store, chain[0], list(chain[1:]))
        built = [each.to_cryptography() for each in context.get_verified_chain()]
    except crypto.X509StoreContextError as error:
        number = error.errors[0] if isinstance(error.errors, list) else 0
        problems.append((_REASONS.get(number, "invalid"), str(error)))
    problems += _dates(built or certificates, now)
    problems += _name(leaf, name)
    return Verdict(
        problems=tuple(problems),
        earliest_expiry=min(map(_expiry, certificates)),
        chain_expiry=min(map(_expiry, built)) if built else None,
        leaf=leaf,
    )


def _expiry(certificate: x509.Certificate) -> float:
    return certificate.not_valid_after_utc.timestamp()


def _dates(chain: Sequence[x509.Certificate], now: datetime.datetime) -> list[tuple[str, str]]:
    problems = []
    for certificate in chain:
        subject = certificate.subject.rfc4514_string() or "the certificate"
        if certificate.not_valid_after_utc < now:
            end = certificate.not_valid_after_utc
            problems.append(("expired", f"{subject} expired at {end:%Y-%m-%d %H:%M:%S} UTC"))
        if certificate.not_valid_before_utc > now:
            begin = certificate.not_valid_before_utc
            problems.append(("not_yet_valid", f"{subject} begins at {begin:%Y-%m-%d %H:%M:%S} UTC"))
    return problems


def _name(leaf: x509.Certificate, name: str) -> list[tuple[str, str]]:
    try:
        ipaddress.ip_address(name)
        is_address = True
    except ValueError:
        is_address = False
    try:
        if is_address:
            verify_certificate_ip_address(leaf, name)
        else:
            verify_certificate_hostname(leaf, name)
    except (VerificationError, CertificateError, ValueError):
        return [("wrong_name", f"the certificate is not for {name}")]
    return []


def _name_text(name: x509.GeneralName) -> str:
    return str(name.value)
