"""What is said of certificates and keys that do not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from netserve.plugin import TLS
from netserve.server.tls import ServerContextFactory, TLSError, find_by_name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    for name in ("one", "two"):
        issued = authority.issue_cert(f"{name}.example")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    key: Any = load_pem_private_key((folder / "one.key").read_bytes(), None)
    (folder / "locked.key").write_bytes(
        key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
        )
    )
    (folder / "empty.pem").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("options", "option", "what"),
    [
        ({"certificate": "none.pem"}, ("certificate",), "no such file or directory"),
        ({"certificate": "empty.pem"}, ("certificate",), "no certificate in PEM form"),
        ({"key": "none.key"}, ("key",), "no such file or directory"),
        ({"key": "one.pem"}, ("key",), "no private key in PEM form"),
        ({"key": "locked.key"}, ("key",), "the key has a passphrase"),
        ({"key": "two.key"}, ("key",), "the key does not belong to the certificate"),
        ({"chain": "none.pem"}, ("chain",), "no such file or directory"),
        ({"ciphers": "NOTHING"}, ("ciphers",), "OpenSSL knows no cipher of this list"),
        (
            {"client_ca": "none.pem", "client_certificate": "required"},
            ("client_ca",),
            "no such file or directory",
        ),
        (
            {"more": ({"certificate": "two.pem", "key": "one.key"},)},
            ("more", 0, "key"),
            "the key does not belong to the certificate",
        ),
    ],
)
def test_errors(folder: Path, options: dict[str, Any], option: tuple[str, ...], what: str) -> None:
    settings = TLS.model_validate(
        {"certificate": "one.pem", "key": "one.key", **options}, context={"folder": folder}
    )
    with pytest.raises(TLSError, match=what) as raised:
        ServerContextFactory(settings)
    assert raised.value.option == option


def test_names_by_sni() -> None:
    contexts = {"one.example": 1, "*.two.example": 2}
    assert find_by_name(contexts, b"ONE.example") == 1
    assert find_by_name(contexts, b"any.two.example") == 2
    assert find_by_name(contexts, b"a.b.two.example") is None
    assert find_by_name(contexts, None) is None
