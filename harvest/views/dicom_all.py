"""The views ``dicom_all`` and ``dicom_metadata``: a harvest in the shape of IDC's BigQuery tables.

One row for each instance that was read and has a Series Instance UID. Columns are keywords;
sequences are lists of structs; what is absent is NULL, and an empty list where lists are.

- DS and IS are text, as in BigQuery: as written where the output has whole headers
  (``read.header: json``), else the shortest text of the number in ``instances``.
- PN is a struct of its component groups (PS3.5 section 6.2.1), AT an integer, DT a timestamp in
  UTC (without an offset it is taken for UTC; one that names no day is NULL).
- An attribute is a list where IDC's own queries use it as one (see `harvest.attribute_use`);
  where they do not tell, by the dictionary's VM. Several values where one is known are their text
  joined by backslashes, and NULL where they are no text or ``instances`` has none of them either.
- What ``instances`` has no column for comes from the whole header: every attribute of the
  dictionary but binary ones, sequences that no profile and none of IDC's queries look into as
  lists of their items in the DICOM JSON Model. Each is read when it is asked for, so name columns:
  ``SELECT *`` reads the header some thousand times.
- ``OtherElements`` holds the private elements outside sequences. Without whole headers they are
  those that have columns, as if their creator had reserved block 10.
- ``dicom_all`` has IDC's columns, too: of the index, sizes, UUIDs, URLs; ``dicom_metadata`` not.

The table ``dicom_attributes`` tells for each attribute where its values come from: ``column``
(of ``instances``), ``header``, or ``absent``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pydicom import datadict

from ..dicom.tags import Attribute, PrivateTag
from ..dicom.values import column_kind
from ..dicom.vrs import BINARY_VRS
from ..sql import quoted
from ..table.schema import HEADER_COLUMN, SERIES_COUNTS, attributes_of
from ..urls import AWS_TO_GCS
from .attribute_use import Use

ATTRIBUTES: Final = "dicom_attributes"
"""Table of the attributes and their sources."""
COLUMN, HEADER, ABSENT = "column", "header", "absent"

_KIND_TYPES: Final = {
    "any": "VARCHAR",
    "text": "VARCHAR",
    "int": "BIGINT",
    "uint": "UBIGINT",
    "float": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
}
_NAME_PARTS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_VR_TYPES: Final = {
    "AT": "BIGINT",
    "DS": "VARCHAR",
    "DT": "TIMESTAMP",
    "IS": "VARCHAR",
    "PN": "STRUCT(" + ", ".join(f'"{part}" VARCHAR' for part in _NAME_PARTS) + ")",
}
_OTHER_ELEMENTS: Final = 'STRUCT("Tag" VARCHAR, "Data" VARCHAR[])[]'
_PRIVATE_BLOCK: Final = "10"


class Source(NamedTuple):
    """Where the values of an attribute come from: a row of the table `ATTRIBUTES`."""

    path: str
    """Keywords joined by dots."""
    vr: str
    """By the dictionary."""
    type: str
    """DuckDB's, in the views."""
    source: str
    """``column``, ``header`` or ``absent``."""


@dataclass(frozen=True, slots=True)
class DicomViews:
    """What makes the views."""

    statements: tuple[str, ...]
    """SQL that creates them over ``instances`` and ``series``."""
    sources: tuple[Source, ...]
    """Of every attribute, members of sequences included."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """An attribute as the views have it."""

    name: str
    tag: int
    vr: str
    repeated: bool
    members: tuple[_Shape, ...] = ()
    """Of a sequence: all that is known of its items."""
    stored: Attribute | None = None
    """As ``instances`` has it."""

    @property
    def single_type(self) -> str:
        """DuckDB's type of one value, or one item."""
        if self.vr != "SQ":
            return _VR_TYPES.get(self.vr) or _KIND_TYPES[column_kind(self.vr)]
        if not self.members:
            return "JSON"
        return "STRUCT(" + ", ".join(f'"{m.name}" {m.type}' for m in self.members) + ")"

    @property
    def type(self) -> str:
        """DuckDB's type."""
        return self.single_type + "[]" * self.repeated

    def walk(self, prefix: str = "") -> Iterator[tuple[str, _Shape]]:
        """Yield it and all that is inside, with their paths."""
        path = prefix + self.name
        yield path, self
        for member in self.members:
            yield from member.walk(f"{path}.")


