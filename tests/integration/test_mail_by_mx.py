"""Delivery by MX as a site runs it: the real process, a validating name server, next hops."""

from __future__ import annotations

import hashlib
import json
import smtplib
import ssl
import subprocess
from pathlib import Path
from typing import Any

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from netserve.testing.dns import Zone, unbound
from netserve.testing.next_hop import Box, next_hop
from netserve.testing.process import BIN, free_port, running, wait_until


def queue(folder: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [BIN / "netserve", "queue", *arguments, "--state", folder / "var", "--json"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_by_mx_with_dane(tmp_path: Path) -> None:
    """The log and `netserve queue why` name the server and the level of TLS."""
    port, to = free_port(), free_port()
    leaf = trustme.CA().issue_cert("mx.shop.example")
    key = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    shop = Zone(
        "shop.example",
        f"@ MX 10 mx\nmx A 127.0.4.1\n_{to}._tcp.mx TLSA 3 1 1 {hashlib.sha256(der).hexdigest()}",
        signed=True,
    )
    gone = Zone("gone.example", "@ MX 0 .")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(tls)
    box = Box()
    box.later = ["450 4.2.0 not now"]
    (tmp_path / "dns").mkdir()
    config = tmp_path / "config.yaml"
    with (
        unbound(tmp_path / "dns", [shop, gone]) as server,
        next_hop(box, host="127.0.4.1", port=to, tls_context=tls),
    ):
        config.write_text(
            "netserve: {state: ./var}\n"
            "services:\n"
            "  mail:\n"
            "    protocol: smtp-relay\n"
            f"    listen: tcp:{port}:interface=127.0.0.1\n"
            "    hostname: relay.example.org\n"
            f"    dns: {{servers: '{server}'}}\n"
            "    routes:\n"
            f"      - deliver: {{mx: true, port: {to}, tls: dane, allow_addresses: 127.0.4.0/24}}\n"
        )
        with running(config) as process:
            with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
                to_both = ["r@shop.example", "r@gone.example"]
                client.sendmail("", to_both, b"Subject: x\r\n\r\nx\r\n")
            process.wait_for("450 4.2.0 not now")
            (message,) = queue(tmp_path, "list")["messages"]
            recipients = queue(tmp_path, "why", message["id"])["recipients"]
            by_address = {one["address"]: one for one in recipients}
            attempt = by_address["r@shop.example"]["history"][0]
            assert attempt["reply"] == "450 4.2.0 not now"
            remote = f"mx.shop.example[127.0.4.1]:{to} (TLS: dane)"
            assert attempt["remote"] == remote
            assert "556 5.1.10" in by_address["r@gone.example"]["history"][0]["reply"]
            queue(tmp_path, "flush")
            wait_until(lambda: box.envelopes, what="the mail")
            process.wait_for("delivered to <r@shop.example> by mx:shop.example: 250 2.0.0 taken")
            assert f"(remote {remote}, trace" in process.log()
    assert box.ciphered == [True]
