"""``profile: all``: every value is in a column, in the JSON, or among the issues."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
import pandas  # type: ignore[import-untyped]
import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom import datadict
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

import harvest
from harvest.config import Config
from harvest.dicom import converter
from harvest.dicom.converter import Converter
from harvest.dicom.elements import Selection
from harvest.dicom.tags import Wanted
from tests import conftest
from tests.lab.laboratory import Lab
from tests.support import oracle
from tests.support.build import header_of

BINARY: Final = {"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW"}
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
BASIC_TEXT_SR: Final = "1.2.840.10008.5.1.4.1.1.88.11"


CLUSTER: dict[str, str] = {}
"""Where all harvests here are read: to start workers for each would take most of the time."""


@pytest.fixture(autouse=True, scope="module")
def _cluster(scheduler: str) -> None:
    CLUSTER["address"] = scheduler


def run(folder: Path, output: Path, **read: Any) -> pa.Table:
    """Harvest a folder; return the table ``instances``."""
    config = {
        "cohort": {"prefix": str(folder)},
        "read": {"profile": "all", **read},
        "output": str(output),
        "cluster": CLUSTER,
        "limits": {"max_error_rate": 1},
    }
    harvest.run(Config.model_validate(config))
    return pq.read_table(output / "instances" / "00000.parquet")


# --- what pydicom finds, and where it must be ------------------------------------------------


class Account:
    """Where each element of one object is found."""

    def __init__(self, row: dict[str, Any], schema: pa.Schema) -> None:
        self.counts: Counter[str] = Counter()
        self.lost: list[str] = []
        self._issues = {issue["path"] for issue in row["issues"] or ()}
        self._json = json.loads(row["header"]) if row["header"] else {}
        self._row, self._schema = row, schema

    def take(self, dataset: Dataset) -> None:
        meta = getattr(dataset, "file_meta", Dataset())
        for part in (meta, dataset):
            self._dataset(part, self._row, self._schema, self._json, "")

    def _dataset(
        self,
        dataset: Dataset,
        values: dict[str, Any],
        fields: Any,
        members: dict[str, Any],
        parent: str,
    ) -> None:
        columns = {
            (field.metadata[b"path"].decode(), field.metadata[b"vr"] == b"SQ"): field
            for field in fields
            if field.metadata and b"path" in field.metadata
        }
        for tag in sorted(dataset.keys()):
            if not parent and tag.group == 0x7FE0:
                continue  # behind the header
            step = path_step(dataset, tag)
            path = f"{parent}.{step}" if parent else step
            member = members[f"{tag:08X}"]
            try:
                element = dataset[tag]
                sequence = element.VR == "SQ"
            except (ValueError, LookupError, AttributeError, NotImplementedError):
                self._found(path, None, member, step)
                continue
            field = columns.get((path, sequence))
            if not sequence:
                self._found(path, (element, field, values), member, step)
                continue
            items = list(element.value or ())
            self._found(path, None, member, step)
            inside = (values.get(field.name) if field is not None else None) or [{}] * len(items)
            inner = field.type.value_type if field is not None else ()
            assert len(inside) == len(items) == len(member.get("Value", ())), path
            for item, its, json_item in zip(items, inside, member.get("Value", ()), strict=True):
                self._dataset(item, its, inner, json_item, path)

    def _found(self, path: str, typed: Any, member: dict[str, Any], step: str) -> None:
        """Say where an element is, by the strictest witness."""
        if typed is not None:
            element, field, values = typed
            if field is not None:
                value = values.get(field.name)
                expected = typed_value(element, field)
                if value is not None and value == expected:
                    self.counts["column"] += 1
                    return
                if value is None and expected is None and element.is_empty:
                    self.counts["empty"] += 1
                    return
                plain = path.replace(step, issue_step(step))
                told = {plain, issue_path(path), issue_step(step)} & self._issues
                assert value is None, (path, value, expected)
                if told:
                    self.counts["issue"] += 1
                    return
                if expected is not None:
                    self.lost.append(path)
                    return
        self.counts["json"] += 1 if {"Value", "InlineBinary", "BulkDataURI"} & member.keys() else 0
        self.counts["empty"] += 0 if {"Value", "InlineBinary", "BulkDataURI"} & member.keys() else 1


def path_step(dataset: Dataset, tag: pydicom.tag.BaseTag) -> str:
    """Name an element as the metadata of its column does."""
    text = f"({tag.group:04X},{tag.elem:04X})"
    if tag.is_private:
        creator = dataset.get_item((tag.group, tag.elem >> 8)) if tag.elem > 0xFF else None
        if creator is None or not creator.value:
            return text
        raw = creator.value
        name = raw.decode("latin-1") if isinstance(raw, bytes) else str(raw)
        name = name.strip(" \0")
        return f"({tag.group:04X},{name},{tag.elem & 0xFF:02X})" if name else text
    keyword = datadict.keyword_for_tag(tag)
    if not keyword:
        return text
    return keyword if int(tag) in datadict.DicomDictionary else f"{keyword}_{tag.group:04X}"


def issue_step(step: str) -> str:
    return step.rpartition("_")[0] if step[-5:-4] == "_" else step


def issue_path(path: str) -> str:
    return ".".join(map(issue_step, path.split(".")))


def typed_value(element: DataElement, field: pa.Field) -> Any:
    """Return what pydicom says the column must hold; None where it has nothing to say."""
    vr, vm = field.metadata[b"vr"].decode(), field.metadata[b"vm"].decode()
    if " or " in vr:
        vr = "US"  # a number of one kind or the other
        if isinstance(element.value, bytes):
            return list(struct.unpack(f"<{len(element.value) // 2}H", element.value))
    several = isinstance(element.value, (pydicom.multival.MultiValue, list))
    raw = list(element.value) if several else [element.value]
    if element.VR in BINARY and isinstance(element.value, bytes):
        return None
    values: list[Any]
    try:
        if vr == "UN":
            values = [None if part in (None, "") else text_of(part, element.VR) for part in raw]
        else:
            values = [None if part in (None, "") else oracle.single(part, vr) for part in raw]
    except (oracle.Unreadable, ValueError, TypeError, OverflowError):
        return None
    if all(value is None for value in values):
        return None
    return values if vm != "1" else values[0] if len(values) == 1 else None


def text_of(part: Any, vr: str) -> str:
    """Write a value whose type no dictionary knows."""
    if vr == "AT":
        return f"{int(part):08X}"
    if vr in ("DS", "IS"):
        return str(part.original_string).strip()
    if vr in ("FD", "FL"):
        return repr(float(part))
    return str(part)


def account(path: Path, row: dict[str, Any], schema: pa.Schema) -> Account:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # files are wrong on purpose, and pydicom says so
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        found = Account(row, schema)
        found.take(dataset)
        elements = sum(1 for part in (dataset.file_meta, dataset) for _ in part.iterall())
        elements -= len(dataset.group_dataset(0x7FE0))
    assert found.counts.total() + len(found.lost) == elements
    return found


# --- objects made for it ---------------------------------------------------------------------


def item(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def base(sop_class: str, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    made = item(
        SOPClassUID=sop_class,
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        Modality="OT",
    )
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    return made


def report(depth: int) -> Dataset:
    """A report whose content items are nested."""
    made = base(BASIC_TEXT_SR)
    content = item(RelationshipType="CONTAINS", ValueType="TEXT", TextValue="leaf")
    for level in range(depth):
        around = item(RelationshipType="CONTAINS", ValueType="CONTAINER")
        around.ConceptNameCodeSequence = Sequence([item(CodeValue=str(level), CodeMeaning="x")])
        around.ContentSequence = Sequence([content, item(ValueType="NUM")])
        content = around
    made.ContentSequence = Sequence([content])
    return made


def private(creator: str, block: int = 0x10, **how: Any) -> Dataset:
    made = base(BASIC_TEXT_SR, how.get("syntax", ExplicitVRLittleEndian))
    made.add_new((0x0099, block), "LO", creator)
    for element, (vr, value) in how.get("elements", {}).items():
        made.add_new((0x0099, block << 8 | element), vr, value)
    return made


def save(folder: Path, objects: list[Dataset]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, made in enumerate(objects):
        made.save_as(folder / f"{number:03}.dcm", enforce_file_format=True)


def rows_of(table: pa.Table) -> Iterator[tuple[Path, dict[str, Any]]]:
    for row in table.to_pylist():
        yield Path(unquote(urlsplit(row["url"]).path)), row


def accounted(table: pa.Table) -> Counter[str]:
    """Check that nothing of any object that could be read is lost; count what was found where."""
    total: Counter[str] = Counter()
    for path, row in rows_of(table):
        if row["status"] == "ok":
            found = account(path, row, table.schema)
            assert not found.lost, (path, found.lost)
            total += found.counts
    return total


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def made(folder: Path) -> pa.Table:
    """Several parts, whose objects have hardly an attribute in common."""
    overlay = base(SECONDARY_CAPTURE)
    overlay.add_new(0x60000010, "US", 8)
    overlay.add_new(0x60020010, "US", 9)
    overlay.add_new(0x60003000, "OW", b"\1\2")
    overlay.add_new(0x00189999, "LO", ["a", "b"])
    overlay.Rows = overlay.Columns = overlay.BitsAllocated = 8
    overlay.SamplesPerPixel = 1
    overlay.PhotometricInterpretation = "MONOCHROME2"
    overlay.PixelRepresentation = 0
    overlay.BitsStored, overlay.HighBit = 8, 7
    overlay.PixelData = bytes(64)
    objects = [
        report(4),
        overlay,
        private("ACME 1", elements={0x01: ("LO", "text"), 0x02: ("FD", 0.1), 0x03: ("OB", b"12")}),
        private("ACME 1", 0x20, elements={0x01: ("DS", "1.50"), 0x02: ("US", [1, 2])}),
        private("acme_1", elements={0x01: ("SH", "small")}),
        private("ACME 1", elements={0x01: ("SQ", Sequence([item(PatientID="inside")]))}),
        private("ACME 1", syntax=ImplicitVRLittleEndian, elements={0x01: ("LO", "no VR")}),
        private(" ", elements={0x01: ("LO", "nobody's")}),
        *(report(1) for _ in range(70)),
        private("ACME 2", elements={0x01: ("AT", 0x00100010), 0x02: ("DA", "20260101")}),
        *(report(7) for _ in range(70)),
    ]
    save(folder / "objects", objects)
    return run(folder / "objects", folder / "out", header="json")


def test_every_value_of_every_element_is_somewhere(made: pa.Table) -> None:
    found = accounted(made)
    assert found["issue"] == 0
    # bytes, what implicit VR leaves untyped, creators, and sequences, which their members hold
    assert found["column"] > 2 * found["json"] > 0


def test_no_byte_is_read_twice(made: pa.Table) -> None:
    for row in made.to_pylist():
        assert row["bytes_read"] <= row["size"]


def test_the_columns_are_those_that_appear(made: pa.Table) -> None:
    columns = {
        field.metadata[b"path"].decode(): (field.name, field.type)
        for field in made.schema
        if field.metadata and b"path" in field.metadata
    }
    texts = pa.list_(pa.string())
    assert columns["OverlayRows_6000"] == ("OverlayRows_6000", pa.int64())
    assert columns["OverlayRows_6002"] == ("OverlayRows_6002", pa.int64())
    assert columns["(0018,9999)"] == ("Tag_00189999", texts)
    assert columns["(0099,ACME 1,02)"] == ("private_0099_ACME_1_02", texts)
    assert columns["(0099,ACME 2,01)"] == ("private_0099_ACME_2_01", texts)
    assert columns["(0099,1001)"] == ("Tag_00991001", texts)
    assert columns["TransferSyntaxUID"] == ("TransferSyntaxUID", pa.string())
    assert "(0099,ACME 1,03)" not in columns
    assert "OverlayData_6000" not in columns
    assert "PixelData" not in columns
    content = made.schema.field("ContentSequence").type
    for _ in range(6):
        names = [field.name for field in content.value_type]
        assert names[:3] == ["RelationshipType", "ValueType", "ConceptNameCodeSequence"]
        content = content.value_type.field("ContentSequence").type


def test_names_that_differ_only_in_case_or_kind_are_told_apart(made: pa.Table) -> None:
    """DuckDB knows no case, and an unknown attribute may hold items here and a value there."""
    named = {
        field.name: (field.metadata[b"path"].decode(), field.type)
        for field in made.schema
        if field.name.lower().startswith("private_0099_acme_1_01")
    }
    texts = pa.list_(pa.string())
    assert named == {
        "private_0099_ACME_1_01": ("(0099,ACME 1,01)", texts),
        "private_0099_ACME_1_01_2": (
            "(0099,ACME 1,01)",
            pa.list_(pa.struct([pa.field("PatientID", pa.string())])),
        ),
        "private_0099_acme_1_01_3": ("(0099,acme_1,01)", texts),
    }
    values = [value for value in made["private_0099_ACME_1_01"].to_pylist() if value]
    assert values == [["text"], ["1.50"]]
    assert [v for v in made["private_0099_ACME_1_02"].to_pylist() if v] == [["0.1"], ["1", "2"]]


def test_columns_are_in_tag_order_behind_the_fixed_ones(made: pa.Table) -> None:
    tags = [
        field.metadata[b"tag"].decode()
        for field in made.schema
        if field.metadata and b"tag" in field.metadata
    ]
    groups = [tag[1:5] for tag in tags]
    assert groups == sorted(groups)
    assert made.schema.names[-1] == "header"


def check_readers(files: Path) -> None:
    """Check that all that people read Parquet with sees the same table."""
    expected = pq.read_table(files)
    filled = {name: len(expected) - expected[name].null_count for name in expected.schema.names}
    counts = ", ".join(f'count("{name}")' for name in filled)
    glob = f"{files}/*.parquet"
    assert duckdb.execute(f"SELECT {counts} FROM '{glob}'").fetchone() == tuple(filled.values())
    assert pandas.read_parquet(files).count().to_dict() == filled
    assert polars.read_parquet(glob).count().to_dicts() == [filled]
    assert pyarrow.dataset.dataset(files).to_table().equals(expected)


def test_every_reader_takes_the_table(made: pa.Table, folder: Path) -> None:
    check_readers(folder / "out" / "instances")


# --- a part of everything --------------------------------------------------------------------


def test_a_sequence_that_is_named_alone_has_all_members_that_appear(tmp_path: Path) -> None:
    save(tmp_path / "objects", [report(1), report(2)])
    table = run(
        tmp_path / "objects",
        tmp_path / "out",
        profile=[],
        tags=["Modality", "ContentSequence", "ReferencedSeriesSequence", "SOPInstanceUID"],
    )
    profile = [f.name for f in table.schema if f.metadata and b"path" in f.metadata]
    # of what appears nowhere nobody knows the members
    assert profile == ["Modality", "ContentSequence", "SOPInstanceUID"]
    assert [row["ContentSequence"] for row in table.to_pylist()] == [
        [with_names(number)] for number in (1, 2)
    ]


def with_names(depth: int) -> dict[str, Any]:
    """What the column holds of `report`'s outermost content item; absent members are null."""
    leaf = {"RelationshipType": "CONTAINS", "ValueType": "TEXT", "TextValue": "leaf"}
    number = {"RelationshipType": None, "ValueType": "NUM", "TextValue": None}
    deeper = {"ConceptNameCodeSequence": None, "ContentSequence": None}
    if depth == 1:
        # one level less than the other object has
        inner = [leaf | deeper, number | deeper]
        inner = [
            {
                "RelationshipType": each["RelationshipType"],
                "ValueType": each["ValueType"],
                "ConceptNameCodeSequence": None,
                "TextValue": each["TextValue"],
                "ContentSequence": None,
            }
            for each in inner
        ]
        return {
            "RelationshipType": "CONTAINS",
            "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": [{"CodeValue": "0", "CodeMeaning": "x"}],
            "ContentSequence": inner,
        }
    deepest = [leaf, number]
    middle = {
        "RelationshipType": "CONTAINS",
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [{"CodeValue": "0", "CodeMeaning": "x"}],
        "TextValue": None,
        "ContentSequence": deepest,
    }
    last = {
        "RelationshipType": None,
        "ValueType": "NUM",
        "ConceptNameCodeSequence": None,
        "TextValue": None,
        "ContentSequence": None,
    }
    return {
        "RelationshipType": "CONTAINS",
        "ValueType": "CONTAINER",
        "ConceptNameCodeSequence": [{"CodeValue": "1", "CodeMeaning": "x"}],
        "ContentSequence": [middle, last],
    }


