"""Rows on disk: taken in any order, also from several batches, and twice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from harvest.driver.spool import Spool


@pytest.mark.parametrize("numbers", [[1], [9, 1], [1, 3, 5, 7, 9], [7, 7, 3, 9, 1]])
def test_rows_are_taken_in_any_order(numbers: list[int]) -> None:
    """Of ten rows the odd ones were kept, in batches of two, one and two."""
    kept = [{"row": number, "nested": [{"a": number}]} for number in range(1, 10, 2)]
    batches = [pa.RecordBatch.from_pylist(rows) for rows in (kept[:2], kept[2:3], kept[3:])]
    positions = np.cumsum([number % 2 for number in range(10)]) - 1
    taken = Spool(batches, positions).take(np.array(numbers))
    assert taken.to_pylist() == [{"row": n, "nested": [{"a": n}]} for n in numbers]
