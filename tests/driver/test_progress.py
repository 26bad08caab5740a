"""What is told while the work goes on."""

from __future__ import annotations

import io
import json

import pytest

from harvest.driver import progress
from harvest.driver.progress import Bar, Heeding, Lines, Progress
from harvest.worker.partition import PartitionRead

PART = PartitionRead(
    partition=0,
    rows=6,
    ok=4,
    errors={"denied": 2},
    bytes_read=2000,
    requests=7,
    worker_seconds=0.5,
    cpu_seconds=0.25,
    retries=1,
)


def tell(told: Progress) -> None:
    told.message("listing the cohort")
    told.begin(10, 2)
    told.workers(3)
    told.partition(PART)
    told.end()


def test_silent(capfd: pytest.CaptureFixture[str]) -> None:
    tell(Progress())
    assert capfd.readouterr() == ("", "")


def test_bar(capfd: pytest.CaptureFixture[str]) -> None:
    tell(Bar())
    out, err = capfd.readouterr()
    assert out == ""
    for text in (
        "listing the cohort",
        "reading headers",
        "8/10",
        "2.0 kB read",
        "2 errors",
        "3 workers",
    ):
        assert text in err
    assert "3 workers" in err


def test_lines() -> None:
    file = io.StringIO()
    tell(Lines(file))
    step, begin, end = map(json.loads, file.getvalue().splitlines())
    assert (step["event"], step["text"]) == ("step", "listing the cohort")
    assert (begin["event"], begin["done"], begin["rate"]) == ("begin", 2, None)
    assert end["event"] == "end"
    assert (end["rows"], end["done"], end["errors"]) == (10, 8, {"denied": 2})
    assert (end["requests"], end["retries"], end["bytes_read"], end["workers"]) == (7, 1, 2000, 3)
    assert end["rate"] > 0
    assert all(each["time"].endswith("+00:00") for each in (step, begin, end))


def test_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, lines in ((1000.0, 0), (-1.0, 5)):
        monkeypatch.setattr(progress, "LINE_SECONDS", seconds)
        file = io.StringIO()
        told = Lines(file)
        told.begin(100, 0)
        for _ in range(5):
            told.partition(PART)
        assert file.getvalue().count('"event": "progress"') == lines


def test_heeding_passes_everything_on() -> None:
    looked = []
    file = io.StringIO()
    tell(Heeding(Lines(file), lambda: looked.append(1)))
    assert len(file.getvalue().splitlines()) == 3
    assert len(looked) == 2


def test_an_end_without_a_beginning(capfd: pytest.CaptureFixture[str]) -> None:
    Bar().end()
    assert capfd.readouterr().out == ""