def dicom_views(instances: pa.Schema, series: Sequence[str], uses: Mapping[str, Use]) -> DicomViews:
    """Build the views over the tables of an output.

    Parameters
    ----------
    instances
        Schema of that table, with the fields' metadata.
    series
        Names of the columns of that table.
    uses
        What IDC's queries read: it is there in any case.
    """
    stored = attributes_of(instances)
    has_header = HEADER_COLUMN in instances.names
    shapes = list(_shapes(stored, uses, has_header=has_header))
    columns, sources = [], []
    uid = "NULL"
    for shape in shapes:
        source = _source(shape, has_header=has_header)
        expression = _written(shape, source)
        columns.append(f'{expression} AS "{shape.name}"')
        sources += [
            Source(path, part.vr, part.type, _part_source(part, source))
            for path, part in shape.walk()
        ]
        if shape.name == "SeriesInstanceUID":
            uid = expression
    private = [each for each in stored if isinstance(each.key, PrivateTag) and not each.members]
    columns.append(f'{_other_elements(private, has_header=has_header)} AS "OtherElements"')
    names = frozenset(shape.name.lower() for shape in shapes)
    index = [
        f'{expression} AS "{name}"'
        for name, expression in _index_columns(series, uses).items()
        if name.lower() not in names
    ]
    rows = f"WHERE i.status = 'ok' AND {uid} IS NOT NULL"
    series_of = "LEFT JOIN series AS s ON s.crdc_series_uuid = i.crdc_series_uuid"
    metadata, everything = ", ".join(columns), ", ".join([*columns, *index])
    return DicomViews(
        (
            f"CREATE VIEW dicom_metadata AS SELECT {metadata} FROM instances AS i {rows}",
            f"CREATE VIEW dicom_all AS SELECT {everything} FROM instances AS i {series_of} {rows}",
            *(f"COMMENT ON VIEW {view} IS {quoted(_COMMENT)}" for view in _VIEWS),
        ),
        tuple(sources),
    )


_VIEWS: Final = ("dicom_metadata", "dicom_all")
_COMMENT: Final = f"in the shape of IDC's BigQuery table; {ATTRIBUTES} tells where values come from"


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


# --- which attributes there are ----------------------------------------------------------------


def _shapes(
    stored: Sequence[Attribute], uses: Mapping[str, Use], *, has_header: bool
) -> Iterator[_Shape]:
    """Yield what has columns, what IDC's queries read, and what headers may hold."""
    rest = {name: use for name, use in uses.items() if use.is_attribute}
    for attribute in stored:
        if not isinstance(attribute.key, PrivateTag):
            yield _shape(attribute.name, attribute.key, attribute, rest.pop(attribute.name, None))
    for name, use in rest.items():
        yield _shape(name, datadict.keyword_dict[name], None, use)
    if has_header:
        known = {attribute.name for attribute in stored} | set(rest)
        for tag, name in _dictionary():
            if name not in known:
                yield _shape(name, tag, None, None)


@cache
def _dictionary() -> tuple[tuple[int, str], ...]:
    """List the attributes that a header may hold outside items and that are not binary."""
    return tuple(
        (tag, name)
        for name, tag in datadict.keyword_dict.items()
        if name and tag >> 16 not in (0x0000, 0xFFFE) and _vr(tag) not in BINARY_VRS | {"NONE"}
    )


def _vr(tag: int) -> str:
    return datadict.dictionary_VR(tag)


def _shape(name: str, tag: int, stored: Attribute | None, use: Use | None) -> _Shape:
    vr = stored.vr if stored else _vr(tag)
    if vr == "SQ":
        return _Shape(name, tag, vr, True, _members(stored, use), stored)
    vm = stored.vm if stored else datadict.dictionary_VM(tag)
    told = use.repeated if use else None
    return _Shape(name, tag, vr, vm != "1" if told is None else told, (), stored)


