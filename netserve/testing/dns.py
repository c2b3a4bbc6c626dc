r"""A real name server on loopback for tests: unbound, which validates zones that are signed here.

::

    zones = [Zone("shop.example", "@ MX 10 mx\nmx A 127.0.0.2", signed=True)]
    with unbound(tmp_path, zones) as server:
        ...                              # server is 127.0.0.1:PORT

What is in none of the zones does not exist. Answers from a signed zone have the AD bit; those of
one that is `bogus` are refused (SERVFAIL), as validation fails.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.dnssec
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.zone
from cryptography.hazmat.primitives.asymmetric import ec

from netserve.testing.process import free_port
from netserve.testing.programs import require_program

__all__ = ["Zone", "unbound"]

_DAY: Final = 86_400
_KEY_SIGNING_KEY: Final = 257
_HEAD: Final = """$TTL {ttl}
@ SOA ns hostmaster 1 3600 600 86400 {ttl}
@ NS ns
ns A 127.0.0.1
"""


@dataclass(frozen=True, slots=True)
class Zone:
    """One zone.

    Arguments:
        name: without its last dot; empty for the root.
        records: lines of a zone file, without TTL and class.
        signed: it is signed, and the name server knows the key.
        bogus: it is signed by another key than the name server knows.
        ttl: seconds, of all records and of what is not there.
    """

    name: str
    records: str = ""
    signed: bool = False
    bogus: bool = False
    ttl: int = 300


@contextlib.contextmanager
def unbound(folder: Path, zones: Sequence[Zone]) -> Iterator[str]:
    """Run unbound until the block is left; gives its address and port.

    Arguments:
        folder: for its files; nothing is there yet.
        zones: that it answers from.

    Raises:
        AssertionError: it does not start.
    """
    program = require_program("unbound")
    port = free_port()
    config = folder / "unbound.conf"
    anchors, parts = [], []
    for at, zone in enumerate([*zones, Zone("")]):
        file = folder / f"zone{at}"
        text, anchor = _zone_file(zone)
        file.write_text(text)
        if anchor:
            anchors.append(f'trust-anchor: "{anchor}"')
        parts.append(
            f'auth-zone:\n name: "{zone.name}."\n zonefile: "{file}"\n'
            " for-downstream: no\n for-upstream: yes\n fallback-enabled: no\n"
        )
    config.write_text(
        "server:\n"
        f" interface: 127.0.0.1@{port}\n"
        f' directory: "{folder}"\n pidfile: "{folder}/pid"\n'
        ' chroot: ""\n username: ""\n do-daemonize: no\n use-syslog: no\n'
        ' module-config: "validator iterator"\n qname-minimisation: no\n'
        " do-not-query-localhost: no\n num-threads: 1\n"
        + "".join(f" {anchor}\n" for anchor in anchors)
        + "".join(f' local-zone: "{zone.name}." nodefault\n' for zone in zones)
        + "remote-control:\n control-enable: no\n"
        + "".join(parts)
    )
    log = folder / "unbound.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the program that the test asks for
            [program, "-d", "-p", "-c", str(config)], stdout=output, stderr=output
        )
    try:
        _wait_for(process, port, log)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _zone_file(zone: Zone) -> tuple[str, str]:
    """The text of a zone, and its DNSKEY for whoever is to trust it, or an empty string."""
    text = f"{_HEAD.format(ttl=zone.ttl)}{zone.records}\n"
    made = dns.zone.from_text(text, origin=f"{zone.name}.", relativize=False)
    anchor = ""
    if zone.signed or zone.bogus:
        key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        keys = [
            dns.dnssec.make_dnskey(each.public_key(), "ECDSAP256SHA256", _KEY_SIGNING_KEY)
            for each in (key, other)
        ]
        now = time.time()
        dns.dnssec.sign_zone(
            made, keys=[(key, keys[0])], inception=now - _DAY, expiration=now + _DAY
        )
        anchor = f"{zone.name}. IN DNSKEY {keys[1 if zone.bogus else 0].to_text()}"
    return made.to_text(relativize=False), anchor


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    question = dns.message.make_query(".", "SOA")
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(dns.exception.DNSException, OSError):
            if dns.query.udp(question, "127.0.0.1", port=port, timeout=0.5).rcode() == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"unbound does not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)
