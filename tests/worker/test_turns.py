"""Jobs in turns: each done once, as many waiting as is useful, one at work, ended by a failure."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest

from harvest.worker.turns import BUSY, FIRST_THREADS, GAIN, LEAST_DONE, TOGETHER, Pace, take_turns

PATIENCE = 60
"""Seconds after which a test that hangs fails."""


class Watch:
    """What all jobs do, seen together."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.begun: list[int] = []
        self.done: list[int] = []
        self.waiting = self.arrived = self.working = 0
        self.most_waiting = self.most_arrived = self.most_working = 0
        self.waited = self.worked = 0
        self.threads: set[int] = set()

    def add(self, *, waiting: int = 0, arrived: int = 0, working: int = 0) -> None:
        with self._changed:
            self.waiting += waiting
            self.arrived += arrived
            self.working += working
            self.waited += arrived > 0
            self.worked += working > 0
            self.most_waiting = max(self.most_waiting, self.waiting)
            self.most_arrived = max(self.most_arrived, self.arrived)
            self.most_working = max(self.most_working, self.working)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def wait_for_arrived(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.arrived >= count, PATIENCE)


class Job:
    """Takes so many turns; what happens in them is for others to say."""

    def __init__(self, watch: Watch, number: int = 0, turns_left: int = 1) -> None:
        self.watch = watch
        self.number = number
        self.left = turns_left
        self.may_work = False

    def wait(self) -> None:
        self.watch.add(waiting=1)
        if self.number not in self.watch.begun:
            self.watch.begun.append(self.number)
        assert not self.may_work, "it waits again before it has worked"
        self.waits()
        self.may_work = True
        self.watch.add(waiting=-1, arrived=1)

    def work(self) -> bool:
        self.watch.add(arrived=-1, working=1)
        assert self.may_work, "it works without having waited"
        self.may_work = False
        self.works()
        self.left -= 1
        assert self.left >= 0, "it works after it was done"
        if not self.left:
            self.watch.done.append(self.number)
        self.watch.add(working=-1)
        return not self.left

    def waits(self) -> None:
        """Do what the job waits for."""

    def works(self) -> None:
        """Do what the job works on."""


def fixed(threads: int) -> Pace:
    """Return a pace that stays as it is."""
    pace = Pace(threads)
    pace.threads = threads
    return pace


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as opened:
        yield opened


