"""Measures all ways of reading on all sets, taking turns, so that a busy moment hits each."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from tests.bench import ours, peers, sets
from tests.bench.ours import Harvest
from tests.bench.relay import Running, relay
from tests.bench.results import (
    FLOOR,
    OURS,
    TITLES,
    OneWorker,
    Results,
    SetResults,
    Told,
    Way,
    Wire,
    add_round,
)
from tests.bench.sets import ObjectSet, Target
from tests.bench.tls import NoNginx, encrypted
from tests.lab import servers
from tests.lab.files import GCS_BUCKETS
from tests.lab.index import write_index
from tests.lab.servers import Server

FLOOR_THREADS: Final = 4
"""More of them cost more: 8, 16 and 32 took 13, 20 and 28 % more where all were tried."""
LATENCIES_MS: Final = (0, 20, 80)
_QUICK_WAYS: Final = (FLOOR, "boto3_range", "obstore_range")
"""Of a quick run, on all sets but the CT."""
_QUICK_WAYS_AWAY: Final = ("gcs_open", FLOOR)
"""Of a quick run, with latency."""
_ON_GCS: Final = ("ct", "mixed")
"""What is harvested from GCS too."""
ROUNDS_FOR: Final = ("ct", "mr")
"""The sets that goals name; the others are measured once."""
PEERS: Final = tuple(name for name in TITLES if not name.startswith(OURS))
# read.header and cluster.workers; the floor is one process, too
_HARVESTS: Final = {"ours": ("none", 1), "ours_two": ("none", 2), "ours_json": ("json", 1)}

# How many objects a way reads, at most: the slow ones would take all the time.
_MOST: Final[Mapping[str, int]] = {
    "gcs_open": 500,
    "boto3_whole": 500,
    "boto3_range": 1_000,
    "boto3_range_json": 500,
    "smart_open": 200,
    "s5cmd": 500,
    "obstore_range": 2_000,
    "floor": 3_000,
}
_MOST_AWAY: Final[Mapping[str, int]] = {
    "gcs_open": 100,
    "boto3_whole": 100,
    "boto3_range": 600,
    "boto3_range_json": 600,
    "smart_open": 30,
    "s5cmd": 300,
    "obstore_range": 1_000,
    "floor": 3_000,
}
_MOST_COUNTED: Final = dict.fromkeys(PEERS, 100)
_PARSED_BYTES: Final = 2_000_000
"""Of headers of many items, the smallest ones: pydicom takes seconds for the largest."""
_SOUGHT_BYTES: Final = 100_000
"""Likewise for smart_open, which sends a request for every item that pydicom goes back to."""
_GCS_OBJECTS: Final = 1_000


@dataclass(frozen=True)
class Options:
    """What to measure."""

    sets: Sequence[str]
    ways: Sequence[str]
    rounds: int
    quick: bool
    latency: bool
    keep: bool


@dataclass
class Bench:
    """Servers with the sets in them."""

    options: Options
    folder: Path
    s3: Server
    gcs: Server
    sets: dict[str, ObjectSet]

    @property
    def index(self) -> Path:
        """The index of all sets."""
        return self.folder / "index.parquet"

    def source(self, endpoint: str | None = None, cloud: str = "aws") -> ours.Source:
        """Describe a server to harvest."""
        server = self.s3 if cloud == "aws" else self.gcs
        return ours.Source(cloud, endpoint or server.endpoint, self.index)

    def wanted(self, *names: str) -> list[str]:
        """Return which of some ways are to be measured."""
        return [name for name in names if name in self.options.ways]

    def peers(self, made: ObjectSet) -> list[str]:
        """Return the ways of others that are to be measured on a set."""
        few = self.options.quick and made.name != "ct"
        return [way for way in self.wanted(*PEERS) if way in _QUICK_WAYS or not few]

    def harvest(self, made: ObjectSet, source: ours.Source | None = None, **how: Any) -> Harvest:
        """Harvest a set; see `ours.harvest`."""
        how.setdefault("workers", 1)
        return ours.harvest(made, source or self.source(), self.folder, **how)


def say(text: str) -> None:
    """Tell on standard error what is being done."""
    print(text, file=sys.stderr, flush=True)


def measure(options: Options) -> Results:
    """Measure everything that the options ask for."""
    found = Results(options.quick, options.rounds, machine())
    with prepared(options) as bench:
        steps: list[Callable[[Bench, Results], None]] = [measure_cpu, measure_wire]
        if "mr" in bench.sets and OURS in options.ways:
            steps.append(measure_memory)
        if "ct" in bench.sets:
            steps += [measure_latency] * options.latency + [measure_tls]
        for step in steps:
            begun = time.monotonic()
            step(bench, found)
            say(f"  {step.__name__}: {time.monotonic() - begun:.0f} s")
    return found


def machine() -> dict[str, str]:
    """Describe what everything ran on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    packages = ("pydicom", "obstore", "boto3", "google-cloud-storage", "distributed", "pyarrow")
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


