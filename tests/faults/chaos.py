"""Harvests under chaos: whatever is done to them, they end in the tables of an undisturbed run.

A seed decides everything that is done: the cohort with its broken and hostile objects, faults of
the store that pass or last, and what is killed, ended or stopped after how many requests. The
command is run again until it is complete, and its tables are compared with those of the same
command that only met what lasts::

    python -m tests.faults.chaos --runs 20 --seed 1
    python -m tests.faults.chaos --only 7
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import obstore
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from harvest.driver.record import RECORD
from harvest.errors import ErrorKind, ExitCode
from harvest.output import MANIFEST, WORK
from tests import conftest
from tests.faults import hostile
from tests.faults.proxy import FAULTS, Fault, Gate, Seeded, gate, object_of
from tests.lab import Lab, lab, servers
from tests.lab.files import BROKEN_COLLECTION, GCS_BUCKETS, corpus_from_environment
from tests.lab.servers import HOST, OUTPUT_BUCKET, S3_ACCESS_KEY, S3_REGION, S3_SECRET_KEY
from tests.support import build

BUCKET: Final = "idc-open-data"
MANY: Final = "CT many"
"""The lab's series of more than a thousand objects; a run takes some of them."""
RATES: Final = {
    "503": 0.012,
    "429": 0.006,
    "reset": 0.01,
    "truncation": 0.008,
    "short range": 0.004,
    "stall": 0.001,
    "wrong Content-Range": 0.006,
    "200 for a range": 0.006,
    "page": 0.006,
}
"""Of the faults that pass, as shares of the requests."""
WRITE_RATES: Final = {"503": 0.01, "reset": 0.01}
"""The same, where the output is a bucket."""
STALL_SPACE: Final = 6
"""Requests of an object between two stalls: each takes half of the object's time."""
LASTING: Final = {
    "503": ErrorKind.UNAVAILABLE,
    "truncation": ErrorKind.UNAVAILABLE,
    "stall": ErrorKind.TOO_SLOW,
    "kill": ErrorKind.KILLED_WORKER,
}
"""What lasts for an object, and what its row then says; ``kill`` kills the worker that reads it."""
OBJECT_SECONDS: Final = 10
"""More than all backoffs of an object together, so that 503 ends with the last retry."""
WORKER_TTL_SECONDS: Final = 8
MOST_ATTEMPTS: Final = 40
ATTEMPT_SECONDS: Final = 300.0
GRACE_SECONDS: Final = 20.0
"""How long the children of a driver may outlive it."""
LARGEST_CASE_BYTES: Final = 2**16
NOT_COMPARED: Final = ("requests", "bytes_read", "error_detail")
FINISHED: Final = (ExitCode.COMPLETE, ExitCode.TOO_MANY_ERRORS)


class Finding(Exception):
    """A run did what no run may do."""


# --- what a seed decides ---------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How large runs are."""

    many: tuple[int, int]
    """Fewest and most objects of the series `MANY`."""
    hostile: int
    """Cases of the catalogue, at most."""
    blows: tuple[int, int]
    """Fewest and most."""
    lasting: tuple[str, ...] = tuple(LASTING)
    """What may last for an object."""


LONG: Final = Size(many=(200, 400), hostile=40, blows=(4, 8))
SHORT: Final = Size(many=(80, 110), hostile=8, blows=(2, 2), lasting=("503", "truncation"))


@dataclass(frozen=True)
class Blow:
    """Something that is done to a run once."""

    what: str
    at: int
    """After so many requests."""
    seconds: float
    """How long what is stopped or away stays so; if 0, what is away stays until the driver ends."""
    choice: float
    """Which of several, from 0 to 1."""


@dataclass(frozen=True)
class Story:
    """All that is done to one run."""

    seed: int
    cloud: str
    transport: str
    in_bucket: bool
    """The output is in a bucket."""
    external: bool
    """Scheduler and workers are not the driver's own."""
    sample: int
    series: tuple[str, ...]
    """SeriesInstanceUIDs of the lab."""
    hostile: tuple[str, ...]
    """Cases of the catalogue."""
    lasting: tuple[str, ...]
    blows: tuple[Blow, ...]
    publishing: str
    """What is done when the first final file is there."""


