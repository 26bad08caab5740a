"""Columns that are known only when everything has been read.

Where every attribute is wanted, or every member of a sequence, a part has the columns that its own
objects have. The table has the union; fields are known by the path in their metadata, and get
their names here, when all that stand beside each other are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

import pyarrow as pa

from ..dicom.dictionary import column_names
from ..dicom.tags import Attribute, Wanted, tag_order
from .schema import attributes_of, instances_schema

_Identity = tuple[str, bool]
"""What a field is known by: its path or name, and whether it is a sequence."""


class TableColumns:
    """The columns of a table and of its parts.

    Parameters
    ----------
    wanted
        What becomes columns.
    header
        Whether the whole header is a column, too.
    frames
        Whether rows have the place of their frames with them.
    """

    def __init__(self, wanted: Wanted, *, header: bool, frames: bool = False) -> None:
        self._wanted = wanted
        self._more = {"header": header, "frames": frames}
        self.fixed = None if wanted.open else instances_schema(wanted.attributes, **self._more)
        """The schema of all parts; None where each has its own."""

    def schema(self, schemas: Iterable[pa.Schema], *, of_a_part: bool = False) -> pa.Schema:
        """Return the schema of a table's rows, with their frames where these are wanted.

        Parameters
        ----------
        schemas
            Of its parts; not looked at where they are all alike.
        of_a_part
            Whether it is a part of a larger table, which may tell more of a sequence.
        """
        if self.fixed is not None:
            return self.fixed
        named = self._wanted.attributes
        merged = united([named, *map(attributes_of, schemas)])
        if not of_a_part:
            merged = tuple(known_members(merged))
        if not self._wanted.everything:
            order = {each.path: place for place, each in enumerate(named)}
            merged = tuple(sorted(merged, key=lambda attribute: order[attribute.path]))
        return instances_schema(merged, **self._more)


def united(found: Iterable[Iterable[Attribute]]) -> tuple[Attribute, ...]:
    """Unite attributes that stand beside each other; in tag order, with their final names.

    Parameters
    ----------
    found
        Attributes as `appeared` names them, or as they were named here before.
    """
    heads: dict[_Identity, Attribute] = {}
    members: dict[_Identity, list[tuple[Attribute, ...]]] = {}
    for attributes in found:
        for attribute in attributes:
            identity = attribute.path, attribute.vr == "SQ"
            heads.setdefault(identity, attribute)
            members.setdefault(identity, []).append(attribute.members)
    ordered = sorted(heads.items(), key=lambda head: (*tag_order(head[1]), head[0]))
    names = column_names([attribute for _, attribute in ordered])
    return tuple(
        replace(attribute, name=name, members=united(members[identity]))
        for name, (identity, attribute) in zip(names, ordered, strict=True)
    )


def known_members(attributes: Iterable[Attribute]) -> Iterator[Attribute]:
    """Leave out sequences of which no member has appeared: no table can hold them."""
    for attribute in attributes:
        members = tuple(known_members(attribute.members))
        if members or attribute.vr != "SQ":
            yield replace(attribute, members=members)


def conform(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Give rows the columns of their table; those that they lack are null.

    Parameters
    ----------
    rows
        Of a part.
    schema
        Of the table, which has all columns of the part.
    """
    return pa.RecordBatch.from_arrays(
        _columns(rows.schema, rows.columns, schema, rows.num_rows), schema=schema
    )


def _columns(
    fields: Iterable[pa.Field], arrays: Iterable[pa.Array], wanted: Iterable[pa.Field], rows: int
) -> list[pa.Array]:
    known = {_identity(field): array for field, array in zip(fields, arrays, strict=True)}
    made = []
    for field in wanted:
        array = known.get(_identity(field))
        made.append(_nulls(rows, field.type) if array is None else _conformed(array, field.type))
    return made


@lru_cache(maxsize=256)
def _nulls(rows: int, kind: pa.DataType) -> pa.Array:
    """Return nulls; all columns of a kind share them, since most of a wide table is null."""
    return pa.nulls(rows, kind)


def _identity(field: pa.Field) -> _Identity:
    told = field.metadata or {}
    return told.get(b"path", field.name.encode()).decode(), told.get(b"vr") == b"SQ"


def _conformed(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    if pa.types.is_list(kind):
        items = _conformed(array.values, kind.value_type)
        validity, offsets = array.buffers()[:2]
        return pa.Array.from_buffers(
            kind, len(array), [validity, offsets], offset=array.offset, children=[items]
        )
    members = _columns(array.type, array.flatten(), kind, len(array))
    return pa.StructArray.from_arrays(members, fields=list(kind), mask=array.is_null())
