"""The folder of snapshots: names, what is the newest, and what is removed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from harvest.config import output_config
from harvest.output import MANIFEST, open_output
from harvest.output.snapshots import (
    PAGE,
    REPORT,
    new_name,
    newest,
    newest_complete,
    remove_old,
    snapshot_config,
    snapshot_names,
)

NAMES = [f"2026010{day}T060000Z" for day in range(1, 6)]


def make(folder: Path, name: str, *files: str) -> None:
    (folder / name / "instances").mkdir(parents=True)
    for file in files:
        (folder / name / file).write_text("{}")


def test_a_name_is_the_time_in_utc_and_later_than_all_others() -> None:
    now = datetime(2026, 1, 5, 6, 0, 0, 999, tzinfo=UTC)
    assert new_name([], now) == "20260105T060000Z"
    assert new_name([], now.astimezone(timezone(timedelta(hours=9)))) == "20260105T060000Z"
    assert new_name(["20260105T060000Z"], now) == "20260105T060001Z"
    assert new_name(["20271231T235959Z", "20260101T000000Z"], now) == "20280101T000000Z"


def test_only_snapshots_are_listed(tmp_path: Path) -> None:
    for name in (*NAMES[:2], "_harvest", "notes", "20260101", "20260101T000000Z.old"):
        make(tmp_path, name)
    (tmp_path / NAMES[3]).write_text("no folder")
    assert snapshot_names(open_output(str(tmp_path))) == NAMES[:2]


def test_the_newest(tmp_path: Path) -> None:
    folder = output_config(str(tmp_path))
    assert newest(folder) == newest_complete(folder) == folder
    make(tmp_path, NAMES[0], MANIFEST)
    make(tmp_path, NAMES[1])
    assert newest(folder) == snapshot_config(folder, NAMES[1])
    assert newest_complete(folder).url == f"{tmp_path}/{NAMES[0]}"
    (tmp_path / MANIFEST).write_text("{}")
    assert newest(folder) == folder


@pytest.mark.parametrize(
    ("keep", "left"),
    [(None, [0, 1, 3, 4]), (1, [4]), (2, [3, 4]), (3, [1, 3, 4]), (9, [0, 1, 3, 4])],
)
def test_old_ones_are_removed(tmp_path: Path, keep: int | None, left: list[int]) -> None:
    for number in (0, 1, 3, 4):
        make(tmp_path, NAMES[number], MANIFEST, REPORT, PAGE)
    make(tmp_path, NAMES[2])  # of an audit that was interrupted, and not gone on with
    (tmp_path / NAMES[2] / "_harvest").mkdir()
    removed = remove_old(output_config(str(tmp_path)), keep)
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAMES[number] for number in left]
    assert removed == [NAMES[number] for number in (0, 1, 3, 4) if number not in left]


@pytest.mark.parametrize("file", [MANIFEST, "notes.txt"])
def test_what_is_no_audits_stays(tmp_path: Path, file: str) -> None:
    make(tmp_path, NAMES[0], file)
    make(tmp_path, NAMES[1], MANIFEST, REPORT)
    assert remove_old(output_config(str(tmp_path)), 1) == []
    assert snapshot_names(open_output(str(tmp_path))) == NAMES[:2]


def test_a_snapshot_that_was_begun_stays(tmp_path: Path) -> None:
    make(tmp_path, NAMES[0], MANIFEST, REPORT)
    make(tmp_path, NAMES[1])
    assert remove_old(output_config(str(tmp_path)), 1) == []
    assert snapshot_names(open_output(str(tmp_path))) == NAMES[:2]
