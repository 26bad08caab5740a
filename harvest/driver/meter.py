"""What partitions tell of themselves, added up while the work goes on."""

from __future__ import annotations

import time

from ..worker.partition import PartitionRead, Totals


class Meter:
    """Adds up partitions, and tells how fast they come.

    Parameters
    ----------
    rows
        To read.
    done
        Of these, how many were read before.
    """

    def __init__(self, rows: int, done: int) -> None:
        self.rows = rows
        self.done = done
        self.totals = Totals()
        self._begun = time.monotonic()
        self._before = done

    def add(self, part: PartitionRead) -> None:
        """Take what a partition tells."""
        self.done += part.rows
        self.totals += part

    @property
    def seconds(self) -> float:
        """Return the wall time since the beginning."""
        return time.monotonic() - self._begun

    @property
    def rate(self) -> float | None:
        """Return the rows of a second; None before there are any."""
        read = self.done - self._before
        return read / self.seconds if read and self.seconds else None

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at this rate; None where that is not known."""
        rate = self.rate
        return None if rate is None else (self.rows - self.done) / rate
