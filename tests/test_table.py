"""Tables as files: parts, final files, counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest import table
from harvest.output import LocalOutput
from harvest.profile import resolve_attributes
from harvest.rows import Planned
from harvest.schema import instances_schema
from harvest.table import (
    PLAN_ROW,
    SERIES_PLAN,
    part_name,
    partition_name,
    publish_instances,
    publish_series,
    read_json,
    read_plan_rows,
    rows_of_part,
    status_counts,
    write_arrow,
    write_json,
    write_part,
)

SCHEMA = instances_schema(resolve_attributes((), ("Modality", "SeriesInstanceUID")))
PROPERTIES = {"harvest.plan": "abc"}


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def parts(*numbers: int) -> list[str]:
    return [part_name("plan", number) for number in numbers]


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


def test_plan_rows_come_back(output: LocalOutput) -> None:
    planned = Planned("s3://b/k", 5, "e", "s", "i", "1.2")
    names = PLAN_ROW.names
    values = {name: getattr(planned, name) for name in names}
    batch = pa.RecordBatch.from_pylist([values], schema=PLAN_ROW)
    assert write_arrow(output, partition_name(3), [batch, batch], PLAN_ROW) == 2
    assert read_plan_rows(output, 3) == [planned, planned]
    assert not partition_name(3).endswith(".parquet")


def test_a_part_of_another_schema_has_no_rows(output: LocalOutput) -> None:
    write_part(output, part_name("plan", 0), [row(1), row(2)], SCHEMA)
    assert rows_of_part(output, part_name("plan", 0), SCHEMA) == 2
    other = instances_schema(resolve_attributes((), ("Modality",)))
    assert rows_of_part(output, part_name("plan", 0), other) is None
    write_part(output, part_name("plan", 1), [], SCHEMA)
    assert rows_of_part(output, part_name("plan", 1), SCHEMA) == 0


def test_final_files_are_the_same_bytes_again(output: LocalOutput) -> None:
    for number in range(3):
        rows = [row(10 * number + each) for each in range(10)]
        write_part(output, part_name("plan", number), rows, SCHEMA)
    first = publish_instances(output, 7, parts(0, 1, 2), SCHEMA, PROPERTIES)
    content = output.read(first.name)
    assert (first.name, first.rows, first.bytes) == ("instances/00007.parquet", 30, len(content))
    assert publish_instances(output, 7, parts(0, 1, 2), SCHEMA, PROPERTIES) == first
    assert output.read(first.name) == content
    urls = pq.read_table(output.path(first.name))["url"].to_pylist()
    assert urls == [f"s3://b/{n:06d}" for n in range(30)]


def test_row_groups_are_full_whatever_the_parts(
    output: LocalOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "ROW_GROUP_ROWS", 100)
    for number, count in enumerate((70, 250, 1, 79, 5)):
        rows = [row(1000 * number + each) for each in range(count)]
        write_part(output, part_name("plan", number), rows, SCHEMA)
    file = publish_instances(output, 0, parts(*range(5)), SCHEMA, PROPERTIES)
    metadata = pq.read_metadata(output.path(file.name))
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [100, 100, 100, 100, 5]
    assert pq.read_table(output.path(file.name)).num_rows == file.rows == 405


def test_counts(output: LocalOutput) -> None:
    rows = [
        row(0),
        row(1, "error", error="denied"),
        row(2, "error", error="denied"),
        row(3, "error", error="changed"),
    ]
    write_part(output, part_name("plan", 0), rows, SCHEMA)
    file = publish_instances(output, 0, parts(0), SCHEMA, PROPERTIES)
    counts = status_counts(output, [file])
    assert (counts.ok, counts.errors) == (1, {"denied": 2, "changed": 1})
    assert (counts.requests, counts.bytes_read, counts.header_bytes) == (4, 40, 5)


def series_plan(output: LocalOutput, *uuids: str) -> None:
    schema = pa.schema(
        [
            ("SeriesInstanceUID", pa.string()),
            ("crdc_series_uuid", pa.string()),
            ("instanceCount", pa.int64()),
            ("instances_listed", pa.int64()),
        ]
    )
    rows = [
        {
            "SeriesInstanceUID": f"uid {name}",
            "crdc_series_uuid": name,
            "instanceCount": 9,
            "instances_listed": 3,
        }
        for name in uuids
    ]
    write_arrow(output, SERIES_PLAN, [pa.RecordBatch.from_pylist(rows, schema=schema)], schema)


def test_series_counts_over_several_files(output: LocalOutput) -> None:
    series_plan(output, "b", "a", "never read")
    write_part(
        output, part_name("plan", 0), [row(0, series="a"), row(1, "error", series="a")], SCHEMA
    )
    write_part(output, part_name("plan", 1), [row(2, series="a"), row(3, series="b")], SCHEMA)
    files = [publish_instances(output, n, parts(n), SCHEMA, PROPERTIES) for n in (0, 1)]
    published = publish_series(output, files, PROPERTIES)
    rows = pq.read_table(output.path(published.name)).to_pylist()
    names = ("crdc_series_uuid", "instances_planned", "instances_ok", "instances_error")
    assert [tuple(each[name] for name in names) for each in rows] == [
        ("b", 1, 1, 0),
        ("a", 3, 2, 1),
        ("never read", 0, 0, 0),
    ]
    assert published.rows == 3
    assert {each["instances_listed"] for each in rows} == {3}


def test_series_that_only_headers_name(output: LocalOutput) -> None:
    series_plan(output)
    rows = [
        row(0, series=None, SeriesInstanceUID="1.2"),
        row(1, series=None, SeriesInstanceUID="1.2"),
        row(2, "error", series=None),
        row(3, series="known by its key", SeriesInstanceUID="1.9"),
    ]
    write_part(output, part_name("plan", 0), rows, SCHEMA)
    files = [publish_instances(output, 0, parts(0), SCHEMA, PROPERTIES)]
    published = publish_series(output, files, PROPERTIES)
    found = {
        (each["crdc_series_uuid"], each["SeriesInstanceUID"]): (
            each["instances_planned"],
            each["instances_ok"],
        )
        for each in pq.read_table(output.path(published.name)).to_pylist()
    }
    assert found[None, "1.2"] == (2, 2)
    assert found[None, None] == (1, 0)
    assert sum(planned for planned, _ in found.values()) == 4


def test_series_of_a_profile_without_uids(output: LocalOutput) -> None:
    schema = instances_schema(resolve_attributes((), ("Modality",)))
    series_plan(output, "a")
    write_part(output, part_name("plan", 0), [row(0, series="a"), row(1, series=None)], schema)
    files = [publish_instances(output, 0, parts(0), schema, PROPERTIES)]
    published = publish_series(output, files, PROPERTIES)
    counts = pq.read_table(output.path(published.name))["instances_planned"].to_pylist()
    assert counts == [1, 1]


def test_json(output: LocalOutput) -> None:
    write_json(output, "a.json", {"ü": [1, None]})
    assert read_json(output, "a.json") == {"ü": [1, None]}
