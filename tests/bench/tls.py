"""nginx with a certificate of its own in front of a server, where nginx can be had."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import trustme

from tests.lab.servers import HOST, free_port

_READY_SECONDS: Final = 10.0
_CONFIG: Final = """\
worker_processes 1;
pid {folder}/nginx.pid;
daemon off;
error_log {folder}/error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream store {{ server {upstream}; keepalive 64; }}
  server {{
    listen {host}:{port} ssl;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    keepalive_requests 100000;
    location / {{
      proxy_pass http://store;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_buffering off;
    }}
  }}
}}
"""
_TRUSTING: Final = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
"""Read by obstore and s5cmd, by boto3, and by requests (google-cloud-storage)."""


class NoNginx(RuntimeError):
    """There is no nginx, or it does not start."""


@dataclass(frozen=True)
class Encrypted:
    """A server behind TLS."""

    url: str
    environment: dict[str, str]
    """Makes clients trust its certificate."""


def program() -> str:
    """Find nginx.

    Raises
    ------
    NoNginx
        It is not installed.
    """
    found = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        raise NoNginx("nginx is not installed: apt-get install --no-install-recommends nginx-light")
    return found


@contextlib.contextmanager
def encrypted(upstream: str, folder: Path) -> Iterator[Encrypted]:
    """Run nginx before a server for the length of a ``with`` block.

    Parameters
    ----------
    upstream
        URL of the server.
    folder
        For its files.

    Raises
    ------
    NoNginx
        It is not installed, or does not start.
    """
    found = program()
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(folder / "chain.pem"), append=True)
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(folder=folder, upstream=urlsplit(upstream).netloc, host=HOST, port=port)
    )
    with subprocess.Popen(
        [found, "-c", str(config), "-e", str(folder / "error.log")], stderr=subprocess.PIPE
    ) as process:
        try:
            _await(port, process)
            environment = dict.fromkeys(_TRUSTING, str(folder / "authority.pem"))
            yield Encrypted(f"https://{HOST}:{port}", environment)
        finally:
            process.terminate()
            process.wait()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise NoNginx("nginx does not start")
