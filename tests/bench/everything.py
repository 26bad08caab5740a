"""``python -m tests.bench.everything``: ``profile: all`` beside chosen tags; the longest SEG."""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from typing import Any, Final

import obstore
import pydicom
from pydicom.dataset import Dataset
from rich.console import Console
from rich.table import Table

from tests.bench import ours
from tests.bench.reading import Bench, Options, prepared, say
from tests.lab import servers

SETS: Final = ("ct", "mr", "mixed")
WAYS: Final[Mapping[str, Mapping[str, Any]]] = {
    "chosen tags": {},
    "chosen tags, header: json": {"header": "json"},
    "all": {"profile": "all"},
    "all, header: json": {"profile": "all", "header": "json"},
}
FRAMES: Final = 12_000


@dataclass(frozen=True)
class Cost:
    """What one way to harvest a set cost."""

    set: str
    way: str
    columns: int
    cpu: float
    """Milliseconds per object, start-up excluded; the median over the rounds."""
    to_chosen: float
    """The same over that of the chosen tags, round by round."""
    peak_worker: int
    """Bytes of the largest worker."""
    row: float
    """Bytes on disk per object."""


@dataclass(frozen=True)
class Longest:
    """A segmentation of `FRAMES` frames."""

    header_bytes: int
    harvest: dict[str, float]
    """Wall seconds by way, beyond those of one of 200 frames."""
    peak_worker: dict[str, int]
    """Bytes by way."""
    pydicom: float
    """CPU seconds of dcmread and a look at every value, in one process; without a network."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.everything", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="small sets")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    how = Options((*SETS, "seg"), (), options.rounds, options.quick, latency=False, keep=False)
    with prepared(how) as bench:
        costs = [cost for name in SETS for cost in measured(bench, name)]
        longest = measure_longest(bench)
    if options.json:
        print(json.dumps({"costs": list(map(asdict, costs)), "longest": asdict(longest)}, indent=1))
    else:
        show(costs, longest)


def measured(bench: Bench, name: str) -> Iterator[Cost]:
    """Harvest a set in all ways, in turns."""
    made = bench.sets[name]
    spent: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(bench.options.rounds):
        for way, read in WAYS.items():
            less, more = (bench.harvest(made, small=small, **read) for small in (True, False))
            spent[way].append(1e3 * (more.cpu - less.cpu) / (more.objects - less.objects))
        say(f"  {name}, round {number + 1}")
    for way, read in WAYS.items():
        watched = ours.Watched()
        run = bench.harvest(made, watched=watched, **read)
        ratios = [a / b for a, b in zip(spent[way], spent["chosen tags"], strict=True)]
        yield Cost(
            set=name,
            way=way,
            columns=run.columns,
            cpu=statistics.median(spent[way]),
            to_chosen=statistics.median(ratios),
            peak_worker=max(watched.peak[pid] for pid in watched.workers()),
            row=run.table_bytes / run.objects,
        )


def measure_longest(bench: Bench) -> Longest:
    """Harvest the longest segmentation alone, and read it with pydicom."""
    made = bench.sets["seg"]
    by_length = sorted(made.series, key=lambda each: made.header_bytes[each.key(each.instances[0])])
    shortest, longest = (replace(made, series=(by_length[at],), small=1) for at in (0, -1))
    (target,) = longest.targets()
    seconds: dict[str, float] = {}
    peaks: dict[str, int] = {}
    for way, read in WAYS.items():
        watched = ours.Watched()
        run = bench.harvest(longest, small=True, watched=watched, **read)
        seconds[way] = run.wall - bench.harvest(shortest, small=True, **read).wall
        peaks[way] = max(watched.peak[pid] for pid in watched.workers())
    store = servers.admin_s3_store(bench.s3, target.bucket)
    content = bytes(obstore.get(store, target.key).bytes())
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _look(pydicom.dcmread(BytesIO(content), stop_before_pixels=True))
    return Longest(target.header_bytes, seconds, peaks, time.process_time() - begun)


def _look(dataset: Dataset) -> None:
    """Have every value converted, as who wants columns must."""
    for element in dataset.iterall():
        _ = element.value


def show(costs: list[Cost], longest: Longest) -> None:
    """Print tables for people."""
    console = Console(width=120)
    table = Table("set", "way", "columns", "CPU ms", "over chosen", "worker MB", "bytes a row")
    for cost in costs:
        table.add_row(
            cost.set,
            cost.way,
            f"{cost.columns:,}",
            f"{cost.cpu:.3f}",
            f"{cost.to_chosen:.2f}",
            f"{cost.peak_worker / 1e6:.0f}",
            f"{cost.row:,.0f}",
        )
    console.print(table)
    table = Table("a SEG of 12,000 frames", "seconds", "worker MB")
    for way, seconds in longest.harvest.items():
        table.add_row(way, f"{seconds:.1f}", f"{longest.peak_worker[way] / 1e6:.0f}")
    table.add_row("pydicom, from memory", f"{longest.pydicom:.1f}", "")
    console.print(table)
    console.print(f"its header has {longest.header_bytes:,} bytes")


if __name__ == "__main__":
    main()
