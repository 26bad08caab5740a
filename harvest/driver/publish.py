"""From parts to tables: checked, written whole under their final names, committed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import accumulate, groupby
from typing import Any

import pyarrow as pa

from ..errors import OutputBusy, OutputError
from ..output import FORMAT_VERSION, MANIFEST, PARTS, TABLES, Output
from ..output.documents import json_bytes
from ..output.lease import Lease
from ..plan.stored import Plan
from ..table.arrow import SERIES_PLAN, read_arrow
from ..table.frame_rows import frames_file, frames_of, instances_of, with_frames
from ..table.parquet import PublishedFile, parquet_file, read_parquet, write_parquet
from ..table.parts import Part, part_schema, parts_folder, take_part
from ..table.schema import FRAMES_COLUMN
from ..table.union import TableColumns, conform
from .tally import Tally


@dataclass(frozen=True, slots=True)
class FinalFile:
    """A fixed range of the plan's rows: a file of ``instances``, and one of ``frames``."""

    instances: str
    """Name of the file."""
    frames: str | None
    """Name of the file; None where frames are not wanted."""
    rows: int
    parts: tuple[Part, ...]
    """Of its partitions, in their order."""
    starts: tuple[int, ...]
    """Of each part, which row of the file is its first."""


def final_files(plan: Plan) -> Iterator[FinalFile]:
    """Tell which partitions make which file."""
    for number, group in groupby(plan.partitions, lambda partition: partition.file):
        partitions = list(group)
        counts = [partition.rows for partition in partitions]
        yield FinalFile(
            instances=f"instances/{number:05d}.parquet",
            frames=f"frames/{number:05d}.parquet" if plan.with_frames else None,
            rows=sum(counts),
            parts=tuple(plan.part(partition.number) for partition in partitions),
            starts=tuple(accumulate(counts[:-1], initial=0)),
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


def check_room(output: Output, *folders: str) -> None:
    """Refuse to publish where as much as these folders hold would not fit; raises `OutputError`."""
    free, needed = output.free_bytes(), sum(map(output.bytes_of, folders))
    if free is not None and free < needed:
        raise OutputError(
            f"the tables need up to {needed:,} bytes, and {output.location} has {free:,} free: "
            "free some, then run the same command again; nothing is read again"
        )


def published_rows(file: FinalFile, output: Output) -> Iterator[pa.RecordBatch]:
    """Read the rows of a file as the parts held them: with their frames, where there are any."""
    instances = read_parquet(output, file.instances)
    if file.frames is None:
        return instances
    return with_frames(instances, read_parquet(output, file.frames))


class Tables:
    """The tables of a plan while they are written; nothing counts until the commit.

    Parameters
    ----------
    plan, output
        Of the harvest.
    schema
        Of the rows.
    lease
        Of the output; looked at before every write.
    """

    def __init__(self, plan: Plan, output: Output, schema: pa.Schema, lease: Lease) -> None:
        self._plan = plan
        self._output = output
        names = [name for name in schema.names if name != FRAMES_COLUMN]
        self.schema = pa.schema([schema.field(name) for name in names])
        """Of ``instances``."""
        self._lease = lease
        self._tally = Tally()
        self._files: dict[str, list[PublishedFile]] = {"instances": []}
        if plan.with_frames:
            self._files["frames"] = []
        self._properties = {"harvest.plan": plan.identity}

    def write(self, file: FinalFile, rows: Iterable[pa.RecordBatch]) -> None:
        """Write the next file of each table; raises `OutputBusy`."""
        self._lease.check()
        output, properties = self._output, self._properties
        with ExitStack() as files:
            instances = files.enter_context(
                parquet_file(output, file.instances, self.schema, properties, rows=file.rows)
            )
            frames = file.frames and files.enter_context(
                frames_file(output, file.frames, properties, file.rows)
            )
            for batch in self._counted(file, rows):
                instances.write(instances_of(batch))
                if frames:
                    frames.write(frames_of(batch))
            # files that took long to write get their names only if they may
            self._lease.check()
        self._files["instances"].append(instances.published)
        if frames:
            self._files["frames"].append(frames.published)

    def keep(
        self,
        file: FinalFile,
        committed: dict[str, PublishedFile],
        rows: Iterable[pa.RecordBatch],
    ) -> None:
        """Let the next file of each table be as it is, with these rows of ``instances``.

        Parameters
        ----------
        file
            The file.
        committed
            What the manifest says of each, by name.
        rows
            At least the columns that are counted.
        """
        for _ in self._counted(file, rows):
            pass
        self._files["instances"].append(committed[file.instances])
        if file.frames is not None:
            self._files["frames"].append(committed[file.frames])

    def _counted(self, file: FinalFile, rows: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pass rows on to their file, and see that they are as many as the plan has."""
        count = 0
        for batch in rows:
            self._tally.add(batch)
            count += batch.num_rows
            yield batch
        if count != file.rows:
            raise OutputError(
                f"{file.instances} in {self._output.location} has {count} rows where the plan has "
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
        self._files["series"] = [self._write_series()]
        _check_alone(self._output, self._files)
        self._lease.check()
        content = json_bytes(self._manifest())
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

    def _manifest(self) -> dict[str, Any]:
        plan = self._plan
        return {
            "format_version": FORMAT_VERSION,
            "plan": plan.identity,
            "asked": plan.asked,
            "sample": plan.asked["cohort"].get("sample"),
            "rows": plan.rows,
            "series": self._files["series"][0].rows,
            "object_bytes": plan.bytes,
            "missing": plan.missing,
            "surplus": plan.surplus,
            **self._tally.totals(),
            "tables": {
                table: [asdict(file) for file in files] for table, files in self._files.items()
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


def _check_alone(output: Output, tables: dict[str, list[PublishedFile]]) -> None:
    """Refuse to commit beside foreign files: a query of the folder would take them in."""
    ours = {file.name for files in tables.values() for file in files}
    present = [name for table in TABLES for name in output.names(table)]
    strangers = sorted(name for name in present if name.endswith(".parquet") and name not in ours)
    if strangers:
        raise OutputError(
            f"output {output.location} holds {strangers[0]}, which is not of this harvest: "
            "remove it and run the same command again"
        )
