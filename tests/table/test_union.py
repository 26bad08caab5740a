"""Parts with columns of their own, and the table that has them all."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest

from harvest.config.profile import resolve_wanted
from harvest.dicom.dictionary import appeared
from harvest.dicom.paths import merge_paths, parse_path
from harvest.dicom.tags import Attribute, Wanted
from harvest.driver.publish import Tables
from harvest.driver.runner import run
from harvest.errors import RunAgain
from harvest.output import LocalOutput
from harvest.plan import planner as planning
from harvest.table.parts import part_of, part_schema, write_part
from harvest.table.schema import attributes_of, instances_schema
from harvest.table.union import TableColumns, conform
from tests import conftest
from tests.lab.laboratory import Lab

ALL = TableColumns(Wanted(everything=True), header=False)


def schema_of(*paths: str) -> pa.Schema:
    return instances_schema(merge_paths(map(parse_path, paths)))


def batch(schema: pa.Schema, *rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"url": "u", **row} for row in rows], schema=schema)


def test_what_is_known_before_is_the_schema_of_every_part() -> None:
    wanted = resolve_wanted(["core"], [])
    columns = TableColumns(wanted, header=True)
    assert columns.fixed == columns.schema(()) == instances_schema(wanted.attributes, header=True)


def test_attributes_come_back_from_a_parquet_file(tmp_path: Path) -> None:
    paths = [
        "PatientID",
        "OpticalPathSequence.IlluminationTypeCodeSequence.CodeValue",
        "OpticalPathSequence.ObjectiveLensPower",
        "(0043,GEMS_PARM_01,39)",
        "OverlayRows_6002",
    ]
    attributes = merge_paths(map(parse_path, paths))
    pq.write_table(instances_schema(attributes).empty_table(), tmp_path / "file.parquet")
    assert attributes_of(pq.read_schema(tmp_path / "file.parquet")) == attributes


def test_the_union_has_every_member_in_tag_order() -> None:
    made = ALL.schema(
        [
            schema_of("SegmentSequence.SegmentNumber", "Rows"),
            schema_of("SegmentSequence.SegmentLabel", "PatientID"),
            schema_of(),
        ]
    )
    assert made == schema_of(
        "PatientID", "Rows", "SegmentSequence.SegmentNumber", "SegmentSequence.SegmentLabel"
    )


def test_named_attributes_keep_their_order() -> None:
    wanted = resolve_wanted([], ["Rows", "SegmentSequence", "PatientID"])
    columns = TableColumns(wanted, header=False)
    part = schema_of("Rows", "SegmentSequence.SegmentNumber", "PatientID")
    assert columns.schema([part]).names[-3:] == ["Rows", "SegmentSequence", "PatientID"]
    assert columns.schema([schema_of("Rows", "PatientID")]).names[-2:] == ["Rows", "PatientID"]


def test_rows_get_the_columns_of_the_table() -> None:
    part = schema_of("SegmentSequence.SegmentNumber")
    whole = schema_of("PatientID", "SegmentSequence.SegmentLabel", "SegmentSequence.SegmentNumber")
    rows = batch(
        part,
        {"SegmentSequence": [{"SegmentNumber": 1}, {"SegmentNumber": None}]},
        {"SegmentSequence": None},
        {"SegmentSequence": []},
        {"SegmentSequence": [{"SegmentNumber": 4}, None]},
    )
    expected = [
        [{"SegmentNumber": 1, "SegmentLabel": None}, {"SegmentNumber": None, "SegmentLabel": None}],
        None,
        [],
        [{"SegmentNumber": 4, "SegmentLabel": None}, None],
    ]
    for start, stop in ((0, 4), (1, 4), (3, 4), (0, 1)):
        made = conform(rows.slice(start, stop - start), whole)
        made.validate(full=True)
        assert made["SegmentSequence"].to_pylist() == expected[start:stop]
        assert made["PatientID"].null_count == stop - start


def test_nulls_take_no_room_of_their_own() -> None:
    """Of thousands of columns most are null in most rows."""
    wide = pa.schema([pa.field(f"column {number}", pa.string()) for number in range(3000)])
    narrow = pa.RecordBatch.from_pydict({"column 0": ["x"] * 2000})
    assert conform(narrow, wide).get_total_buffer_size() < 40_000


def unknown(creator: str, *, items: bool = False) -> Attribute:
    from harvest.dicom.tags import PrivateTag

    found = appeared(PrivateTag(0x99, creator, 1), "", items=items)
    assert found is not None
    return found


def test_one_attribute_may_be_a_sequence_here_and_a_value_there() -> None:
    (inner,) = parse_path("PatientID")
    value, other = unknown("A"), unknown("a")
    sequence = Attribute(value.key, "(0099,A,01) items", value.path, "SQ", "1", "", (inner,))
    first = instances_schema([value, other])
    second = instances_schema([sequence])
    whole = ALL.schema([first, second])
    assert whole.names[-3:] == [
        "private_0099_A_01",
        "private_0099_A_01_2",
        "private_0099_a_01_3",
    ]
    made = conform(batch(second, {"(0099,A,01) items": [{"PatientID": "p"}]}), whole)
    (row,) = made.to_pylist()
    assert (row["private_0099_A_01"], row["private_0099_A_01_2"]) == (None, [{"PatientID": "p"}])
    # the table's own schema is a part's, when rows are read again
    assert ALL.schema([whole, second]) == whole


# --- in a harvest ----------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", ["at once", "read again", "killed after the first file"])
def test_a_row_that_is_read_again_may_bring_a_column(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempt: str
) -> None:
    series = conftest.own_series(lab, tmp_path / "series", 12)
    changed = pydicom.dcmread(series.paths[7])
    changed.BorderDensity = "BLACK"
    changed.save_as(tmp_path / "changed.dcm")
    shutil.copy(tmp_path / "changed.dcm", series.paths[7])
    conftest.put(lab, series.bucket, {series.keys[7]: series.paths[7]})
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(series, 12)])
    monkeypatch.setattr(planning, "ROWS_PER_FILE", 5)
    with conftest.gate(lab.s3.endpoint) as store:
        config = conftest.config_of(
            tmp_path / "out",
            {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
            {"endpoint": store.url},
            read={"profile": "all"},
            limits={"retries": 0, "max_error_rate": 1},
        )
        if attempt != "at once":
            silent = f"{series.bucket}/{series.keys[7]}"
            store.schedule = lambda name, _: conftest.status(503) if name == silent else None
            assert run(config).errors == {"unavailable": 1}
            assert "BorderDensity" not in conftest.instances(tmp_path / "out")[0]
            store.schedule = None
        if attempt == "killed after the first file":
            with monkeypatch.context() as patch:
                patch.setattr(Tables, "write", killed_after(1, Tables.write))
                with pytest.raises(KeyboardInterrupt):
                    run(config, retry_errors=True)
        assert run(config, retry_errors=True).errors == {}
    rows = conftest.instances(tmp_path / "out")
    assert [row["BorderDensity"] for row in rows] == [None] * 7 + ["BLACK"] + [None] * 4
    files = sorted((tmp_path / "out" / "instances").iterdir())
    assert len(files) == 3
    assert len({str(pq.read_schema(file)) for file in files}) == 1
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    for file in manifest["tables"]["instances"]:
        content = (tmp_path / "out" / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )


def killed_after(times: int, write: Callable[..., None]) -> Callable[..., None]:
    calls = count(1)

    def counted(*arguments: Any) -> None:
        if next(calls) > times:
            raise KeyboardInterrupt
        write(*arguments)

    return counted


def test_a_part_damaged_anywhere_is_read_again(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path)
    part = part_of("plan", 0)
    schema = schema_of("PatientID", "SegmentSequence.SegmentNumber", "(0043,GEMS_PARM_01,39)")
    whole = pa.Table.from_batches([batch(schema, {"PatientID": "a"})])
    write_part(output, part, whole)
    content = (tmp_path / part.name).read_bytes()
    chance = random.Random(5)
    damaged = 0
    for _ in range(300):
        flipped = bytearray(content)
        flipped[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (tmp_path / part.name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part.name).write_bytes(flipped)
        try:
            part_schema(output, part)
        except RunAgain:
            assert not (tmp_path / part.name).exists()
            damaged += 1
    assert damaged > 20