@contextlib.contextmanager
def prepared(options: Options) -> Iterator[Bench]:
    """Start the servers and fill them; everything is gone after the ``with`` block."""
    with contextlib.ExitStack() as stack:
        if options.keep:
            folder = Path(tempfile.mkdtemp(prefix="harvest-bench-"))
            say(f"kept: {folder}")
        else:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="harvest-bench-"))
            folder = Path(made)
        s3 = stack.enter_context(servers.seaweedfs(folder / "s3", tuple(GCS_BUCKETS)))
        gcs = stack.enter_context(servers.fake_gcs(folder / "gcs"))
        sets.create_buckets(s3, gcs)
        uploaded = {}
        for name in options.sets:
            begun = time.monotonic()
            uploaded[name] = sets.uploaded(name, options.quick, s3, gcs, _GCS_OBJECTS)
            count = len(uploaded[name].targets())
            say(f"  {name}: {count:,} objects put in {time.monotonic() - begun:.0f} s")
        bench = Bench(options, folder, s3, gcs, uploaded)
        write_index((each for made in uploaded.values() for each in made.series), bench.index)
        yield bench


# --- CPU -------------------------------------------------------------------------------------


def measure_cpu(bench: Bench, found: Results) -> None:
    """Measure the CPU time of every way, in rounds."""
    for name, made in bench.sets.items():
        targets = made.targets()
        found.sets[name] = SetResults(
            len(targets),
            sum(each.header_bytes for each in targets) / len(targets),
            sum(each.size for each in targets) / len(targets),
        )
    for number in range(bench.options.rounds):
        for name, made in bench.sets.items():
            if number and name not in ROUNDS_FOR:
                continue
            begun = time.monotonic()
            add_round(found.sets[name].ways, cpu_round(bench, made, found))
            say(f"  round {number + 1}, {name}: {time.monotonic() - begun:.0f} s")


def cpu_round(bench: Bench, made: ObjectSet, found: Results) -> dict[str, float]:
    """Return the CPU milliseconds per object of each way, once."""
    spent = {}
    for way in bench.wanted(*(_HARVESTS if made.name == "ct" else [OURS, "ours_json"])):
        header, workers = _HARVESTS[way]
        if way == OURS or made.name == "ct" or not bench.options.quick:
            spent[way] = harvest_slope(bench, made, found, header, workers=workers)
    for way in bench.peers(made):
        with noted(found, way, made):
            spent[way] = peer_cpu(bench, made, way)
    return spent


@contextlib.contextmanager
def noted(found: Results, way: str, made: ObjectSet) -> Iterator[None]:
    """Take note of a way of others that cannot read a set, and go on."""
    try:
        yield
    except peers.Failed as error:
        reason = f"{way} on {made.name}: {error}"
        if reason not in found.missing:
            found.missing.append(reason)


