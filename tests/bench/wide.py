"""``python -m tests.bench.wide``: memory of putting parts together that have 3,000 columns in all.

Each part has 300 attributes of the dictionary, as a series of one modality has; the table has the
union. Parts are made before, so that what is measured is the driver's work alone.
"""

from __future__ import annotations

import argparse
import datetime as dt
import random
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pydicom._dicom_dict import DicomDictionary

from harvest.dicom.dictionary import UnknownTag
from harvest.dicom.paths import merge_paths, parse_path
from harvest.dicom.tags import Attribute, Wanted
from harvest.dicom.values import column_kind
from harvest.output import LocalOutput
from harvest.table.parquet import write_parquet
from harvest.table.schema import instances_schema
from harvest.table.union import TableColumns, conform

ATTRIBUTES: Final = 3_000
IN_A_PART: Final = 300
PARTS: Final = 30
ROWS: Final = 1_000
_VALUES: Final[Mapping[str, Callable[[random.Random], Any]]] = {
    "text": lambda chance: f"value {chance.randrange(50)}",
    "int": lambda chance: chance.randrange(1000),
    "uint": lambda chance: chance.randrange(1000),
    "float": lambda chance: chance.random(),
    "date": lambda chance: dt.date(2020, 1, 1 + chance.randrange(28)),
    "time": lambda chance: dt.time(chance.randrange(24)),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wide", description=__doc__)
    parser.add_argument("--parts", type=int, default=1_000, help=f"of {ROWS:,} rows each")
    options = parser.parse_args()
    chance = random.Random(1)
    attributes = _attributes(chance)
    parts = [_part(chance.sample(attributes, IN_A_PART), chance) for _ in range(PARTS)]
    before = _peak()
    columns = TableColumns(Wanted(everything=True), header=False)
    schema = columns.schema(part.schema for part in parts)
    rows = (conform(parts[number % PARTS], schema) for number in range(options.parts))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        file = write_parquet(
            LocalOutput(Path(folder)), "a.parquet", rows, schema, {}, rows=ROWS * options.parts
        )
        spent = time.process_time() - begun
        footer = pq.read_metadata(Path(folder) / "a.parquet")
    print(f"{len(schema.names):,} columns, {file.rows:,} rows, {file.bytes / 1e6:,.0f} MB")
    print(f"peak {(_peak() - before) / 1e6:,.0f} MB over the {before / 1e6:,.0f} of the parts")
    print(f"{1e3 * spent / file.rows:.3f} ms of CPU a row")
    print(f"{footer.num_row_groups} row groups, a footer of {footer.serialized_size / 1e6:.1f} MB")


def _attributes(chance: random.Random) -> list[tuple[Attribute, ...]]:
    paths = []
    for number, (vr, _, _, _, keyword) in DicomDictionary.items():
        if keyword and vr not in ("SQ", "NONE") and number > 0x00080000:
            try:
                paths.append(parse_path(keyword))
            except UnknownTag:
                continue  # bulk data
    return chance.sample(paths, ATTRIBUTES)


def _part(paths: list[tuple[Attribute, ...]], chance: random.Random) -> pa.RecordBatch:
    attributes = merge_paths(paths)
    rows = [
        {"url": f"s3://bucket/{number}", **{each.name: _value(each, chance) for each in attributes}}
        for number in range(ROWS)
    ]
    return pa.RecordBatch.from_pylist(rows, schema=instances_schema(attributes))


def _value(attribute: Attribute, chance: random.Random) -> Any:
    value = _VALUES[column_kind(attribute.vr)](chance)
    return value if attribute.vm == "1" else [value, value]


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
