"""SQL of the values of attributes, as the views in BigQuery's shape have them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from ..dicom.values import column_kind
from ..sql import quoted
from ..table.schema import HEADER_COLUMN
from .dicom_shapes import KIND_TYPES, NAME_PARTS, VR_TYPES, Origin, Shape


def written(shape: Shape, origin: Origin) -> str:
    """Write the SQL of an attribute outside items."""
    if origin is Origin.HEADER:
        return _from_header(shape)
    return _from_column(shape, f'i."{shape.name}"', 1)


def existence(path: Sequence[tuple[str, bool]]) -> str:
    """Write SQL that is true where a row has a value of an attribute.

    Parameters
    ----------
    path
        Keywords, outermost first, each with whether it is a list in the views.
    """
    return _exists(f'"{path[0][0]}"', path, 1)


def _exists(value: str, path: Sequence[tuple[str, bool]], depth: int) -> str:
    if len(path) == 1:
        return f"coalesce(len({value}) > 0, false)" if path[0][1] else f"{value} IS NOT NULL"
    inner = _exists(_extracted(f"e{depth}", path[1][0]), path[1:], depth + 1)
    return f"coalesce(list_bool_or(list_transform({value}, lambda e{depth}: {inner})), false)"


# --- values of columns -------------------------------------------------------------------------


def _from_column(shape: Shape, value: str, depth: int) -> str:
    """Write the SQL of an attribute that has a column or a member; of nothing where it has none."""
    if shape.stored is None or (shape.vr == "SQ" and not shape.members):
        return f"CAST({'[]' if shape.repeated else 'NULL'} AS {shape.type})"
    if _is_as_stored(shape):
        return value if not shape.repeated else f"coalesce({value}, [])"
    if shape.vr == "SQ":
        item = f"e{depth}"
        members = _struct(
            (m.name, _from_column(m, _extracted(item, m.name), depth + 1)) for m in shape.members
        )
        return f"coalesce(list_transform({value}, lambda {item}: {members}), [])"
    if shape.stored.vm == "1":
        single = _of_column(shape.vr, value)
        return (
            f"CASE WHEN {value} IS NULL THEN [] ELSE [{single}] END" if shape.repeated else single
        )
    single = _of_column(shape.vr, "v")
    values = value if single == "v" else f"list_transform({value}, lambda v: {single})"
    return f"coalesce({values}, [])" if shape.repeated else _joined(shape, values)


def _is_as_stored(shape: Shape) -> bool:
    """Tell whether a value of the column is one of the view, but for NULL instead of no items."""
    if shape.stored is None:
        return False
    if shape.vr == "SQ":
        # inside items, too, there are no NULLs for lists
        return tuple(m.name for m in shape.members) == tuple(
            m.name for m in shape.stored.members
        ) and all(_is_as_stored(m) and not m.repeated for m in shape.members)
    return shape.vr not in VR_TYPES and shape.repeated == (shape.stored.vm != "1")


def _struct(members: Iterable[tuple[str, str]]) -> str:
    return "{" + ", ".join(f"'{name}': {value}" for name, value in members) + "}"


def _extracted(value: str, *names: str) -> str:
    """Write the SQL of a member of a struct.

    With dots DuckDB first looks for tables and columns of the name, which takes it 1 to 2 ms
    where a table has some thousand columns.
    """
    for name in names:
        value = f"struct_extract({value}, '{name}')"
    return value


def _joined(shape: Shape, values: str) -> str:
    """Make one value of a list where the queries take one."""
    if shape.single_type == "VARCHAR":
        return _text_of(values)
    return f"CASE WHEN len({values}) = 1 THEN ({values})[1] END"


def _text_of(values: str) -> str:
    # NULL for none; nullif(array_to_string()) takes DuckDB three times as long to bind
    return rf"list_aggregate({values}, 'string_agg', '\')"


def _of_column(vr: str, value: str) -> str:
    """Write the SQL of one value, as the views have it, of one as ``instances`` has it."""
    if vr in ("DS", "IS"):
        return rf"regexp_replace(CAST({value} AS VARCHAR), '\.0$', '')"
    if vr == "PN":
        parts = _struct(
            (part, f"nullif(str_split({value}, '=')[{number}], '')")
            for number, part in enumerate(NAME_PARTS, 1)
        )
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE {parts} END"
    return _of_text(vr, value) if vr in ("AT", "DT") else value


def _of_text(vr: str, value: str) -> str:
    """Write the SQL of one value of its text in a header."""
    if vr == "AT":
        return f"TRY_CAST('0x' || {value} AS BIGINT)"
    if vr == "DT":
        return _timestamp(value)
    kind = "text" if vr in VR_TYPES else column_kind(vr)
    if kind == "date":
        return f"CAST(try_strptime(trim({value}), ['%Y%m%d', '%Y.%m.%d']) AS DATE)"
    if kind == "time":
        # a leap second becomes the one before it, as in `harvest.values`
        text = rf"regexp_replace(trim({value}), '^(\d{{4}})60', '\159')"
        return f"CAST(try_strptime({text}, ['%H%M%S.%f', '%H%M%S', '%H%M', '%H']) AS TIME)"
    return value if kind in ("any", "text") else f"TRY_CAST({value} AS {KIND_TYPES[kind]})"


def _timestamp(value: str) -> str:
    """Write the SQL of a DT (PS3.5 section 6.2): local time, less its offset from UTC."""
    local = rf"regexp_extract({value}, '^\s*(\d{{8}}(\d{{2}}){{0,3}}(\.\d{{1,6}})?)', 1)"
    formats = "['%Y%m%d%H%M%S.%f', '%Y%m%d%H%M%S', '%Y%m%d%H%M', '%Y%m%d%H', '%Y%m%d']"
    offset = [
        rf"coalesce(TRY_CAST(regexp_extract({value}, '{pattern}\s*$', 1)"
        rf" || regexp_extract({value}, '{pattern}\s*$', 2) AS BIGINT), 0)"
        for pattern in (r"([+-])(\d\d)\d\d", r"([+-])\d\d(\d\d)")
    ]
    return f"try_strptime({local}, {formats}) - to_hours({offset[0]}) - to_minutes({offset[1]})"


def plain_text(vr: str) -> str:
    """Write the SQL of the text of a value `v`, as a file would have it."""
    kind = column_kind(vr)
    if kind == "float":
        return _of_column("DS", "v")
    if kind == "date":
        return "strftime(v, '%Y%m%d')"
    return "replace(CAST(v AS VARCHAR), ':', '')" if kind == "time" else "CAST(v AS VARCHAR)"


# --- values of whole headers -------------------------------------------------------------------


def _from_header(shape: Shape) -> str:
    """Write the SQL of an attribute outside items by the header's JSON (PS3.18 Annex F)."""
    path = f"""'$."{shape.tag:08X}"."Value"'"""
    values = f'i."{HEADER_COLUMN}", {path}'
    if shape.vr == "SQ" and not shape.members:
        return f"coalesce(CAST(json_extract({values}) AS JSON[]), [])"
    if shape.vr in ("SQ", "PN"):
        structure = quoted(json.dumps(_structure(shape)["Value"]))
        return _of_values(shape, f"json_transform(json_extract({values}), {structure})", 1)
    return _of_values(shape, f"json_extract_string({values.removesuffix(chr(39))}[*]')", 1)


