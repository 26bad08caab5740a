"""``python -m tests.bench.scaling``: a harvest with 1, 2 and more workers, and the driver's share.

Two kinds of figures, and the table says which is which:

- measured: the same cohort from a real S3 server with real worker processes. The server and the
  workers share this machine, so that more workers than CPUs show nothing.
- simulated: the real scheduler and the real driver with workers whose partitions only wait, as
  long as real ones take with the network far away. That is what the driver bears.

Nothing here is asserted, since machines differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import dask
import psutil
from distributed import LocalCluster
from rich.console import Console
from rich.table import Table

from harvest.config import ClusterConfig, Config
from harvest.driver.cluster import open_cluster
from harvest.driver.runner import run
from harvest.driver.status import read_status
from tests.conftest import SQL_GENERATED
from tests.lab import Lab, lab

PARTITION_ROWS: Final = 40
SIMULATED_SECONDS: Final = 2.0
"""Of a partition; a real one of 2,000 objects takes 5 to 60."""
PARTITIONS_PER_WORKER: Final = 10


@dataclass(frozen=True)
class Scaled:
    """What one number of workers gave."""

    kind: str
    workers: int
    partitions: int
    seconds: float
    """Of reading, without start-up and publishing."""
    efficiency: float
    """Speed for each worker, over that of the first row of its kind."""
    driver_milliseconds: float
    """CPU time of the driver's process for each partition: with the scheduler, with planning and
    publishing where it is measured, and with the workers' own share where it is simulated."""


def waiting(seconds: float) -> float:
    """Do what a partition does whose objects are far away."""
    time.sleep(seconds)
    return seconds


def measured(started: Lab, workers: int, rounds: int) -> Scaled:
    """Harvest the lab with real workers."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="harvest-scaling-") as folder:
            config = Config.model_validate(
                {
                    "cohort": {"sql": SQL_GENERATED, "index": str(started.index)},
                    "source": {"endpoint": started.s3.endpoint},
                    "read": {"profile": ["core", "ct"]},
                    "output": folder + "/out",
                    "cluster": {"workers": workers},
                    "limits": {"partition_rows": PARTITION_ROWS},
                }
            )
            begun = time.process_time()
            run(config)
            cpu = time.process_time() - begun
            told = read_status(folder + "/out").run
        assert told is not None
        partitions = -(-told.rows // PARTITION_ROWS)
        found.append((told.wall_seconds, cpu / partitions, partitions))
    seconds, cpu, partitions = (statistics.median(column) for column in zip(*found, strict=True))
    return Scaled("measured", workers, round(partitions), seconds, 1.0, 1e3 * cpu)


@contextmanager
def waiting_workers(count: int) -> Iterator[str]:
    """Run a scheduler with many workers in this process, one thread each; yield its address."""
    with (
        dask.config.set({"distributed.worker.profile.enabled": False}),
        LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=count,
            threads_per_worker=1,
            processes=False,
            protocol="tcp://",
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
    ):
        yield str(cluster.scheduler_address)


def simulated(workers: int) -> Scaled:
    """Drive workers that only wait."""
    partitions = workers * PARTITIONS_PER_WORKER
    with (
        waiting_workers(workers) as address,
        open_cluster(ClusterConfig(address=address)) as cluster,
    ):
        begun, cpu = time.monotonic(), time.process_time()
        tasks = [SIMULATED_SECONDS] * partitions
        assert len(list(cluster.unordered(waiting, tasks, longest_seconds=60))) == partitions
        seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    return Scaled("simulated", workers, partitions, seconds, 1.0, 1e3 * cpu / partitions)


def compared(rows: list[Scaled]) -> list[Scaled]:
    """Fill in the efficiency."""
    speeds = [row.partitions / row.seconds / row.workers for row in rows]
    return [replace(row, efficiency=s / speeds[0]) for row, s in zip(rows, speeds, strict=True)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scaling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--simulated", type=int, nargs="*", default=[1, 8, 64, 256])
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = []
    if options.workers:
        with tempfile.TemporaryDirectory() as folder, lab(Path(folder)) as started:
            real = [measured(started, count, options.rounds) for count in options.workers]
        found += compared(real)
    if options.simulated:
        found += compared([simulated(count) for count in options.simulated])
    if options.json:
        print(json.dumps([asdict(row) for row in found], indent=1))
        return
    show(found)


def show(found: list[Scaled]) -> None:
    """Print a table."""
    print(f"{os.cpu_count()} CPUs, {psutil.virtual_memory().total / 1e9:.0f} GB")
    table = Table("", "workers", "partitions", "seconds", "efficiency", "driver, ms a partition")
    for row in found:
        table.add_row(
            row.kind,
            str(row.workers),
            str(row.partitions),
            f"{row.seconds:.1f}",
            f"{row.efficiency:.0%}",
            f"{row.driver_milliseconds:.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
