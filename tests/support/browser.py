"""A real browser without a window: Debian's chromium."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"
)


def _run(profile: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--disable-background-networking", "--no-first-run", f"--user-data-dir={profile}"),
            *("--virtual-time-budget=3000", *arguments),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def dom_of(page: Path, profile: Path) -> str:
    """Load a page, let its scripts run, and return what has become of it."""
    return _run(profile, "--dump-dom", page.as_uri())


def screenshot(page: Path, profile: Path, width: int, height: int) -> bytes:
    """Return a picture of a page, as PNG."""
    file = profile / "shot.png"
    profile.mkdir(exist_ok=True)
    _run(profile, f"--window-size={width},{height}", f"--screenshot={file}", page.as_uri())
    return file.read_bytes()


class Elements(HTMLParser):
    """The elements and attributes of a document."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.values: set[tuple[str, str | None]] = set()
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.values |= set(attrs)

    @property
    def attributes(self) -> set[str]:
        return {name for name, _ in self.values}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """Serve nothing on loopback; yield the URL, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
