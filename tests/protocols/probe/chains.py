"""Chains of certificates with the faults that the tests want."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID
from OpenSSL import crypto

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and the ones that have signed it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    above: tuple[x509.Certificate, ...] = ()

    def x509(self) -> crypto.X509:
        return crypto.X509.from_cryptography(self.certificate)

    def write(self, path: Path, *, with_chain: bool = True) -> Path:
        """Key and certificates in one file."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for certificate in (self.certificate, *(self.above if with_chain else ())):
            pem += certificate.public_bytes(Encoding.PEM)
        path.write_bytes(pem)
        return path


def issue(
    name: str,
    by: Issued | None = None,
    *,
    hosts: tuple[str, ...] = (),
    begin: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + 30 * DAY,
) -> Issued:
    """A certificate; without hosts it is one that may sign others, by itself if nobody is named."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
    )
    if hosts:
        names = [_general_name(host) for host in hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Issued(certificate, key, (by.certificate, *by.above) if by and by.above else ())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def intermediate(root: Issued, **options: datetime.datetime) -> Issued:
    """A certificate between root and servers, which is sent along."""
    made = issue("Intermediate", root, **options)
    return Issued(made.certificate, made.key, ())


def store_of(*roots: Issued) -> crypto.X509Store:
    """What is trusted."""
    store = crypto.X509Store()
    for root in roots:
        store.add_cert(root.x509())
    return store


def pem(*certificates: Issued) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in certificates)
