"""Parts come back as they were, and what is something else is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from harvest.output import LocalOutput
from harvest.table.arrow import PLAN_ROW, partition_name, write_arrow
from harvest.table.parts import DamagedPart, Part, part_of, read_part, table_of, write_part
from harvest.table.rows import Row
from harvest.table.schema import instances_schema
from tests.support.profiles import resolve_attributes
from tests.support.small_table import SCHEMA, row


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def store_plan(output: LocalOutput, partition: int, rows: list[Row]) -> Part:
    planned = [{"url": each["url"]} for each in rows]
    batch = pa.RecordBatch.from_pylist(planned, schema=PLAN_ROW)
    write_arrow(output, partition_name(partition), [batch], PLAN_ROW)
    return part_of("plan", partition)


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
