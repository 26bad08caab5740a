"""``python -m tests.bench.paired --before CHECKOUT``: this checkout beside another one, in turns.

Each round runs the same commands as before, now, and as before again, on the same servers and
objects. What matters is the ratio of now to before within a round; the ratio of the two runs of
before is the noise that it has to be held against.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Final

import yaml

from tests.bench import ours
from tests.bench.reading import Bench, Options, prepared, say
from tests.bench.sets import NAMES

NOW: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took."""

    cpu: float
    """Seconds of its whole process tree."""
    wall: float
    """Seconds."""
    requests: int | None = None
    """For objects, where it tells."""
    bytes_read: int | None = None


@dataclass
class Pairs:
    """The runs of one command."""

    rounds: list[tuple[Cost, Cost, Cost]] = field(default_factory=list)
    """Before, now, before."""

    def line(self, name: str) -> str:
        """Write the medians, ratios and noise of a command."""
        cells = [name]
        for which in ("cpu", "wall"):
            of: Callable[[Cost], float] = attrgetter(which)
            before = statistics.median((of(a) + of(b)) / 2 for a, _, b in self.rounds)
            now = statistics.median(of(cost) for _, cost, _ in self.rounds)
            ratios = [2 * of(cost) / (of(a) + of(b)) for a, cost, b in self.rounds]
            noise = [of(b) / of(a) for a, _, b in self.rounds]
            cells += [f"{before:.2f}", f"{now:.2f}", _spread(ratios), _spread(noise)]
        a, now_cost, _ = self.rounds[-1]
        told = now_cost.requests is not None and a.requests is not None
        same = (a.requests, a.bytes_read) == (now_cost.requests, now_cost.bytes_read)
        cells.append(("the same" if same else f"{_traffic(a)} -> {_traffic(now_cost)}") * told)
        return f"| {' | '.join(cells)} |"


def _spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _traffic(cost: Cost) -> str:
    return f"{cost.requests:,} requests, {cost.bytes_read:,} bytes"


Command = Callable[[dict[str, str]], Cost]
"""Runs with an environment that decides whose code it is."""


def environment_of(checkout: Path) -> dict[str, str]:
    """Return the environment in which ``-m harvest`` is a checkout's."""
    # safe path: the folder in which this runs would come first otherwise
    return {"PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}


def commands(bench: Bench) -> Iterator[tuple[str, Command]]:
    """Yield what is compared: start-up, planning of all of IDC, and a harvest of each set."""
    plan = bench.folder / "idc.yaml"
    everything = {"sql": "SELECT SeriesInstanceUID FROM index"}
    plan.write_text(yaml.safe_dump({"cohort": everything, "output": str(bench.folder / "idc")}))
    yield "harvest --help", _process("--help")
    yield "harvest plan --dry-run, all of IDC", _process("plan", str(plan), "--dry-run")
    for name, made in bench.sets.items():

        def run(environment: dict[str, str], name: str = name) -> Cost:
            source = bench.source()
            source = ours.Source(source.cloud, source.endpoint, source.index, environment)
            ran = bench.harvest(bench.sets[name], source)
            return Cost(ran.cpu, ran.wall, ran.requests, ran.bytes_read)

        yield f"harvest run, {len(made.targets()):,} {name}", run
    output = str(bench.folder / "output")  # of the last run
    sql = "SELECT offset_table, count(*) FROM instances GROUP BY ALL"
    yield "harvest query", _process("query", output, sql)


def _process(*arguments: str) -> Command:
    def run(environment: dict[str, str]) -> Cost:
        begun = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "harvest", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"harvest {' '.join(arguments)} ended with {process.returncode}")
        return Cost(usage.ru_utime + usage.ru_stime, time.monotonic() - begun)

    return run


def measure(bench: Bench, before: Path, rounds: int) -> dict[str, Pairs]:
    """Run everything, in turns."""
    then, now = environment_of(before), environment_of(NOW)
    pairs: dict[str, Pairs] = {}
    for number in range(rounds):
        for name, command in commands(bench):
            found = (command(then), command(now), command(then))
            pairs.setdefault(name, Pairs()).rounds.append(found)
            say(f"  round {number + 1}, {name}: {', '.join(f'{cost.cpu:.2f}' for cost in found)}")
    return pairs


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.paired", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="the other checkout's folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", type=lambda text: text.split(","), default=NAMES)
    options = parser.parse_args(arguments)
    with prepared(Options(options.sets, (), options.rounds, False, False, False)) as bench:
        pairs = measure(bench, options.before.resolve(), options.rounds)
    head = ["command", "CPU before, s", "now", "ratio", "noise", "wall before, s", "now"]
    print(f"| {' | '.join([*head, 'ratio', 'noise', 'traffic'])} |")
    print("|---|---:|---:|---|---|---:|---:|---|---|---|")
    for name, each in pairs.items():
        print(each.line(name))


if __name__ == "__main__":
    main()
