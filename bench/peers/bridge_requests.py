"""The same bridge on requests and a thread a connection, each with its kept session.

The arguments are the port and the upstream's URL, to which each line is appended.
"""

from __future__ import annotations

import socketserver
import sys

import requests


class Bridge(socketserver.StreamRequestHandler):
    """Line by line."""

    def handle(self) -> None:
        with requests.Session() as session:
            for line in self.rfile:
                response = session.get(sys.argv[2] + line.decode().rstrip("\r\n"), timeout=5)
                self.wfile.write(b"%d %b\r\n" % (response.status_code, response.content))


class Server(socketserver.ThreadingTCPServer):
    """Threads that do not hold up the end of the process."""

    daemon_threads = True
    request_queue_size = 100


if __name__ == "__main__":
    with Server(("127.0.0.1", int(sys.argv[1])), Bridge) as server:
        server.serve_forever()
