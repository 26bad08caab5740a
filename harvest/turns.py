"""Jobs that wait and work in turns: many wait at once, one works at a time.

Waiting is for the network, in threads that do nothing else. Work is Python, of which only one
thread can do any; what has arrived is worked off many at a time by whichever thread finds it,
since going back and forth between threads costs as much as the work itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock
from typing import Final, Protocol

FIRST_THREADS: Final = 4
PULSE_SECONDS: Final = 0.02
"""After so long, jobs that left the CPU idle get twice the threads."""
BUSY: Final = 0.8
"""Of a core: then more threads would only wait for each other."""
TOGETHER: Final = 32
"""So many jobs that have arrived are worked off at once."""


class Job(Protocol):
    """Waits and works in turns until it is done."""

    def wait(self) -> None:
        """Wait for what the next turn of work needs."""
        ...

    def work(self) -> bool:
        """Do a turn of work; tell whether the job is done."""
        ...


def take_turns(jobs: Iterable[Job], pool: ThreadPoolExecutor, threads: int) -> None:
    """Do jobs; the first exception ends all, and is raised.

    Parameters
    ----------
    jobs
        What to do; begun in this order.
    pool
        Has at least so many threads.
    threads
        That wait at once at most. There are few at first, since they cost each other time.
    """
    turns = _Turns(jobs)
    futures = [pool.submit(turns.serve) for _ in range(min(FIRST_THREADS, threads, turns.left))]
    while len(futures) < threads:
        cpu, clock = time.process_time(), time.monotonic()
        if not wait(futures, PULSE_SECONDS).not_done:
            break
        idle = time.process_time() - cpu < BUSY * (time.monotonic() - clock)
        more = min(len(futures), threads - len(futures), turns.left) if idle else 0
        futures += [pool.submit(turns.serve) for _ in range(more)]
    for future in futures:
        future.result()


class _Turns:
    """The jobs that have still to wait, and those that have still to work."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._waiting = deque(jobs)
        self._arrived: deque[Job] = deque()
        self._working = Lock()

    @property
    def left(self) -> int:
        """Jobs that nobody waits for yet."""
        return len(self._waiting)

    def serve(self) -> None:
        """Wait for jobs, and work off what has arrived, until there is none left."""
        try:
            while True:
                try:
                    job = self._waiting.popleft()
                except IndexError:
                    # what arrived may want to wait again
                    self._work(patiently=True)
                    if not self._waiting:
                        return
                    continue
                job.wait()
                self._arrived.append(job)
                if len(self._arrived) >= TOGETHER:
                    # work that takes long must not let what arrives pile up
                    self._work(patiently=len(self._arrived) >= 2 * TOGETHER)
        except BaseException:
            self._waiting.clear()
            self._arrived.clear()
            raise

    def _work(self, *, patiently: bool) -> None:
        """Work off what has arrived, unless another thread does and nobody needs to wait."""
        if not self._working.acquire(blocking=patiently):
            return
        try:
            while self._arrived:
                job = self._arrived.popleft()
                if not job.work():
                    self._waiting.appendleft(job)
        finally:
            self._working.release()
