"""Which rows of two harvests are one instance, and in what they differ."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from harvest.audit.diff import InstanceCounts, OffsetTableCounts, SeriesCounts, diff
from harvest.config import output_config
from harvest.table.schema import instances_schema
from tests.support.profiles import resolve_attributes
from tests.support.snapshots import (
    NOTHING,
    Row,
    compared,
    instance,
    made_output,
    read_table,
    series_rows,
)


def test_what_only_reading_decides_is_no_change(tmp_path: Path) -> None:
    old = [instance(1, requests=1, bytes_read=10)]
    new = [instance(1, requests=3, bytes_read=99, error_detail="other words")]
    assert compared(tmp_path, old, new)[0].nothing


def test_an_instance_in_a_revised_series_is_the_same_one(tmp_path: Path) -> None:
    old = [instance(1), instance(2)]
    kept = instance(1, crdc_series_uuid="20000000-0000-4000-8000-000000000000")
    kept["url"] = f"s3://idc-open-data/{kept['crdc_series_uuid']}/1.dcm"
    revised = {**kept, **instance(9), "SOPInstanceUID": old[1]["SOPInstanceUID"]}
    revised |= {"crdc_series_uuid": kept["crdc_series_uuid"], "PatientID": "P2"}
    found, folder = compared(
        tmp_path,
        old,
        [kept, revised],
        old_series=series_rows(old, series_size_MB=1.0),
        new_series=series_rows([kept, revised], series_size_MB=1.0),
    )
    assert found.series == SeriesCounts(0, 0, 1, 0)
    assert found.instances == InstanceCounts(0, 0, revised=1, changed=0, moved=1, unchanged=0)
    told = [
        (a.attribute, a.examples[0].old, a.examples[0].new)
        for a in found.attributes
        if a.table == "instances"
    ]
    assert told == [
        ("PatientID", "P1", "P2"),
        ("size", "1002", "1009"),
    ]
    (series,) = read_table(folder / "series.parquet")
    assert (series["change"], series["old_instances"], series["new_instances"]) == ("revised", 2, 2)
    assert (series["instances_moved"], series["instances_revised"]) == (1, 1)
    by_change = {row["change"]: row for row in read_table(folder / "instances.parquet")}
    assert by_change["revised"]["attributes"] == ["size", "PatientID"]
    assert by_change["moved"]["attributes"] == []


def test_an_instance_of_two_versions_of_a_series_is_paired_with_itself(tmp_path: Path) -> None:
    rows = [instance(1, series=1), instance(1, series=2)]
    assert rows[0]["crdc_instance_uuid"] == rows[1]["crdc_instance_uuid"]
    assert compared(tmp_path, rows, rows)[0].nothing


@pytest.mark.parametrize("change", [{"etag": "other"}, {"size": 7}])
def test_another_object_at_a_url_is_a_revision(tmp_path: Path, change: Row) -> None:
    old = {**instance(1), "crdc_instance_uuid": None}
    found, _ = compared(tmp_path, [old], [{**old, **change}])
    assert found.instances == replace(NOTHING[1], revised=1)


def test_a_renamed_file_has_moved(tmp_path: Path) -> None:
    old = {**instance(1), "crdc_instance_uuid": None, "url": "file:///a.dcm"}
    found, _ = compared(tmp_path, [old], [{**old, "url": "file:///b.dcm", "etag": "x"}])
    assert found.instances == replace(NOTHING[1], moved=1)


def test_nested_values_are_compared(tmp_path: Path) -> None:
    def row(item: Row | None) -> Row:
        return instance(1, ReferencedSeriesSequence=None if item is None else [item])

    found, _ = compared(
        tmp_path, [row({"SeriesInstanceUID": "1.2"})], [row({"SeriesInstanceUID": "1.3"})]
    )
    (change,) = found.attributes
    assert change.attribute == "ReferencedSeriesSequence"
    assert "1.2" in str(change.examples[0].old)
    assert "1.3" in str(change.examples[0].new)


def test_an_error_changes_the_status_and_no_value(tmp_path: Path) -> None:
    old: Row = {name: None if name[0].isupper() else v for name, v in instance(1).items()}
    old |= {"status": "error", "error": "unavailable", "retryable": True}
    found, _ = compared(tmp_path, [old], [instance(1)], old_series=series_rows([instance(1)]))
    assert {a.attribute for a in found.attributes if a.table == "instances"} == {
        "status",
        "error",
        "retryable",
    }
    assert found.instances.changed == 1


def test_offset_tables(tmp_path: Path) -> None:
    before = ["basic", "empty", "basic", "native", "extended"]
    after = ["empty", "basic", "extended", "native", "extended"]
    old = [instance(n, offset_table=kind) for n, kind in enumerate(before)]
    new = [instance(n, offset_table=kind) for n, kind in enumerate(after)]
    found, folder = compared(tmp_path, old, new)
    assert found.offset_tables == OffsetTableCounts(gained=1, lost=1, replaced=1)
    lost = [r for r in read_table(folder / "offset_tables.parquet") if r["change"] == "lost"]
    assert [(row["new_url"], row["old_offset_table"]) for row in lost] == [(old[0]["url"], "basic")]


def test_the_index_may_tell_otherwise(tmp_path: Path) -> None:
    rows = [instance(1)]
    series = series_rows(rows)
    found, _ = compared(
        tmp_path, rows, rows, new_series=[{**series[0], "license_short_name": "CC BY-NC 4.0"}]
    )
    (change,) = found.attributes
    assert (change.table, change.attribute, change.rows) == ("series", "license_short_name", 1)


def test_columns_that_came_and_went_and_grew(tmp_path: Path) -> None:
    schemas = [
        instances_schema(resolve_attributes([], tags))
        for tags in (
            ["SOPInstanceUID", "SeriesInstanceUID", "KVP", "AnatomicRegionSequence.CodeValue"],
            [
                "SOPInstanceUID",
                "SeriesInstanceUID",
                "Rows",
                "AnatomicRegionSequence.CodeValue",
                "AnatomicRegionSequence.CodeMeaning",
            ],
        )
    ]
    names = ("StudyInstanceUID", "PatientID", "Modality")
    base = instance(1)
    plain = {name: value for name, value in base.items() if name not in names}
    old = {**plain, "KVP": 120.0, "AnatomicRegionSequence": [{"CodeValue": "T-1"}]}
    new = {**plain, "Rows": 4, "AnatomicRegionSequence": [{"CodeValue": "T-1"}]}
    sides = [
        output_config(made_output(tmp_path / name, [row], series_rows([base]), schema=schema))
        for name, row, schema in (("a", old, schemas[0]), ("b", new, schemas[1]))
    ]
    found = diff(sides[0], sides[1])
    changes = {(c.column, c.change) for c in found.columns}
    assert changes == {
        ("KVP", "removed"),
        ("Rows", "added"),
        ("AnatomicRegionSequence", "retyped"),
    }
    # a member that is new, and null, is no other value
    assert found.attributes == ()
    assert found.instances == replace(NOTHING[1], unchanged=1)


def test_random_changes_are_all_found(tmp_path: Path) -> None:
    """The oracle compares dictionaries."""
    chance = random.Random(5)
    old = {number: instance(number, series=number % 7) for number in range(300)}
    gone = set(chance.sample(sorted(old), 20))
    new = {number: dict(row) for number, row in old.items() if number not in gone}
    new |= {number: instance(number, series=number % 9) for number in range(300, 340)}
    for number in chance.sample(sorted(set(old) - gone), 50):
        new[number]["Modality"] = chance.choice(["CT", "MR", None])
        new[number]["ImageType"] = chance.choice([None, ["DERIVED"], ["ORIGINAL", "PRIMARY"]])
    found, folder = compared(
        tmp_path, list(old.values()), list(new.values()), old_series=[], new_series=[]
    )
    pairs: Counter[tuple[str, str | None]] = Counter()
    changed = set()
    for number in set(old) & set(new):
        for name in ("Modality", "ImageType"):
            if old[number].get(name) != new[number].get(name):
                pairs[name, new[number]["url"]] += 1
                changed.add(number)
    assert found.instances == InstanceCounts(
        added=40, removed=20, revised=0, changed=len(changed), moved=0, unchanged=280 - len(changed)
    )
    assert {a.attribute: a.rows for a in found.attributes} == Counter(name for name, _ in pairs)
    rows = read_table(folder / "instances.parquet")
    told = {(a, r["new_url"]) for r in rows if r["change"] == "changed" for a in r["attributes"]}
    assert told == set(pairs)


def test_of_two_copies_the_one_that_is_gone_is_removed(tmp_path: Path) -> None:
    copies = [instance(1, series=1), instance(1, series=2)]
    found, folder = compared(tmp_path, copies, copies[1:])
    assert found.instances == replace(NOTHING[1], removed=1, unchanged=1)
    (gone,) = read_table(folder / "instances.parquet")
    assert gone["old_url"] == copies[0]["url"]


def test_a_series_that_the_index_does_not_know_changes_with_its_instances(tmp_path: Path) -> None:
    old = [instance(1), instance(2)]
    new = [instance(1), instance(2, PatientID="P2")]
    unknown = [{**row, "SeriesInstanceUID": None} for row in series_rows(old)]
    found, folder = compared(tmp_path, old, new, old_series=unknown, new_series=unknown)
    assert (found.series, found.instances.changed) == (SeriesCounts(0, 0, 0, changed=1), 1)
    (series,) = read_table(folder / "series.parquet")
    assert series["instances_changed"] == 1


def test_what_one_harvest_does_not_know_is_no_revision(tmp_path: Path) -> None:
    """An object of a manifest of URLs is not listed: only who reads it knows size and ETag."""
    new = {**instance(1), "crdc_instance_uuid": None}
    old = {**new, "size": None, "etag": None, "status": "error", "error": "unavailable"}
    found, _ = compared(
        tmp_path, [old], [new], old_series=series_rows([new]), new_series=series_rows([new])
    )
    assert found.instances == replace(NOTHING[1], changed=1)


def test_another_transport_writes_the_etag_otherwise(tmp_path: Path) -> None:
    """What has a UUID is the same object wherever it is, as for what is carried over."""
    old = [instance(1, etag="d41d8cd98f00b204e9800998ecf8427e"), instance(2)]
    new = [instance(1, etag="CJ7f2fbs"), instance(2, size=7)]
    found, _ = compared(tmp_path, old, new)
    assert found.instances == replace(NOTHING[1], revised=1, unchanged=1)


def test_bulk_data_of_an_object_that_has_moved_are_the_same(tmp_path: Path) -> None:
    """Keys of S3 may hold what JSON escapes."""
    schema = instances_schema(resolve_attributes(["core"], []), header=True)
    sides = []
    for name in ("old", "new"):
        url = f'file:///{name} "of\\ours".dcm'
        header = json.dumps({"00420011": {"vr": "OB", "BulkDataURI": f"{url}#bytes=900-100"}})
        row = instance(1, url=url, header=header)
        sides.append(output_config(made_output(tmp_path / name, [row], schema=schema)))
    found = diff(sides[0], sides[1])
    assert found.instances == replace(NOTHING[1], moved=1)
