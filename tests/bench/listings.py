"""``python -m tests.bench.listings``: the plan of all of IDC, from listings that are made up.

The real planner lists the packaged index's 1.04 million series by bucket shards. Only the store is
not real: it answers with pages of 1,000 made-up keys, as many for each series as the index says.
Listing, which workers do in a run, and planning, which the driver does, are told apart.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

from harvest.config import parse_config
from harvest.output import open_output
from harvest.plan import listing
from harvest.plan.listing import ListedSeries, ListingTask, SeriesPrefix
from harvest.plan.planner import make_plan
from harvest.store.protocol import Listed

PAGE: Final = 1_000
CONFIG: Final = """\
cohort:
  sql: SELECT SeriesInstanceUID FROM index WHERE hash(SeriesInstanceUID) % 1000 < {parts}
cluster: {{address: "tcp://127.0.0.1:8786"}}
output: {output}
"""


class MadeUp:
    """A store of as many objects as an index says; lists those of some series.

    Parameters
    ----------
    series
        In key order.
    """

    def __init__(self, series: Sequence[SeriesPrefix]) -> None:
        self._series = series

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        """Yield pages of the keys below a prefix; `after` is a shard's first characters."""
        page: list[Listed] = []
        for entry in self._entries(prefix):
            page.append(entry)
            if len(page) == PAGE:
                yield page
                page = []
        yield page

    def _entries(self, prefix: str) -> Iterator[Listed]:
        for series in self._series:
            folder = series.url.key
            if not folder.startswith(prefix):
                continue
            tail = f"-0000-4000-8000-{folder[:8]}0000.dcm"
            for number in range(series.expected or 0):
                yield Listed(f"{folder}{number:08x}{tail}", 526_000, f"{number:032x}")


def measured(output: Path, share: float) -> dict[str, Any]:
    """Plan a share of all of IDC; return what it took."""
    config = parse_config(CONFIG.format(parts=round(1000 * share), output=output))
    seconds = [0.0]

    def lister(_: object, tasks: Iterable[ListingTask]) -> Iterator[ListedSeries]:
        for task in tasks:
            begun = time.process_time()
            made = MadeUp(task.series)
            with mock.patch.object(listing, "open_store", lambda *_, made=made: made):
                listed = listing.list_task(task)
            seconds[0] += time.process_time() - begun
            yield listed

    begun = time.monotonic()
    plan = make_plan(config, open_output(str(output)), mapper=lister)
    total = time.process_time()
    return {
        "series": plan.series,
        "instances": plan.rows,
        "partitions": len(plan.partitions),
        "seconds": round(time.monotonic() - begun, 1),
        "listing_cpu_seconds": round(seconds[0], 1),
        "planning_cpu_seconds": round(total - seconds[0], 1),
        "peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
        "plan_megabytes": round(sum(f.stat().st_size for f in output.rglob("*")) / 1e6),
        "missing": plan.missing,
        "surplus": plan.surplus,
    }


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.listings", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of IDC's series; 1 is all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="harvest-plan-") as folder:
        json.dump(measured(Path(folder) / "out", options.share), sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
