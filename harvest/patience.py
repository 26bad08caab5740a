"""How long to try: retries with backoff, a deadline for each object, a rate of requests."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from .errors import ErrorKind, ObjectError

FIRST_BACKOFF_SECONDS: Final = 0.2
LONGEST_BACKOFF_SECONDS: Final = 30.0

Result = TypeVar("Result")


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

    def wait(self) -> None:
        """Sleep until the next request may be sent."""
        if not self._interval:
            return
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            time.sleep(turn - now)


@dataclass(frozen=True, slots=True)
class Patience:
    """When to give up on one object."""

    retries: int
    """Tries again after faults that may pass."""
    deadline: float
    """By the monotonic clock, in seconds."""

    def call(self, request: Callable[[], Result]) -> Result:
        """Make a request, and again with full-jitter backoff where it was ``unavailable``.

        Raises
        ------
        ObjectError
            The last fault; ``too_slow`` if the deadline passed.
        """
        for attempt in range(self.retries + 1):
            if time.monotonic() > self.deadline:
                break
            try:
                return request()
            except ObjectError as error:
                if error.kind != ErrorKind.UNAVAILABLE or attempt == self.retries:
                    raise
            longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2**attempt)
            time.sleep(random.uniform(0, longest))
        raise ObjectError(ErrorKind.TOO_SLOW, "the object took longer than limits.object_seconds")