def test_what_is_skipped_is_no_column_and_still_in_the_header(tmp_path: Path) -> None:
    save(tmp_path / "objects", [report(2)])
    skip = ["ContentSequence.ContentSequence", "Modality"]
    table = run(tmp_path / "objects", tmp_path / "out", skip=skip, header="json")
    assert "Modality" not in table.schema.names
    members = table.schema.field("ContentSequence").type.value_type
    assert [field.name for field in members] == [
        "RelationshipType",
        "ValueType",
        "ConceptNameCodeSequence",
    ]
    (row,) = table.to_pylist()
    whole = json.loads(row["header"])
    assert whole["00080060"]["Value"] == ["OT"]
    assert whole["0040A730"]["Value"][0]["0040A730"]


def nested(levels: int) -> Dataset:
    made = base(BASIC_TEXT_SR)
    inner = item(PatientID="innermost")
    for _ in range(levels):
        inner = item(ContentSequence=Sequence([inner]), ValueType="CONTAINER")
    made.ContentSequence = Sequence([inner])
    return made


@pytest.mark.parametrize("levels", [22, 23, 24, 60])
def test_what_is_nested_deeper_than_tables_can_be_is_an_issue(tmp_path: Path, levels: int) -> None:
    save(tmp_path / "objects", [nested(levels), report(1)])
    table = run(tmp_path / "objects", tmp_path / "out", header="json")
    rows = table.to_pylist()
    assert [row["status"] for row in rows] == ["ok", "ok"]
    problems = {issue["problem"] for issue in rows[0]["issues"] or ()}
    assert problems == ({"too_deep"} if levels > 23 else set())
    assert "innermost" in rows[0]["header"]
    found = rows[0]["ContentSequence"]
    for _ in range(min(levels, 23) if levels > 23 else levels):
        assert found[0]["ValueType"] == "CONTAINER"
        found = found[0]["ContentSequence"]
    check_readers(tmp_path / "out" / "instances")