def tell(seed: int, lab: Lab, size: Size) -> Story:
    """Draw what is done to the run of a seed."""
    chance = random.Random(seed)
    external = chance.random() < 0.35
    wanted = [
        each.series_instance_uid
        for each in sorted(lab.series, key=lambda each: each.crdc_series_uuid)
        if each.attributes["SeriesDescription"] == MANY
        or each.collection_id == BROKEN_COLLECTION
        or (each.collection_id == "lab_generated" and chance.random() < 0.6)
    ]
    sample = chance.randint(*size.many)
    return Story(
        seed=seed,
        cloud=("aws", "gcs")[seed % 2],
        transport="sdk" if chance.random() < 0.25 else "obstore",
        in_bucket=chance.random() < 0.3,
        external=external,
        sample=sample,
        series=tuple(wanted),
        hostile=_cases(random.Random(f"{seed} cases"), size),
        lasting=tuple(what for what in size.lasting if chance.random() < 0.5),
        blows=_blows(chance, sample, external, size),
        publishing=chance.choice(("kill driver", "end driver", "")),
    )


def _cases(chance: random.Random, size: Size) -> tuple[str, ...]:
    # what is built on demand is large, or tries a limit that a cohort's rows should not wait for
    small = [
        name
        for name, case in sorted(hostile.CASES.items())
        if isinstance(case.data, bytes) and len(case.data) <= LARGEST_CASE_BYTES
    ]
    return tuple(chance.sample(small, min(len(small), chance.randint(1, size.hostile))))


def _blows(chance: random.Random, requests: int, external: bool, size: Size) -> tuple[Blow, ...]:
    kinds = ["kill driver", "end driver", "stop driver", "kill worker", "kill worker"]
    kinds += ["stop worker", "store away", "store away"]
    kinds += ["kill scheduler"] * 2 if external else []
    drawn = [
        Blow(
            what=chance.choice(kinds),
            at=chance.randrange(requests),
            seconds=chance.choice((0.0, 2.0, 5.0)),
            choice=chance.random(),
        )
        for _ in range(chance.randint(*size.blows))
    ]
    return tuple(sorted(drawn, key=lambda blow: blow.at))


# --- the cohort ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Objects:
    """What lies in the buckets for one run."""

    index: Path
    urls: tuple[str, ...]
    """Of every object that a plan must hold, in their order."""
    lasting: Mapping[str, str]
    """Object, as ``bucket/key``, and what lasts for it."""


def put_objects(story: Story, lab: Lab, folder: Path) -> Objects:
    """Put a run's own objects into the buckets beside the lab's, and write an index of both."""
    chance = random.Random(f"{story.seed} objects")
    own = _put_series(lab, chance, f"2.25.{chance.getrandbits(120)}", _own_files(story, folder))
    cases = {name: _case_file(name, folder) for name in story.hostile}
    strange = _put_series(lab, chance, build.SERIES, cases)
    index = folder / "own.parquet"
    conftest.index_of(lab, index, [(made, len(made.keys)) for made in (own, strange)])
    taken = pq.read_table(lab.index)
    taken = taken.filter(pa.compute.is_in(taken["SeriesInstanceUID"], pa.array(story.series)))
    pq.write_table(pa.concat_tables([taken, pq.read_table(index)]), folder / "index.parquet")
    lasting = {f"{BUCKET}/{key}": what for key, what in zip(own.keys, story.lasting, strict=False)}
    return Objects(folder / "index.parquet", _urls(story, lab, [own, strange]), lasting)


def _own_files(story: Story, folder: Path) -> dict[str, Path]:
    """Write images; the headers of some are longer than the first range of a reader."""
    return {
        str(number): conftest.write_dicom(
            folder / f"own_{number}.dcm",
            f"2.25.{random.Random(f'{story.seed} objects').getrandbits(120)}",
            header=20_000 * (number % 2),
            instance=str(number + 1),
        )
        for number in range(len(LASTING) + 4)
    }


def _case_file(name: str, folder: Path) -> Path:
    path = folder / f"case_{hashlib.sha256(name.encode()).hexdigest()[:16]}.dcm"
    path.write_bytes(hostile.CASES[name].build())
    return path


