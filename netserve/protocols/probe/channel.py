"""A connection for a probe: in clear, or by TLS, even with an invalid certificate.

TLS is OpenSSL over memory buffers. The handshake accepts any chain, and the channel judges the
chain afterwards (`netserve.protocols.probe.certificates`).
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from OpenSSL import SSL, crypto

from netserve.protocols.probe.certificates import judge
from netserve.protocols.probe.result import ProbeFailed, Recorder
from netserve.protocols.probe.target import Address

_PIECE: Final = 1 << 16
_VERSIONS: Final = {
    "1.0": SSL.TLS1_VERSION,
    "1.1": SSL.TLS1_1_VERSION,
    "1.2": SSL.TLS1_2_VERSION,
    "1.3": SSL.TLS1_3_VERSION,
}


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """The options of TLS, and the requirements on the certificate.

    Arguments:
        server_name: the name that the certificate must have; empty for the target's host.
        insecure: report an invalid certificate, but do not fail.
        ca_file: trusted roots in place of the system's, PEM.
        minimum_version: the lowest version of TLS.
        alpn: protocols to offer.
    """

    server_name: str = ""
    insecure: bool = False
    ca_file: Path | None = None
    minimum_version: str = "1.2"
    alpn: tuple[bytes, ...] = ()


USUAL_TLS: Final = TlsOptions()


@dataclass(slots=True)
class Channel:
    """A connection; made by `connect`.

    Arguments:
        recorder: gets steps and metrics.
    """

    recorder: Recorder
    _socket: socket.socket
    _tls: SSL.Connection | None = field(default=None, repr=False)

    @property
    def is_tls(self) -> bool:
        """Whether TLS was begun."""
        return self._tls is not None

    async def read(self) -> bytes:
        """Received bytes; empty at the end.

        Raises:
            OSError: the connection is lost.
        """
        loop = asyncio.get_running_loop()
        if self._tls is None:
            return await loop.sock_recv(self._socket, _PIECE)
        while True:
            try:
                return self._tls.recv(_PIECE)
            except SSL.WantReadError:
                await self._flush()
                data = await loop.sock_recv(self._socket, _PIECE)
                if not data:
                    return b""
                self._tls.bio_write(data)
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as error:
                raise ProbeFailed("tls", f"the peer's TLS is broken: {_reason(error)}") from None

    async def write(self, data: bytes) -> None:
        """Send.

        Raises:
            OSError: the connection is lost.
        """
        if self._tls is None:
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
            return
        try:
            self._tls.sendall(data)
        except SSL.Error as error:
            raise ProbeFailed("tls", f"the peer's TLS is broken: {_reason(error)}") from None
        await self._flush()

    async def _flush(self) -> None:
        if self._tls is None:
            return
        while True:
            try:
                data = self._tls.bio_read(_PIECE)
            except SSL.WantReadError:
                return
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def start_tls(self, options: TlsOptions, host: str) -> None:
        """Do the handshake, record the chain, and judge it.

        Arguments:
            options: see there.
            host: the name that the certificate must have, unless the options give another.

        Raises:
            ProbeFailed: the handshake fails, or the certificate is invalid.
            OSError: the connection is lost.
        """
        name = options.server_name or host
        context = _context(options)
        tls = SSL.Connection(context, None)
        tls.set_connect_state()
        if not _is_address(name):
            tls.set_tlsext_host_name(name.encode("idna"))
        self._tls = tls
        await self._shake_hands(tls)
        self.recorder.set("probe_tls_version_info", 1.0, version=_version(tls))
        self.recorder.set("probe_tls_cipher_info", 1.0, cipher=tls.get_cipher_name() or "unknown")
        self.recorder.step(f"{_version(tls)}, {tls.get_cipher_name()}")
        self._judge(tls, context, options, name)

    async def _shake_hands(self, tls: SSL.Connection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                await self._flush()
                data = await loop.sock_recv(self._socket, _PIECE)
                if not data:
                    raise ProbeFailed("closed", "closed during the TLS handshake") from None
                tls.bio_write(data)
            except SSL.Error as error:
                await self._flush()
                raise ProbeFailed("tls", f"the TLS handshake failed: {_reason(error)}") from None
            else:
                await self._flush()
                return

    def _judge(
        self, tls: SSL.Connection, context: SSL.Context, options: TlsOptions, name: str
    ) -> None:
        chain: list[crypto.X509] = tls.get_peer_cert_chain() or []
        if not chain:
            raise ProbeFailed("certificate", "the server sent no certificate")
        store = context.get_cert_store()
        now = datetime.datetime.now(datetime.UTC)
        verdict = judge(chain, store or crypto.X509Store(), name, now)
        record = self.recorder
        record.set("probe_ssl_earliest_cert_expiry", verdict.earliest_expiry)
        if verdict.chain_expiry is not None:
            record.set("probe_ssl_last_chain_expiry_timestamp_seconds", verdict.chain_expiry)
        record.set("probe_ssl_last_chain_info", 1.0, **verdict.labels())
        expiry = datetime.datetime.fromtimestamp(verdict.earliest_expiry, datetime.UTC)
        record.step(
            f"{len(chain)} certificates, the first to expire at {expiry:%Y-%m-%d %H:%M} UTC"
        )
        for reason, text in verdict.problems:
            record.set("probe_ssl_verify_error_info", 1.0, reason=reason)
            record.step(f"certificate: {text} ({reason})")
        if verdict.problems and not options.insecure:
            reason, text = verdict.problems[0]
            raise ProbeFailed(f"certificate_{reason}", text)

    def close(self) -> None:
        """Close it."""
        if self._tls is not None:
            try:
                self._tls.shutdown()
                data = self._tls.bio_read(_PIECE)
                self._socket.send(data)
            except (SSL.Error, OSError):
                pass
        self._socket.close()


async def connect(
    address: Address, port: int, recorder: Recorder, *, kind: int = socket.SOCK_STREAM
) -> Channel:
    """A connection to an address.

    Arguments:
        address: where.
        port: the port.
        recorder: gets the phase ``connect``.
        kind: SOCK_STREAM, or SOCK_DGRAM for a connected datagram socket.

    Raises:
        OSError: there is none.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    try:
        with recorder.during("connect"):
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    recorder.step(f"connected to {address} port {port}")
    return Channel(recorder, sock)


def _context(options: TlsOptions) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_VERSIONS[options.minimum_version])
    context.set_verify(SSL.VERIFY_NONE, _take_it)
    if options.ca_file is None:
        context.set_default_verify_paths()
    else:
        try:
            context.load_verify_locations(str(options.ca_file))
        except SSL.Error:
            raise ProbeFailed("configuration", f"{options.ca_file}: no certificates") from None
    if options.alpn:
        context.set_alpn_protos(list(options.alpn))
    return context


def _take_it(*_: Any) -> bool:
    """Accept any certificate; the channel judges the whole chain later."""
    return True


def _version(tls: SSL.Connection) -> str:
    return str(tls.get_protocol_version_name()).replace("TLSv", "TLS ")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _reason(error: SSL.Error) -> str:
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][-1][-1])
    return str(error) or "the connection was closed"
