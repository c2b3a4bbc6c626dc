"""Keys: what is taken, what is refused, and what is published."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from netserve.mail.dkim.keys import load_key, make_key, zone_line


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, *, passphrase: bytes = b"") -> str:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    kind = PrivateFormat.PKCS8 if passphrase else PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(Encoding.PEM, kind, encryption).decode()


RSA_1024 = pem(rsa.generate_private_key(65537, 1024))
RSA_512 = """-----BEGIN RSA PRIVATE KEY-----
MIIBOgIBAAJBAMaiw7dIhmklcuIZB4+ueHl1HA9EBS/PJZQlHJbjhBrJTyqsTniF
988pH/9zWbVIaq3b0bTyIkbH2zO3o9/gMQMCAwEAAQJBAJDKvJexyiiDH8coL5bQ
uwjuENIf5xf+i4n9s2VZ20YaBzAfkPOunxa9z4VtdP3m/+K61eKz6uzYQl9AeJDA
g2ECIQDoXZVCv6r8GDpZ5q+bCmGP2fUTIWcoQsQkqCY5U9YXLwIhANrW6fu8SY1m
6RTVBjlCNmmZFxPQ0PmgMgRmeFEN2E5tAiAeNUxaSSCpdVzgoyThOxBD60n5GraW
fVeSjGmrukJy8QIgXV+TyIhnLcE6NFxMYoQA6X+bnCXd9JTIop4COjtZDuUCIADQ
LvPoSzSWwTou4Tg1z/7GUtw1Vh0LgY+sdIwkxLqf
-----END RSA PRIVATE KEY-----
"""  # cryptography makes none that is so short


def test_rsa() -> None:
    text = make_key("rsa")
    key = load_key(text)
    assert (key.kind, key.bits, key.algorithm, key.is_weak) == ("rsa", 2048, "rsa-sha256", False)
    public = load_der_public_key(base64.b64decode(key.record.removeprefix("v=DKIM1; k=rsa; p=")))
    own = load_pem_private_key(text.encode(), None).public_key()
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public.public_bytes(*form) == own.public_bytes(*form)


def test_ed25519() -> None:
    key = load_key(make_key("ed25519"))
    assert (key.kind, key.algorithm, key.is_weak) == ("ed25519", "ed25519-sha256", False)
    assert len(base64.b64decode(key.record.removeprefix("v=DKIM1; k=ed25519; p="))) == 32


def test_a_short_rsa_key_is_taken_and_told() -> None:
    assert load_key(RSA_1024).is_weak


def test_a_key_shows_nothing() -> None:
    """S17."""
    key = load_key(RSA_1024)
    assert "SigningKey" in repr(key)
    assert base64.b64encode(key.public).decode()[:20] not in repr(key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a private key in PEM"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n", "not a private key"),
        ("ä", "not a private key in PEM"),
        (RSA_1024[:300], "not a private key in PEM"),
        (pem(rsa.generate_private_key(65537, 1024), passphrase=b"x"), "has a passphrase"),
        (RSA_512, "an RSA key of 512 bits; it has to have 1024 to 4096, and 2048 are recommended"),
        (pem(rsa.generate_private_key(65537, 4104)), "4104 bits"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "RSA and Ed25519 keys only"),
    ],
    ids=["empty", "garbage", "not ASCII", "cut", "passphrase", "too short", "too long", "EC"],
)
def test_what_is_no_key_for_it(text: str, message: str) -> None:
    """S17: the error has nothing of the key."""
    with pytest.raises(ValueError, match=message) as raised:
        load_key(text)
    assert not any(line and line in str(raised.value) for line in text.splitlines())


def test_a_line_of_a_zone_file() -> None:
    assert zone_line("example.org", "s1", "v=DKIM1") == (
        's1._domainkey.example.org. IN TXT "v=DKIM1"'
    )
    line = zone_line("example.org", "s1", "v=DKIM1; k=rsa; p=" + "A" * 400)
    texts = line.partition("TXT ")[2]
    assert texts == f'( "v=DKIM1; k=rsa; p={"A" * 237}" "{"A" * 163}" )'
