"""Chains of certificates against TLSA records (RFC 6698, 7671, 7672)."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.tlsa import MAX_RECORDS, TLSA, TlsaMismatch, usable, verify

NOW = datetime.datetime(2030, 1, 1, tzinfo=UTC)
DIGESTS = {
    0: bytes,
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}


class Signer:
    """A certificate with its key.

    Arguments:
        name: its common name.
        by: who signs it; itself unless given.
        ca: whether it may sign others.
        san: the DNS names, or None for no such extension.
        days: from the first to the last day that it is valid, as seen from `NOW`.
    """

    def __init__(
        self,
        name: str,
        *,
        by: Signer | None = None,
        ca: bool = True,
        san: Sequence[str] | None = None,
        days: tuple[int, int] = (-10, 10),
        key: Any = None,
        pss: bool = False,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = by or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + timedelta(days=days[0]))
            .not_valid_after(NOW + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if san is not None:
            names = x509.SubjectAlternativeName([x509.DNSName(each) for each in san])
            builder = builder.add_extension(names, critical=False)
        algorithm = None if isinstance(issuer.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if pss else None
        self.certificate = builder.sign(issuer.key, algorithm, rsa_padding=scheme)

    def record(self, usage: int, selector: int, matching: int) -> TLSA:
        data = self.certificate.public_bytes(Encoding.DER)
        if selector == 1:
            key = self.certificate.public_key()
            data = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return TLSA(usage, selector, matching, DIGESTS[matching](data))


ROOT = Signer("root")
MIDDLE = Signer("middle", by=ROOT)
LEAF = Signer("mx.example", by=MIDDLE, ca=False, san=["mx.example", "*.wild.example"])
OTHER = Signer("root")
CHAIN = (LEAF, MIDDLE, ROOT)
ALL = [(selector, matching) for selector in (0, 1) for matching in (0, 1, 2)]


def check(
    records: Sequence[TLSA],
    chain: Sequence[Signer] = CHAIN,
    names: Sequence[str] = ("mx.example",),
    now: datetime.datetime = NOW,
) -> str:
    """An empty string where it fits, else why not."""
    try:
        verify(usable(records), [each.certificate for each in chain], names, now)
    except TlsaMismatch as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("selector", "matching"), ALL)
def test_the_server_s_own(selector: int, matching: int) -> None:
    """DANE-EE: no name, no date, no chain."""
    record = LEAF.record(3, selector, matching)
    assert check([record]) == ""
    assert check([record], [LEAF], ["other.example"], NOW + timedelta(days=1000)) == ""
    assert check([record], [OTHER]) == "the certificate is not one that TLSA names"
    assert check([MIDDLE.record(3, selector, matching)]) != ""


@pytest.mark.parametrize("authority", [MIDDLE, ROOT])
@pytest.mark.parametrize(("selector", "matching"), ALL)
def test_an_authority(authority: Signer, selector: int, matching: int) -> None:
    """DANE-TA: the chain leads there, and names and dates are right."""
    record = authority.record(2, selector, matching)
    assert check([record]) == ""
    assert check([record], names=["no.example", "a.wild.example"]) == ""
    assert "is not for no.example" in check([record], names=["no.example"])
    assert "expired" in check([record], now=NOW + timedelta(days=11))
    assert "not yet valid" in check([record], now=NOW - timedelta(days=11))
    assert check([OTHER.record(2, selector, matching)]) != ""
    assert check([record, OTHER.record(2, selector, matching)]) == ""


def test_an_authority_may_be_left_out_where_the_record_has_it_whole() -> None:
    """RFC 7671, 5.2.2."""
    for selector in (0, 1):
        assert check([ROOT.record(2, selector, 0)], [LEAF, MIDDLE]) == ""
        assert check([MIDDLE.record(2, selector, 0)], [LEAF]) == ""
        assert check([ROOT.record(2, selector, 0)], [LEAF]) != ""
        assert check([OTHER.record(2, selector, 0)], [LEAF, MIDDLE]) != ""
        assert check([ROOT.record(2, selector, 1)], [LEAF, MIDDLE]) != ""


def test_an_authority_that_is_only_shown() -> None:
    """Whoever is on the way can send the authority's certificate along; it must have signed."""
    own = Signer("mx.example", ca=False, san=["mx.example"])
    for selector, matching in ALL:
        assert check([ROOT.record(2, selector, matching)], [own, ROOT]) != ""
        assert check([ROOT.record(2, selector, matching)], [own, MIDDLE, ROOT]) != ""


