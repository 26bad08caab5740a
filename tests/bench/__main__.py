"""``python -m tests.bench``: all of the benchmark, or parts of it."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tests.bench import peers, planning
from tests.bench.reading import Options, measure, say
from tests.bench.report import show
from tests.bench.results import FILE, TITLES, Results
from tests.bench.sets import NAMES

PLOT = Path(__file__).with_name("plot.py")


def main() -> None:
    """Measure and print."""
    options = parsed()
    # the servers are ended whichever way this ends
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    found = measure(
        Options(
            options.sets,
            options.ways,
            options.rounds or (1 if options.quick else 3),
            options.quick,
            not options.no_latency,
            options.keep,
        )
    )
    if not options.quick and not options.no_planning:
        say("  planning all of IDC, and partitions of nothing")
        found.planning = {
            "plan": asdict(planning.dry_run_all(3)),
            "driver": asdict(planning.drive(10_000)),
        }
    if options.save:
        save(found, options.save)
    if options.json:
        print(json.dumps(asdict(found), indent=1))
        return
    show(found)
    if found.planning:
        planning.show(
            planning.Measured(**found.planning["plan"]), planning.Driven(**found.planning["driver"])
        )


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--sets", type=names(NAMES), default=NAMES, help=",".join(NAMES))
    parser.add_argument("--ways", type=names(tuple(TITLES)), default=tuple(TITLES))
    parser.add_argument("--rounds", type=int, help="3, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="small sets, for a look at all of it")
    parser.add_argument("--no-latency", action="store_true")
    parser.add_argument("--no-planning", action="store_true")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the servers")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", type=Path, help=f"where to; {FILE.name} if all was measured")
    options = parser.parse_args()
    whole = options.sets == NAMES and options.ways == tuple(TITLES) and not options.no_latency
    if options.save is None and whole and not options.quick:
        options.save = FILE
    return options


def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Make a parser of names with commas between."""

    def parse(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        unknown = set(found) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"no {sorted(unknown)}: there are {', '.join(known)}")
        return found

    return parse


def save(found: Results, path: Path) -> None:
    """Write the results, and the plot beside them where there is something to draw."""
    found.save(path)
    if not found.sets.keys() & {"ct", "mr"}:
        return
    subprocess.run(
        [peers.python(), str(PLOT), str(path), str(path.with_suffix(".svg"))], check=True
    )


if __name__ == "__main__":
    main()
