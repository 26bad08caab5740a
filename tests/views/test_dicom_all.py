"""The views in the shape of BigQuery's tables, against what was written into the files."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RawDataStorage

import harvest
from harvest.driver.runner import run
from tests import conftest
from tests.lab import Lab

CREATOR: Final = "GEMS_PARM_01"
TAGS: Final = [
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "PatientName"),
    *("OtherPatientNames", "ImageType", "PixelSpacing", "SliceThickness", "XRayTubeCurrent"),
    *("FilterType", "ContrastBolusIngredient", "StudyDate", "StudyTime", "AcquisitionDateTime"),
    *("FrameIncrementPointer", "SpiralPitchFactor", "Rows", "WindowCenter", "ROIVolume"),
    *("SegmentSequence.SegmentNumber", "SegmentSequence.SegmentAlgorithmName"),
    "SegmentSequence.AnatomicRegionSequence.CodeValue",
    # no query of IDC's reads these
    "RequestAttributesSequence.ScheduledProcedureStepID",
    "DetectorInformationSequence.DetectorActiveDimensions",
    f"(0043,{CREATOR},39)",
    f"(0043,{CREATOR},2A)",
    f"DetectorInformationSequence.(0043,{CREATOR},39)",
]
READS: Final[dict[str, dict[str, Any]]] = {
    "columns": {"profile": [], "tags": TAGS},
    "header": {"profile": "core", "header": "json"},
    "columns and header": {"profile": [], "tags": TAGS, "header": "json"},
}
NAME: Final = {"Alphabetic": "Doe^Jane", "Ideographic": "\u5c71\u7530^\u82b1", "Phonetic": None}


def identified(number: int) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = RawDataStorage  # it needs no pixels
    image.SOPInstanceUID = f"1.2.3.{number}"
    image.SeriesInstanceUID = "1.2.3"
    image.Modality = "CT"
    return image


def full() -> Dataset:
    image = identified(1)
    image.PatientName = "Doe^Jane=\u5c71\u7530^\u82b1"
    image.OtherPatientNames = ["A^B", "C"]
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.PixelSpacing = ["0.50", "1"]
    image.SliceThickness = "1.000"
    image.XRayTubeCurrent = "+020"
    image.WindowCenter = "40.0"
    image.FilterType = "WEDGE"
    image.ContrastBolusIngredient = ["IODINE", "GADOLINIUM"]
    image.SequenceName = ["A", "B"]
    image.EchoTime = ["1", "2"]
    image.StudyDate = "20240229"
    image.StudyTime = "235960.5"
    image.AcquisitionDateTime = "20240102030405.25+0130"
    image.FrameIncrementPointer = [0x00181063, 0x00181065]
    image.SpiralPitchFactor = 0.5
    image.Rows = 512
    image.SegmentSequence = [Dataset(), Dataset()]
    segment = image.SegmentSequence[0]
    segment.SegmentNumber = 7
    segment.SegmentAlgorithmName = "net"
    segment.AnatomicRegionSequence = [Dataset()]
    segment.AnatomicRegionSequence[0].CodeValue = "T-A0100"
    image.RequestAttributesSequence = [Dataset()]
    image.RequestAttributesSequence[0].ScheduledProcedureStepID = "step"
    image.DetectorInformationSequence = [Dataset()]
    detector = image.DetectorInformationSequence[0]
    detector.DetectorActiveDimensions = ["2.50", "3"]
    detector.private_block(0x0043, CREATOR, create=True).add_new(0x39, "IS", ["1"])
    block = image.private_block(0x0043, CREATOR, create=True)
    block.add_new(0x39, "IS", ["800", "8"])
    block.add_new(0x2A, "SS", 1)  # by the dictionary OB: never a column
    return image


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    no_series = identified(3)
    del no_series.SeriesInstanceUID
    for number, image in enumerate([full(), identified(2), no_series]):
        image.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    (folder / "3.dcm").write_text("no DICOM")
    return folder


@pytest.fixture(scope="module", params=READS)
def read(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def output(
    files: Path, read: str, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("views") / "out"
    wanted = READS[read] | {"tags": [t for t in READS[read].get("tags", []) if ",2A)" not in t]}
    run(conftest.config_of(out, {"prefix": str(files)}, scheduler=scheduler, read=wanted))
    return out


@pytest.fixture
def connection(output: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with harvest.connect(str(output)) as connection:
        yield connection


def row(connection: duckdb.DuckDBPyConnection, columns: str, number: int = 1) -> tuple[Any, ...]:
    sql = f"SELECT {columns} FROM dicom_all WHERE SOPInstanceUID = '1.2.3.{number}'"
    (found,) = connection.execute(sql).fetchall()
    return tuple(found)


def test_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """What could not be read is none, nor is what belongs to no series."""
    for view in ("dicom_all", "dicom_metadata"):
        found = connection.execute(f"SELECT SOPInstanceUID FROM {view} ORDER BY 1").fetchall()
        assert found == [("1.2.3.1",), ("1.2.3.2",)]


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("Modality", "VARCHAR", "CT"),
        ("Rows", "BIGINT", 512),
        ("SpiralPitchFactor", "DOUBLE", 0.5),
        ("StudyDate", "DATE", dt.date(2024, 2, 29)),
        ("StudyTime", "TIME", dt.time(23, 59, 59, 500_000)),
        ("AcquisitionDateTime", "TIMESTAMP", dt.datetime(2024, 1, 2, 1, 34, 5, 250_000)),
        ("FrameIncrementPointer", "BIGINT[]", [0x00181063, 0x00181065]),
        ("ImageType", "VARCHAR[]", ["ORIGINAL", "PRIMARY"]),
        ("FilterType", "VARCHAR", "WEDGE"),
        # the dictionary knows one value: of several the column has none
        ("ContrastBolusIngredient", "VARCHAR", None),
    ],
)
def test_values(connection: duckdb.DuckDBPyConnection, name: str, kind: str, value: Any) -> None:
    assert row(connection, f'"{name}", typeof("{name}")') == (value, kind)
    (absent,) = row(connection, f'"{name}"', 2)
    assert absent == ("CT" if name == "Modality" else [] if kind.endswith("[]") else None)


def test_several_values_where_one_is_known(
    connection: duckdb.DuckDBPyConnection, read: str
) -> None:
    """Of a header they are a text as in the file: no number, and never the first alone."""
    expected = ("A\\B", "1\\2", None) if "header" in read else (None, None, None)
    assert row(connection, "SequenceName, EchoTime, TRY_CAST(EchoTime AS DOUBLE)") == expected


def test_names_have_parts(connection: duckdb.DuckDBPyConnection) -> None:
    first = {"Alphabetic": "A^B", "Ideographic": None, "Phonetic": None}
    second = first | {"Alphabetic": "C"}
    assert row(connection, "PatientName, OtherPatientNames") == (NAME, [first, second])
    assert row(connection, "PatientName, OtherPatientNames", 2) == (None, [])


def test_decimal_and_integer_strings_are_text(
    connection: duckdb.DuckDBPyConnection, read: str
) -> None:
    """As written where the header is kept, the shortest text of the number where it is not."""
    columns = "PixelSpacing, SliceThickness, XRayTubeCurrent, WindowCenter"
    if "header" in read:
        assert row(connection, columns) == (["0.50", "1"], "1.000", "+020", ["40.0"])
    else:
        assert row(connection, columns) == (["0.5", "1"], "1", "20", ["40"])
    assert row(connection, columns, 2) == ([], None, None, [])


def test_sequences(connection: duckdb.DuckDBPyConnection) -> None:
    """Every member that IDC's queries name is there, and every list, at every depth."""
    (segments,) = row(connection, "SegmentSequence")
    assert [segment["SegmentNumber"] for segment in segments] == [7, None]
    # one value by the dictionary, a list in IDC's queries
    assert [segment["SegmentAlgorithmName"] for segment in segments] == [["net"], []]
    regions = [segment["AnatomicRegionSequence"] for segment in segments]
    assert [[item["CodeValue"] for item in items] for items in regions] == [["T-A0100"], []]
    assert regions[0][0]["CodeMeaning"] is None
    assert regions[0][0]["AnatomicRegionModifierSequence"] == []
    for segment in segments:
        assert segment["TrackingID"] is None
        assert segment["SegmentedPropertyTypeCodeSequence"] == []
    assert row(connection, "SegmentSequence, SharedFunctionalGroupsSequence", 2) == ([], [])


