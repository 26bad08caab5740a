"""Parts: what was read of one partition, signed, and checked when it is taken."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

import pyarrow as pa
import pyarrow.ipc

from ..errors import RunAgain
from ..output import PARTS, Output
from .arrow import parse_arrow, partition_name, read_arrow, write_arrow
from .rows import Row
from .schema import attributes_of

_PLAN: Final = b"harvest.plan"
_PARTITION: Final = b"harvest.partition"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one partition that are read together, and the file that holds the result."""

    plan: str
    """Identity of the plan."""
    partition: int
    name: str
    """Of the result."""
    rows: tuple[int, ...] | None = None
    """Numbers of the rows within the partition; None for all."""


class DamagedPart(Exception):
    """A part is not what its name promises; the text says what it is instead."""


def parts_folder(plan: str) -> str:
    """Name the folder of the results that belong to a plan, by its identity."""
    return f"{PARTS}/{plan[:16]}"


def part_of(plan: str, partition: int) -> Part:
    """Name the result of a whole partition."""
    return Part(plan, partition, f"{parts_folder(plan)}/{partition:06d}.arrow")


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Build a table from rows.

    Rows that are alike share the values in which they do not differ: these become Arrow values
    once, and are repeated there.
    """
    own = [row.maps[0] for row in rows]
    shared = [row.maps[1] for row in rows]
    distinct = {id(columns): columns for columns in shared}
    places = {known: place for place, known in enumerate(distinct)}
    which = pa.array([places[id(columns)] for columns in shared], pa.int32())
    owned = set().union(*own)

    def column(name: str, kind: pa.DataType) -> pa.Array:
        if name not in owned:
            return pa.array([columns.get(name) for columns in distinct.values()], kind).take(which)
        try:
            return pa.array(list(map(itemgetter(name), own)), kind)
        except KeyError:  # some rows share it with others
            pairs = zip(own, shared, strict=True)
            return pa.array([a[name] if name in a else b.get(name) for a, b in pairs], kind)

    return pa.Table.from_arrays([column(field.name, field.type) for field in schema], schema=schema)


def write_part(output: Output, part: Part, table: pa.Table) -> None:
    """Write the result of a part: the same rows give the same bytes."""
    table = table.replace_schema_metadata(None).combine_chunks()
    signed = table.replace_schema_metadata(_signature(part, table))
    # it is read once, and soon: less CPU counts for more than fewer bytes
    write_arrow(output, part.name, signed.to_batches(), signed.schema, "lz4")


def read_part(output: Output, part: Part, schema: pa.Schema | None) -> pa.Table:
    """Read the result of a part, and check that it is.

    Parameters
    ----------
    output
        That holds it.
    part
        Names it.
    schema
        That it must have; None where each part has its own.

    Raises
    ------
    DamagedPart
        It is cut, or of another plan, other columns, or other objects.
    """
    try:
        content = output.read(part.name)
    except FileNotFoundError:
        raise DamagedPart("it is gone") from None
    try:
        signed = parse_arrow(content)
    except (pa.ArrowException, OSError) as error:
        raise DamagedPart(f"it is no whole Arrow file ({type(error).__name__})") from None
    table = signed.replace_schema_metadata(None)
    found, expected = signed.schema.metadata or {}, _signature(part, table)
    if any(found.get(name) != expected[name] for name in (_PLAN, _PARTITION)):
        raise DamagedPart("it is of another plan")
    if found != expected:
        raise DamagedPart("its checksum is wrong")
    if schema is not None and not table.schema.equals(schema):
        raise DamagedPart("it has other columns")
    planned = read_arrow(output, partition_name(part.partition))["url"]
    wanted = planned if part.rows is None else planned.take(pa.array(part.rows, pa.int64()))
    if not table["url"].equals(wanted):
        raise DamagedPart("it has other objects")
    return table


def take_part(output: Output, part: Part, schema: pa.Schema | None) -> pa.Table:
    """Read the result of a part as `read_part`; a damaged one is removed, to be read again.

    Raises
    ------
    RunAgain
        It was damaged.
    """
    with _damage_removed(output, part):
        return read_part(output, part, schema)


def part_schema(output: Output, part: Part) -> pa.Schema:
    """Read which columns a part has; raises as `take_part`."""
    with _damage_removed(output, part):
        try:
            with output.opened(part.name) as file, pa.ipc.open_file(file) as reader:
                schema = reader.schema.remove_metadata()
            attributes_of(schema)
            return schema
        except FileNotFoundError:
            raise DamagedPart("it is gone") from None
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DamagedPart(f"it is no whole Arrow file ({type(error).__name__})") from None


@contextmanager
def _damage_removed(output: Output, part: Part) -> Iterator[None]:
    try:
        yield
    except DamagedPart as damage:
        output.remove(part.name)
        raise RunAgain(
            f"part {part.name} was damaged ({damage}) and is removed: run the same command "
            "again to read its objects again"
        ) from None


def _signature(part: Part, table: pa.Table) -> dict[bytes, bytes]:
    """Say what a part is, with the SHA-256 of its rows as an Arrow stream."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    digest = hashlib.sha256(stream.getvalue()).hexdigest()
    return {
        _PLAN: part.plan.encode(),
        _PARTITION: b"%d" % part.partition,
        b"harvest.sha256": digest.encode(),
    }
