"""What is said of certificates and keys that do not do."""

from __future__ import annotations

import datetime
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL._util import lib
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from netserve.plugin import TLS, Hosted
from netserve.server.tls import (
    TICKET_KEY_LIFE,
    ServerContextFactory,
    TLSError,
    expiry_warning,
    find_by_name,
)
from netserve.testing.hosting import serve
from netserve.testing.programs import require_program


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


def test_a_key_that_openssl_does_not_take(folder: Path) -> None:
    key = generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "short.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, SHA256())
    )
    (folder / "short.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "short.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    with pytest.raises(TLSError, match=r"OpenSSL does not take it: .*key too small") as caught:
        ServerContextFactory(TLS(certificate=folder / "short.pem", key=folder / "short.key"))
    assert caught.value.option == ("certificate",)


def test_certificates_that_run_out(folder: Path) -> None:
    now = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
    day = datetime.timedelta(days=1)
    assert expiry_warning(now + 15 * day, now) is None
    assert expiry_warning(now + 13 * day, now) == "a certificate runs out on 2026-02-13"
    told = expiry_warning(now - day, now)
    assert told == "a certificate has run out on 2026-01-30; clients will not take it"


def shake_hands(
    factory: ServerContextFactory, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLObject:
    """A handshake in memory: the client's object, when it is complete."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, session=session)
    server = factory.serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(4):
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        if data := outgoing.read():
            server.bio_write(data)
        with suppress(SSL.WantReadError):
            server.do_handshake()
        with suppress(SSL.WantReadError):
            incoming.write(server.bio_read(65536))
    return client


def test_session_tickets_are_good_for_a_day(folder: Path) -> None:
    """S19: their key is replaced, so that it opens the sessions of one day at most."""
    now = [0.0]
    settings = TLS(certificate=folder / "one.pem", key=folder / "one.key")
    factory = ServerContextFactory(settings, clock=lambda: now[0])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 tickets come after the handshake

    def is_resumed(session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
        client = shake_hands(factory, context, session)
        return bool(client.session_reused), client.session

    resumed, session = is_resumed(None)
    assert not resumed
    now[0] = TICKET_KEY_LIFE - 1
    assert is_resumed(session)[0]
    now[0] = TICKET_KEY_LIFE
    resumed, next_session = is_resumed(session)
    assert not resumed
    assert is_resumed(next_session)[0]


@pytest.mark.parametrize("minimum", ["1.0", "1.2", "1.3"])
@pytest.mark.parametrize("more", [False, True])
def test_the_curves_of_the_profile_and_no_others(folder: Path, minimum: str, more: bool) -> None:
    """S19: whatever else the section says; a certificate that SNI chooses has the same."""
    further = [{"certificate": "two.pem", "key": "two.key"}] if more else []
    settings = TLS.model_validate(
        {"certificate": "one.pem", "key": "one.key", "more": tuple(further),
         "minimum_version": minimum},
        context={"folder": folder},
    )  # fmt: skip
    factory = ServerContextFactory(settings)
    spoken = [
        curve
        for curve in (b"X25519", b"P-256", b"P-384", b"P-521", b"X448")
        if speaks(factory, curve, b"two.example" if more else b"one.example")
    ]
    assert spoken == [b"X25519", b"P-256", b"P-384"]


def speaks(factory: ServerContextFactory, curve: bytes, name: bytes) -> bool:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    lib.SSL_CTX_set1_curves_list(context._context, curve)
    client, server = SSL.Connection(context, None), factory.serverConnectionForTLS(None)
    client.set_tlsext_host_name(name)
    client.set_connect_state()
    server.set_accept_state()
    try:
        for _ in range(4):
            for one, other in ((client, server), (server, client)):
                with suppress(SSL.WantReadError):
                    one.do_handshake()
                with suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(65536))
    except SSL.Error:
        return False
    return True


def test_names_by_sni() -> None:
    contexts = {"one.example": 1, "*.two.example": 2}
    assert find_by_name(contexts, b"ONE.example") == 1
    assert find_by_name(contexts, b"any.two.example") == 2
    assert find_by_name(contexts, b"a.b.two.example") is None
    assert find_by_name(contexts, None) is None


OLD = "DEFAULT@SECLEVEL=0"


@pytest.mark.parametrize(
    ("minimum", "spoken", "ciphers", "agreed"),
    [
        ("1.0", "-tls1", OLD, "TLSv1,"),
        ("1.0", "-tls1", "AES128-SHA@SECLEVEL=0", "TLSv1,"),
        ("1.0", "-tls1_1", OLD, "TLSv1.1"),
        ("1.0", "-tls1_2", "DEFAULT", "TLSv1.2"),
        ("1.0", "-tls1_3", "DEFAULT", "TLSv1.3"),
        ("1.1", "-tls1", OLD, None),
        ("1.1", "-tls1_1", OLD, "TLSv1.1"),
        ("1.2", "-tls1_1", OLD, None),
        ("1.2", "-tls1_2", "AES128-SHA", None),
        ("1.2", "-tls1_2", "DEFAULT", "TLSv1.2"),
        ("1.3", "-tls1_2", "DEFAULT", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_old_versions_where_the_file_asks_for_them(
    tmp_path: Path, minimum: str, spoken: str, ciphers: str, agreed: str | None
) -> None:
    """With openssl as the client; and the default speaks nothing that is retired."""
    openssl = require_program("openssl")
    issued = trustme.CA().issue_cert("old.example", key_type=trustme.KeyType.RSA)
    issued.private_key_pem.write_to_path(tmp_path / "one.key")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "one.pem")
    service = await serve(
        Hosted(stream=Factory.forProtocol(Protocol)),
        state=tmp_path,
        allow="127.0.0.1",
        tls={"certificate": "one.pem", "key": "one.key", "minimum_version": minimum},
    )
    command = [
        openssl, "s_client", "-connect", f"127.0.0.1:{service.port}", spoken, "-cipher", ciphers
    ]  # fmt: skip
    done = await deferToThread(
        subprocess.run, command, input=b"", capture_output=True, timeout=20, check=False
    )
    said = done.stdout.decode()
    await service.stop(drain=0.1)
    if agreed is None:
        assert "New, (NONE)" in said
    else:
        assert f"New, {agreed}" in said or f"Protocol  : {agreed.rstrip(',')}\n" in said
        assert "Cipher is (NONE)" not in said