def test_so_many_columns_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "MOST_FOUND", 50)
    made = private("ACME", elements=dict.fromkeys(range(100), ("LO", "x")))
    reader = Converter(Wanted(everything=True))
    header = header_of(content_of(made), Selection(everything=True))
    values = reader.values(header)
    assert len(reader.attributes()) == 50
    assert {issue["problem"] for issue in values.issues()} == {"too_many_columns"}
    assert values.columns.keys() == {attribute.name for attribute in reader.attributes()}


def content_of(made: Dataset) -> bytes:
    held = io.BytesIO()
    made.save_as(held, enforce_file_format=True)
    return held.getvalue()


def test_a_ready_profile_beside_all_takes_nothing_away(tmp_path: Path) -> None:
    save(tmp_path / "objects", [report(2)])
    alone = run(tmp_path / "objects", tmp_path / "one")
    both = run(
        tmp_path / "objects",
        tmp_path / "two",
        profile=["core", "all"],
        tags=["ContentSequence.UID"],
    )
    assert set(alone.schema.names) < set(both.schema.names)
    (first,), (second,) = alone.to_pylist(), both.to_pylist()
    content = second["ContentSequence"][0]
    assert content.pop("UID") is None
    assert content == first["ContentSequence"][0]
    closed = run(
        tmp_path / "objects",
        tmp_path / "three",
        tags=["ContentSequence.ValueType"],
        skip=["ContentSequence"],
    )
    assert closed["ContentSequence"].to_pylist() == [[{"ValueType": "CONTAINER"}]]