def _put_series(
    lab: Lab, chance: random.Random, uid: str, files: Mapping[str, Path]
) -> conftest.OwnSeries:
    """Put files as a series whose names are the same for the same seed."""
    name = _uuid(chance)
    keyed = {f"{name}/{_uuid(chance)}.dcm": path for path in files.values()}
    conftest.put(lab, BUCKET, keyed)
    return conftest.OwnSeries(uid, name, BUCKET, tuple(keyed), tuple(keyed.values()))


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _urls(story: Story, lab: Lab, own: list[conftest.OwnSeries]) -> tuple[str, ...]:
    """List what the plan must hold: of each series the largest objects, of equal ones the first."""
    sizes = [
        {f"{each.aws_bucket}/{each.key(found)}": found.size for found in each.instances}
        for each in lab.series
        if each.series_instance_uid in story.series
    ]
    sizes += [
        {
            f"{each.bucket}/{key}": path.stat().st_size
            for key, path in zip(each.keys, each.paths, strict=True)
        }
        for each in own
    ]
    named = [
        name
        for found in sizes
        for name in sorted(found, key=lambda name: (-found[name], name))[: story.sample]
    ]
    if story.cloud == "aws":
        return tuple(sorted(f"s3://{name}" for name in named))
    split = (name.partition("/") for name in named)
    return tuple(sorted(f"gs://{GCS_BUCKETS[bucket]}/{key}" for bucket, _, key in split))


# --- processes -------------------------------------------------------------------------------


class Session:
    """A process that leads a session of its own, and all that it has started.

    Parameters
    ----------
    command
        Its words.
    env
        Its environment.
    log
        File for what it prints.
    """

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self.leader = subprocess.Popen(
                command, env=env, stdout=file, stderr=file, start_new_session=True
            )
        self.process = psutil.Process(self.leader.pid)

    def members(self) -> list[psutil.Process]:
        """Return the session's living processes, by their numbers."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getsid(pid) == self.leader.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """Return the Dask workers among them: those that multiprocessing has spawned."""
        found = []
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any("spawn_main" in word for word in process.cmdline()):
                    found.append(process)
        return found

    def is_running(self) -> bool:
        return self.leader.poll() is None

    def is_gone(self, seconds: float) -> bool:
        """Tell whether all have ended within some seconds."""
        return until(lambda: not self.is_running() and not self.members(), seconds)

    def end(self) -> None:
        """Kill whatever is left."""
        for process in self.members():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if not self.is_gone(GRACE_SECONDS):
            raise Finding(f"processes of session {self.leader.pid} survive SIGKILL")


def until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; tell whether it came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Cluster:
    """A scheduler and two workers that are not the driver's own.

    Parameters
    ----------
    env
        Their environment.
    folder
        For their logs and files.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env = env
        self._folder = folder
        self.address = f"tcp://{HOST}:{servers.free_port()}"
        self.sessions: list[Session] = []

    def ensure(self) -> None:
        """Start both, unless they are there."""
        if self.sessions and all(each.is_running() for each in self.sessions):
            return
        self.end()
        port = self.address.rpartition(":")[2]
        local = ["--host", HOST, "--dashboard-address", f"{HOST}:0"]
        workers = ["--nworkers", "2", "--nthreads", "1"]
        self.sessions = [
            self._start("dask_scheduler", "--port", port, *local),
            self._start("dask_worker", self.address, *workers, *local),
        ]

    def _start(self, program: str, *words: str) -> Session:
        command = [sys.executable, "-m", f"distributed.cli.{program}", *words]
        return Session(command, self._env, self._folder / f"{program}.log")

    def end(self) -> None:
        for each in self.sessions:
            each.end()
        self.sessions = []


# --- what is done to a run -------------------------------------------------------------------