@pytest.fixture
def _restless() -> Iterator[None]:
    """Let threads take over from each other as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


# every job, once


@pytest.mark.parametrize("threads", [1, 2, FIRST_THREADS, 32])
@pytest.mark.parametrize("count", [0, 1, FIRST_THREADS, TOGETHER + 1, 3 * TOGETHER])
@pytest.mark.parametrize("each", [1, 3])
def test_every_job_is_done_once(
    watch: Watch, pool: ThreadPoolExecutor, count: int, threads: int, each: int
) -> None:
    take_turns([Job(watch, number, each) for number in range(count)], pool, fixed(threads))
    assert sorted(watch.done) == list(range(count))
    assert (watch.waited, watch.worked) == (count * each, count * each)


def test_without_jobs_no_thread_is_begun() -> None:
    with ThreadPoolExecutor(4) as pool:
        take_turns(iter(()), pool, fixed(4))
        assert not pool._threads


def test_a_job_may_take_many_turns(watch: Watch, pool: ThreadPoolExecutor) -> None:
    take_turns([Job(watch, number, 1000) for number in range(3)], pool, fixed(8))
    assert sorted(watch.done) == [0, 1, 2]
    assert watch.worked == 3000


@pytest.mark.usefixtures("_restless")
@pytest.mark.parametrize("threads", [2, 7, 24])
def test_no_job_is_lost(watch: Watch, pool: ThreadPoolExecutor, threads: int) -> None:
    chance = random.Random(threads)
    each = [chance.choice([1, 1, 1, 2, 3, 10]) for _ in range(3000)]
    take_turns(
        [Job(watch, number, count) for number, count in enumerate(each)], pool, fixed(threads)
    )
    assert sorted(watch.done) == list(range(3000))
    assert watch.waited == watch.worked == sum(each)
    assert watch.most_waiting <= threads
    assert watch.most_working == 1
    # work of no length lets nothing pile up
    assert watch.most_arrived <= 2 * TOGETHER + threads


def test_jobs_are_begun_in_their_order(watch: Watch, pool: ThreadPoolExecutor) -> None:
    take_turns([Job(watch, number) for number in range(200)], pool, fixed(1))
    assert watch.begun == list(range(200))


def test_a_job_that_was_begun_comes_before_others(watch: Watch, pool: ThreadPoolExecutor) -> None:
    count = 4 * TOGETHER
    take_turns([Job(watch, number, 2) for number in range(count)], pool, fixed(1))
    # nothing is done before the first lot has arrived, and that lot is done before the next one
    assert sorted(watch.done[:TOGETHER]) == list(range(TOGETHER))


# how many wait, how many work


class Together(Job):
    """Waits until so many wait at once."""

    barrier: threading.Barrier

    def waits(self) -> None:
        self.barrier.wait(PATIENCE)


@pytest.mark.parametrize("threads", [1, 3, FIRST_THREADS, FIRST_THREADS + 1, 16, 50])
def test_as_many_wait_at_once_as_the_pace_says(
    watch: Watch, pool: ThreadPoolExecutor, threads: int
) -> None:
    jobs = [Together(watch, number) for number in range(4 * threads)]
    barrier = threading.Barrier(threads)
    for job in jobs:
        job.barrier = barrier
    take_turns(jobs, pool, fixed(threads))
    assert watch.most_waiting == threads
    assert watch.most_working == 1
    assert len(watch.done) == len(jobs)


class Eager(Pace):
    """Wants twice the threads whatever happens."""

    def judge(self, done: int, seconds: float, cpu_seconds: float) -> None:
        assert done >= LEAST_DONE
        assert seconds > 0
        assert cpu_seconds >= 0
        self.threads = min(2 * self.threads, 4 * FIRST_THREADS)


def test_threads_are_added_while_the_jobs_are_done(watch: Watch, pool: ThreadPoolExecutor) -> None:
    """The jobs behind so many that a pace is judged by wait for twice the threads."""
    most = 2 * FIRST_THREADS
    plain = [Job(watch, number) for number in range(LEAST_DONE)]
    waiting = [Together(watch, LEAST_DONE + number) for number in range(most)]
    barrier = threading.Barrier(most)
    for job in waiting:
        job.barrier = barrier
    take_turns([*plain, *waiting], pool, Eager(64))
    assert len(watch.done) == LEAST_DONE + most
    assert watch.most_waiting == most


# the pace

IDLE = BUSY / 2


def judged(pace: Pace, *rates: float, cpu: float = IDLE) -> list[int]:
    """Return the threads after each judgement of so many jobs a second."""
    threads = []
    for rate in rates:
        pace.judge(100, 100 / rate, cpu * 100 / rate)
        threads.append(pace.threads)
    return threads


def test_few_threads_at_first() -> None:
    assert Pace(64).threads == FIRST_THREADS
    assert Pace(2).threads == 2
    assert Pace(1).threads == 1


def test_there_are_more_threads_as_long_as_they_help() -> None:
    assert judged(Pace(64), 100, 200, 400, 800, 1600) == [8, 16, 32, 64, 64]


def test_threads_that_do_not_help_go_again() -> None:
    pace = Pace(64)
    assert judged(pace, 100, 200, 200 * GAIN * 0.99) == [8, 16, 8]
    assert judged(pace, 400, 800) == [8, 8]


def test_a_busy_cpu_gets_no_more_threads() -> None:
    pace = Pace(64)
    assert judged(pace, 100, cpu=BUSY) == [FIRST_THREADS]
    # that is settled for the round
    assert judged(pace, 200) == [FIRST_THREADS]
    pace.begin()
    assert judged(pace, 200) == [2 * FIRST_THREADS]


def test_the_next_round_begins_where_the_last_one_ended() -> None:
    pace = Pace(64)
    judged(pace, 100, 200, 400)
    pace.begin()
    assert pace.threads == 32
    # and what was slower before is not held against it
    assert judged(pace, 10, 20) == [64, 64]


@pytest.mark.parametrize("most", [1, 2, 5, 6, 7, 9, 12])
def test_threads_that_go_again_are_those_that_came(most: int) -> None:
    pace = Pace(most)
    before = pace.threads
    judged(pace, 100, 100)
    assert pace.threads == before


def test_a_pace_stays_between_one_and_the_most() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        most = chance.randrange(1, 70)
        pace = Pace(most)
        for _ in range(20):
            if chance.random() < 0.2:
                pace.begin()
            judged(pace, chance.choice([1, 10, 100, 1000]), cpu=chance.choice([0, 0.5, 1, 2]))
            assert 1 <= pace.threads <= most
            assert pace.threads >= min(most, FIRST_THREADS)


# what arrives


class Slow(Job):
    """Works until as much has arrived as may pile up."""

    def works(self) -> None:
        if not self.watch.done:
            self.watch.wait_for_arrived(2 * TOGETHER)


def test_what_arrives_does_not_pile_up(watch: Watch, pool: ThreadPoolExecutor) -> None:
    threads = 8
    jobs = [Slow(watch, number) for number in range(1000)]
    take_turns(jobs, pool, fixed(threads))
    assert len(watch.done) == 1000
    assert 2 * TOGETHER <= watch.most_arrived <= 2 * TOGETHER + threads


# failures


class Failure(Exception):
    """Raised by a job."""


class Failing(Job):
    """Fails while it works, or while it waits."""

    def __init__(self, watch: Watch, number: int, error: BaseException, where: str) -> None:
        super().__init__(watch, number)
        self.error = error
        self.where = where

    def waits(self) -> None:
        if self.where == "wait":
            raise self.error

    def works(self) -> None:
        if self.where == "work":
            raise self.error


@pytest.mark.parametrize("where", ["wait", "work"])
@pytest.mark.parametrize("error", [Failure(), IndexError("of the job"), SystemExit(3)])
@pytest.mark.parametrize("threads", [1, 4])
def test_what_a_job_raises_ends_all(
    watch: Watch, pool: ThreadPoolExecutor, where: str, error: BaseException, threads: int
) -> None:
    jobs = [Job(watch, number) for number in range(TOGETHER)]
    jobs.append(Failing(watch, TOGETHER, error, where))
    jobs += [Job(watch, number) for number in range(TOGETHER + 1, 5000)]
    with pytest.raises(type(error)) as caught:
        take_turns(jobs, pool, fixed(threads))
    assert caught.value is error
    assert len(watch.done) == len(set(watch.done))
    if threads == 1:
        assert len(watch.begun) <= 2 * TOGETHER + 1


class Recording(ThreadPoolExecutor):
    """Knows the futures that it gave."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._futures: list[Future[Any]] = []
        self._given = threading.Condition()

    def submit(self, *arguments: Any, **more: Any) -> Future[Any]:
        with self._given:
            self._futures.append(super().submit(*arguments, **more))
            self._given.notify_all()
            return self._futures[-1]

    def wait_for_one_of(self, count: int) -> None:
        """Wait until so many were given, and one of them has ended."""
        with self._given:
            assert self._given.wait_for(lambda: len(self._futures) == count, PATIENCE)
        assert wait(self._futures, PATIENCE, return_when=FIRST_COMPLETED).done


