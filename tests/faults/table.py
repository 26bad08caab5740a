"""The fault table: what becomes of an object that meets a fault, on each cloud and transport.

``python -m tests.faults.table`` runs the tests of the table and prints it. All faults of a group
are met in one run, each by objects of its own, beside objects that meet none.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import trustme
from distributed import Client

import harvest
from harvest.config import Config
from harvest.driver.runner import plan
from tests import conftest
from tests.conftest import OwnSeries
from tests.faults.proxy import FAULTS, Fault, Gate, Schedule, gate, trusting
from tests.lab import Lab

RETRIES: Final = 2
HEADER: Final = 40_000
"""Bytes of a header: the first range does not hold it, so that an object takes two requests."""
NEIGHBOURS: Final = 3
"""Objects of each run that meet no fault."""
FREE: Final = ("requests", "bytes_read", "error_detail")
"""Columns in which two attempts may differ."""
COLUMNS: Final = (
    "passes, first range",
    "passes, continuation",
    "lasts, first range",
    "lasts, continuation",
)
"""Whether the fault goes away, and which request of the object it begins with."""

Row = dict[str, Any]


class Way(NamedTuple):
    """How objects are read."""

    cloud: str
    transport: str


WAYS: Final = [
    Way(cloud, transport) for cloud in ("aws", "gcs") for transport in ("obstore", "sdk")
]


@dataclass(frozen=True)
class Ending:
    """How an object ended."""

    row: str
    """``ok``, the kind of error, or what is wrong in the row."""
    requests: int
    retryable: bool = False

    def __str__(self) -> str:
        return f"{self.row}{', retryable' * self.retryable} ({self.requests})"


def ok(requests: int) -> Ending:
    """Return the ending of an object that is read after all."""
    return Ending("ok", requests)


def passing(kind: str, requests: int) -> Ending:
    """Return the ending on an error that another run may not meet."""
    return Ending(kind, requests, retryable=True)


def ending_of(row: Row, undisturbed: Row) -> Ending:
    """Tell how an object ended; a row that is ok has to be that of an undisturbed run."""
    ended = row["error"]
    if row["status"] == "ok":
        wrong = [name for name in row if name not in FREE and row[name] != undisturbed[name]]
        ended = f"wrong {', '.join(wrong)}" if wrong else "ok"
    return Ending(ended, row["requests"], row["retryable"])


Endings = tuple[Ending | None, Ending | None]
"""Where the fault begins with the first range, and where it begins with the continuation."""


@dataclass(frozen=True)
class Case:
    """A fault, and how it has to end."""

    fault: str
    """Its name among `FAULTS`."""
    group: str = "plain"
    times: int = RETRIES
    """Requests that a fault meets before it goes away."""
    passes: Endings = (ok(2 + RETRIES), ok(2 + RETRIES))
    lasts: Endings = (
        passing("unavailable", 2 * (1 + RETRIES)),
        passing("unavailable", 1 + 2 * (1 + RETRIES)),
    )
    """An object that does not answer is read a second time."""

    @property
    def endings(self) -> dict[str, Ending]:
        """By column of the table; a fault need not have all of them."""
        columns = zip(COLUMNS, (*self.passes, *self.lasts), strict=True)
        return {column: ending for column, ending in columns if ending is not None}


NOT_DENIED_TWICE: Final = (Ending("denied", 1), Ending("denied", 2))
CASES: Final = (
    Case("503"),
    Case("429"),
    Case("reset"),
    Case("truncation"),
    Case("short range"),
    Case("wrong Content-Range"),
    Case("200 for a range"),
    Case("page"),
    Case("page as a range"),
    Case("larger object"),
    Case("smaller object"),
    Case("denied", passes=NOT_DENIED_TWICE, lasts=NOT_DENIED_TWICE),
    # what goes while it is read has changed: it is begun again, and then it is there or it is not
    Case(
        "gone",
        times=1,
        passes=(Ending("not_found", 1), ok(4)),
        lasts=(Ending("not_found", 1), Ending("not_found", 3)),
    ),
    # a request may take half of an object's time
    Case(
        "stall",
        group="stall",
        times=1,
        passes=(ok(3), ok(3)),
        lasts=(passing("too_slow", 2 * 2), passing("too_slow", 1 + 2 * 2)),
    ),
    Case("bit flip", group="behind TLS"),
    Case("replaced", group="replaced", passes=(None, ok(4)), lasts=(None, passing("changed", 6))),
    Case("replaced, shorter", group="replaced", passes=(None, ok(3)), lasts=(None, None)),
)
OBJECT_SECONDS: Final = {"stall": 3.0}
"""By group; elsewhere an object has more time than it can need."""


@dataclass(frozen=True)
class Trial:
    """An object that meets a fault."""

    case: Case
    column: str
    series: OwnSeries

    def meets(self, turn: int) -> bool:
        """Tell whether the fault is there at the object's n-th request, from 0."""
        first = COLUMNS.index(self.column) % 2
        return first <= turn < (first + self.case.times if "passes" in self.column else sys.maxsize)


