"""What the rows of ``instances`` add up to: for the manifest, and for the ``series`` table."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ..table.schema import SERIES_COUNTS

_KEYS: Final = ("crdc_series_uuid", "SeriesInstanceUID")
_SUMMED: Final = ("requests", "bytes_read", "header_bytes")
COUNTED_COLUMNS: Final = (*_KEYS, "status", "error", "retryable", *_SUMMED)
"""Of ``instances``: all that a tally looks at."""
_MOST_COUNTS: Final = 256
"""Counts of so many batches are put together, so that they do not pile up."""
_COUNT_NAMES: Final = [name for name, _ in SERIES_COUNTS]


class Tally:
    """Adds up rows while they pass, so that no row is read twice."""

    def __init__(self) -> None:
        self._errors: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()
        self._by_series: list[pa.Table] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Take some rows of ``instances``."""
        for entry in pc.value_counts(rows.column("error").drop_null()).to_pylist():
            self._errors[entry["values"]] += entry["counts"]
        self._sums["retryable"] += pc.sum(rows.column("retryable")).as_py() or 0
        self._sums["ok"] += pc.sum(pc.equal(rows.column("status"), "ok")).as_py() or 0
        for name in _SUMMED:
            self._sums[name] += pc.sum(rows.column(name)).as_py() or 0
        self._by_series.append(_count(rows))
        if len(self._by_series) == _MOST_COUNTS:
            self._by_series = [_together(self._by_series)]

    def totals(self) -> dict[str, Any]:
        """Return what the manifest says of all rows."""
        return {
            "errors": dict(self._errors),
            **{name: self._sums[name] for name in ("ok", "retryable", *_SUMMED)},
        }

    def series(self, planned: pa.Table) -> pa.Table:
        """Return the ``series`` table.

        Parameters
        ----------
        planned
            What the plan knew of every series.
        """
        counts = self._counted()
        known = _join_counts(planned, counts)
        # series that only the objects' own keys or headers name
        others = counts.filter(
            pc.invert(pc.is_in(counts["crdc_series_uuid"], planned["crdc_series_uuid"]))
        )
        joined = pa.concat_tables([known, others], promote_options="default")
        return joined.select(known.column_names)

    def _counted(self) -> pa.Table:
        counts = _together(self._by_series)
        counts = counts.rename_columns({"ok": "instances_ok", "rows": "instances_planned"})
        errors = pc.subtract(counts["instances_planned"], counts["instances_ok"])
        counts = counts.append_column("instances_error", errors)
        return counts.sort_by([(key, "ascending") for key in _keys(counts)])


def _count(rows: pa.RecordBatch) -> pa.Table:
    """Count rows by series; where nothing names the series but the header, by that."""
    keys = [key for key in _KEYS if key in rows.schema.names]
    columns = {key: rows.column(key) for key in keys}
    if "SeriesInstanceUID" in columns:
        named = pc.is_valid(columns["crdc_series_uuid"])
        nothing = pa.scalar(None, pa.string())
        columns["SeriesInstanceUID"] = pc.if_else(named, nothing, columns["SeriesInstanceUID"])
    columns["ok"] = pc.equal(rows.column("status"), "ok").cast(pa.int64())
    counts = pa.table(columns).group_by(keys)
    return counts.aggregate([("ok", "sum"), ("ok", "count")]).rename_columns([*keys, "ok", "rows"])


def _keys(counts: pa.Table) -> list[str]:
    return [name for name in _KEYS if name in counts.column_names]


def _together(counts: list[pa.Table]) -> pa.Table:
    """Add up counts of the same series."""
    joined = pa.concat_tables(counts)
    keys = _keys(joined)
    added = joined.group_by(keys).aggregate([("ok", "sum"), ("rows", "sum")])
    return added.rename_columns([*keys, "ok", "rows"])


def _join_counts(planned: pa.Table, counts: pa.Table) -> pa.Table:
    columns = planned.column_names
    order = pa.array(range(planned.num_rows), pa.int64())
    by_uuid = counts.filter(pc.is_valid(counts["crdc_series_uuid"])).drop_columns(
        [name for name in ("SeriesInstanceUID",) if name in counts.column_names]
    )
    joined = (
        planned.append_column("_order", order)
        .join(by_uuid, "crdc_series_uuid", join_type="left outer")
        .sort_by("_order")
    )
    for name in ("instances_planned", "instances_ok", "instances_error"):
        filled = pc.fill_null(joined[name], 0)
        joined = joined.set_column(joined.column_names.index(name), name, filled)
    return joined.select([*(name for name in columns if name not in _COUNT_NAMES), *_COUNT_NAMES])
