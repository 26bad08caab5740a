"""Tables as files: plan rows, parts, final files."""

from __future__ import annotations

from collections import ChainMap
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.config.profile import resolve_attributes
from harvest.output import LocalOutput
from harvest.table import files as table
from harvest.table.files import (
    PLAN_ROW,
    DamagedPart,
    Part,
    part_of,
    partition_name,
    read_json,
    read_parquet,
    read_part,
    read_plan_rows,
    table_of,
    write_arrow,
    write_json,
    write_parquet,
    write_part,
)
from harvest.table.rows import Planned, Row
from harvest.table.schema import instances_schema
from tests import conftest

SCHEMA = instances_schema(resolve_attributes((), ("Modality", "SeriesInstanceUID")))
PROPERTIES = {"harvest.plan": "abc"}


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def row(number: int) -> Row:
    own = {
        "url": f"s3://b/{number:06d}",
        "status": "ok",
        "crdc_instance_uuid": f"uuid {number}",
    }
    return ChainMap(own, {"SeriesInstanceUID": "1.2"})


def store_plan(output: LocalOutput, partition: int, rows: list[Row]) -> Part:
    planned = [{"url": each["url"]} for each in rows]
    batch = pa.RecordBatch.from_pylist(planned, schema=PLAN_ROW)
    write_arrow(output, partition_name(partition), [batch], PLAN_ROW)
    return part_of("plan", partition)


def test_plan_rows_come_back(output: LocalOutput) -> None:
    planned = Planned("s3://b/k", 5, "e", "s", "i", "1.2")
    values = {name: getattr(planned, name) for name in PLAN_ROW.names}
    batch = pa.RecordBatch.from_pylist([values], schema=PLAN_ROW)
    assert write_arrow(output, partition_name(3), [batch, batch], PLAN_ROW) == 2
    assert read_plan_rows(output, 3) == [planned, planned]
    assert not partition_name(3).endswith(".parquet")


def test_a_part_comes_back_and_is_the_same_bytes_again(output: LocalOutput) -> None:
    rows = [row(number) for number in range(5)]
    part = store_plan(output, 2, rows)
    write_part(output, part, table_of(rows, SCHEMA))
    content = output.read(part.name)
    assert read_part(output, part, SCHEMA).equals(table_of(rows, SCHEMA))
    write_part(output, part, pa.concat_tables([table_of([each], SCHEMA) for each in rows]))
    assert output.read(part.name) == content


def test_a_part_of_some_rows(output: LocalOutput) -> None:
    rows = [row(number) for number in range(5)]
    part = replace(store_plan(output, 0, rows), rows=(1, 3), name="_harvest/some.arrow")
    write_part(output, part, table_of([rows[1], rows[3]], SCHEMA))
    assert read_part(output, part, SCHEMA)["url"].to_pylist() == [rows[1]["url"], rows[3]["url"]]
    with pytest.raises(DamagedPart, match="other objects"):
        read_part(output, replace(part, rows=(1, 2)), SCHEMA)


def test_a_part_that_is_something_else_is_damaged(output: LocalOutput) -> None:
    rows = [row(number) for number in range(3)]
    part = store_plan(output, 0, rows)
    write_part(output, part, table_of(rows[:2], SCHEMA))
    with pytest.raises(DamagedPart, match="other objects"):
        read_part(output, part, SCHEMA)
    other = instances_schema(resolve_attributes((), ("Modality",)))
    write_part(output, part, table_of(rows, other))
    with pytest.raises(DamagedPart, match="other columns"):
        read_part(output, part, SCHEMA)
    write_part(output, part, table_of(rows, SCHEMA))
    with pytest.raises(DamagedPart, match="another plan"):
        read_part(output, replace(part, plan="other"), SCHEMA)
    content = output.read(part.name)
    for cut in (0, 5, len(content) // 2, len(content) - 1):
        output.write(part.name, content[:cut])
        with pytest.raises(DamagedPart, match="no whole Arrow file"):
            read_part(output, part, SCHEMA)
    output.remove(part.name)
    with pytest.raises(DamagedPart):
        read_part(output, part, SCHEMA)


def published(output: LocalOutput, counts: list[int]) -> table.PublishedFile:
    numbers = iter(range(sum(counts)))
    batches = [
        batch
        for count in counts
        for batch in table_of([row(next(numbers)) for _ in range(count)], SCHEMA).to_batches()
    ]
    name = "instances/00007.parquet"
    return write_parquet(output, name, batches, SCHEMA, PROPERTIES, rows=sum(counts))


def test_final_files_are_the_same_bytes_again(output: LocalOutput) -> None:
    first = published(output, [10, 10, 10])
    content = output.read(first.name)
    assert (first.rows, first.bytes) == (30, len(content))
    assert published(output, [30]) == first
    assert output.read(first.name) == content
    urls = pq.read_table(output.path(first.name))["url"].to_pylist()
    assert urls == [f"s3://b/{n:06d}" for n in range(30)]


def test_row_groups_are_full_whatever_the_parts(
    output: LocalOutput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "ROW_GROUP_ROWS", 100)
    file = published(output, [70, 250, 1, 79, 5])
    metadata = pq.read_metadata(output.path(file.name))
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [100, 100, 100, 100, 5]
    assert pq.read_table(output.path(file.name)).num_rows == file.rows == 405
    batches = list(read_parquet(output, file.name, ["url"]))
    assert sum(batch.num_rows for batch in batches) == 405
    assert batches[0].schema.names == ["url"]


def test_final_files_are_made_for_lookups(output: LocalOutput) -> None:
    file = published(output, [30])
    path = output.path(file.name)
    columns = conftest.table(
        "SELECT path_in_schema AS name, bloom_filter_offset IS NOT NULL AS bloom "
        f"FROM parquet_metadata('{path}')"
    )
    filtered = {column["name"] for column in columns if column["bloom"]}
    assert filtered == {"crdc_instance_uuid", "SeriesInstanceUID"}
    (sorting,) = pq.read_metadata(path).row_group(0).sorting_columns
    assert pq.read_schema(path).names[sorting.column_index] == "url"
    # DuckDB itself says which row groups a filter excludes
    for uuid, excluded in (("uuid 3", False), ("no uuid", True)):
        probed = f"SELECT * FROM parquet_bloom_probe('{path}', 'crdc_instance_uuid', '{uuid}')"
        assert [each["bloom_filter_excludes"] for each in conftest.table(probed)] == [excluded]


def test_a_flipped_bit_of_a_final_file_is_noticed(output: LocalOutput) -> None:
    """Page checksums: whoever reads with them sees it."""
    file = published(output, [30])
    content = bytearray(output.read(file.name))
    chunk = pq.read_metadata(output.path(file.name)).row_group(0).column(0)
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    output.write(file.name, bytes(content))
    with pytest.raises(OSError, match=r"checksum|CRC"):
        pq.read_table(output.path(file.name), page_checksum_verification=True)


def test_json(output: LocalOutput) -> None:
    write_json(output, "a.json", {"ü": [1, None]})
    assert read_json(output, "a.json") == {"ü": [1, None]}