class InFlight(Job):
    """Waits until another thread has failed."""

    pool: Recording
    barrier: threading.Barrier
    waits_done = 0

    def waits(self) -> None:
        self.waits_done += 1
        if self.waits_done == 1:
            self.barrier.wait(PATIENCE)
            self.pool.wait_for_one_of(2)


class FailingTogether(Failing):
    """Fails while another one waits."""

    barrier: threading.Barrier

    def waits(self) -> None:
        self.barrier.wait(PATIENCE)


def test_a_job_in_flight_does_not_wait_again_after_a_failure(watch: Watch) -> None:
    with Recording(2) as pool:
        flying = InFlight(watch, 0, turns_left=5)
        failing = FailingTogether(watch, 1, Failure(), "work")
        flying.pool = pool
        flying.barrier = failing.barrier = threading.Barrier(2)
        with pytest.raises(Failure):
            take_turns([flying, failing], pool, fixed(2))
    assert flying.waits_done == 1
    assert not watch.done


@pytest.mark.usefixtures("_restless")
def test_a_failure_is_not_mistaken_for_an_empty_queue(pool: ThreadPoolExecutor) -> None:
    """Whatever the other threads are at: what is raised is the job's own exception."""
    for seed in range(200):
        watch = Watch()
        chance = random.Random(seed)
        jobs = [Job(watch, number, chance.choice([1, 2])) for number in range(60)]
        error = Failure()
        jobs.insert(chance.randrange(61), Failing(watch, 60, error, "work"))
        with pytest.raises(Failure) as caught:
            take_turns(jobs, pool, fixed(4))
        assert caught.value is error
