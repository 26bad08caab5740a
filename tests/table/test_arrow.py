"""Plan rows come back from Arrow IPC."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from harvest.output import LocalOutput
from harvest.table.arrow import PLAN_ROW, partition_name, read_plan_rows, write_arrow
from harvest.table.rows import Planned


@pytest.fixture
def output(tmp_path: Path) -> LocalOutput:
    return LocalOutput(tmp_path / "out")


def test_plan_rows_come_back(output: LocalOutput) -> None:
    planned = Planned("s3://b/k", 5, "e", "s", "i", "1.2")
    values = {name: getattr(planned, name) for name in PLAN_ROW.names}
    batch = pa.RecordBatch.from_pylist([values], schema=PLAN_ROW)
    assert write_arrow(output, partition_name(3), [batch, batch], PLAN_ROW) == 2
    assert read_plan_rows(output, 3) == [planned, planned]
    assert not partition_name(3).endswith(".parquet")
