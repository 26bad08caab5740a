"""What a person sees while the work goes on."""

from __future__ import annotations

import pytest

from harvest.progress import Bar, Progress, Silent
from harvest.reader import PartitionRead

PART = PartitionRead(
    partition=0, rows=6, ok=4, errors={"denied": 2}, bytes_read=2000, requests=7, seconds=0.5
)


def tell(progress: Progress) -> None:
    progress.message("listing the cohort")
    progress.begin(10, 2)
    progress.partition(PART)
    progress.end()


def test_silent(capfd: pytest.CaptureFixture[str]) -> None:
    tell(Silent())
    assert capfd.readouterr() == ("", "")


def test_bar(capfd: pytest.CaptureFixture[str]) -> None:
    tell(Bar())
    out, err = capfd.readouterr()
    assert out == ""
    for text in ("listing the cohort", "reading headers", "8/10", "2.0 kB read", "2 errors"):
        assert text in err


def test_an_end_without_a_beginning(capfd: pytest.CaptureFixture[str]) -> None:
    Bar().end()
    assert capfd.readouterr().out == ""