def test_sequences_that_no_query_names(connection: duckdb.DuckDBPyConnection, read: str) -> None:
    (steps,) = row(connection, "RequestAttributesSequence")
    (detectors,) = row(connection, "DetectorInformationSequence")
    if read == "header":  # nobody says what their items hold
        assert [json.loads(step) for step in steps] == [
            {"00400009": {"vr": "SH", "Value": ["step"]}}
        ]
        return
    assert steps == [{"ScheduledProcedureStepID": "step"}]
    # private elements are outside sequences only
    texts = ["2.50", "3"] if "header" in read else ["2.5", "3"]
    assert detectors == [{"DetectorActiveDimensions": texts}]
    assert row(connection, "RequestAttributesSequence, DetectorInformationSequence", 2) == ([], [])


def test_other_elements(connection: duckdb.DuckDBPyConnection, read: str) -> None:
    (found,) = row(connection, "OtherElements")
    elements = {each["Tag"]: each["Data"] for each in found}
    expected = {"Tag_00431039": ["800", "8"]}
    if "header" in read:
        expected |= {"Tag_00430010": [CREATOR], "Tag_0043102A": ["1"]}
    assert elements == expected
    assert row(connection, "OtherElements", 2) == ([],)
    names = [name for name, *_ in connection.execute("DESCRIBE dicom_all").fetchall()]
    assert not [name for name in names if name.startswith("private_")]


