"""``make bench``: what planning all of IDC takes, as a whole process.

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

from rich.console import Console
from rich.table import Table

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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "all.yaml"
        config.write_text(ALL_OF_IDC, encoding="utf-8")
        command = [sys.executable, "-m", "harvest", "plan", str(config), "--dry-run", "--json"]
        measured = [measure("plan --dry-run, all of IDC", command, options.runs)]
    if options.json:
        print(json.dumps([asdict(entry) for entry in measured], indent=1))
        return
    table = Table("what", "runs", "seconds", "CPU seconds", "peak MB", "series", "instances")
    for entry in measured:
        table.add_row(
            entry.name,
            str(entry.runs),
            f"{entry.seconds:.1f}",
            f"{entry.cpu_seconds:.1f}",
            f"{entry.peak_megabytes:.0f}",
            f"{entry.result['series']:,}",
            f"{entry.result['instances']:,}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
