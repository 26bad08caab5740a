"""A gate before a real server: it counts what passes, and breaks what it is told to.

``python -m tests.faults.proxy http://127.0.0.1:8333 --seed 7 --rate 503=0.05`` runs one beside
the shell, or beside a driver that is to be killed.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import random
import re
import socket
import socketserver
import ssl
import struct
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import trustme

HOST: Final = "127.0.0.1"
PATIENCE_SECONDS: Final = 30
"""How long the gate waits for a server, or for a client that it keeps waiting."""


@dataclass(frozen=True)
class Seen:
    """A request that passed the gate."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""
    status: int
    body_bytes: int
    """Of the answer, as sent."""
    port: int
    """Of the client's end of the connection, by which its process is found."""


@dataclass(frozen=True)
class Answer:
    """What is about to be answered."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: int | None = None
    """Send only so many bytes of the body, and close."""
    reset: bool = False
    """Reset the connection instead."""
    stalled: bool = False
    """Send the headers, and nothing more until the client has left."""
    flipped: bool = False
    """Have the relay flip a bit of the encrypted answer."""
    whole: Callable[[], bytes] = bytes
    """Reads the object as if no range had been asked for."""


Fault = Callable[[Answer], Answer]
Schedule = Callable[[str, int], Fault | None]
"""What to do to the n-th request, from 0, of an object named as by `object_of`."""


@dataclass
class Gate:
    """A reverse proxy on a free port; honest unless told otherwise."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    faults: deque[Fault] = field(default_factory=deque)
    """One for each of the next requests."""
    always: Fault | None = None
    """For every request, when `faults` are used up."""
    schedule: Schedule | None = None
    """For every request that the other two leave alone."""
    only: str = ""
    """Faults are for requests whose path holds this."""
    on_request: Callable[[int], None] | None = None
    """Called before the request of this number, from 0, is passed on."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    relay: Relay | None = None
    """Between the clients and a gate that speaks TLS."""
    _counts: Counter[str] = field(default_factory=Counter)

    def of(self, key: str) -> list[Seen]:
        """Return the requests whose path holds a text."""
        return [each for each in self.seen if key in unquote(each.path)]

    def admit(self, method: str, path: str, port: int) -> tuple[int, Fault | None]:
        """Take note of a request; return its number, and what is to be done to its answer."""
        name = object_of(path)
        with self.lock:
            number, turn = len(self.seen), self._counts[name]
            self._counts[name] += 1
            # its place is taken before the answer is known: requests come from many threads
            self.seen.append(Seen(method, path, {}, 0, 0, port))
            if self.only not in unquote(path):
                return number, None
            fault = self.faults.popleft() if self.faults else self.always
        if fault is None and self.schedule is not None:
            fault = self.schedule(name, turn)
        return number, fault


_JSON_API = re.compile(r"/(?:download/|upload/)?storage/v1/b/([^/]+)/o/(.+)")


def object_of(path: str) -> str:
    """Return ``bucket/key`` of a request, whichever of a store's APIs it uses.

    A listing is named by its whole path, so that each page of it counts by itself.
    """
    location, _, query = path.partition("?")
    if "prefix=" in query or "list-type=" in query:
        return unquote(path)
    match = _JSON_API.fullmatch(location)
    return unquote(f"{match[1]}/{match[2]}" if match else location.removeprefix("/"))


# --- the server ------------------------------------------------------------------------------

_OWN_TO_A_HOP: Final = frozenset({"connection", "proxy-connection", "transfer-encoding", "expect"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = PATIENCE_SECONDS
    opened: Gate
    upstream: str

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        # a client may leave, or be thrown out by `reset`
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def do_GET(self) -> None:
        opened = self.opened
        port = self.client_address[1]
        number, fault = opened.admit(self.command, self.path, port)
        content = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if opened.on_request is not None:
            opened.on_request(number)
        answer = self._ask(content)
        if fault is not None:
            answer = fault(answer)
        bodiless = answer.stalled or self.command == "HEAD"
        sent = b"" if bodiless else answer.body[: answer.sent]
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, self.path, headers, answer.status, len(sent), port)
        opened.seen[number] = seen
        self._send(answer, sent)

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815

    def _ask(self, content: bytes, dropped: str = "") -> Answer:
        target = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(
            target.hostname or "", target.port, timeout=PATIENCE_SECONDS
        )
        with contextlib.closing(connection):
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            # fake-gcs-server answers to its own name alone; a signature holds for the name signed
            signed = "Authorization" in self.headers
            connection.putheader("Host", self.headers["Host"] if signed else target.netloc)
            for name, value in self.headers.items():
                if name.lower() not in {*_OWN_TO_A_HOP, "host", dropped}:
                    connection.putheader(name, value)
            connection.endheaders(content)
            answer = connection.getresponse()
            # the length is told of the body that will be sent; only HEAD has none
            length = "" if self.command == "HEAD" else "content-length"
            headers = {
                name: value
                for name, value in answer.getheaders()
                if name.lower() not in {*_OWN_TO_A_HOP, length}
            }
            return Answer(
                answer.status,
                headers,
                answer.read(),
                whole=lambda: self._ask(content, dropped="range").body,
            )

    def _send(self, answer: Answer, sent: bytes) -> None:
        if answer.reset:
            no_wait = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_wait)
            self.connection.close()
            self.close_connection = True
            return
        if answer.flipped:
            assert self.opened.relay is not None, "a bit can only be flipped behind TLS"
            self.opened.relay.flip(self.client_address[1])
        self.send_response_only(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(sent)
        if answer.stalled:
            self.connection.recv(1)
        self.close_connection = answer.sent is not None or answer.stalled


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        if self.tls is None:
            return accepted, address
        # hands are shaken by the thread that reads, not by the one that accepts
        wrapped = self.tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has left is no failure of a test."""


