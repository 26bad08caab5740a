"""What a run of the benchmark found, and the arithmetic of its tables and goals."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).with_name("results.json")
FLOOR: Final = "floor"
OURS: Final = "ours"
TITLES: Final[Mapping[str, str]] = {
    "ours": "harvest run, one worker",
    "ours_two": "harvest run, two workers",
    "ours_json": "harvest run, header: json",
    "ours_gcs": "harvest run, from GCS",
    "gcs_open": "(a) google-cloud-storage blob.open + dcmread",
    "boto3_whole": "(b) boto3 whole object + dcmread",
    "boto3_range": "(c) boto3 16 KiB range + dcmread, 16 threads",
    "boto3_range_json": "(c) with to_json_dict",
    "smart_open": "(d) smart_open + dcmread",
    "s5cmd": "(e) s5cmd download + dcmread",
    "obstore_range": "(f) obstore 16 KiB range + dcmread, 16 threads",
    "floor": "(g) floor: obstore, the header's bytes alone",
}
"""Of the ways, in the order of the tables."""
SLOW: Final = ("gcs_open", "boto3_whole", "boto3_range", "smart_open", "s5cmd")
"""The ways (a) to (e)."""


@dataclass
class Wire:
    """What crossed the wire for objects, counted at the relay; listings apart."""

    objects: int
    requests: int
    body_bytes: int
    """Of the answers' bodies."""
    head_bytes: int
    """Of the answers' heads."""
    header_bytes: int
    """What the objects' headers have, the least that could cross."""
    listings: int
    listing_bytes: int
    connections: int


@dataclass
class Told:
    """What harvest's committed table says of the same run."""

    objects: int
    requests: int
    bytes_read: int
    header_bytes: int


@dataclass
class Way:
    """One way to read one set."""

    cpu_ms: list[float] = field(default_factory=list)
    """CPU milliseconds per object, by round."""
    to_floor: list[float] = field(default_factory=list)
    """The same over the floor's of the same round."""
    wire: Wire | None = None
    told: Told | None = None
    wall_ms: dict[str, float] = field(default_factory=dict)
    """Wall milliseconds per object, by milliseconds of added latency."""
    note: str = ""


@dataclass
class SetResults:
    """All ways to read one set."""

    objects: int
    header_bytes: float
    """Mean."""
    object_bytes: float
    """Mean."""
    ways: dict[str, Way] = field(default_factory=dict)


@dataclass
class OneWorker:
    """Harvest with one worker, 20 ms away."""

    wall_ms: float
    """Per object, start-up excluded."""
    sequential_ms: float
    """Of way (a), per object."""
    busy: float
    """CPU time of the whole tree over wall time, start-up excluded: 1 is one core."""


@dataclass
class Results:
    """Everything."""

    quick: bool
    rounds: int
    machine: dict[str, str]
    sets: dict[str, SetResults] = field(default_factory=dict)
    tls: dict[str, Way] = field(default_factory=dict)
    """On the first set, with TLS in front."""
    peak_worker_bytes: dict[str, int] = field(default_factory=dict)
    """VmHWM of the largest worker, by set."""
    tree_cpu: dict[str, float] = field(default_factory=dict)
    """Of one run: seconds by os.wait4, and by /proc, which misses each process's last moments."""
    startup: dict[str, float] = field(default_factory=dict)
    """Of ``harvest run``: CPU and wall seconds that no object explains."""
    one_worker: OneWorker | None = None
    relay_per_second: float | None = None
    """Requests that the relay has time for, on a core of its own."""
    planning: dict[str, Any] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """What could not be measured, and why."""

    def save(self, path: Path = FILE) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")


def load(path: Path = FILE) -> dict[str, Any]:
    """Read what `Results.save` wrote."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def add_round(ways: dict[str, Way], cpu_ms: Mapping[str, float]) -> None:
    """Add a round's CPU times; each is compared with the floor of this round alone."""
    for name, value in cpu_ms.items():
        way = ways.setdefault(name, Way())
        way.cpu_ms.append(value)
        if cpu_ms.get(FLOOR):
            way.to_floor.append(value / cpu_ms[FLOOR])


def ratio(ways: Mapping[str, Way], name: str, other: str) -> float | None:
    """Return the median over the rounds of one way's CPU time over another's."""
    if name not in ways or other not in ways:
        return None
    pairs = zip(ways[name].cpu_ms, ways[other].cpu_ms, strict=False)
    ratios = [mine / its for mine, its in pairs if its > 0]
    return statistics.median(ratios) if ratios else None


def median(values: Iterable[float]) -> float | None:
    """Return the median, None of nothing."""
    found = list(values)
    return statistics.median(found) if found else None


# --- goals -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Goal:
    """A goal and how it stands; nothing is asserted, since machines differ."""

    name: str
    limit: float
    at_least: bool
    """The figure has to reach the limit instead of staying below."""
    figure: float | None
    """None where it was not measured."""

    @property
    def met(self) -> bool | None:
        """Whether the figure is on the right side of the limit."""
        if self.figure is None:
            return None
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def goals(found: Results) -> list[Goal]:
    """Compare what was found with what is wanted."""
    ct = _ways(found, "ct")
    best = [value for name in SLOW if (value := ratio(ct, name, OURS)) is not None]
    peaks = found.peak_worker_bytes.values()
    worker = found.one_worker
    faster = worker.sequential_ms / worker.wall_ms if worker else None
    return [
        Goal(
            "CPU of an object, ct profile, over the floor (g)", 1.5, False, ratio(ct, OURS, FLOOR)
        ),
        Goal("(c) over ours, CPU", 12, True, ratio(ct, "boto3_range", OURS)),
        Goal("the best of (a)-(e) over ours, CPU", 9, True, min(best, default=None)),
        Goal(
            "(c) with to_json_dict over ours with header: json, CPU",
            8,
            True,
            ratio(ct, "boto3_range_json", "ours_json"),
        ),
        Goal("requests of an object, CT", 1.02, False, _per_object(found, "ct")),
        Goal("requests of an object, MR", 1.02, False, _per_object(found, "mr")),
        Goal("requests of an object, mixed", 1.15, False, _per_object(found, "mixed")),
        Goal("bytes over header bytes, CT", 1.25, False, _bytes(found, "ct")),
        Goal("bytes over header bytes, MR", 1.25, False, _bytes(found, "mr")),
        Goal("bytes over header bytes, mixed", 2.0, False, _bytes(found, "mixed")),
        Goal("wall of (a) over ours with one worker, 20 ms away", 40, True, faster),
        Goal("peak memory of a worker, MB", 400, False, max(peaks, default=0) / 1e6 or None),
    ]


def _ways(found: Results, name: str) -> Mapping[str, Way]:
    return found.sets[name].ways if name in found.sets else {}


def _per_object(found: Results, name: str) -> float | None:
    way = _ways(found, name).get(OURS)
    return way.wire.requests / way.wire.objects if way and way.wire else None


def _bytes(found: Results, name: str) -> float | None:
    way = _ways(found, name).get(OURS)
    return way.wire.body_bytes / way.wire.header_bytes if way and way.wire else None