def _members(stored: Attribute | None, use: Use | None) -> tuple[_Shape, ...]:
    # BigQuery has private elements outside sequences only
    here = {m.name: m for m in stored.members if isinstance(m.key, int)} if stored else {}
    read = {name: each for name, each in use.members.items() if each.is_attribute} if use else {}
    tags = {name: m.key for name, m in here.items() if isinstance(m.key, int)}
    tags |= {name: datadict.keyword_dict[name] for name in read}
    return tuple(
        _shape(name, tag, here.get(name), read.get(name))
        for name, tag in sorted(tags.items(), key=lambda pair: pair[1])
    )


def _source(shape: _Shape, *, has_header: bool) -> str:
    """Choose where an attribute outside items comes from: a sequence comes as a whole."""
    if not has_header:
        return COLUMN if shape.stored else ABSENT
    parts = [part for _, part in shape.walk()]
    has_all = all(part.stored and (part.members or part.vr != "SQ") for part in parts)
    return COLUMN if has_all and not any(part.vr in ("DS", "IS") for part in parts) else HEADER


def _part_source(part: _Shape, source: str) -> str:
    # a column of a sequence has the members that were asked for, and no others
    return ABSENT if source == COLUMN and part.stored is None else source


def _written(shape: _Shape, source: str) -> str:
    """Write the SQL of an attribute outside items."""
    if source == HEADER:
        return _from_header(shape)
    return _from_column(shape, f'i."{shape.name}"', 1)


# --- values of columns -------------------------------------------------------------------------


def _from_column(shape: _Shape, value: str, depth: int) -> str:
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


def _is_as_stored(shape: _Shape) -> bool:
    """Tell whether a value of the column is one of the view, but for NULL instead of no items."""
    if shape.stored is None:
        return False
    if shape.vr == "SQ":
        # inside items, too, there are no NULLs for lists
        return tuple(m.name for m in shape.members) == tuple(
            m.name for m in shape.stored.members
        ) and all(_is_as_stored(m) and not m.repeated for m in shape.members)
    return shape.vr not in _VR_TYPES and shape.repeated == (shape.stored.vm != "1")


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


def _joined(shape: _Shape, values: str) -> str:
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
            for number, part in enumerate(_NAME_PARTS, 1)
        )
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE {parts} END"
    return _of_text(vr, value) if vr in ("AT", "DT") else value


def _of_text(vr: str, value: str) -> str:
    """Write the SQL of one value of its text in a header."""
    if vr == "AT":
        return f"TRY_CAST('0x' || {value} AS BIGINT)"
    if vr == "DT":
        return _timestamp(value)
    kind = "text" if vr in _VR_TYPES else column_kind(vr)
    if kind == "date":
        return f"CAST(try_strptime(trim({value}), ['%Y%m%d', '%Y.%m.%d']) AS DATE)"
    if kind == "time":
        # a leap second becomes the one before it, as in `harvest.values`
        text = rf"regexp_replace(trim({value}), '^(\d{{4}})60', '\159')"
        return f"CAST(try_strptime({text}, ['%H%M%S.%f', '%H%M%S', '%H%M', '%H']) AS TIME)"
    return value if kind in ("any", "text") else f"TRY_CAST({value} AS {_KIND_TYPES[kind]})"


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


# --- values of whole headers -------------------------------------------------------------------


def _from_header(shape: _Shape) -> str:
    """Write the SQL of an attribute outside items by the header's JSON (PS3.18 Annex F)."""
    path = f"""'$."{shape.tag:08X}"."Value"'"""
    values = f'i."{HEADER_COLUMN}", {path}'
    if shape.vr == "SQ" and not shape.members:
        return f"coalesce(CAST(json_extract({values}) AS JSON[]), [])"
    if shape.vr in ("SQ", "PN"):
        structure = quoted(json.dumps(_structure(shape)["Value"]))
        return _of_values(shape, f"json_transform(json_extract({values}), {structure})", 1)
    return _of_values(shape, f"json_extract_string({values.removesuffix(chr(39))}[*]')", 1)


def _structure(shape: _Shape) -> dict[str, Any]:
    """Describe an attribute of the JSON for json_transform."""
    if shape.members:
        return {"Value": [{f"{m.tag:08X}": _structure(m) for m in shape.members}]}
    if shape.vr == "PN":
        return {"Value": [dict.fromkeys(_NAME_PARTS, "VARCHAR")]}
    return {"Value": ["JSON" if shape.vr == "SQ" else "VARCHAR"]}


