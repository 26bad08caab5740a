"""Waiting for what comes true some time."""

from __future__ import annotations

import time
from collections.abc import Callable

LONG = 120.0

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for a condition; a test that waits in vain fails."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(POLL_SECONDS)
