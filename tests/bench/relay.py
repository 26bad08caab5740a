"""A TCP relay before a server: it adds latency, and counts what crosses the wire.

It is a process of its own, so that its CPU time is nobody else's. Each direction is delayed by
half of the latency, chunk by chunk and without losing throughput: a request and its answer gain
the latency once. Opening a connection gains nothing. What it counts is HTTP/1.1 in the clear;
TLS passes uncounted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

HOST: Final = "127.0.0.1"
_MOST_WAITING: Final = 4 * 2**20
"""Bytes on their way in one direction of a connection; then the sender has to wait."""
_BUFFER_BYTES: Final = 2**16
"""Of a socket; the client's own buffer comes on top."""
_TLS: Final = b"\x16"
"""How a connection begins that is not to be read."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LISTING: Final = re.compile(r"[?&](list-type|prefix|delimiter|max-keys)=|/storage/v1/b/[^/]+/o\?")


@dataclass
class Messages:
    """Takes one direction of a connection apart into HTTP messages."""

    rest: bytes = b""
    """Of a head, or of a chunk's length, that has not come whole."""
    body: int = 0
    """Bytes of the body, or of the chunk, still to come."""
    framing: int = 0
    """Bytes behind a chunk that are not of the body."""
    chunked: bool = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Yield what has come: a head whole, or an empty head; and how many bytes of a body."""
        data = self.rest + data
        self.rest = b""
        while data:
            if self.body:
                before = max(0, self.body - self.framing)
                taken = min(self.body, len(data))
                self.body -= taken
                data = data[taken:]
                yield b"", before - max(0, self.body - self.framing)
                continue
            head, end, data = data.partition(b"\r\n" if self.chunked else b"\r\n\r\n")
            if not end:
                self.rest = head
                return
            if self.chunked:
                size = int(head.split(b";")[0], 16)
                # a chunk ends with a line break; the last one has no bytes before it
                self.body, self.framing, self.chunked = size + 2, 2, size > 0
            else:
                yield head, 0

    def expect(self, head: bytes) -> None:
        """Begin the body that a head announces."""
        length = _LENGTH.search(head)
        self.chunked = bool(_CHUNKED.search(head))
        self.body = int(length[1]) if length and not self.chunked else 0
        self.framing = 0


@dataclass
class Meter:
    """Counts the requests of a connection and the bytes that answer them."""

    counts: Counter[str]
    up: Messages = field(default_factory=Messages)
    down: Messages = field(default_factory=Messages)
    asked: deque[tuple[bytes, bool]] = field(default_factory=deque)
    """Method of each request without an answer, and whether it asks for a listing."""
    listing: bool = False
    """What is being answered is a listing."""

    def request(self, data: bytes) -> None:
        """Count what a client sends."""
        for head, _ in self.up.feed(data):
            if head:
                self.up.expect(head)
                method, target = head.split(b" ", 2)[:2]
                listing = bool(_LISTING.search(target.decode("latin-1")))
                self.asked.append((method, listing))
                self.counts["listings" if listing else "requests"] += 1

    def answer(self, data: bytes) -> None:
        """Count what a server sends."""
        for head, body in self.down.feed(data):
            if head:
                status = head.split(b" ", 2)[1]
                if status == b"100":
                    continue
                method, self.listing = self.asked.popleft() if self.asked else (b"", False)
                if method != b"HEAD" and status not in (b"204", b"304"):
                    self.down.expect(head)
            of = "listing_" if self.listing else ""
            self.counts[f"{of}head_bytes"] += len(head) + 4 if head else 0
            self.counts[f"{of}body_bytes"] += body


class Relay:
    """The relay within its own process.

    Parameters
    ----------
    host, port
        The server.
    latency
        Seconds that a round trip gains.
    rename
        Whether the server is to see its own name in place of the relay's; both ports must have
        the same number of digits.
    """

    def __init__(self, host: str, port: int, latency: float, *, rename: bool = False) -> None:
        self.host, self.port, self.latency = host, port, latency
        self.rename = rename
        self.own_port = 0
        self.counting = True
        self.counts: Counter[str] = Counter()
        self.connecting: set[asyncio.Task[None]] = set()

    async def serve(self) -> asyncio.Server:
        """Begin to listen on a free port."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Client(self), HOST, 0, backlog=1024)
        self.own_port = server.sockets[0].getsockname()[1]
        return server

    def renamed(self, data: bytes) -> bytes:
        """Put the server's name into a request."""
        if not self.rename:
            return data
        return data.replace(f":{self.own_port}\r\n".encode(), f":{self.port}\r\n".encode(), 1)

    def named(self, data: bytes) -> bytes:
        """Put the relay's name into a GCS object's description, which says where its bytes are."""
        if not self.rename or b'"mediaLink"' not in data:
            return data
        return data.replace(f":{self.port}/".encode(), f":{self.own_port}/".encode())


