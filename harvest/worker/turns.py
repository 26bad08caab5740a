"""Jobs that wait and work in turns: many wait at once, one works at a time.

Waiting is for the network, in threads that do nothing else. Work is Python, of which only one
thread can do any; what has arrived is worked off many at a time by whichever thread finds it,
since going back and forth between threads costs as much as the work itself.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import Final, Protocol

FIRST_THREADS: Final = 4
BUSY: Final = 0.8
"""Of a core: then more threads would only wait for each other."""
GAIN: Final = 1.2
"""By so much twice the threads must be faster, or they go again."""
LEAST_DONE: Final = 100
"""Jobs by which a pace is judged."""
WAITING_SECONDS: Final = 0.25
"""If fewer come back in so long a time, they wait for something slow, and more can wait."""
PULSE_SECONDS: Final = 0.05
"""Between two looks at the pace."""
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


class Pace:
    """How many threads pay: learnt in one round of jobs, and kept for the next.

    Threads that wait for a far store cost nothing, and each makes the whole faster. Where the CPU
    is busy, or the store gives no more, they cost each other time: so there are few at first, and
    twice as many as long as the CPU is idle and it helps.

    Parameters
    ----------
    most
        Threads that may wait at once.
    """

    def __init__(self, most: int) -> None:
        self.threads = min(FIRST_THREADS, most)
        self._most = most
        self._settled = False
        self._before = 0, 0.0
        """Threads before the last step, and jobs a second with them."""

    def begin(self) -> None:
        """Begin a round: what was settled before may have changed."""
        self._settled = False
        self._before = 0, 0.0

    def judge(self, done: int, seconds: float, cpu_seconds: float) -> None:
        """Choose the threads by how it went.

        Parameters
        ----------
        done
            Jobs that arrived.
        seconds
            In which they did.
        cpu_seconds
            Of this process, meanwhile.
        """
        slow = done < LEAST_DONE
        if self._settled and not slow:
            return
        rate = done / seconds
        threads, rate_before = self._before
        if not slow and rate < GAIN * rate_before:
            self.threads = threads
            self._settled = True
        elif cpu_seconds < BUSY * seconds and self.threads < self._most:
            self._before = self.threads, 0.0 if slow else rate
            self.threads = min(2 * self.threads, self._most)
        else:
            self._settled = True


def take_turns(jobs: Iterable[Job], pool: ThreadPoolExecutor, pace: Pace) -> None:
    """Do jobs; the first exception ends all, and is raised.

    Parameters
    ----------
    jobs
        What to do; begun in this order.
    pool
        Has as many threads as the pace may want.
    pace
        Tells how many wait at once.
    """
    turns = _Turns(jobs, pace)
    pace.begin()
    futures = turns.begin(pool)
    try:
        _wait(turns, pool, pace, futures)
    except BaseException as error:
        # the caller is interrupted: nobody wants what the threads would still do
        turns.failure = turns.failure or error
        raise


def _wait(turns: _Turns, pool: ThreadPoolExecutor, pace: Pace, futures: set[Future[None]]) -> None:
    """Wait until the jobs are done, and begin more threads meanwhile."""
    arrived, cpu, clock = 0, time.process_time(), time.monotonic()
    while futures:
        _, futures = wait(futures, PULSE_SECONDS, FIRST_EXCEPTION)
        if turns.failure is not None:
            raise turns.failure
        spent, passed = time.process_time() - cpu, time.monotonic() - clock
        if turns.arrivals - arrived >= LEAST_DONE or passed >= WAITING_SECONDS:
            pace.judge(turns.arrivals - arrived, passed, spent)
            arrived, cpu, clock = turns.arrivals, cpu + spent, clock + passed
            futures |= turns.begin(pool)


class _Turns:
    """The jobs that have still to wait, and those that have still to work."""

    def __init__(self, jobs: Iterable[Job], pace: Pace) -> None:
        self._pace = pace
        self._waiting = deque(jobs)
        self._arrived: deque[Job] = deque()
        self._working = Lock()
        self._threads = 0
        self.failure: BaseException | None = None
        """The first exception; no job gets another turn then."""
        self.arrivals = 0
        """So many times a job has come back from waiting."""

    def begin(self, pool: ThreadPoolExecutor) -> set[Future[None]]:
        """Begin as many threads as the pace wants and there are jobs for; none goes before."""
        more = max(0, min(self._pace.threads - self._threads, len(self._waiting)))
        self._threads += more
        return {pool.submit(self._serve) for _ in range(more)}

    def _serve(self) -> None:
        """Wait for jobs, and work off what has arrived, until there is none left."""
        try:
            while self.failure is None:
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
                self.arrivals += 1
                if len(self._arrived) >= TOGETHER:
                    # work that takes long must not let what arrives pile up
                    self._work(patiently=len(self._arrived) >= 2 * TOGETHER)
        except BaseException as error:
            self.failure = self.failure or error
            raise

    def _work(self, *, patiently: bool) -> None:
        """Work off what has arrived, unless another thread does and nobody needs to wait."""
        if not self._working.acquire(blocking=patiently):
            return
        try:
            while self._arrived and self.failure is None:
                job = self._arrived.popleft()
                if not job.work():
                    self._waiting.appendleft(job)
        finally:
            self._working.release()