@contextlib.contextmanager
def gate(upstream: str, authority: trustme.CA | None = None) -> Iterator[Gate]:
    """Run a gate before a server.

    Parameters
    ----------
    upstream
        The server's address.
    authority
        Issues a certificate: the gate then speaks TLS, behind a relay that can flip bits. Its
        clients have to trust it; see `trusting`.
    """

    class Handler(_Handler):
        pass

    with contextlib.ExitStack() as stack:
        server = _Server((HOST, 0), Handler)
        port = stack.enter_context(_served(server))
        opened = Gate(f"http://{HOST}:{port}")
        if authority is not None:
            server.tls = _server_side(authority)
            opened.relay = Relay(port)
            opened.url = f"https://{HOST}:{stack.enter_context(_served(opened.relay))}"
        Handler.upstream, Handler.opened = upstream, opened
        yield opened


@contextlib.contextmanager
def _served(server: socketserver.TCPServer) -> Iterator[int]:
    """Serve from a thread of this process; yield the port."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _server_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


def trusting(authority: trustme.CA, path: Path) -> dict[str, str]:
    """Write an authority's certificate; return the environment that makes clients trust it.

    The variables are those of obstore (rustls), of boto3, and of requests.
    """
    authority.cert_pem.write_to_path(str(path))
    return dict.fromkeys(("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), str(path))


class Relay(socketserver.ThreadingTCPServer):
    """Passes bytes on both ways without reading them, and flips a bit where it is told to.

    Parameters
    ----------
    port
        Where the bytes go.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((HOST, 0), _Passing)
        self.port = port
        self._flips: set[int] = set()

    def flip(self, port: int) -> None:
        """Flip a bit of what is sent next to the connection that comes from this port."""
        self._flips.add(port)

    def passed(self, port: int, data: bytes) -> bytes:
        """Return what of an answer reaches the client."""
        if port not in self._flips:
            return data
        self._flips.remove(port)
        # the last byte is of a record's content: one flipped in its length would only stall
        return data[:-1] + bytes([data[-1] ^ 0x10])


class _Passing(socketserver.BaseRequestHandler):
    server: Relay
    request: socket.socket

    def handle(self) -> None:
        with socket.create_connection((HOST, self.server.port)) as inner:
            port = inner.getsockname()[1]
            asking = threading.Thread(
                target=_pump, args=(self.request, inner, lambda data: data), daemon=True
            )
            asking.start()
            _pump(inner, self.request, lambda data: self.server.passed(port, data))
            asking.join()


def _pump(source: socket.socket, sink: socket.socket, passed: Callable[[bytes], bytes]) -> None:
    """Pass on what comes until either side has gone, and let both know."""
    with contextlib.suppress(OSError):
        while data := source.recv(2**16):
            sink.sendall(passed(data))
    for side in (source, sink):
        with contextlib.suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


# --- faults ----------------------------------------------------------------------------------

PAGE: Final = b"<html><body><p>Please sign in, SECRET-PATIENT</p></body></html>"


def status(code: int, body: bytes = b"<Error/>") -> Fault:
    """Answer with another status."""
    return lambda answer: Answer(code, {"Content-Type": "application/xml"}, body)


def throttled(answer: Answer) -> Answer:
    """Ask for patience, as stores do that are asked too often."""
    return Answer(429, {"Content-Type": "application/xml", "Retry-After": "1"}, b"<Error/>")


def reset(answer: Answer) -> Answer:
    """Reset the connection."""
    return replace(answer, reset=True)


def stalled(answer: Answer) -> Answer:
    """Send the headers, and nothing more until the client has left."""
    return replace(answer, stalled=True)