@dataclass
class Trouble:
    """Makes trouble for one run, which may take several drivers.

    Parameters
    ----------
    story
        What to do; blows and faults that pass are left out if None.
    objects
        For which some faults last.
    reading
        Gate before the store.
    """

    story: Story | None
    objects: Objects
    reading: Gate
    cluster: Cluster | None = None
    done: list[str] = field(default_factory=list)
    dealt: Counter[str] = field(default_factory=Counter)
    """Faults by kind."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._away: Blow | None = None
        self._timers: list[threading.Timer] = []
        self._left = list(self.story.blows) if self.story else []
        self._passing = Seeded(self.story.seed if self.story else 0, RATES if self.story else {})
        self._publishing = self.story.publishing if self.story else ""
        self.driver: Session | None = None
        self._sessions: list[Session] = []
        self.reading.schedule = self._fault
        self.reading.on_request = self._seen

    def begin(self, driver: Session) -> None:
        """Let blows fall on a driver and its workers."""
        self._sessions += self.cluster.sessions[1:] if self.cluster else [driver]
        self.driver = driver

    # faults

    def _fault(self, name: str, turn: int) -> Fault | None:
        kind = self._kind(name, turn)
        if not kind:
            return None
        with self._lock:
            self.dealt[kind] += 1
        return FAULTS[kind]

    def _kind(self, name: str, turn: int) -> str:
        if self._away:
            return "reset" if self._away.choice < 0.5 else "503"
        lasting = self.objects.lasting.get(name, "")
        if lasting:
            return lasting if lasting in FAULTS else ""
        kind = _NAMES.get(self._passing(name, turn), "")
        return "" if kind == "stall" and self._must_not_stall(name, turn) else kind

    def _must_not_stall(self, name: str, turn: int) -> bool:
        # listings have a minute for each request
        earlier = range(max(0, turn - STALL_SPACE), turn)
        stalled = any(_NAMES.get(self._passing(name, n)) == "stall" for n in earlier)
        return stalled or "prefix=" in name

    # blows

    def _seen(self, number: int) -> None:
        """Do what is due before a request is passed on."""
        seen = self.reading.seen[number]
        if self.objects.lasting.get(object_of(seen.path)) == "kill":
            self._kill_reader(seen.port)
        with self._lock:
            driver = self.driver
            due = driver is not None and self._left and self._left[0].at <= number
            blow = self._left.pop(0) if due else None
            if blow is not None and driver is not None:
                self._strike(blow, driver)

    def _kill_reader(self, port: int) -> None:
        """Kill the worker whose connection to the gate comes from this port."""
        between = port, int(self.reading.url.rpartition(":")[2])
        # the workers of a driver that was killed may still be reading
        for worker in (worker for each in self._sessions for worker in each.workers()):
            with contextlib.suppress(psutil.NoSuchProcess):
                ends = (each for each in worker.net_connections("tcp") if each.raddr)
                if any((each.laddr.port, each.raddr.port) == between for each in ends):
                    worker.kill()
                    self.done.append("kill reader")

    def publishing(self) -> None:
        """Do what is due now that a final file is there."""
        with self._lock:
            if self._publishing and self.driver is not None:
                self._strike(Blow(f"{self._publishing}, publishing", 0, 0, 0), self.driver)

    def _strike(self, blow: Blow, driver: Session) -> None:
        self.done.append(f"{blow.what}@{blow.at}")
        what = blow.what.partition(",")[0]
        if what in ("kill driver", "end driver"):
            # the next blow is for the next driver
            self.driver = None
        with contextlib.suppress(psutil.NoSuchProcess):
            if what == "kill driver":
                driver.process.kill()
            elif what == "end driver":
                driver.process.terminate()
            elif what == "stop driver":
                self._stop(driver.process, blow.seconds or 1.0)
            elif what == "kill scheduler" and self.cluster:
                self.cluster.sessions[0].process.kill()
            elif what == "store away":
                self._go_away(blow)
            else:
                self._strike_worker(blow)

    def _strike_worker(self, blow: Blow) -> None:
        workers = self._sessions[-1].workers()
        if not workers:
            return
        victim = workers[int(blow.choice * len(workers))]
        if blow.what == "kill worker":
            victim.kill()
        else:
            self._stop(victim, blow.seconds or 2 * WORKER_TTL_SECONDS)

    def _stop(self, process: psutil.Process, seconds: float) -> None:
        process.suspend()
        self._later(seconds, partial(_resume, process))

    def _go_away(self, blow: Blow) -> None:
        self._away = blow
        if blow.seconds:
            self._later(blow.seconds, partial(self.come_back, blow))

    def come_back(self, blow: Blow | None = None) -> None:
        """Let the store answer again, if it has not gone away once more since a blow."""
        if blow in (None, self._away):
            self._away = None

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, what)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def end(self) -> None:
        """Let go of everything that is stopped."""
        for timer in self._timers:
            if not timer.finished.is_set():
                timer.cancel()
                timer.function()


_NAMES: Final[Mapping[Fault | None, str]] = {fault: name for name, fault in FAULTS.items()}


def _resume(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.resume()


# --- a run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a run's tables go."""

    config: str | dict[str, str]
    """As the config names it."""
    folder: Path
    """Where the tables are, or are copied to."""
    gate: Gate | None = None
    """Before the output's bucket."""

    @property
    def words(self) -> list[str]:
        """Return how the command line names it."""
        if isinstance(self.config, str):
            return [self.config]
        return [self.config["url"], "--endpoint", self.config["endpoint"]]

    def fetch(self, lab: Lab) -> Path:
        """Return a folder with the whole output."""
        if isinstance(self.config, str):
            return self.folder
        store = servers.admin_s3_store(lab.s3, OUTPUT_BUCKET)
        prefix = self.config["url"].removeprefix(f"s3://{OUTPUT_BUCKET}/") + "/"
        for page in obstore.list(store, prefix):
            for found in page:
                path = self.folder / found["path"].removeprefix(prefix)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes(obstore.get(store, found["path"]).bytes()))
        return self.folder


