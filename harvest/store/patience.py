"""How long to try: retries with backoff, a deadline for each object, a rate of requests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from ..errors import ErrorKind, ObjectError

FIRST_BACKOFF_SECONDS: Final = 0.2
LONGEST_BACKOFF_SECONDS: Final = 30.0

Result = TypeVar("Result")


class Policy(NamedTuple):
    """How often something is tried again, and for how long; see `Patience`."""

    retries: int
    seconds: float


LISTING: Final = Policy(4, 300.0)
"""Of a prefix or a shard, whose pages are many."""
WHOLE_FILE: Final = Policy(8, 120.0)
"""Of what a run cannot do without, a manifest or a file of the output: the waits in between add
up to half a minute, which a store that asks for less traffic may need."""


class RateLimit:
    """Hands out permits for requests at an even rate; shared by the threads of a worker.

    Parameters
    ----------
    per_second
        None for no limit.
    """

    def __init__(self, per_second: float | None) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> float:
        """Sleep until the next request may be sent; return for how many seconds."""
        if not self._interval:
            return 0.0
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        time.sleep(max(0.0, turn - now))
        return max(0.0, turn - now)


class _Count:
    """Counts what the threads of this process do."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.value += 1


_RETRIES: Final = _Count()


def process_retries() -> int:
    """Return how many requests this process has made again so far, of whatever it read."""
    return _RETRIES.value


class Patience:
    """When to give up on one object, or on one listing.

    Parameters
    ----------
    retries
        Tries again after faults that may pass.
    seconds
        From now on.
    """

    def __init__(self, retries: int, seconds: float) -> None:
        self._retries = retries
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._borne = 0

    def call(self, request: Callable[[], Result]) -> Result:
        """Make a request, and again where it was ``unavailable``.

        Raises
        ------
        ObjectError
            The last fault; ``too_slow`` if the time is over.
        """
        self._borne = 0
        while True:
            self.check()
            try:
                return request()
            except ObjectError as error:
                self.bear(error)

    def excuse(self, seconds: float) -> None:
        """Put the end off: a wait of our own choice is no fault of the object."""
        self._deadline += seconds

    def check(self) -> None:
        """Raise ``too_slow`` if the time is over."""
        if time.monotonic() > self._deadline:
            raise ObjectError(ErrorKind.TOO_SLOW, f"it took over {self._seconds:g} seconds")

    def bear(self, error: ObjectError) -> None:
        """Wait before another try, with full jitter; raise what cannot or need not be borne."""
        if error.kind != ErrorKind.UNAVAILABLE or self._borne == self._retries:
            raise error
        longest = min(
            LONGEST_BACKOFF_SECONDS,
            FIRST_BACKOFF_SECONDS * 2**self._borne,
            max(0.0, self._deadline - time.monotonic()),
        )
        self._borne += 1
        _RETRIES.add()
        time.sleep(random.uniform(0, longest))
