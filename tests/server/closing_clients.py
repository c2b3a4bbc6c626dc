"""Clients that end a connection in every way that there is. They block: run them in a thread."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

RESET = struct.pack("ii", 1, 0)


class Client:
    """A connection in clear.

    Arguments:
        port: of 127.0.0.1.
        first: what is sent at once.
        answered: whether something comes back then, or without it.
    """

    def __init__(self, port: int, first: bytes, answered: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.start()
        self.send(first)
        if answered:
            assert self.receive()

    def start(self) -> None:
        """Before anything is sent."""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> bytes:
        return self.socket.recv(65536)

    def fill(self, data: bytes, enough: Callable[[], bool]) -> None:
        """Send again and again, without reading. More than enough would hold up the end itself."""
        for _ in range(20_000):
            if enough():
                return
            self.send(data)
            time.sleep(0.0005)
        raise AssertionError("the service takes everything")

    def close(self) -> None:
        self.socket.close()


class TLSClient(Client):
    """A connection in TLS, whose records are in our hands."""

    def start(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing)
        self._until_done(self.tls.do_handshake)

    def _until_done(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                result = work()
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                data = self.socket.recv(65536)
                if not data:
                    self.incoming.write_eof()
                self.incoming.write(data)
            else:
                self.socket.sendall(self.outgoing.read())
                return result

    def records(self, data: bytes) -> bytes:
        """What would be sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def send(self, data: bytes) -> None:
        if data:
            self.socket.sendall(self.records(data))

    def receive(self) -> bytes:
        data: bytes = self._until_done(lambda: self.tls.read(65536))
        return data

    def close_notify(self) -> None:
        with suppress(ssl.SSLError):  # the server has not said it, too
            self.tls.unwrap()
        self.socket.sendall(self.outgoing.read())


def fin(client: Client) -> None:
    client.socket.close()


def reset(client: Client) -> None:
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.socket.close()


def half_close(client: Client) -> None:
    """As ``nc -N`` does; it reads on."""
    client.socket.shutdown(socket.SHUT_WR)
    while client.socket.recv(65536):
        pass


def half_close_unread(client: Client) -> None:
    """It does not read what is left, and keeps its socket."""
    client.socket.shutdown(socket.SHUT_WR)


def close_notify_and_fin(client: Any) -> None:
    client.close_notify()
    client.socket.close()


def close_notify(client: Any) -> None:
    """It keeps its socket, and does not read."""
    client.close_notify()


def close_notify_and_half_close(client: Any) -> None:
    client.close_notify()
    client.socket.shutdown(socket.SHUT_WR)


def damaged_record(client: Any) -> None:
    record = bytearray(client.records(b"hello\r\n"))
    record[-1] ^= 1
    client.socket.sendall(record)


def damaged_header(client: Any) -> None:
    """Its length is more than any record has, so that no more of it has to come."""
    client.socket.sendall(b"\x17\x03\x03\xff\xff")


def text_after_the_handshake(client: Any) -> None:
    client.socket.sendall(b"QUIT\r\n")


IN_CLEAR = (fin, reset, half_close, half_close_unread)
IN_TLS = (fin, reset, half_close_unread, close_notify_and_fin, close_notify,
          close_notify_and_half_close, damaged_record, damaged_header,
          text_after_the_handshake)  # fmt: skip