def short_body(answer: Answer) -> Answer:
    """Break off in the middle of the body."""
    return replace(answer, sent=len(answer.body) // 2)


def flipped(answer: Answer) -> Answer:
    """Flip a bit of the encrypted answer."""
    return replace(answer, flipped=True)


def whole_object(content: bytes) -> Fault:
    """Ignore the range, as some proxies do."""
    return lambda answer: replace(
        answer, status=200, headers=_without(answer, "content-range"), body=content
    )


def ignored_range(answer: Answer) -> Answer:
    """Send the whole object for a range of it."""
    return whole_object(answer.whole())(answer)


def page(answer: Answer) -> Answer:
    """Send a page, as a network does that wants one to sign in."""
    return Answer(200, {"Content-Type": "text/html"}, PAGE)


def of_a_range(fault: Callable[[Answer, int, int, int], Answer]) -> Fault:
    """Make a fault of an answer, its range's first and last byte, and its object's size.

    What is no range, such as a listing, is left alone.
    """

    @wraps(fault)
    def applied(answer: Answer) -> Answer:
        said = next((v for n, v in answer.headers.items() if n.lower() == "content-range"), "")
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", said)
        return fault(answer, *map(int, found.groups())) if found else answer

    return applied


@of_a_range
def moved_range(answer: Answer, first: int, last: int, size: int) -> Answer:
    """Say that the bytes are of another place."""
    return _said(answer, first + 2, last + 2, size)


@of_a_range
def shorter_range(answer: Answer, first: int, last: int, size: int) -> Answer:
    """Serve less than asked for, and say so consistently."""
    return replace(_said(answer, first, last - 10, size), body=answer.body[:-10])


@of_a_range
def larger_object(answer: Answer, first: int, last: int, size: int) -> Answer:
    """Say that the object has more bytes than it has."""
    return _said(answer, first, last, size + 1000)


@of_a_range
def smaller_object(answer: Answer, first: int, last: int, size: int) -> Answer:
    """Serve less than asked for, and say consistently that the object ends there."""
    return replace(_said(answer, first, last - 10, last - 9), body=answer.body[:-10])


@of_a_range
def page_as_range(answer: Answer, first: int, last: int, size: int) -> Answer:
    """Send a page where the range was asked for; only the store's own headers are missing."""
    headers = {"Content-Type": "text/html"}
    content = PAGE.ljust(len(answer.body))[: len(answer.body)]
    return _said(replace(answer, headers=headers, body=content), first, last, size)


def _said(answer: Answer, first: int, last: int, size: int) -> Answer:
    kept = _without(answer, "content-range")
    return replace(answer, headers={**kept, "Content-Range": f"bytes {first}-{last}/{size}"})


def _without(answer: Answer, header: str) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() != header}


def many(fault: Fault, times: int) -> Sequence[Fault]:
    """Repeat a fault."""
    return [fault] * times


FAULTS: Final[Mapping[str, Fault]] = {
    "503": status(503),
    "429": throttled,
    "reset": reset,
    "truncation": short_body,
    "short range": shorter_range,
    "stall": stalled,
    "wrong Content-Range": moved_range,
    "200 for a range": ignored_range,
    "page": page,
    "page as a range": page_as_range,
    "larger object": larger_object,
    "smaller object": smaller_object,
    "denied": status(403),
    "gone": status(404),
    "bit flip": flipped,
}
"""By the names that tables and rates use; a bit flips only behind TLS."""


@dataclass(frozen=True)
class Seeded:
    """A schedule drawn by chance, the same for the same seed.

    What happens to the n-th request of an object depends on nothing but the seed, the object and
    n: threads, workers and reruns that ask in another order meet the same faults.

    Parameters
    ----------
    seed
        Print it, so that a failure can be run again.
    rates
        Share of the requests, from 0 to 1, by a name of `FAULTS`.

    Raises
    ------
    ValueError
        A fault that is not there, or rates that no requests can have.
    """

    seed: int
    rates: Mapping[str, float]

    def __post_init__(self) -> None:
        unknown = self.rates.keys() - FAULTS.keys()
        if unknown:
            raise ValueError(f"no fault {sorted(unknown)}: there are {sorted(FAULTS)}")
        if min(self.rates.values(), default=0) < 0 or sum(self.rates.values()) > 1:
            raise ValueError("rates are shares of all requests, and cannot be over 1 together")

    def __call__(self, name: str, turn: int) -> Fault | None:
        """Return the fault of an object's n-th request, None for most."""
        drawn = random.Random(f"{self.seed}\n{name}\n{turn}").random()
        for fault, rate in sorted(self.rates.items()):
            drawn -= rate
            if drawn < 0:
                return FAULTS[fault]
        return None


def main(arguments: list[str] | None = None) -> int:
    """Run a gate until it is ended; its address is the first line of output."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.proxy", description=__doc__)
    parser.add_argument("upstream", help="address of the server")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--rate", action="append", default=[], metavar="FAULT=SHARE", help=", ".join(FAULTS)
    )
    options = parser.parse_args(arguments)
    pairs = (rate.rpartition("=") for rate in options.rate)
    schedule = Seeded(options.seed, {name: float(share) for name, _, share in pairs})
    with gate(options.upstream) as opened, contextlib.suppress(KeyboardInterrupt):
        opened.schedule = schedule
        print(opened.url, schedule, sep="\n", flush=True)
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
