"""A server in a thread that answers by a script, and keeps the bytes of both directions."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Self


class Talk:
    """One connection of the server."""

    def __init__(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        sock.settimeout(10)
        self.sock: Any = sock
        self.received = b""
        self.sent = b""
        self._tls = tls
        self._held = b""

    def start_tls(self) -> None:
        """Shake hands."""
        assert self._tls is not None
        self.sock = self._tls.wrap_socket(self.sock, server_side=True)

    def until(self, end: bytes) -> bytes:
        """What comes, up to an end that is in it; empty where the peer closes before."""
        while end not in self._held:
            piece = self.sock.recv(65536)
            if not piece:
                return b""
            self.received += piece
            self._held += piece
        found, self._held = self._held.split(end, 1)
        return found + end

    def say(self, data: bytes) -> None:
        """Send."""
        self.sock.sendall(data)
        self.sent += data


class Scripted:
    """The server; `talks` are its connections.

    Arguments:
        script: talks with each client.
        tls: for the script's use.
    """

    def __init__(self, script: Callable[[Talk], None], tls: ssl.SSLContext | None = None) -> None:
        self.talks: list[Talk] = []
        self._script = script
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            talk = Talk(sock, self._tls)
            self.talks.append(talk)
            try:
                self._script(talk)
            except OSError:
                pass
            finally:
                talk.sock.close()


def mail_server(*, starttls: bool = False, tls_first: bool = False) -> Callable[[Talk], None]:
    """The script of a server that takes all mail."""

    def script(talk: Talk) -> None:
        if tls_first:
            talk.start_tls()
        offers = starttls
        talk.say(b"220 mx.test ESMTP\r\n")
        while line := talk.until(b"\r\n"):
            word = line[:4].upper()
            if word == b"EHLO":
                talk.say(b"250-mx.test\r\n250-STARTTLS\r\n250 8BITMIME\r\n" if offers
                         else b"250-mx.test\r\n250 8BITMIME\r\n")  # fmt: skip
            elif word == b"STAR":
                talk.say(b"220 go on\r\n")
                talk.start_tls()
                offers = False
            elif word == b"DATA":
                talk.say(b"354 go on\r\n")
                talk.until(b"\r\n.\r\n")
                talk.say(b"250 2.0.0 taken\r\n")
            elif word == b"QUIT":
                talk.say(b"221 bye\r\n")
                return
            else:
                talk.say(b"250 2.0.0 ok\r\n")

    return script


def http_server(*, tls_first: bool = False) -> Callable[[Talk], None]:
    """The script of a server that answers each request by its number on the connection."""

    def script(talk: Talk) -> None:
        if tls_first:
            talk.start_tls()
        count = 0
        while head := talk.until(b"\r\n\r\n"):
            count += 1
            lines = head.lower().split(b"\r\n")
            lengths = [int(one[15:]) for one in lines if one.startswith(b"content-length:")]
            for size in lengths:
                talk_body(talk, size)
            body = b"answer %d" % count
            talk.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    return script


def talk_body(talk: Talk, size: int) -> None:
    """Take a request's body."""
    while len(talk._held) < size:
        piece = talk.sock.recv(65536)
        if not piece:
            return
        talk.received += piece
        talk._held += piece
    talk._held = talk._held[size:]