@dataclass
class Report:
    """What came of a story."""

    story: Story
    urls: tuple[str, ...] = ()
    """Of every planned object."""
    codes: list[int] = field(default_factory=list)
    """Of the drivers, one after the other."""
    done: list[str] = field(default_factory=list)
    dealt: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    digest: str = ""
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        story = self.story
        where = "bucket" if story.in_bucket else "folder"
        whose = "external" if story.external else "local"
        done = ", ".join(
            f"{what} x{n}" if n > 1 else what for what, n in Counter(self.done).items()
        )
        dealt = " ".join(f"{what}:{count}" for what, count in sorted(self.dealt.items()))
        ended = "; ".join(self.findings) or f"equal {self.digest[:12]}"
        return (
            f"seed {story.seed} {story.cloud} {story.transport} {where} {whose} "
            f"rows {len(self.urls)} | {done or 'nothing'} | {dealt} "
            f"| exits {' '.join(map(str, self.codes))} | {self.seconds:.0f} s | {ended}"
        )


def perform(lab: Lab, seed: int, folder: Path, size: Size) -> Report:
    """Tell the story of a seed twice, without and with what passes, and compare the tables."""
    begun = time.monotonic()
    folder.mkdir(parents=True)
    story = tell(seed, lab, size)
    objects = put_objects(story, lab, folder)
    report = Report(story, objects.urls)
    try:
        calm = _undisturbed(story, objects, lab, folder / "calm")
        found = _disturbed(story, objects, lab, folder / "chaos", report)
        report.findings += examine(found, objects)
        report.findings += differences(calm, found)
        report.digest = digest(found)
    except Finding as finding:
        report.findings.append(str(finding))
    report.seconds = time.monotonic() - begun
    return report


def _undisturbed(story: Story, objects: Objects, lab: Lab, folder: Path) -> Path:
    """Harvest with nothing but what lasts; return the output."""
    place = Place(str(folder / "out"), folder / "out")
    with gate(_store(story, lab)) as reading:
        trouble = Trouble(None, objects, reading)
        codes = _Run(story, objects, place, trouble, folder).finish()
    if len(codes) != 1:
        raise Finding(f"the undisturbed run ended with {codes}")
    wrong = [*examine(place.folder, objects), *_unexpected(place.folder, objects)]
    if wrong:
        raise Finding(f"the undisturbed run: {'; '.join(wrong)}")
    return place.folder


def _disturbed(story: Story, objects: Objects, lab: Lab, folder: Path, report: Report) -> Path:
    with contextlib.ExitStack() as stack:
        place = Place(str(folder / "out"), folder / "out")
        if story.in_bucket:
            writing = stack.enter_context(gate(lab.s3.endpoint))
            writing.schedule = Seeded(story.seed, WRITE_RATES)
            url = f"s3://{OUTPUT_BUCKET}/chaos/{uuid.uuid4()}"
            named = {"url": url, "endpoint": writing.url, "region": S3_REGION}
            place = Place(named, folder / "copy", writing)
        trouble = Trouble(story, objects, stack.enter_context(gate(_store(story, lab))))
        run = _Run(story, objects, place, trouble, folder)
        try:
            run.finish()
        finally:
            report.codes, report.done, report.dealt = run.codes, trouble.done, trouble.dealt
        run.check_status()
    return place.fetch(lab)


def _store(story: Story, lab: Lab) -> str:
    return (lab.s3 if story.cloud == "aws" else lab.gcs).endpoint