class _End(asyncio.Protocol):
    """One of the two ends of a connection."""

    transport: asyncio.Transport
    other: _End | None = None

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.waiting: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # what a client breaks off shall not have crossed already, into the buffers of this process
        own: socket.socket = transport.get_extra_info("socket")
        for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            own.setsockopt(socket.SOL_SOCKET, buffer, _BUFFER_BYTES)

    def deliver(self, data: bytes) -> None:
        """Send to this end, half of the latency from now; nothing means the end."""
        if not self.relay.latency and not self.waiting:
            self._send(data)
            return
        self.waiting.append(data)
        self.waiting_bytes += len(data)
        self._hold_back()
        asyncio.get_running_loop().call_later(self.relay.latency / 2, self._send_next)

    def _send_next(self) -> None:
        # the order is that of coming, whatever the timers do
        data = self.waiting.popleft()
        self.waiting_bytes -= len(data)
        self._send(data)
        self._hold_back()

    def _send(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if data:
            self.transport.write(data)
        else:
            self.transport.close()

    def _hold_back(self) -> None:
        if self.other is None or self.other.transport.is_closing():
            return
        if self.paused or self.waiting_bytes > _MOST_WAITING:
            self.other.transport.pause_reading()
        else:
            self.other.transport.resume_reading()

    def pause_writing(self) -> None:
        self.paused = True
        self._hold_back()

    def resume_writing(self) -> None:
        self.paused = False
        self._hold_back()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.deliver(b"")


class _Client(_End):
    """The end that asks."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.meter = Meter(self.relay.counts)
        self.early: list[bytes] = []
        self.seen, self.clear, self.counting = False, True, True
        self.relay.counts["connections"] += 1
        task = asyncio.get_running_loop().create_task(self._connect())
        self.relay.connecting.add(task)
        task.add_done_callback(self.relay.connecting.discard)

    def _send(self, data: bytes) -> None:
        # not when it comes: what waits here has not crossed, and a client may break it off
        if self.counting and data and not self.transport.is_closing():
            self.meter.answer(data)
        super()._send(data)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, server = await loop.create_connection(
            lambda: _Server(self.relay, self), self.relay.host, self.relay.port
        )
        self.other = server
        for data in self.early:
            server.deliver(data)
        if self.transport.is_closing():
            server.deliver(b"")

    def data_received(self, data: bytes) -> None:
        if not self.seen:
            self.clear = not data.startswith(_TLS)
            self.counting = self.relay.counting and self.clear
        self.seen = True
        if self.counting:
            self.meter.request(data)
        if self.clear:
            data = self.relay.renamed(data)
        if self.other is None:
            self.early.append(data)
        else:
            self.other.deliver(data)


class _Server(_End):
    """The end that answers."""

    def __init__(self, relay: Relay, client: _Client) -> None:
        super().__init__(relay)
        self.other: _Client = client

    def data_received(self, data: bytes) -> None:
        self.other.deliver(self.relay.named(data))


async def _run(relay: Relay) -> None:
    async with await relay.serve():
        print(relay.own_port, flush=True)
        commands = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        while line := await commands.readline():
            command, _, value = line.decode().strip().partition(" ")
            if command == "latency":
                relay.latency = float(value)
                relay.counting = False
            told: object = time.process_time() if command == "cpu" else relay.counts
            print(json.dumps(told), flush=True)
            relay.counts.clear()


class Running:
    """A relay in a process of its own, as those who use it see it.

    Parameters
    ----------
    process
        The relay.
    scheme
        Of the server's URL.
    """

    def __init__(self, process: subprocess.Popen[str], scheme: str) -> None:
        self._process = process
        self._cpu = 0.0
        self.url = f"{scheme}://{HOST}:{self._line()}"

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the relay has ended")
        return line.strip()

    def counts(self) -> Counter[str]:
        """Return what crossed since the last call."""
        return Counter(self._ask("counts"))

    def delay(self, latency: float) -> None:
        """Set the seconds that a round trip gains, and count no more on new connections."""
        self._ask(f"latency {latency}")
        self._cpu = self._ask("cpu")

    def cpu_seconds(self) -> float:
        """Return the CPU time of the relay since it was told the latency."""
        return float(self._ask("cpu") - self._cpu)

    def _ask(self, command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return json.loads(self._line())


@contextlib.contextmanager
def relay(upstream: str, latency: float = 0.0, *, rename: bool = False) -> Iterator[Running]:
    """Run a relay before a server for the length of a ``with`` block.

    Parameters
    ----------
    upstream
        URL of the server.
    latency
        Seconds that a round trip gains.
    rename
        For a server that answers to its own name alone.
    """
    command = [sys.executable, __file__, upstream, "--latency", str(latency)]
    command += ["--rename"] if rename else []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Running(process, urlsplit(upstream).scheme)
        finally:
            assert process.stdin is not None
            # the end of its input is the end of the relay
            process.stdin.close()
            process.wait()


def main() -> None:
    """Run until standard input ends; the port is the first line of output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("upstream", help="URL of the server")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds for a round trip")
    parser.add_argument("--rename", action="store_true", help="give the server its own name")
    options = parser.parse_args()
    target = urlsplit(options.upstream)
    made = Relay(target.hostname or HOST, target.port or 80, options.latency, rename=options.rename)
    asyncio.run(_run(made))


if __name__ == "__main__":
    main()
