"""TLS seen passively (RFC 8446): server name, version, and the number of encrypted bytes."""

from __future__ import annotations

from typing import Final

from netserve.capture.decode.lines import gap_text
from netserve.capture.decode.model import CLIENT, Say
from netserve.capture.decode.printing import printable

__all__ = ["TLS", "looks_like_tls"]

_HANDSHAKE: Final = 22
_ALERT: Final = 21
_DATA: Final = 23
_KINDS: Final = frozenset({20, 21, 22, 23})
_VERSIONS: Final = {
    0x0300: "SSL 3.0", 0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3",
}  # fmt: skip
_ALERTS: Final = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 40: "handshake_failure",
    42: "bad_certificate", 43: "unsupported_certificate", 44: "certificate_revoked",
    45: "certificate_expired", 46: "certificate_unknown", 47: "illegal_parameter",
    48: "unknown_ca", 49: "access_denied", 50: "decode_error", 51: "decrypt_error",
    70: "protocol_version", 71: "insufficient_security", 80: "internal_error",
    86: "inappropriate_fallback", 90: "user_canceled", 109: "missing_extension",
    112: "unrecognized_name",
    116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip
_CLIENT_HELLO: Final = 1
_SERVER_HELLO: Final = 2
_SERVER_NAME: Final = 0
_SUPPORTED_VERSIONS: Final = 43
_ALPN: Final = 16
_MAX_RECORD: Final = 16_384 + 2048


def looks_like_tls(data: bytes) -> bool:
    """Whether it begins with a handshake record."""
    return data[:2] == b"\x16\x03" and (len(data) < 3 or data[2] <= 4)


class TLS:
    """Hellos, alerts, and the number of bytes that are encrypted."""

    name = "tls"

    def __init__(self, say: Say) -> None:
        self._say = say
        self._buffers = [b"", b""]
        self._skip = [0, 0]
        "Bytes left of a record that is not looked at."
        self._encrypted = [0, 0]
        self._greeted = [False, False]
        self._lost = [False, False]

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of the stream in order."""
        if self._lost[side]:
            return
        data = self._buffers[side] + data
        self._buffers[side] = b""
        at = 0
        while at < len(data):
            if skip := min(self._skip[side], len(data) - at):
                self._skip[side] -= skip
                at += skip
                continue
            if len(data) < at + 5:
                break
            kind, size = data[at], int.from_bytes(data[at + 3 : at + 5], "big")
            if kind not in _KINDS or data[at + 1] != 3 or size > _MAX_RECORD:
                self._lost[side] = True
                self._say(time, side, "problem", "not TLS from here on", {})
                return
            if kind == _DATA or (kind == _HANDSHAKE and self._greeted[side]) or kind == 20:
                self._encrypted[side] += size if kind == _DATA else 0
                self._skip[side] = size
                at += 5
            elif len(data) < at + 5 + size:
                break
            else:
                self._record(side, time, kind, data[at + 5 : at + 5 + size])
                at += 5 + size
        self._buffers[side] = data[at:]

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""
        self._say(time, side, "gap", gap_text(size), {"bytes": size})
        self._lost[side] = not self._skip[side] >= size
        self._skip[side] -= min(size, self._skip[side])

    def closed(self, side: int, time: int) -> None:
        """The side sends no more."""
        if size := self._encrypted[side]:
            self._say(time, side, "data", f"({size:,} bytes encrypted)", {"size": size})
            self._encrypted[side] = 0

    def finish(self, time: int) -> None:
        """Nothing more comes."""
        self.closed(0, time)
        self.closed(1, time)

    def _record(self, side: int, time: int, kind: int, body: bytes) -> None:
        if kind == _ALERT:
            # An encrypted alert is longer than its two bytes.
            name = _ALERTS.get(body[1], f"alert {body[1]}") if len(body) == 2 else "encrypted"
            self._say(time, side, "alert", f"alert: {name}", {"alert": name})
            return
        self._greeted[side] = True
        if len(body) < 4 or body[0] != (_CLIENT_HELLO if side == CLIENT else _SERVER_HELLO):
            return
        details = _hello(body[4:], from_client=side == CLIENT)
        name = "client hello" if side == CLIENT else "server hello"
        about = ", ".join(f"{key} {value}" for key, value in details.items())
        self._say(time, side, "hello", f"{name} ({about})", details)


def _hello(body: bytes, *, from_client: bool) -> dict[str, object]:
    """Version, server name and application protocols of a hello, as far as it can be read."""
    version = int.from_bytes(body[:2], "big")
    at = 34
    at += 1 + body[at] if len(body) > at else 0  # session id
    if from_client:
        at += 2 + int.from_bytes(body[at : at + 2], "big")  # cipher suites
        at += 1 + body[at] if len(body) > at else 0  # compression methods
    else:
        at += 3
    details: dict[str, object] = {}
    end = at + 2 + int.from_bytes(body[at : at + 2], "big")
    at += 2
    while at + 4 <= min(end, len(body)):
        kind = int.from_bytes(body[at : at + 2], "big")
        size = int.from_bytes(body[at + 2 : at + 4], "big")
        value = body[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == _SERVER_NAME and from_client and len(value) > 5:
            details["server name"] = printable(value[5:], 255)
        elif kind == _ALPN and len(value) > 3:
            details["protocol"] = printable(value[3 : 3 + value[2]], 40)
        elif kind == _SUPPORTED_VERSIONS and value:
            offered = value[1:] if from_client else value
            known = [
                int.from_bytes(offered[i : i + 2], "big") for i in range(0, len(offered) - 1, 2)
            ]
            version = max((each for each in known if each in _VERSIONS), default=version)
    return {"version": _VERSIONS.get(version, f"0x{version:04x}"), **details}
