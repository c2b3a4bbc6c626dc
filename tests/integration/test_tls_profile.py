"""S19, its part on TLS: every way of listening with TLS passes Mozilla's intermediate profile.

sslyze is the judge, a program of its own: as a library it wants an older cryptography than the
newest one. `openssl s_client` asks about single curves, where there is no sslyze.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import socket
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from netserve.testing.process import free_port, running
from netserve.testing.programs import require_program

LISTENERS = ("tls address", "tls option", "ssl address", "submission on 465", "mail over HTTP",
             "HTTP front", "factory", "request-response")  # fmt: skip
"""What speaks TLS from the first byte."""
FORWARDED = ("haproxy address", "behind a balancer", "TCP over IPv6", "UNIX socket")
"""The same, but sslyze reaches these through a forwarder, which knows the way and the header."""
HEADER = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"
STARTTLS = ("relay", "submission")
KEYS: dict[str, Callable[[], Any]] = {
    "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}

FILE = """\
netserve: {{state: ./var}}
services:
  echo:
    protocol: echo
    listen:
      - tls:{tls address}:interface=127.0.0.1
      - ssl:{ssl address}:interface=127.0.0.1:privateKey={key}.key:certKey={key}.pem
      - haproxy:ssl:{haproxy address}:interface=127.0.0.1:privateKey={key}.key:certKey={key}.pem
      - tls6:{TCP over IPv6}:interface=\\:\\:1
    tls: &tls {{certificate: {key}.pem, key: {key}.key}}
    limits: &limits {{connections: 5000, connections_per_address: 5000}}
  option:
    protocol: echo
    listen: [tcp:{tls option}:interface=127.0.0.1, "unix:option.sock"]
    tls: *tls
    limits: *limits
  balanced:
    protocol: echo
    listen: tcp:{behind a balancer}:interface=127.0.0.1
    proxy_protocol_from: 127.0.0.1
    tls: *tls
    limits: *limits
  lines:
    protocol: request-response
    listen: tcp:{request-response}:interface=127.0.0.1
    reply: ok
    tls: *tls
    limits: *limits
  factory:
    protocol: factory
    object: myfactory:factory
    listen: tcp:{factory}:interface=127.0.0.1
    tls: *tls
    limits: *limits
  front:
    protocol: http-bridge
    framing: http
    listen: tcp:{HTTP front}:interface=127.0.0.1
    request: {{url: "http://127.0.0.1:1{{path}}"}}
    allow_upstreams: [127.0.0.1/32]
    tls: *tls
    limits: *limits
  relay:
    protocol: smtp-relay
    hostname: relay.example
    listen: tcp:{relay}:interface=127.0.0.1
    tls: *tls
    limits: *limits
    routes: &routes [{{deliver: {{maildir: ./mail}}}}]
  submission:
    protocol: smtp-relay
    hostname: relay.example
    role: submission
    listen: [tcp:{submission}:interface=127.0.0.1, tls:{submission on 465}:interface=127.0.0.1]
    http:
      listen: tls:{mail over HTTP}:interface=127.0.0.1
      tokens: {{app: a-token-of-many-characters}}
    users: {{alice: secret}}
    tls: *tls
    limits: *limits
    routes: *routes
"""


@dataclass(frozen=True)
class Served:
    """A process that listens in every way.

    Arguments:
        ports: by listener.
        authority: the file of the certificate that signed the server's.
    """

    ports: dict[str, int]
    authority: Path


class Forwarder(socketserver.ThreadingTCPServer):
    """Takes connections on a free port, and passes what they say to a listener.

    Arguments:
        family: of the listener's address.
        address: of the listener.
        header: what each connection begins with.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, family: socket.AddressFamily, address: Any, header: bytes = b"") -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.listener = family, address
        self.header = header

    def finish_request(self, request: Any, client_address: Any) -> None:
        family, address = self.listener
        with socket.socket(family) as listener, contextlib.suppress(OSError):
            listener.connect(address)
            listener.sendall(self.header)
            back = threading.Thread(target=copy, args=(listener, request), daemon=True)
            back.start()
            copy(request, listener)
            back.join()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, and the end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def forwarding(folder: Path, ports: dict[str, int]) -> Iterator[dict[str, int]]:
    """The ports of forwarders, by the name of what they lead to."""
    here = "127.0.0.1"
    ways: dict[str, tuple[socket.AddressFamily, Any, bytes]] = {
        "haproxy address": (socket.AF_INET, (here, ports["haproxy address"]), HEADER),
        "behind a balancer": (socket.AF_INET, (here, ports["behind a balancer"]), HEADER),
        "TCP over IPv6": (socket.AF_INET6, ("::1", ports["TCP over IPv6"]), b""),
        "UNIX socket": (socket.AF_UNIX, str(folder / "option.sock"), b""),
    }
    with contextlib.ExitStack() as stack:
        found = {}
        for name, way in ways.items():
            forwarder = stack.enter_context(Forwarder(*way))
            threading.Thread(target=forwarder.serve_forever, daemon=True).start()
            stack.callback(forwarder.shutdown)
            found[name] = forwarder.server_address[1]
        yield found


