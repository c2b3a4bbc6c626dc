"""nginx as the upstream of the bridges: one worker, kept connections, 200 with a small body; and as
a proxy before it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ default_type text/plain; return 200 "ok"; }}
    }}
}}
"""

PROXY: Final = """\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream behind {{
        server 127.0.0.1:{upstream};
        keepalive 1000;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


def find() -> str | None:
    """The path of the program, or None."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def command(program: str, folder: Path, port: int, *, upstream: int | None = None) -> list[str]:
    """Write the config into a folder of its own and give the command that serves it.

    Arguments:
        program: the path of nginx.
        folder: made here.
        port: where it listens.
        upstream: the port that it passes requests on to; None: it answers them.
    """
    folder.mkdir()
    config = folder / "nginx.conf"
    form = CONFIG if upstream is None else PROXY
    config.write_text(form.format(folder=folder, port=port, upstream=upstream))
    return [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
