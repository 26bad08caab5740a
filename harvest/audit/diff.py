"""What changed between two harvests: series, instances, values, columns, offset tables.

An instance is the same in both where its ``crdc_instance_uuid`` is, or its URL where it has none.
What one harvest has and the other lacks is looked up once more by SOP Instance UID: found, it is
a new version of the instance, or lies elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import pyarrow as pa

from ..config import OutputConfig
from ..errors import HarvestError
from ..output import Output
from ..output.destination import local_files, written_beside
from ..output.snapshots import DIFF
from ..table.parquet import parquet_file
from ..table.schema import HEADER_COLUMN
from .comparison import DIFF_TABLES, make_comparison
from .sandbox import BATCH_ROWS, QueryFails, Sandbox, SandboxLimits, sandboxed

_SHOWN_PAIRS: Final = 5
"""Pairs of values that are named of each attribute; the table has all."""


@dataclass(frozen=True, slots=True)
class SeriesCounts:
    """How many series changed, and how."""

    added: int
    removed: int
    revised: int
    """The same Series Instance UID with another ``crdc_series_uuid``."""
    changed: int
    """Of no new version, but with instances that came, went or changed."""


@dataclass(frozen=True, slots=True)
class InstanceCounts:
    """How many instances changed, and how; each is counted once."""

    added: int
    removed: int
    revised: int
    """A new version: another UUID of one SOP Instance UID, or another object at the URL."""
    changed: int
    """The same version, of which the harvests tell different values."""
    moved: int
    """The same version and values, at another URL."""
    unchanged: int


@dataclass(frozen=True, slots=True)
class ValuePair:
    """A value that became another one."""

    old: str | None
    new: str | None
    rows: int
    """Of which it did."""


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """An attribute, or a column of the index, with values that changed."""

    table: str
    """``instances`` or ``series``."""
    attribute: str
    rows: int
    """With another value."""
    examples: tuple[ValuePair, ...]
    """The most frequent pairs; of the header column none, which is too long."""


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """A column that came, went or has another type."""

    table: str
    column: str
    change: str
    """added, removed or retyped."""
    old_type: str | None
    new_type: str | None


@dataclass(frozen=True, slots=True)
class OffsetTableCounts:
    """How many instances, present both times, have gained or lost an offset table."""

    gained: int
    lost: int
    replaced: int
    """By one of another kind."""


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed between two harvests."""

    old: str
    new: str
    series: SeriesCounts
    instances: InstanceCounts
    attributes: tuple[AttributeChange, ...]
    columns: tuple[ColumnChange, ...]
    offset_tables: OffsetTableCounts

    @property
    def nothing(self) -> bool:
        """Whether nothing changed."""
        counts = (self.series, self.instances, self.offset_tables)
        changes = {name: n for each in counts for name, n in asdict(each).items() if n}
        return not (set(changes) - {"unchanged"} or self.attributes or self.columns)


def diff(
    old: OutputConfig,
    new: OutputConfig,
    destination: str | Path | Output | None = None,
    limits: SandboxLimits | None = None,
) -> Diff:
    """Compare two finished harvests.

    Parameters
    ----------
    old, new
        Of the outputs.
    destination
        A local folder for the tables ``series.parquet``, ``instances.parquet``,
        ``attributes.parquet``, ``columns.parquet`` and ``offset_tables.parquet``; or an output,
        in whose folder ``diff`` they are written; None for none.
    limits
        Of memory and disk; None for the usual ones.

    Returns
    -------
    Diff
        The numbers, and examples.

    Raises
    ------
    OutputError, StoreUnavailable
        A harvest is not finished, or cannot be read; or the folder cannot be written.
    HarvestError
        Memory and disk do not suffice.
    """
    targets = _targets(destination)
    with sandboxed({"old": old, "new": new}, limits) as sandbox:
        try:
            make_comparison(sandbox)
            for name, target in targets.items():
                with target as (output, file):
                    _write(sandbox, name, output, file)
            return _summary(sandbox, old.url, new.url)
        except QueryFails as error:
            raise HarvestError(
                f"the harvests cannot be compared: {error}; set TMPDIR to a folder of a disk with "
                "room, and in an audit audit.rule_memory to more"
            ) from None


def _targets(
    destination: str | Path | Output | None,
) -> dict[str, AbstractContextManager[tuple[Output, str]]]:
    """Tell where each table is written, by its name."""
    if destination is None:
        return {}
    if isinstance(destination, (str, Path)):
        files = local_files(destination, DIFF_TABLES)
        return dict(zip(DIFF_TABLES, map(written_beside, files), strict=True))
    return {name: nullcontext((destination, f"{DIFF}/{name}.parquet")) for name in DIFF_TABLES}


def _write(sandbox: Sandbox, name: str, output: Output, file: str) -> None:
    def take(reader: pa.RecordBatchReader) -> None:
        with parquet_file(output, file, reader.schema, {}, rows=BATCH_ROWS) as written:
            for batch in reader:
                written.write(batch)

    sandbox.read(f"SELECT * FROM diff_{name} ORDER BY ALL", take)


def _summary(sandbox: Sandbox, old: str, new: str) -> Diff:
    """Count what the tables of a comparison hold."""
    instances = _counts(sandbox, "instances")
    ((total,),) = sandbox.rows("SELECT count(*) FROM new.instances")
    seen = sum(count for change, count in instances.items() if change != "removed")
    instances["unchanged"] = total - seen
    columns = sandbox.rows("SELECT * FROM diff_columns ORDER BY ALL")
    return Diff(
        old,
        new,
        SeriesCounts(**_of(SeriesCounts, _counts(sandbox, "series"))),
        InstanceCounts(**_of(InstanceCounts, instances)),
        tuple(_attribute_changes(sandbox)),
        tuple(ColumnChange(*row) for row in columns),
        OffsetTableCounts(**_of(OffsetTableCounts, _counts(sandbox, "offset_tables"))),
    )


def _counts(sandbox: Sandbox, table: str) -> dict[str, int]:
    return dict(sandbox.rows(f"SELECT change, count(*) FROM diff_{table} GROUP BY ALL"))


def _of(kind: type, counts: dict[str, int]) -> dict[str, int]:
    """Return the counts of a kind's fields; what did not happen is 0."""
    return {field.name: counts.get(field.name, 0) for field in fields(kind)}


def _attribute_changes(sandbox: Sandbox) -> Iterator[AttributeChange]:
    examples: dict[tuple[str, str], list[ValuePair]] = {}
    found = sandbox.rows(
        f"""
        SELECT "table", attribute, old, new, rows FROM diff_attributes
        QUALIFY row_number() OVER (PARTITION BY "table", attribute
                                   ORDER BY rows DESC, old, new) <= {_SHOWN_PAIRS}
        ORDER BY "table", attribute, rows DESC, old, new
        """
    )
    for table, attribute, old, new, rows in found:
        pairs = examples.setdefault((table, attribute), [])
        if attribute != HEADER_COLUMN:
            pairs.append(ValuePair(old, new, rows))
    totals = sandbox.rows(
        'SELECT "table", attribute, sum(rows)::BIGINT FROM diff_attributes GROUP BY ALL'
        ' ORDER BY "table", 3 DESC, attribute'
    )
    for table, attribute, rows in totals:
        yield AttributeChange(table, attribute, rows, tuple(examples[table, attribute]))