def test_items_without_a_member_are_the_same_in_any_part(tmp_path: Path) -> None:
    """Whether another object of the same part tells of a member or not."""
    empty = base(BASIC_TEXT_SR)
    empty.ContentSequence = Sequence([Dataset(), Dataset()])
    objects = [empty, *(base(BASIC_TEXT_SR) for _ in range(70)), report(1)]
    save(tmp_path / "apart", objects)
    save(tmp_path / "together", [empty, report(1)])
    for name in ("apart", "together"):
        table = run(tmp_path / name, tmp_path / f"{name} out")
        first = table["ContentSequence"].to_pylist()[0]
        assert [set(each.values()) for each in first] == [{None}, {None}]
    save(tmp_path / "alone", [empty])
    assert "ContentSequence" not in run(tmp_path / "alone", tmp_path / "alone out").schema.names


def test_private_values_that_the_file_types_are_columns(tmp_path: Path) -> None:
    """Whatever pydicom's private dictionary says of them, and empty sequences are sequences."""
    made = base(BASIC_TEXT_SR)
    made.add_new(0x00190010, "LO", "GEMS_ACQU_01")
    made.add_new(0x001910FE, "LO", "typed")
    made.add_new(0x00990010, "LO", "ACME")
    made.add_new(0x00991001, "SQ", Sequence([]))
    other = private("ACME", elements={0x01: ("SQ", Sequence([item(PatientID="p")]))})
    save(tmp_path / "objects", [made, other])
    table = run(tmp_path / "objects", tmp_path / "out")
    assert table["private_0099_ACME_01"].to_pylist() == [None, [{"PatientID": "p"}]]
    assert "private_0099_ACME_01_2" not in table.schema.names
    assert table["private_0019_GEMS_ACQU_01_FE"].to_pylist() == [["typed"], None]