def _structure(shape: Shape) -> dict[str, Any]:
    """Describe an attribute of the JSON for json_transform."""
    if shape.members:
        return {"Value": [{f"{m.tag:08X}": _structure(m) for m in shape.members}]}
    if shape.vr == "PN":
        return {"Value": [dict.fromkeys(NAME_PARTS, "VARCHAR")]}
    return {"Value": ["JSON" if shape.vr == "SQ" else "VARCHAR"]}


def _of_values(shape: Shape, values: str, depth: int) -> str:
    """Write the SQL of an attribute of the list of its values in a header."""
    if shape.members:
        item = f"e{depth}"
        members = _struct(
            (m.name, _of_values(m, _extracted(item, f"{m.tag:08X}", "Value"), depth + 1))
            for m in shape.members
        )
        return f"coalesce(list_transform({values}, lambda {item}: {members}), [])"
    if shape.vr == "SQ":
        return f"coalesce({values}, [])"
    if shape.vr == "PN":
        return _without_nothing(values) if shape.repeated else f"({values})[1]"
    if shape.repeated:
        single = _of_text(shape.vr, "v")
        return _without_nothing(
            values if single == "v" else f"list_transform({values}, lambda v: {single})"
        )
    # several numbers joined by backslashes are none
    text = _text_of(values)
    if shape.vr == "DT":
        return f"list_transform([{text}], lambda v: {_of_text('DT', 'v')})[1]"
    return _of_text(shape.vr, text)


def _without_nothing(values: str) -> str:
    """Make an empty list of one in which every value is empty; `values` is computed once."""
    return f"coalesce(list_filter([{values}], lambda l: list_count(l) > 0)[1], [])"
