"""What rows add up to: totals, and counts by series."""

from __future__ import annotations

import random
from collections import ChainMap, Counter
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest

from harvest.driver import tally
from harvest.driver.tally import Tally
from harvest.table.parts import table_of
from harvest.table.schema import instances_schema
from tests.support.profiles import resolve_attributes

SCHEMA = instances_schema(resolve_attributes((), ("Modality", "SeriesInstanceUID")))
COUNTS = ("instances_planned", "instances_ok", "instances_error")
PLANNED = pa.schema(
    [
        ("SeriesInstanceUID", pa.string()),
        ("crdc_series_uuid", pa.string()),
        ("instanceCount", pa.int64()),
        ("instances_listed", pa.int64()),
    ]
)


def row(number: int, status: str = "ok", series: str | None = "s", **more: Any) -> dict[str, Any]:
    return {
        "url": f"s3://b/{number:06d}",
        "status": status,
        "crdc_series_uuid": series,
        "requests": 1,
        "bytes_read": 10,
        "header_bytes": 5 if status == "ok" else None,
        **more,
    }


def tally_of(*batches: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Tally:
    added = Tally()
    for rows in batches:
        for batch in table_of([ChainMap(row, {}) for row in rows], schema).to_batches():
            added.add(batch)
    return added


def planned(*uuids: str) -> pa.Table:
    rows = [
        {
            "SeriesInstanceUID": f"uid {name}",
            "crdc_series_uuid": name,
            "instanceCount": 9,
            "instances_listed": 3,
        }
        for name in uuids
    ]
    return pa.Table.from_pylist(rows, schema=PLANNED)


def test_totals() -> None:
    rows = [
        row(0),
        row(1, "error", error="denied"),
        row(2, "error", error="denied"),
        row(3, "error", error="changed", retryable=True),
    ]
    expected = {
        "errors": {"denied": 2, "changed": 1},
        "ok": 1,
        "retryable": 1,
        "requests": 4,
        "bytes_read": 40,
        "header_bytes": 5,
    }
    assert tally_of(rows).totals() == expected
    assert tally_of(rows[:1], rows[1:2], rows[2:]).totals() == expected


def test_totals_without_errors_or_without_anything_ok() -> None:
    assert tally_of([row(0)]).totals()["errors"] == {}
    nothing = tally_of([row(0, "error", error="denied", bytes_read=0)]).totals()
    assert (nothing["ok"], nothing["header_bytes"], nothing["bytes_read"]) == (0, 0, 0)


def test_series_counts_over_several_batches() -> None:
    """Every series of the plan, in its order, whether anything of it was read or not."""
    added = tally_of(
        [row(0, series="a"), row(1, "error", series="a")], [row(2, series="a"), row(3, series="b")]
    )
    found = added.series(planned("b", "a", "never read")).to_pylist()
    assert [tuple(each[name] for name in ("crdc_series_uuid", *COUNTS)) for each in found] == [
        ("b", 1, 1, 0),
        ("a", 3, 2, 1),
        ("never read", 0, 0, 0),
    ]
    assert {each["instances_listed"] for each in found} == {3}
    assert [each["SeriesInstanceUID"] for each in found] == ["uid b", "uid a", "uid never read"]


def test_series_that_only_headers_name() -> None:
    added = tally_of(
        [
            row(0, series=None, SeriesInstanceUID="1.2"),
            row(1, series=None, SeriesInstanceUID="1.2"),
            row(2, "error", series=None),
            row(3, series="known by its key", SeriesInstanceUID="1.9"),
            row(4, "error", series="known by its key"),
        ]
    )
    found = {
        (each["crdc_series_uuid"], each["SeriesInstanceUID"]): tuple(each[n] for n in COUNTS)
        for each in added.series(planned()).to_pylist()
    }
    assert found == {
        (None, "1.2"): (2, 2, 0),
        (None, None): (1, 0, 1),
        ("known by its key", None): (2, 1, 1),
    }


def test_series_of_a_profile_without_uids() -> None:
    schema = instances_schema(resolve_attributes((), ("Modality",)))
    added = tally_of([row(0, series="a"), row(1, series=None)], schema=schema)
    assert added.series(planned("a"))["instances_planned"].to_pylist() == [1, 1]


def test_many_batches_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are cut, the table is the same; pandas counts too."""
    seed = 7
    print("seed", seed)
    chance = random.Random(seed)
    names = ["a", "b", "c", None]
    rows = [
        row(
            number,
            chance.choice(["ok", "error"]),
            chance.choice(names),
            SeriesInstanceUID=chance.choice(["1.1", "1.2", None]),
        )
        for number in range(500)
    ]
    plan = planned("c", "a", "never read")
    whole = tally_of(rows).series(plan)
    monkeypatch.setattr(tally, "_MOST_COUNTS", 3)
    cut = sorted(chance.sample(range(1, 500), 40))
    pieces = [rows[a:b] for a, b in zip([0, *cut], [*cut, 500], strict=True)]
    assert tally_of(*pieces).series(plan).equals(whole)

    frame = pd.DataFrame(rows)
    by_uuid = frame.groupby("crdc_series_uuid")["status"].agg(Counter)
    found = {each["crdc_series_uuid"]: each for each in whole.to_pylist()}
    for uuid, counts in by_uuid.items():
        counted = (counts["ok"] + counts["error"], counts["ok"], counts["error"])
        assert tuple(found[uuid][name] for name in COUNTS) == counted
    nameless = frame[frame["crdc_series_uuid"].isna()].groupby("SeriesInstanceUID", dropna=False)
    others = [each for each in whole.to_pylist() if each["crdc_series_uuid"] is None]
    assert sorted(each["instances_planned"] for each in others) == sorted(nameless.size())
