"""Private keys for DKIM: read, judged, made, and the record that publishes the public half.

RSA with SHA-256 (RFC 8301: 1024 bits at least, 2048 or more recommended) and Ed25519 (RFC 8463).
No error, and no repr, shows anything of a key.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from netserve.errors import InvalidValue

KeyKind: TypeAlias = Literal["rsa", "ed25519"]

LEAST_BITS: Final = 1024
"""Of an RSA key; verifiers take no shorter one (RFC 8301, 3.2)."""
MOST_BITS: Final = 4096
"""Of an RSA key; verifiers need not take a longer one (RFC 8301, 3.2)."""
RECOMMENDED_BITS: Final = 2048
"""Of an RSA key (RFC 8301, 3.2)."""

_TEXT: Final = 255
"""Bytes of one character string of a TXT record (RFC 1035, 3.3)."""


@dataclass(frozen=True, slots=True, repr=False)
class SigningKey:
    """A private key that signs.

    Arguments:
        kind: `rsa` or `ed25519`.
        bits: its length.
        sign: the signature of some bytes.
        public: the public half, as it stands in the record.
    """

    kind: KeyKind
    bits: int
    sign: Callable[[bytes], bytes]
    public: bytes

    @property
    def algorithm(self) -> str:
        """The word of the tag ``a=``."""
        return f"{self.kind}-sha256"

    @property
    def is_weak(self) -> bool:
        """Whether a longer key is recommended."""
        return self.kind == "rsa" and self.bits < RECOMMENDED_BITS

    @property
    def record(self) -> str:
        """The text to publish at ``SELECTOR._domainkey.DOMAIN`` (RFC 6376, 3.6.1)."""
        return f"v=DKIM1; k={self.kind}; p={base64.b64encode(self.public).decode()}"


def load_key(pem: str) -> SigningKey:
    """The key of a PEM text: PKCS #8, or PKCS #1.

    Raises:
        ValueError: what is wrong with it, without any of it.
    """
    try:
        key = load_pem_private_key(pem.encode(), None)
    except TypeError:
        raise InvalidValue("the key has a passphrase; give one without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidValue(
            "not a private key in PEM; `netserve dkim` makes one, as openssl genpkey does"
        ) from None
    if isinstance(key, Ed25519PrivateKey):
        return _ed25519(key)
    if isinstance(key, RSAPrivateKey):
        return _rsa(key)
    raise InvalidValue("DKIM knows RSA and Ed25519 keys only, and this is another kind")


def make_key(kind: KeyKind, bits: int = RECOMMENDED_BITS) -> str:
    """A new private key as PEM (PKCS #8).

    Arguments:
        kind: `rsa` or `ed25519`.
        bits: of an RSA key.
    """
    key = (
        generate_private_key(65537, bits) if kind == "rsa" else Ed25519PrivateKey.generate()
    ).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.decode()


def zone_line(domain: str, selector: str, record: str) -> str:
    """The record as a line of a zone file.

    Arguments:
        domain: in ASCII.
        selector: the label before ``_domainkey``.
        record: see `SigningKey.record`.
    """
    texts = [record[at : at + _TEXT] for at in range(0, len(record), _TEXT)]
    quoted = " ".join(f'"{text}"' for text in texts)
    return f"{selector}._domainkey.{domain}. IN TXT {f'( {quoted} )' if len(texts) > 1 else quoted}"


def _rsa(key: RSAPrivateKey) -> SigningKey:
    if not LEAST_BITS <= key.key_size <= MOST_BITS:
        raise InvalidValue(
            "an RSA key of " + str(key.key_size) + " bits; it has to have"
            f" {LEAST_BITS} to {MOST_BITS}, and {RECOMMENDED_BITS} are recommended"
        )
    padding, hashing = PKCS1v15(), SHA256()
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return SigningKey("rsa", key.key_size, lambda data: key.sign(data, padding, hashing), public)


def _ed25519(key: Ed25519PrivateKey) -> SigningKey:
    # What is signed is the hash (RFC 8463, 3), and the record has the bare 32 bytes.
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SigningKey("ed25519", 256, lambda data: key.sign(sha256(data).digest()), public)