@dataclass(frozen=True)
class Met:
    """What came of a run, and of an undisturbed one; rows are by key."""

    trials: Sequence[Trial]
    neighbours: Sequence[OwnSeries]
    rows: Mapping[str, Row]
    undisturbed: Mapping[str, Row]
    opened: Gate

    def endings(self, case: Case) -> dict[str, Ending]:
        """Tell how the objects of a case ended, by column of the table."""
        return {
            trial.column: self.ending(trial.series) for trial in self.trials if trial.case == case
        }

    def ending(self, series: OwnSeries) -> Ending:
        """Tell how a series' one object ended."""
        (key,) = series.keys
        return ending_of(self.rows[key], self.undisturbed[key])


class Bench:
    """Runs harvests of objects that meet faults.

    Parameters
    ----------
    lab
        Holds the objects.
    scheduler
        Address of a Dask scheduler whose workers trust `authority`.
    folder
        For files and outputs.
    authority
        Of the gates' certificates.
    pool
        Its threads run harvests.
    """

    def __init__(
        self, lab: Lab, scheduler: str, folder: Path, authority: trustme.CA, pool: Executor
    ) -> None:
        self._lab = lab
        self._scheduler = scheduler
        self._folder = folder
        self._authority = authority
        self._pool = pool
        self._met: dict[str, dict[Way, Future[Met]]] = {}

    def met(self, way: Way, group: str) -> Met:
        """Let objects meet the faults of a group; all ways are run, and only once."""
        if group not in self._met:
            self._met[group] = {each: self._pool.submit(self._meet, each, group) for each in WAYS}
        return self._met[group][way].result()

    def _meet(self, way: Way, group: str) -> Met:
        trials = [
            Trial(case, column, self.series())
            for case in CASES
            for column in case.endings
            if case.group == group
        ]
        neighbours = [self.series() for _ in range(NEIGHBOURS)]
        config = self.planned(way, [*(trial.series for trial in trials), *neighbours])
        limits = {"object_seconds": OBJECT_SECONDS.get(group, 60.0)}
        with self.gate(way, tls=group == "behind TLS") as opened:
            opened.schedule = self._schedule(way, trials)
            rows = self.run(through(config, opened, **limits))
        # those that were replaced are compared with what they are now
        return Met(trials, neighbours, rows, self.run(elsewhere(config)), opened)

    def _schedule(self, way: Way, trials: Sequence[Trial]) -> Schedule:
        trial_of = {name_of(trial.series, way): trial for trial in trials}

        def schedule(name: str, turn: int) -> Fault | None:
            trial = trial_of.get(name)
            if trial is None or not trial.meets(turn):
                return None
            if trial.case.group != "replaced":
                return FAULTS[trial.case.fault]
            # the request is passed on to a server that has another object by then
            if turn % 2:
                self.replace(trial.series, 0 if "shorter" in trial.case.fault else HEADER + turn)
            return None

        return schedule

    def series(self, bucket: str = "idc-open-data") -> OwnSeries:
        """Put a series of one object, whose header takes two requests, into both clouds."""
        return conftest.own_series(self._lab, self._folder, 1, bucket=bucket, header=HEADER)

    def replace(self, series: OwnSeries, header: int) -> None:
        """Replace a series' object by one with another header."""
        conftest.write_dicom(series.paths[0], series.uid, header=header + 2)
        conftest.put(self._lab, series.bucket, {series.keys[0]: series.paths[0]})

    @contextmanager
    def gate(self, way: Way, *, tls: bool = False) -> Iterator[Gate]:
        """Run a gate before a cloud's server."""
        upstream = conftest.source_of(self._lab, way.cloud)["endpoint"]
        with gate(upstream, self._authority if tls else None) as opened:
            yield opened

    def planned(self, way: Way, series: Sequence[OwnSeries]) -> Config:
        """Plan a harvest of series, while nothing is wrong yet."""
        folder = self._folder / f"{'-'.join(way)}-{series[0].uuid}"
        folder.mkdir()
        index = conftest.index_of(self._lab, folder / "index.parquet", [(one, 1) for one in series])
        config = conftest.config_of(
            folder / "out",
            {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
            conftest.source_of(self._lab, way.cloud, transport=way.transport),
            scheduler=self._scheduler,
            limits={"retries": RETRIES, "concurrency": 16},
        )
        plan(config)
        return config

    def run(self, config: Config) -> dict[str, Row]:
        """Harvest; return the rows by key."""
        harvest.run(config)
        found = conftest.instances(Path(config.output.url))
        return {row["url"].partition("://")[2].partition("/")[2]: row for row in found}


def through(config: Config, opened: Gate, **limits: float) -> Config:
    """Read through a gate what was planned without it."""
    return changed(config, source={"endpoint": opened.url}, limits=limits)


def elsewhere(config: Config) -> Config:
    """Write the same harvest to another output."""
    return changed(config, output={"url": f"{config.output.url}-undisturbed"})


def changed(config: Config, **sections: Mapping[str, Any]) -> Config:
    """Change values of a config's sections."""
    content = config.model_dump(exclude_none=True)
    return Config.model_validate(
        {**content, **{name: {**content[name], **values} for name, values in sections.items()}}
    )


def name_of(series: OwnSeries, way: Way) -> str:
    """Name a series' object as gates do."""
    gcs = conftest.GCS_NAMES.get(series.bucket, series.bucket)
    return f"{series.bucket if way.cloud == 'aws' else gcs}/{series.keys[0]}"


@contextmanager
def trusted(scheduler: str, authority: trustme.CA, folder: Path) -> Iterator[None]:
    """Have a scheduler's workers trust an authority, through their environment."""
    with Client(scheduler, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        variables = trusting(authority, folder / "authority.pem")
        client.run(_set_variables, variables)
        try:
            yield
        finally:
            client.run(_set_variables, dict.fromkeys(variables))


def _set_variables(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


# --- the table -------------------------------------------------------------------------------

LINE: Final = "line of the fault table"
HEAD: Final = ("fault", "cloud", "transport", *COLUMNS, "")


@dataclass
class Printer:
    """A pytest plugin that prints what the tests say of the table."""

    lines: list[Sequence[str]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the line of a test."""
        for name, value in report.user_properties:
            if name == LINE and report.when == "call":
                assert isinstance(value, list)
                self.lines.append([*value, "" if report.passed else "NOT AS EXPECTED"])

    def pytest_terminal_summary(self) -> None:
        """Print the table."""
        lines = [HEAD, *self.lines]
        widths = [max(len(line[place]) for line in lines) for place in range(len(HEAD))]
        print("\n\nHow objects end, and after how many requests:\n")
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print("  ".join(cells).rstrip())


def main() -> int:
    """Run the tests and print the table; return pytest's exit code."""
    tests = Path(__file__).with_name("test_faults.py")
    with tempfile.TemporaryDirectory() as folder:
        options = ["--quiet", "--no-header", "--tb=short", f"--basetemp={folder}/pytest"]
        return int(pytest.main([*options, str(tests)], plugins=[Printer()]))


if __name__ == "__main__":
    sys.exit(main())
