"""Final files: the same bytes again, full row groups, made for lookups, checked."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harvest.output import LocalOutput
from harvest.table import parquet
from harvest.table.parquet import read_parquet, write_parquet
from harvest.table.parts import table_of
from tests import conftest
from tests.support.small_table import SCHEMA, row

PROPERTIES = {"harvest.plan": "abc"}


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def published(output: LocalOutput, counts: list[int]) -> parquet.PublishedFile:
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
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 100)
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