def peer_cpu(
    bench: Bench,
    made: ObjectSet,
    way: str,
    url: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Return the CPU milliseconds per object of one way."""
    endpoint, targets = given(bench, made, way, _MOST)
    threads = FLOOR_THREADS if way == FLOOR else 16
    read = peers.read(way, targets, url or endpoint, threads=threads, environment=environment)
    return made.per_object(1e3 * read.cpu, targets)


def harvest_slope(
    bench: Bench,
    made: ObjectSet,
    found: Results,
    header: str = "none",
    source: ours.Source | None = None,
    workers: int = 1,
) -> float:
    """Return the CPU milliseconds that an object more costs harvest, start-up excluded."""
    less, more = (
        bench.harvest(made, source, small=small, header=header, workers=workers)
        for small in (True, False)
    )
    rest = made.targets()[less.objects :]
    slope = made.per_object(more.cpu - less.cpu, rest)
    if made.name == "ct" and header == "none" and source is None and workers == 1:
        rate = (more.wall - less.wall) / len(rest)
        found.startup = {
            "cpu": less.cpu - less.objects * slope,
            "wall": less.wall - less.objects * rate,
        }
    return 1e3 * slope


def given(
    bench: Bench, made: ObjectSet, way: str, most: Mapping[str, int]
) -> tuple[str, list[Target]]:
    """Return the server that a way reads from, and what it reads.

    Parameters
    ----------
    bench
        The servers.
    made
        The set.
    way
        Its name.
    most
        How many objects at most, by way; they are taken from all over the set.
    """
    gcs = way == "gcs_open"
    targets = made.targets(gcs=gcs)
    endpoint = bench.gcs.endpoint if gcs else bench.s3.endpoint
    share = 5 if bench.options.quick else 3 if made.name == "mr" else 1
    count = most[way] // share
    if way == "s5cmd":
        # it copies whole series
        lengths = accumulate(sets.series_of(targets).values())
        return endpoint, targets[: next((n for n in lengths if 2 * n >= count), len(targets))]
    if made.many_items and way != FLOOR:
        header_bytes = _SOUGHT_BYTES if way == "smart_open" else _PARSED_BYTES
        targets = sorted(targets, key=lambda each: each.header_bytes)
        sums = accumulate(each.header_bytes for each in targets)
        targets = targets[: max(1, sum(each <= header_bytes for each in sums))]
    return endpoint, targets[:: max(1, -(-len(targets) // count))]


# --- the wire --------------------------------------------------------------------------------


def measure_wire(bench: Bench, found: Results) -> None:
    """Count requests and bytes of every way at a relay."""
    with both_relays(bench) as (to_s3, to_gcs):
        for name, made in bench.sets.items():
            ways = found.sets[name].ways
            for way in bench.peers(made) if name == "ct" or not bench.options.quick else ():
                passing = to_gcs if way == "gcs_open" else to_s3
                _, targets = given(bench, made, way, _MOST_COUNTED)
                bytes_wanted = sum(each.header_bytes for each in targets)
                passing.counts()
                with noted(found, way, made):
                    peers.read(way, targets, passing.url, cold=True)
                    ways.setdefault(way, Way()).wire = wire(passing, len(targets), bytes_wanted)
            if OURS in bench.options.ways:
                count_ours(bench, made, ways, to_s3, "aws")
                if name in _ON_GCS:
                    count_ours(bench, made, ways, to_gcs, "gcs")


def count_ours(
    bench: Bench, made: ObjectSet, ways: dict[str, Way], passing: Running, cloud: str
) -> None:
    """Count what a harvest asks for, and keep what its table says beside."""
    passing.counts()
    source = bench.source(passing.url, cloud)
    # GCS holds no more of the CT than the small cohort
    small = cloud == "gcs" and made.name == "ct"
    run = bench.harvest(made, source, small=small)
    way = ways.setdefault(OURS if cloud == "aws" else "ours_gcs", Way())
    way.wire = wire(passing, run.objects, run.header_bytes)
    way.told = Told(run.objects, run.requests, run.bytes_read, run.header_bytes)


def wire(passing: Running, objects: int, header_bytes: int) -> Wire:
    """Take what a relay counted."""
    counts = passing.counts()
    return Wire(
        objects=objects,
        requests=counts["requests"],
        body_bytes=counts["body_bytes"],
        head_bytes=counts["head_bytes"],
        header_bytes=header_bytes,
        listings=counts["listings"],
        listing_bytes=counts["listing_body_bytes"],
        connections=counts["connections"],
    )


@contextlib.contextmanager
def both_relays(bench: Bench) -> Iterator[tuple[Running, Running]]:
    """Run a relay before each server."""
    with (
        relay(bench.s3.endpoint) as to_s3,
        # fake-gcs-server answers to its own name alone
        relay(bench.gcs.endpoint, rename=True) as to_gcs,
    ):
        yield to_s3, to_gcs


# --- memory ----------------------------------------------------------------------------------


def measure_memory(bench: Bench, found: Results) -> None:
    """Watch the workers of a harvest of the long headers, and all CPU time of its processes."""
    watched = ours.Watched()
    run = bench.harvest(bench.sets["mr"], watched=watched)
    found.peak_worker_bytes["mr"] = max(watched.peak[pid] for pid in watched.workers())
    found.tree_cpu = {"wait4": run.cpu, "proc": sum(watched.cpu.values())}


# --- latency ---------------------------------------------------------------------------------


def measure_latency(bench: Bench, found: Results) -> None:
    """Measure wall times with latency in between; harvest with one worker."""
    made = bench.sets["ct"]
    ways = found.sets["ct"].ways
    with both_relays(bench) as (to_s3, to_gcs):
        found.relay_per_second = relay_capacity(bench, to_s3)
        for latency in (20,) if bench.options.quick else LATENCIES_MS:
            for passing in (to_s3, to_gcs):
                passing.delay(latency / 1e3)
            for way in bench.wanted(*(_QUICK_WAYS_AWAY if bench.options.quick else PEERS)):
                passing = to_gcs if way == "gcs_open" else to_s3
                _, targets = given(bench, made, way, _MOST_AWAY)
                read = peers.read(way, targets, passing.url)
                ways.setdefault(way, Way()).wall_ms[str(latency)] = 1e3 * read.wall / read.objects
            if OURS in bench.options.ways:
                one_worker(bench, found, to_s3, latency)


def one_worker(bench: Bench, found: Results, passing: Running, latency: int) -> None:
    """Measure harvest with one worker, start-up excluded."""
    made = bench.sets["ct"]
    less, more = (
        bench.harvest(made, bench.source(passing.url), small=small, workers=1)
        for small in (True, False)
    )
    wall = (more.wall - less.wall) / (more.objects - less.objects)
    ways = found.sets["ct"].ways
    ways.setdefault(OURS, Way()).wall_ms[str(latency)] = 1e3 * wall
    if latency == 20 and "gcs_open" in ways:
        busy = (more.cpu - less.cpu) / (more.wall - less.wall)
        found.one_worker = OneWorker(1e3 * wall, ways["gcs_open"].wall_ms["20"], busy)


def relay_capacity(bench: Bench, passing: Running) -> float:
    """Return the requests per second that the relay has time for, on a core of its own."""
    targets = bench.sets["ct"].targets()[:2_000]
    passing.delay(LATENCIES_MS[1] / 1e3)
    read = peers.read(FLOOR, targets, passing.url, threads=32)
    return read.objects / passing.cpu_seconds()


# --- TLS -------------------------------------------------------------------------------------


def measure_tls(bench: Bench, found: Results) -> None:
    """Measure the CPU times once more with TLS in front, on the CT."""
    made = bench.sets["ct"]
    try:
        with encrypted(bench.s3.endpoint, bench.folder / "nginx") as front:
            source = ours.Source("aws", front.url, bench.index, front.environment)
            spent = {}
            if OURS in bench.options.ways:
                spent[OURS] = harvest_slope(bench, made, found, source=source)
            for way in bench.wanted("boto3_range", "obstore_range", FLOOR):
                spent[way] = peer_cpu(bench, made, way, front.url, front.environment)
            add_round(found.tls, spent)
    except NoNginx as error:
        found.missing.append(f"TLS: {error}")
