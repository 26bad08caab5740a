"""From parts to tables: checked, written whole under their final names, committed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from typing import Any

import pyarrow as pa

from .errors import OutputBusy, OutputError
from .lease import Lease
from .output import MANIFEST, Output
from .plan import Plan
from .schema import FORMAT_VERSION
from .table import (
    PARTS,
    SERIES_PLAN,
    Part,
    PublishedFile,
    json_bytes,
    part_schema,
    parts_folder,
    read_arrow,
    take_part,
    write_parquet,
)
from .tally import Tally
from .union import TableColumns, conform


@dataclass(frozen=True, slots=True)
class FinalFile:
    """A file of ``instances``: a fixed range of the plan's rows."""

    name: str
    rows: int
    parts: tuple[Part, ...]
    """Of its partitions, in their order."""


def final_files(plan: Plan) -> Iterator[FinalFile]:
    """Tell which partitions make which file."""
    for number, group in groupby(plan.partitions, lambda partition: partition.file):
        partitions = list(group)
        yield FinalFile(
            name=f"instances/{number:05d}.parquet",
            rows=sum(partition.rows for partition in partitions),
            parts=tuple(plan.part(partition.number) for partition in partitions),
        )


def publish(plan: Plan, output: Output, columns: TableColumns, lease: Lease) -> None:
    """Write the tables of a plan whose parts are all there, and commit them.

    Raises
    ------
    RunAgain
        A part was damaged, and is removed; or another harvest has taken the output over.
    OutputError
        There is no room, or the output holds what is not of this harvest.
    """
    check_room(output, parts_folder(plan.identity))
    parts = (plan.part(partition.number) for partition in plan.partitions)
    schema = columns.schema(part_schema(output, part) for part in parts)
    tables = Tables(plan, output, schema, lease)
    for file in final_files(plan):
        tables.write(file, _part_rows(file.parts, output, columns, schema))
    tables.commit(None)


def clear(output: Output) -> None:
    """Remove the parts of an output that is committed, and what killed writers have left."""
    output.remove(PARTS)
    output.tidy()


def check_room(output: Output, folder: str) -> None:
    """Refuse to publish where the tables would not fit; raises `OutputError`."""
    free, needed = output.free_bytes(), output.bytes_of(folder)
    if free is not None and free < needed:
        raise OutputError(
            f"the tables need up to {needed:,} bytes, and {output.location} has {free:,} free: "
            "free some, then run the same command again; nothing is read again"
        )


class Tables:
    """The tables of a plan while they are written; nothing counts until the commit.

    Parameters
    ----------
    plan, output
        Of the harvest.
    schema
        Of ``instances``.
    lease
        Of the output; looked at before every write.
    """

    def __init__(self, plan: Plan, output: Output, schema: pa.Schema, lease: Lease) -> None:
        self._plan = plan
        self._output = output
        self._schema = schema
        self._lease = lease
        self._tally = Tally()
        self._instances: list[PublishedFile] = []
        self._properties = {"harvest.plan": plan.identity}

    def write(self, file: FinalFile, rows: Iterable[pa.RecordBatch]) -> None:
        """Write the next file of ``instances``; raises `OutputBusy`."""
        self._lease.check()
        counted = self._while_held(self._counted(file, rows))
        self._instances.append(
            write_parquet(
                self._output, file.name, counted, self._schema, self._properties, rows=file.rows
            )
        )

    def keep(
        self, file: FinalFile, committed: PublishedFile, rows: Iterable[pa.RecordBatch]
    ) -> None:
        """Let the next file of ``instances`` be as it is, with these rows."""
        for _ in self._counted(file, rows):
            pass
        self._instances.append(committed)

    def _while_held(self, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass rows on; a file that took long to write gets its name only if it may."""
        yield from rows
        self._lease.check()

    def _counted(self, file: FinalFile, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass rows on to their file, and see that they are as many as the plan has."""
        count = 0
        for batch in rows:
            self._tally.add(batch)
            count += batch.num_rows
            yield batch
        if count != file.rows:
            raise OutputError(
                f"{file.name} in {self._output.location} has {count} rows where the plan has "
                f"{file.rows}: it is damaged; restore it, or harvest into another output"
            )

    def commit(self, replacing: str | None) -> None:
        """Write the ``series`` table, and the manifest, without which nothing counts.

        Parameters
        ----------
        replacing
            The version of the manifest that this one follows; None where it is the first.

        Raises
        ------
        OutputBusy
            Another harvest has taken the output over, or has committed it.
        OutputError
            The output holds what is not of this harvest.
        """
        self._lease.check()
        series = self._write_series()
        _check_alone(self._output, [*self._instances, series])
        self._lease.check()
        content = json_bytes(self._manifest(series))
        written = self._output.replace(MANIFEST, content, replacing)
        # the answer to a write may be lost, and its repetition refused: what is there counts
        if not written and self._output.read(MANIFEST) != content:
            raise OutputBusy(
                f"another harvest has committed {self._output.location} meanwhile: run the same "
                "command again to see what it holds"
            )

    def _write_series(self) -> PublishedFile:
        table = self._tally.series(read_arrow(self._output, SERIES_PLAN))
        return write_parquet(
            self._output,
            "series/00000.parquet",
            table.to_batches(),
            table.schema,
            self._properties,
            rows=table.num_rows,
        )

    def _manifest(self, series: PublishedFile) -> dict[str, Any]:
        plan = self._plan
        return {
            "format_version": FORMAT_VERSION,
            "plan": plan.identity,
            "asked": plan.asked,
            "sample": plan.asked["cohort"].get("sample"),
            "rows": plan.rows,
            "series": series.rows,
            "object_bytes": plan.bytes,
            "missing": plan.missing,
            "surplus": plan.surplus,
            **self._tally.totals(),
            "tables": {
                "instances": [asdict(file) for file in self._instances],
                "series": [asdict(series)],
            },
            "versions": {
                name: version(name) for name in ("harvest", "pydicom", "pyarrow", "obstore")
            },
        }


def _part_rows(
    parts: Iterable[Part], output: Output, columns: TableColumns, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    for part in parts:
        for batch in take_part(output, part, columns.fixed).to_batches():
            yield conform(batch, schema)


def _check_alone(output: Output, files: list[PublishedFile]) -> None:
    """Refuse to commit beside foreign files: a query of the folder would take them in."""
    names = (*output.names("instances"), *output.names("series"))
    present = {name for name in names if name.endswith(".parquet")}
    strangers = sorted(present - {file.name for file in files})
    if strangers:
        raise OutputError(
            f"output {output.location} holds {strangers[0]}, which is not of this harvest: "
            "remove it and run the same command again"
        )
