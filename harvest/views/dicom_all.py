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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa
from pydicom import datadict

from ..dicom.tags import Attribute, PrivateTag
from ..sql import quoted
from ..table.schema import HEADER_COLUMN, SERIES_COUNTS, attributes_of
from ..urls import AWS_TO_GCS, gcs_bucket_sql
from .dicom_shapes import Origin, Shape, origin_of, part_origin, shapes
from .dicom_values import plain_text, written
from .uses import Use

ATTRIBUTES: Final = "dicom_attributes"
"""Table of the attributes and their sources."""
_OTHER_ELEMENTS: Final = 'STRUCT("Tag" VARCHAR, "Data" VARCHAR[])[]'
_PRIVATE_BLOCK: Final = "10"


class AttributeSource(NamedTuple):
    """Where the values of an attribute come from: a row of the table `ATTRIBUTES`."""

    path: str
    """Keywords joined by dots."""
    vr: str
    """By the dictionary."""
    type: str
    """DuckDB's, in the views."""
    source: Origin


@dataclass(frozen=True, slots=True)
class DicomViews:
    """What makes the views."""

    statements: tuple[str, ...]
    """SQL that creates them over ``instances`` and ``series``."""
    sources: tuple[AttributeSource, ...]
    """Of every attribute, members of sequences included."""


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
    columns, sources = _attributes(shapes(stored, uses, has_header=has_header), has_header)
    uid = columns.get("SeriesInstanceUID", "NULL")
    private = [each for each in stored if isinstance(each.key, PrivateTag) and not each.members]
    others = {"OtherElements": _other_elements(private, has_header=has_header)}
    names = frozenset(map(str.lower, columns))
    index = {
        name: expression
        for name, expression in _index_columns(series, uses).items()
        if name.lower() not in names
    }
    rows = f"WHERE i.status = 'ok' AND {uid} IS NOT NULL"
    series_of = "LEFT JOIN series AS s ON s.crdc_series_uuid = i.crdc_series_uuid"
    metadata, everything = _listed(columns | others), _listed(columns | others | index)
    return DicomViews(
        (
            f"CREATE VIEW dicom_metadata AS SELECT {metadata} FROM instances AS i {rows}",
            f"CREATE VIEW dicom_all AS SELECT {everything} FROM instances AS i {series_of} {rows}",
            *(f"COMMENT ON VIEW {view} IS {quoted(_COMMENT)}" for view in _VIEWS),
        ),
        tuple(sources),
    )


def _attributes(
    known: Iterable[Shape], has_header: bool
) -> tuple[dict[str, str], list[AttributeSource]]:
    """Write the SQL of each attribute, by name, and tell where it and its members come from."""
    columns, sources = {}, []
    for shape in known:
        origin = origin_of(shape, has_header=has_header)
        columns[shape.name] = written(shape, origin)
        sources += [
            AttributeSource(path, part.vr, part.type, part_origin(part, origin))
            for path, part in shape.walk()
        ]
    return columns, sources


def _listed(columns: Mapping[str, str]) -> str:
    return ", ".join(f'{expression} AS "{name}"' for name, expression in columns.items())


_VIEWS: Final = ("dicom_metadata", "dicom_all")
_COMMENT: Final = f"in the shape of IDC's BigQuery table; {ATTRIBUTES} tells where values come from"


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
    data = f"list_transform({values}, lambda v: {plain_text(attribute.vr)})"
    return f"CASE WHEN {value} IS NOT NULL THEN {{'Tag': '{tag}', 'Data': {data}}} END"


def _index_columns(series: Sequence[str], uses: Mapping[str, Use]) -> dict[str, str]:
    """Return SQL of the columns that are in no header, by name."""
    bucket = _aws_bucket("aws_bucket" in series)
    key = "'/' || i.crdc_series_uuid || '/' || i.crdc_instance_uuid || '.dcm'"
    counts = {name for name, _ in SERIES_COUNTS}
    own = {
        "crdc_series_uuid": "i.crdc_series_uuid",
        "crdc_instance_uuid": "i.crdc_instance_uuid",
        "instance_size": "CAST(i.size AS VARCHAR)",
        "aws_url": f"'s3://' || {bucket} || {key}",
        "gcs_url": f"'gs://' || {gcs_bucket_sql(bucket)} || {key}",
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