def _of_values(shape: _Shape, values: str, depth: int) -> str:
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


# --- what no keyword names ---------------------------------------------------------------------


def _other_elements(private: Sequence[Attribute], *, has_header: bool) -> str:
    if has_header:
        return (
            "coalesce(list_transform(list_filter("
            f'map_entries(CAST(CAST(i."{HEADER_COLUMN}" AS JSON) AS MAP(VARCHAR, JSON))),'
            " lambda e: substr(e.key, 4, 1) IN ('1', '3', '5', '7', '9', 'B', 'D', 'F')"
            " AND json_extract_string(e.value, '$.vr') <> 'SQ'),"
            " lambda e: {'Tag': 'Tag_' || e.key, 'Data': coalesce(json_transform("
            """json_extract(e.value, '$.Value'), '["VARCHAR"]'), [])}), [])"""
        )
    elements = [_other_element(each) for each in private]
    listed = f"list_filter([{', '.join(elements)}], lambda e: e IS NOT NULL)" if elements else "[]"
    return f"CAST({listed} AS {_OTHER_ELEMENTS})"


def _other_element(attribute: Attribute) -> str:
    key, value = attribute.key, f'i."{attribute.name}"'
    assert isinstance(key, PrivateTag)
    tag = f"Tag_{key.group:04X}{_PRIVATE_BLOCK}{key.element:02X}"
    values = f"[{value}]" if attribute.vm == "1" else value
    data = f"list_transform({values}, lambda v: {_plain_text(attribute.vr)})"
    return f"CASE WHEN {value} IS NOT NULL THEN {{'Tag': '{tag}', 'Data': {data}}} END"


def _plain_text(vr: str) -> str:
    """Write the SQL of the text of a value `v`, as a file would have it."""
    kind = column_kind(vr)
    if kind == "float":
        return _of_column("DS", "v")
    if kind == "date":
        return "strftime(v, '%Y%m%d')"
    return "replace(CAST(v AS VARCHAR), ':', '')" if kind == "time" else "CAST(v AS VARCHAR)"


def _index_columns(series: Sequence[str], uses: Mapping[str, Use]) -> dict[str, str]:
    """Return SQL of the columns that are in no header, by name."""
    bucket = _aws_bucket("aws_bucket" in series)
    gcs = " ".join(f"WHEN {quoted(a)} THEN {quoted(g)}" for a, g in AWS_TO_GCS.items())
    key = "'/' || i.crdc_series_uuid || '/' || i.crdc_instance_uuid || '.dcm'"
    counts = {name for name, _ in SERIES_COUNTS}
    own = {
        "crdc_series_uuid": "i.crdc_series_uuid",
        "crdc_instance_uuid": "i.crdc_instance_uuid",
        "instance_size": "CAST(i.size AS VARCHAR)",
        "aws_url": f"'s3://' || {bucket} || {key}",
        "gcs_url": f"'gs://' || CASE {bucket} {gcs} ELSE {bucket} END || {key}",
    }
    # what a header says of an attribute may differ from what the index says
    index = {
        name: _index_column(name)
        for name in series
        if name not in counts and name not in datadict.keyword_dict
    }
    unknown = {use.name: "CAST(NULL AS VARCHAR)" for use in uses.values() if not use.is_attribute}
    return unknown | index | own


def _index_column(name: str) -> str:
    if name == "series_aws_url":
        return f"rtrim(s.\"{name}\", '*')"
    return f'CAST(s."{name}" AS VARCHAR)' if name.endswith("_idc_version") else f's."{name}"'


def _aws_bucket(indexed: bool) -> str:
    """Write the SQL of the name of an instance's bucket on AWS, where it is one of IDC's."""
    known = {**{gcs: aws for aws, gcs in AWS_TO_GCS.items()}, **{aws: aws for aws in AWS_TO_GCS}}
    cases = " ".join(f"WHEN {quoted(name)} THEN {quoted(aws)}" for name, aws in known.items())
    by_url = f"CASE regexp_extract(i.url, '^(?:s3|gs)://([^/]+)/', 1) {cases} END"
    return f"coalesce(s.aws_bucket, {by_url})" if indexed else by_url