def test_types_do_not_depend_on_the_source(
    connection: duckdb.DuckDBPyConnection, read: str, files: Path
) -> None:
    kinds = {name: kind for name, kind, *_ in connection.execute("DESCRIBE dicom_all").fetchall()}
    for name, kind in (
        ("KVP", "VARCHAR"),
        ("ImagePositionPatient", "VARCHAR[]"),
        ("ScanOptions", "VARCHAR[]"),
        ("TotalPixelMatrixRows", "BIGINT"),
        ("OtherElements", 'STRUCT(Tag VARCHAR, "Data" VARCHAR[])[]'),
        ("instance_size", "VARCHAR"),
        ("series_init_idc_version", "VARCHAR"),
        ("collection_id", "VARCHAR"),
    ):
        assert kinds[name] == kind
    pattern = r"RadiopharmaceuticalStartTime\"? TIME\b"
    assert re.search(pattern, kinds["RadiopharmaceuticalInformationSequence"])
    metadata = connection.execute("DESCRIBE dicom_metadata").fetchall()
    assert {name: kinds[name] for name, *_ in metadata} == {
        name: kind for name, kind, *_ in metadata
    }
    assert not {"instance_size", "collection_id", "crdc_instance_uuid", "aws_url"} & {
        name for name, *_ in metadata
    }


def test_sources(connection: duckdb.DuckDBPyConnection, read: str) -> None:
    rows = connection.execute("SELECT path, source, type FROM dicom_attributes").fetchall()
    sources = {path: source for path, source, _ in rows}
    assert len(sources) == len(rows)
    wanted = {
        "columns": ("column", "column", "column", "absent", "absent"),
        "header": ("column", "header", "header", "header", "header"),
        # a sequence has one source: the header, which has all the members
        "columns and header": ("column", "header", "header", "header", "header"),
    }[read]
    paths = ("Modality", "SliceThickness", "SegmentSequence.SegmentNumber", "KVP")
    assert tuple(sources[p] for p in (*paths, "SegmentSequence.TrackingID")) == wanted
    kinds = {name: kind for name, kind, *_ in connection.execute("DESCRIBE dicom_all").fetchall()}
    for path, _, kind in rows:
        if "." not in path and "(" not in kind:
            assert kinds[path] == kind
    comments = connection.execute(
        "SELECT view_name, comment FROM duckdb_views() WHERE comment IS NOT NULL"
    ).fetchall()
    assert {name for name, _ in comments} == {"dicom_all", "dicom_metadata"}
    assert all("dicom_attributes" in comment for _, comment in comments)


def projections(connection: duckdb.DuckDBPyConnection, columns: str) -> list[set[str]]:
    """Return what each step of a query's plan computes or reads."""
    sql = f"EXPLAIN (FORMAT json) SELECT {columns} FROM dicom_all"
    steps = json.loads(connection.execute(sql).fetchall()[0][1])
    found = []
    while steps:
        step = steps.pop()
        steps += step["children"]
        listed = step["extra_info"].get("Projections", [])
        found.append({listed} if isinstance(listed, str) else set(listed))
    return found