SIGNS_CERTIFICATES = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
    key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
    decipher_only=False,
)  # fmt: skip


def issue(folder: Path, kind: str) -> None:
    """A certificate as a public authority issues it, and the authority's own."""
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    root_key = ec.generate_private_key(ec.SECP256R1())
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of tests")])
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    number = x509.random_serial_number
    root = (
        x509.CertificateBuilder(root_name, root_name, root_key.public_key(), number())
        .not_valid_before(now - day)
        .not_valid_after(now + 364 * day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, SHA256())
    )
    key = KEYS[kind]()
    signed_by = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id)
    leaf = (
        x509.CertificateBuilder(root_name, x509.Name([]), key.public_key(), number())
        .not_valid_before(now - day)
        .not_valid_after(now + 89 * day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(signed_by, critical=False)
        .sign(root_key, SHA256())
    )
    (folder / "authority.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / f"{kind}.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / f"{kind}.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


@pytest.fixture(scope="module", params=KEYS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("tls-profile")
    key = request.param
    issue(folder, key)
    ports = {name: free_port() for name in (*LISTENERS, *FORWARDED, *STARTTLS)}
    (folder / "myfactory.py").write_text(
        "from twisted.internet.protocol import Factory\n"
        "from twisted.protocols.wire import Echo\n"
        "factory = Factory.forProtocol(Echo)\n"
    )
    config = folder / "config.yaml"
    config.write_text(FILE.format(key=key, **ports))
    with running(config) as process, forwarding(folder, ports) as forwarded:
        yield Served(ports | forwarded, folder / "authority.pem")
        assert "Traceback" not in process.log()


def scan(served: Served, names: tuple[str, ...], *options: str) -> None:
    """Have sslyze look at listeners, and judge them by the profile."""
    sslyze = require_program("sslyze")
    output = served.authority.with_name("result.json")
    done = subprocess.run(
        [
            sslyze, "--mozilla_config=intermediate", f"--json_out={output}",
            f"--certinfo_ca_file={served.authority}", *options,
            *(f"localhost:{served.ports[name]}{{127.0.0.1}}" for name in names),
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    verdict = done.stdout[done.stdout.find("COMPLIANCE AGAINST") :]
    assert done.returncode == 0, verdict
    assert verdict.count("OK - Compliant") == len(names), verdict
    for result in json.loads(output.read_text())["server_scan_results"]:
        assert result["scan_status"] == "COMPLETED"


@pytest.mark.slow
def test_what_begins_with_tls_passes_the_intermediate_profile(served: Served) -> None:
    """S19: versions, ciphers, curves, renegotiation, compression and the known attacks."""
    scan(served, LISTENERS)


@pytest.mark.slow
def test_what_stands_elsewhere_passes_the_intermediate_profile(served: Served) -> None:
    """S19: behind a PROXY header, over IPv6, on a UNIX socket."""
    scan(served, FORWARDED)


@pytest.mark.slow
def test_starttls_passes_the_intermediate_profile(served: Served) -> None:
    """S19."""
    scan(served, STARTTLS, "--starttls=smtp")


@pytest.mark.parametrize("served", ["rsa"], indirect=True)
@pytest.mark.parametrize("name", [*LISTENERS, *FORWARDED, *STARTTLS])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_curves_of_the_profile_and_no_others(served: Served, name: str, version: str) -> None:
    """S19: for every kind of listener."""
    openssl = require_program("openssl")
    starttls = ("-starttls", "smtp") if name in STARTTLS else ()
    target = f"127.0.0.1:{served.ports[name]}"
    spoken = []
    for curve in ("X25519", "P-256", "P-384", "P-521", "X448", "brainpoolP256r1"):
        command = [openssl, "s_client", "-connect", target, version, "-groups", curve, *starttls]
        done = subprocess.run(command, input=b"", capture_output=True, timeout=20, check=False)
        if re.search(rb"Cipher is [A-Z]", done.stdout):
            spoken.append(curve)
    assert spoken == ["X25519", "P-256", "P-384"]