def test_repeating_attributes_of_one_group_are_told_apart(tmp_path: Path) -> None:
    made = base(BASIC_TEXT_SR)
    made.add_new(0x00203100, "CS", "ONE")
    made.add_new(0x00203101, "CS", "TWO")
    save(tmp_path / "objects", [made])
    table = run(tmp_path / "objects", tmp_path / "out")
    assert table["Tag_00203100"].to_pylist() == [["ONE"]]
    assert table["Tag_00203101"].to_pylist() == [["TWO"]]


@pytest.mark.skipif("HARVEST_CORPUS" not in os.environ, reason="HARVEST_CORPUS names no folder")
def test_every_value_of_every_real_file_is_somewhere(tmp_path: Path) -> None:
    table = run(Path(os.environ["HARVEST_CORPUS"]), tmp_path / "out", header="json")
    found = accounted(table)
    print(found)
    assert found["column"] > 40_000
    check_readers(tmp_path / "out" / "instances")


def test_the_lab_has_one_schema(lab: Lab, tmp_path: Path) -> None:
    config = conftest.config_of(
        tmp_path / "out",
        {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(lab.index)},
        conftest.source_of(lab),
        read={"profile": "all"},
    )
    harvest.run(config)
    check_readers(tmp_path / "out" / "instances")
    table = pq.read_table(tmp_path / "out" / "instances")
    assert len(table.schema.names) > 700
