"""A loopback HTTP proxy that records what clients ask it for, and refuses."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Refusals:
    """What arrived."""

    url: str
    """Of the proxy."""
    requests: list[str] = field(default_factory=list)
    """The head of each request: its first line and its headers."""

    @property
    def hosts(self) -> set[str]:
        """Hosts and ports that tunnels were asked for."""
        return {head.split()[1] for head in self.requests if head.startswith("CONNECT ")}


@contextmanager
def refusing_proxy() -> Iterator[Refusals]:
    """Run the proxy on a free port; nothing that is sent to it leaves the machine."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = b""
            while line := self.rfile.readline():
                head += line
                if line == b"\r\n":
                    break
            seen.requests.append(head.decode("latin-1"))
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        seen = Refusals(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield seen
        finally:
            server.shutdown()
            thread.join()
