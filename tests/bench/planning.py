"""``python -m tests.bench.planning``: what planning all of IDC takes, and a driver's partition.

Prints medians; nothing here is asserted, since machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from harvest.config import ClusterConfig
from harvest.driver.cluster import open_cluster

ALL_OF_IDC = """\
cohort: {sql: SELECT SeriesInstanceUID FROM index}
output: out/never_written
"""


@dataclass(frozen=True)
class Measured:
    """Medians of several runs of one command."""

    name: str
    runs: int
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    result: dict[str, object]
    """What the command printed as JSON."""


def measure(name: str, command: list[str], runs: int) -> Measured:
    """Run a command several times, by the operating system's own accounting."""
    walls, cpus, peaks = [], [], []
    printed = b"{}"
    for _ in range(runs):
        begun = time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            printed = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{name} ended with exit code {process.returncode}")
        walls.append(time.monotonic() - begun)
        cpus.append(usage.ru_utime + usage.ru_stime)
        peaks.append(usage.ru_maxrss / 1e3)
    return Measured(
        name,
        runs,
        statistics.median(walls),
        statistics.median(cpus),
        statistics.median(peaks),
        json.loads(printed),
    )


@dataclass(frozen=True)
class Driven:
    """What a driver with its scheduler took for partitions of nothing."""

    partitions: int
    milliseconds: float
    """CPU time of driver and scheduler, which are one process, for each partition."""
    megabytes: list[float]
    """Memory of the process after each tenth of the partitions."""


def nothing(partition: int) -> int:
    """Do what a worker does for a partition, without its work."""
    return partition


def drive(partitions: int) -> Driven:
    """Run partitions of nothing through the cluster that a run uses."""
    process = psutil.Process()
    megabytes = []
    with open_cluster(ClusterConfig(workers=1)) as cluster:
        begun = time.process_time()
        results = cluster.unordered(nothing, range(partitions), longest_seconds=60)
        for done, _ in enumerate(results, 1):
            if done % (partitions // 10) == 0:
                megabytes.append(process.memory_info().rss / 1e6)
        seconds = time.process_time() - begun
    return Driven(partitions, 1e3 * seconds / partitions, megabytes)


def dry_run_all(runs: int) -> Measured:
    """Measure the dry run of all IDC."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "all.yaml"
        config.write_text(ALL_OF_IDC, encoding="utf-8")
        command = [sys.executable, "-m", "harvest", "plan", str(config), "--dry-run", "--json"]
        return measure("plan --dry-run, all of IDC", command, runs)


def plan_listings(share: float) -> Measured:
    """Measure planning from listings as large as those of IDC, or a share of them."""
    words = ["-m", "tests.bench.listings", "--share", str(share)]
    return measure("plan, from made-up listings", [sys.executable, *words], runs=1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.planning", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--partitions", type=int, default=50_000)
    parser.add_argument("--listings", type=float, metavar="SHARE", help="of IDC; 1 is all of it")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    if options.listings is not None:
        print(json.dumps(asdict(plan_listings(options.listings)), indent=1))
        return
    planned, driven = dry_run_all(options.runs), drive(options.partitions)
    if options.json:
        print(json.dumps({"plan": asdict(planned), "driver": asdict(driven)}, indent=1))
        return
    show(planned, driven)


def show(planned: Measured, driven: Driven) -> None:
    """Print tables of both."""
    console = Console(width=120)
    table = Table("what", "runs", "seconds", "CPU seconds", "peak MB", "series", "instances")
    table.add_row(
        planned.name,
        str(planned.runs),
        f"{planned.seconds:.1f}",
        f"{planned.cpu_seconds:.1f}",
        f"{planned.peak_megabytes:.0f}",
        f"{planned.result['series']:,}",
        f"{planned.result['instances']:,}",
    )
    console.print(table)
    table = Table("partitions of nothing", "CPU ms of driver and scheduler, each", "MB by tenths")
    table.add_row(
        f"{driven.partitions:,}",
        f"{driven.milliseconds:.2f}",
        " ".join(f"{size:.0f}" for size in driven.megabytes),
    )
    console.print(table)


if __name__ == "__main__":
    main()