def test_a_certificate_that_may_not_sign() -> None:
    server = Signer("server", by=MIDDLE, ca=False)
    below = Signer("mx.example", by=server, ca=False, san=["mx.example"])
    assert "invalid CA" in check([ROOT.record(2, 0, 1)], [below, server, MIDDLE, ROOT])


@pytest.mark.parametrize(
    "make",
    [
        lambda: (rsa.generate_private_key(65537, 2048), False),
        lambda: (rsa.generate_private_key(65537, 2048), True),
        lambda: (ed25519.Ed25519PrivateKey.generate(), False),
        lambda: (ec.generate_private_key(ec.SECP384R1()), False),
    ],
)
def test_kinds_of_keys(make: Any) -> None:
    """Whole keys in records, which have signed what the server sends."""
    key, pss = make()
    root = Signer("root", key=key, pss=pss)
    leaf = Signer("mx.example", by=root, ca=False, san=["mx.example"], pss=pss)
    assert check([root.record(2, 1, 0)], [leaf]) == ""
    assert check([leaf.record(3, 1, 1)], [leaf]) == ""
    assert check([OTHER.record(2, 1, 0)], [leaf]) != ""


def test_the_common_name_counts_where_there_is_no_other() -> None:
    record = ROOT.record(2, 0, 1)
    without = Signer("mx.example", by=ROOT, ca=False)
    assert check([record], [without, ROOT]) == ""
    beside = Signer("mx.example", by=ROOT, ca=False, san=["other.example"])
    assert check([record], [beside, ROOT]) != ""
    odd = Signer("no name at all", by=ROOT, ca=False)
    assert check([record], [odd, ROOT]) != ""


@pytest.mark.parametrize(
    "record",
    [
        LEAF.record(0, 0, 1),
        LEAF.record(1, 1, 1),
        TLSA(3, 2, 1, bytes(32)),
        TLSA(3, 1, 3, bytes(32)),
        TLSA(4, 1, 1, bytes(32)),
        TLSA(3, 1, 1, bytes(31)),
        TLSA(3, 1, 2, bytes(32)),
        TLSA(3, 1, 0, b"no key"),
        TLSA(2, 0, 0, b""),
    ],
)
def test_records_that_are_not_usable(record: TLSA) -> None:
    assert usable([record]) == []


def test_only_the_strongest_digest_counts() -> None:
    """RFC 7671, 9: a weak one that matches does not help a strong one that does not."""
    weak, strong = LEAF.record(3, 1, 1), OTHER.record(3, 1, 2)
    assert check([weak, strong]) != ""
    assert check([weak, LEAF.record(3, 1, 2)]) == ""
    assert check([weak, OTHER.record(3, 0, 2)]) == ""  # another selector
    assert check([LEAF.record(3, 1, 0), strong]) == ""  # no digest at all


def test_no_more_than_so_many_records() -> None:
    assert len(usable([LEAF.record(3, 1, 1)] * 100)) == MAX_RECORDS


def test_no_certificate() -> None:
    assert check([LEAF.record(3, 1, 1)], []) == "the server has no certificate"


@given(
    st.lists(
        st.builds(TLSA, st.integers(0, 4), st.integers(0, 2), st.integers(0, 3), st.binary()),
        max_size=3,
    )
)
def test_what_dns_makes_up_never_fits(records: list[TLSA]) -> None:
    assert check(records) != ""