class _Run:
    """One command, run again until it is complete."""

    def __init__(
        self, story: Story, objects: Objects, place: Place, trouble: Trouble, folder: Path
    ) -> None:
        folder.mkdir()
        self._place = place
        self._trouble = trouble
        self._folder = folder
        self._env = conftest.environment(
            AWS_ACCESS_KEY_ID=S3_ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY=S3_SECRET_KEY,
            DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=f"{WORKER_TTL_SECONDS}s",
            DASK_TEMPORARY_DIRECTORY=str(folder),
        )
        self._sessions: list[Session] = []
        self.codes: list[int] = []
        if story.external and trouble.story:
            trouble.cluster = Cluster(self._env, folder)
        self._config = folder / "config.json"
        self._config.write_text(json.dumps(self._content(story, objects)))

    def _content(self, story: Story, objects: Objects) -> dict[str, Any]:
        cluster = self._trouble.cluster
        uids = ", ".join(f"'{uid}'" for uid in _uids(objects.index))
        return {
            "cohort": {
                "sql": f"SELECT SeriesInstanceUID FROM index WHERE SeriesInstanceUID IN ({uids})",
                "index": str(objects.index),
                "sample": story.sample,
            },
            "source": {
                "cloud": story.cloud,
                "transport": story.transport,
                "endpoint": self._trouble.reading.url,
            },
            "read": {"profile": ["core", "ct", "sm"]},
            "output": self._place.config,
            "cluster": {"address": cluster.address} if cluster else {"workers": 2},
            "limits": {"object_seconds": OBJECT_SECONDS, "concurrency": 16},
        }

    def finish(self) -> list[int]:
        """Run the command until it is complete; return all exit codes."""
        with self._watching():
            try:
                while not self.codes or self.codes[-1] not in FINISHED:
                    if len(self.codes) == MOST_ATTEMPTS:
                        raise Finding(f"not complete after {MOST_ATTEMPTS} attempts")
                    self._attempt()
                self._trouble.end()
                for each in self._sessions:
                    if not each.is_gone(GRACE_SECONDS):
                        raise Finding(f"processes outlive the driver: {each.members()}")
            finally:
                self._trouble.end()
                self._end()
        return self.codes

    def _end(self) -> None:
        for each in self._sessions:
            each.end()
        if self._trouble.cluster:
            self._trouble.cluster.end()

    def _attempt(self) -> None:
        if self._trouble.cluster:
            self._trouble.cluster.ensure()
        words = [*conftest.HARVEST, "run", str(self._config), "--json"]
        log = self._folder / f"attempt_{len(self.codes)}.log"
        driver = Session(words, self._env, log)
        self._sessions.append(driver)
        self._trouble.begin(driver)
        try:
            code = driver.leader.wait(ATTEMPT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Finding(f"a driver hangs: {_tail(log)}") from None
        finally:
            self._trouble.driver = None
            self._trouble.come_back()
        self.codes.append(code)
        if code not in self._allowed():
            raise Finding(f"exit code {code}: {_tail(log)}")

    def _allowed(self) -> set[int]:
        # a signal that came before the command listens to it ends it as any program
        done = " ".join(self._trouble.done)
        codes = {*map(int, FINISHED), int(ExitCode.RUN_AGAIN)}
        codes |= {-signal.SIGKILL} if "kill driver" in done else set()
        return codes | ({-signal.SIGTERM} if "end driver" in done else set())

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Look out for the first final file."""
        ended = threading.Event()
        watcher = threading.Thread(target=self._watch, args=(ended,), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.002):
            if self._is_publishing():
                self._trouble.publishing()
                return

    def _is_publishing(self) -> bool:
        if self._place.gate is None:
            return any((self._place.folder / "instances").glob("*"))
        return any(
            seen.method == "PUT" and "/instances/" in seen.path and seen.status == 200
            for seen in self._place.gate.seen
        )

    def check_status(self) -> None:
        """Raise `Finding` where the command that tells how far a harvest is says otherwise."""
        words = [*conftest.HARVEST, "status", *self._place.words, "--json"]
        found = subprocess.run(words, env=self._env, capture_output=True, text=True, timeout=60)
        if found.returncode:
            raise Finding(f"status ends with {found.returncode}: {found.stderr[-300:]}")
        told = json.loads(found.stdout)
        (self._folder / "status.json").write_text(found.stdout)
        if told["state"] != "complete" or told["done"] != told["rows"]:
            raise Finding(f"status tells {told}")


def _uids(index: Path) -> list[str]:
    uids: list[str] = pq.read_table(index, columns=["SeriesInstanceUID"]).column(0).to_pylist()
    return uids


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-3:])


# --- what a finished output must be ----------------------------------------------------------


def examine(output: Path, objects: Objects) -> list[str]:
    """Return what is wrong with an output by itself."""
    manifest = json.loads((output / MANIFEST).read_text())
    tables = manifest["tables"]
    listed = {file["name"]: file for files in tables.values() for file in files}
    present = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    work = {name for name in present if name.startswith(f"{WORK}/plan/")} | {RECORD}
    wrong = [f"{name} is left" for name in sorted(present - work - {*listed, MANIFEST})]
    wrong += [f"{name} is missing" for name in sorted(set(listed) - present)]
    wrong += [
        f"the manifest is wrong of {name}"
        for name in sorted(set(listed) & present)
        if _described(output / name) != {**listed[name], "name": name}
    ]
    rows = conftest.instances(output)
    if tuple(row["url"] for row in rows) != objects.urls:
        wrong.append(f"{len(rows)} rows are not those of the {len(objects.urls)} planned objects")
    errors = Counter(row["error"] for row in rows if row["status"] == "error")
    told = (manifest["rows"], manifest["ok"], Counter(manifest["errors"]))
    if told != (len(rows), len(rows) - errors.total(), errors):
        wrong.append(f"the manifest counts {told}")
    series = conftest.table(f"SELECT * FROM '{output}/series/*.parquet'")
    for name, count in (("planned", len(rows)), ("error", errors.total())):
        if sum(row[f"instances_{name}"] for row in series) != count:
            wrong.append(f"the series do not add up to {count} {name}")
    return wrong


def _described(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    (counted,) = conftest.table(f"SELECT count(*) AS n FROM '{path}'")
    digest = hashlib.sha256(content).hexdigest()
    name = f"{path.parent.name}/{path.name}"
    return {"name": name, "rows": counted["n"], "bytes": len(content), "sha256": digest}


def _unexpected(output: Path, objects: Objects) -> list[str]:
    """Return which objects with a lasting fault ended as something else."""
    rows = {row["url"].partition("//")[2]: row for row in conftest.instances(output)}
    return [
        f"{what} gave {rows[name]['error']}"
        for name, what in objects.lasting.items()
        if rows[name]["error"] != LASTING[what]
    ]


def compared(output: Path, name: str) -> list[dict[str, Any]]:
    """Read what two attempts must agree on."""
    order = {"instances": "url", "series": "crdc_series_uuid, SeriesInstanceUID"}[name]
    rows = conftest.table(f"SELECT * FROM '{output}/{name}/*.parquet' ORDER BY {order}")
    return [{k: v for k, v in row.items() if k not in NOT_COMPARED} for row in rows]


def digest(output: Path) -> str:
    """Hash what two attempts must agree on."""
    text = repr([compared(output, name) for name in ("instances", "series")])
    return hashlib.sha256(text.encode()).hexdigest()


def differences(calm: Path, found: Path) -> list[str]:
    """Return in what the tables of two outputs differ; nothing where their hashes are equal."""
    if digest(calm) == digest(found):
        return []
    told = [
        f"{name} of {mine.get('url') or mine['SeriesInstanceUID']}: "
        + ", ".join(f"{k} {mine[k]!r} -> {yours[k]!r}" for k in mine if mine[k] != yours[k])[:300]
        for name in ("instances", "series")
        for mine, yours in zip(compared(calm, name), compared(found, name), strict=False)
        if repr(mine) != repr(yours)
    ]
    return [f"{len(told)} rows DIFFER", *told[:4]]


# --- the command -----------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Run some seeds; return 1 if any of them has findings."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of the first run")
    parser.add_argument("--only", type=int, metavar="SEED", help="run this seed alone")
    parser.add_argument("--short", action="store_true", help="as in the tests")
    parser.add_argument("--keep", type=Path, help="a new folder to keep all outputs and logs in")
    options = parser.parse_args(arguments)
    first, runs = (options.seed, options.runs) if options.only is None else (options.only, 1)
    print(f"seeds {first} to {first + runs - 1}", flush=True)
    found = 0
    with (
        tempfile.TemporaryDirectory(prefix="harvest-chaos-") as made,
        lab(corpus=corpus_from_environment()) as started,
    ):
        folder = options.keep or Path(made)
        for seed in range(first, first + runs):
            size = SHORT if options.short else LONG
            report = perform(started, seed, folder / f"run_{seed}", size)
            found += bool(report.findings)
            print(report, flush=True)
    print(f"{runs} runs, {runs - found} equal, {found} with findings")
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