def test_a_query_reads_what_it_names(connection: duckdb.DuckDBPyConnection, read: str) -> None:
    keys = {"crdc_series_uuid"}
    assert projections(connection, "Modality")
    for computed in projections(connection, "Modality, SOPClassUID"):
        assert computed <= {"Modality", "SOPClassUID", "SeriesInstanceUID"} | keys
    named = {"Modality", "SliceThickness", "EchoTime"}
    for computed in projections(connection, ", ".join(named)):
        source = "header" if "header" in read else "SliceThickness"
        assert computed <= named | keys | {"SeriesInstanceUID", source}


TIMESTAMPS: Final = {
    "20240102": dt.datetime(2024, 1, 2),
    "2024010203": dt.datetime(2024, 1, 2, 3),
    "202401020304": dt.datetime(2024, 1, 2, 3, 4),
    "20240102030405-0530": dt.datetime(2024, 1, 2, 8, 34, 5),
    "20240102000405+0100": dt.datetime(2024, 1, 1, 23, 4, 5),
    "202401": None,
    "2024": None,
}


@pytest.mark.parametrize("tag", ["AcquisitionDateTime", "Modality"])
def test_timestamps(scheduler: str, tmp_path: Path, tag: str) -> None:
    """Of a column, and of the header where there is no column."""
    (tmp_path / "in").mkdir()
    for number, written in enumerate(TIMESTAMPS):
        image = identified(number)
        image.AcquisitionDateTime = written
        image.save_as(tmp_path / "in" / f"{number}.dcm", enforce_file_format=True)
    wanted = {"profile": [], "tags": ["SeriesInstanceUID", "SOPInstanceUID", tag], "header": "json"}
    prefix = {"prefix": str(tmp_path / "in")}
    run(conftest.config_of(tmp_path / "out", prefix, scheduler=scheduler, read=wanted))
    with harvest.connect(str(tmp_path / "out")) as connection:
        sql = "SELECT AcquisitionDateTime FROM dicom_all ORDER BY SOPInstanceUID"
        assert connection.execute(sql).fetchall() == [(time,) for time in TIMESTAMPS.values()]


def test_what_the_index_knows(lab: Lab, scheduler: str, tmp_path: Path) -> None:
    cohort = {"sql": f"{conftest.SQL_GENERATED} AND Modality = 'PT'", "index": str(lab.index)}
    for cloud in ("aws", "gcs"):
        out = tmp_path / cloud
        source = conftest.source_of(lab, cloud)
        run(conftest.config_of(out, cohort, source, scheduler=scheduler))
        known = conftest.table(f"SELECT * FROM '{lab.index}' WHERE Modality = 'PT'")
        (series,) = (each for each in known if each["collection_id"] == "lab_generated")
        instances = {each["SOPInstanceUID"]: each for each in conftest.instances(out)}
        with harvest.connect(str(out)) as connection:
            rows = connection.execute("SELECT * FROM dicom_all").to_arrow_table().to_pylist()
        assert len(rows) == len(instances) == 6
        for each in rows:
            harvested = instances[each["SOPInstanceUID"]]
            uuids = f"{series['crdc_series_uuid']}/{harvested['crdc_instance_uuid']}.dcm"
            bucket = series["aws_bucket"]
            assert each["crdc_series_uuid"] == series["crdc_series_uuid"]
            assert each["crdc_instance_uuid"] == harvested["crdc_instance_uuid"]
            assert each["instance_size"] == str(harvested["size"])
            assert each["aws_url"] == f"s3://{bucket}/{uuids}"
            assert each["gcs_url"] == f"gs://{conftest.GCS_NAMES.get(bucket, bucket)}/{uuids}"
            assert harvested["url"] in (each["aws_url"], each["gcs_url"])
            assert each["series_aws_url"] == f"s3://{bucket}/{series['crdc_series_uuid']}/"
            for name in ("collection_id", "analysis_result_id", "source_DOI", "license_short_name"):
                assert each[name] == series[name]
            assert each["Modality"] == "PT"
            assert "instances_ok" not in each
