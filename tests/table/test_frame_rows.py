"""Rows with their frames become two tables, and these the same rows again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.output import LocalOutput
from harvest.table import frame_rows
from harvest.table.frame_rows import frames_file, frames_of, instances_of, with_frames
from harvest.table.parquet import rows_of
from harvest.table.schema import FRAMES, instances_schema
from tests.support.profiles import resolve_attributes

SCHEMA = instances_schema(resolve_attributes((), ("Modality",)), frames=True)


def frames(number: int) -> dict[str, Any] | None:
    """The frames of some objects, of which each third has none."""
    if number % 3 == 0:
        return None
    offsets = [100 + 50 * each for each in range(number % 7)]
    found = {"SOPInstanceUID": f"1.{number}", "frames": len(offsets), "source": "scan"}
    return {
        **dict.fromkeys(name for name in FRAMES.names if name not in ("url", "size")),
        **found,
        "offsets": offsets,
        "lengths": [50] * len(offsets),
    }


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"url": f"s3://b/{number:06d}", "size": number, "status": "ok", "frames": frames(number)}
        for number in range(count)
    ]


def batches(content: list[dict[str, Any]], size: int) -> list[pa.RecordBatch]:
    made: list[pa.RecordBatch] = pa.Table.from_pylist(content, SCHEMA).to_batches(size)
    return made


def test_each_object_with_frames_has_a_row_of_them() -> None:
    (batch,) = batches(rows(9), 9)
    instances, found = instances_of(batch), frames_of(batch)
    assert instances.schema.names == [name for name in SCHEMA.names if name != "frames"]
    assert instances.num_rows == 9
    assert found.schema.equals(FRAMES, check_metadata=True)
    assert found.to_pylist() == [
        {"url": row["url"], "size": row["size"], **row["frames"]}
        for row in rows(9)
        if row["frames"] is not None
    ]


def test_rows_without_frames_are_left_alone() -> None:
    schema = instances_schema(())
    batch = pa.RecordBatch.from_pylist([{"url": "a"}], schema=schema)
    assert instances_of(batch) is batch


@pytest.mark.parametrize("seed", range(10))
def test_the_tables_become_the_same_rows_again(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(frame_rows, "_ROWS_AT_ONCE", chance.randint(1, 40))
    content = rows(chance.choice([0, 1, 3, 100]))
    made = batches(content, chance.randint(1, 30))
    found = pa.Table.from_batches(map(frames_of, made), FRAMES)
    again = with_frames(map(instances_of, made), found.to_batches(chance.randint(1, 30)))
    assert (
        pa.Table.from_batches(again, SCHEMA).to_pylist()
        == pa.Table.from_batches(made, SCHEMA).to_pylist()
    )


def test_one_object_is_found_by_one_row_group(tmp_path: Path) -> None:
    """Row groups stay small however many frames there are; DuckDB reads the same numbers."""
    output = LocalOutput(tmp_path)
    starts = {number: [n * (15_000 + number) for n in range(10_000)] for number in range(200)}
    with frames_file(output, "frames.parquet", {}, len(starts)) as file:
        for number, offsets in starts.items():
            row = {"url": f"s3://b/{number:04d}", "offsets": offsets, "lengths": offsets}
            file.write(pa.RecordBatch.from_pylist([row], schema=FRAMES))
    assert file.published.rows == len(starts)
    parquet = pq.ParquetFile(tmp_path / "frames.parquet")
    groups = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
    assert max(groups) <= 60
    (found,) = rows_of(output, "frames.parquet", "s3://b/0123")
    assert found["offsets"] == starts[123]
    with duckdb.connect() as connection:
        (totals,) = connection.execute(
            "SELECT sum(list_sum(offsets)), sum(list_sum(lengths)) "
            f"FROM '{tmp_path}/frames.parquet'"
        ).fetchall()
    assert totals == (sum(map(sum, starts.values())),) * 2
