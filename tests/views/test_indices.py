"""IDC's own indices from harvested tables, against a reference that knows no SQL.

The reference (`tests.reference`) reads the same files with pydicom. Columns of keywords hold
numbers for DS and IS, so that without the header "1" and "1.000000" are one orientation; with
``header: json`` the text is as written, and they are two, as in IDC's own tables.
"""

from __future__ import annotations

import copy
import csv
import json
import os
import resource
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import idc_index_data
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from harvest.config import output_config
from harvest.driver.runner import run
from harvest.errors import ConfigError, HarvestError, OutputError
from harvest.views.indices import WrittenIndex, write_indices
from tests import conftest, reference
from tests.lab import Lab, servers
from tests.lab.dicom import instance, item, items, save, uid
from tests.lab.every_index import (
    IOP_TWICE,
    REGULAR,
    SPACING_TWICE,
    Cohort,
    place,
    read_cohort,
    write_cohort,
    write_ct_cohort,
)
from tests.lab.files import Source
from tests.lab.servers import Upload
from tests.reference import Instance, Row
from tests.reference.bigquery import sorted_distinct
from tests.reference.header import lenient

ALL_PROFILES: Final = ["core", "ct", "mr", "pt", "seg", "sm", "rtstruct", "ann"]
READS: Final[dict[str, dict[str, Any]]] = {
    "columns": {"profile": ALL_PROFILES},
    "header": {"profile": "core", "header": "json"},
    "columns and header": {"profile": ALL_PROFILES, "header": "json"},
}
NAMES: Final = tuple(reference.INDICES)
OF_CT: Final = ("ct_index", "contrast_index", "volume_geometry_index")
TYPES: Final[dict[str, tuple[pa.DataType, ...]]] = {
    "STRING": (pa.string(), pa.large_string()),
    "INTEGER": (pa.int64(),),
    "FLOAT": (pa.float64(),),
    "BOOLEAN": (pa.bool_(),),
}


def harvested(cohort: Cohort, output: Path, read: dict[str, Any], scheduler: str) -> Path:
    config = conftest.config_of(
        output,
        {"manifest": str(cohort.manifest), "index": str(cohort.series)},
        scheduler=scheduler,
        read=read,
        limits={"max_error_rate": 1.0},
    )
    run(config)
    return output


def written(output: Path, dest: Path, names: Sequence[str] = NAMES) -> dict[str, WrittenIndex]:
    found = {each.name: each for each in write_indices(str(output), list(names), str(dest))}
    assert found.keys() == set(names)
    for name, index in found.items():
        assert Path(index.path) == dest / f"{name}.parquet"
        assert index.rows == pq.read_metadata(index.path).num_rows
    return found


def rows_of(index: WrittenIndex | Path) -> list[Row]:
    path = index if isinstance(index, Path) else index.path
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def check_order(name: str, rows: list[Row], instances: list[Instance]) -> None:
    """Check that an index has the order of IDC's SQL, of which one column is not in the index."""
    collections = {each.series: each.collection_id for each in instances if each.collection_id}
    keys = [
        reference.sort_key(name, row | {"collection_id": collections.get(row["SeriesInstanceUID"])})
        for row in rows
    ]
    assert keys == sorted(keys)


# --- the whole cohort ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module", params=READS)
def read(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def output(
    cohort: Cohort, read: str, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return harvested(cohort, tmp_path_factory.mktemp("whole") / "out", READS[read], scheduler)


@pytest.fixture(scope="module")
def indices(output: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, WrittenIndex]:
    return written(output, tmp_path_factory.mktemp("dest"))


@pytest.fixture(scope="module")
def read_again(cohort: Cohort, read: str) -> list[Instance]:
    return read_cohort(cohort, as_written="header" in read)


def test_every_file_is_harvested(output: Path, cohort: Cohort) -> None:
    rows = conftest.instances(output)
    assert len(rows) == len(cohort.objects)
    assert {row["status"] for row in rows} == {"ok"}


@pytest.mark.parametrize("name", NAMES)
def test_against_the_reference(
    indices: dict[str, WrittenIndex], read_again: list[Instance], name: str
) -> None:
    rows = rows_of(indices[name])
    expected = reference.INDICES[name](read_again)
    assert expected
    assert reference.differences(name, rows, expected) == []
    check_order(name, rows, read_again)
    assert indices[name].not_harvested == ()


def test_a_folder_without_an_index(cohort: Cohort, scheduler: str, tmp_path: Path) -> None:
    """Of objects below a prefix no collection is known; the keys name the instances."""
    config = conftest.config_of(
        tmp_path / "out",
        {"prefix": str(cohort.series.parent)},
        scheduler=scheduler,
        read=READS["columns"],
        # the index and the manifest lie there too
        limits={"max_error_rate": 1.0},
    )
    run(config)
    objects = tuple(each._replace(collection_id=None) for each in cohort.objects)
    instances = read_cohort(cohort._replace(objects=objects), as_written=False)
    for name, index in written(tmp_path / "out", tmp_path / "dest").items():
        expected = reference.INDICES[name](instances)
        assert reference.differences(name, rows_of(index), expected) == [], name


def test_text_decides_what_is_regular(indices: dict[str, WrittenIndex], read: str) -> None:
    """As text "1" and "1.000000" are two orientations, as numbers they are one."""
    rows = {row["SeriesInstanceUID"]: row for row in rows_of(indices["volume_geometry_index"])}
    as_text = "header" in read
    assert rows[uid("series", IOP_TWICE)]["regularly_spaced_3d_volume"] is not as_text
    assert rows[uid("series", IOP_TWICE)]["single_orientation"] is not as_text
    assert rows[uid("series", SPACING_TWICE)]["consistent_pixel_spacing"] is not as_text
    assert rows[uid("series", REGULAR)]["regularly_spaced_3d_volume"] is True


# --- the schema, and who reads the files -----------------------------------------------------


def schema_of(name: str) -> list[dict[str, str]]:
    metadata: Any = idc_index_data.INDEX_METADATA[name]
    columns: list[dict[str, str]] = metadata["schema"]["columns"]
    return columns


@pytest.mark.parametrize("name", NAMES)
def test_schema(indices: dict[str, WrittenIndex], name: str) -> None:
    schema = pq.read_schema(indices[name].path)
    columns = schema_of(name)
    assert schema.names == [column["name"] for column in columns]
    for column in columns:
        field = schema.field(column["name"])
        if column["mode"] == "REPEATED":
            assert pa.types.is_list(field.type) or pa.types.is_large_list(field.type), field
        value = field.type.value_type if column["mode"] == "REPEATED" else field.type
        assert value in TYPES[column["type"]], field
        assert field.metadata[b"description"].decode() == column["description"]


@pytest.mark.parametrize("name", NAMES)
def test_no_list_is_null(indices: dict[str, WrittenIndex], name: str) -> None:
    """BigQuery stores no NULL array, so that users of the published files never meet one."""
    table = pq.read_table(indices[name].path)
    for column in schema_of(name):
        if column["mode"] == "REPEATED":
            assert table[column["name"]].null_count == 0, column["name"]


def test_idc_index_takes_the_files(
    indices: dict[str, WrittenIndex],
    cohort: Cohort,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the folder of its downloads they stand in for them."""
    from idc_index.index import IDCClient

    create: Any = IDCClient

    # the client loads the whole main index: the cohort's is quicker, and joins
    monkeypatch.setattr(idc_index_data, "IDC_INDEX_PARQUET_FILEPATH", cohort.series)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    client = create()
    folder = Path(client.indices_data_dir)
    assert folder.is_relative_to(tmp_path)
    folder.mkdir(parents=True)
    for name, index in indices.items():
        (folder / f"{name}.parquet").write_bytes(Path(index.path).read_bytes())
    client = create()
    for name, index in indices.items():
        client.fetch_index(name)
        frame = getattr(client, name)
        assert isinstance(frame, pd.DataFrame)
        assert len(frame) == index.rows
    found = client.sql_query(
        """
        SELECT collection_id, count(*) AS series, min(XRayTubeCurrent_min) AS least
        FROM ct_index JOIN index USING (SeriesInstanceUID) GROUP BY ALL
        """
    )
    assert found.values.tolist() == [["lab_images", 19, 7.0]]
    client._duckdb_conn.close()


def test_duckdb_joins_them_to_idcs_index(indices: dict[str, WrittenIndex], cohort: Cohort) -> None:
    known = {str(series) for series in pd.read_parquet(cohort.series)["SeriesInstanceUID"]}
    for name, index in indices.items():
        joined = conftest.table(
            f"""
            SELECT x.SeriesInstanceUID, crdc_series_uuid
            FROM '{index.path}' x LEFT JOIN '{cohort.series}' i USING (SeriesInstanceUID)
            """
        )
        assert len(joined) == index.rows, name
        for row in joined:
            assert (row["crdc_series_uuid"] is None) == (row["SeriesInstanceUID"] not in known)


# --- one profile -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ct_cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return write_ct_cohort(tmp_path_factory.mktemp("ct"))


@pytest.fixture(scope="module")
def ct_output(ct_cohort: Cohort, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("ct") / "out"
    return harvested(ct_cohort, output, {"profile": "ct"}, scheduler)


LACKING: Final = {
    "mr_index": "MagneticFieldStrength",
    "pt_index": "RadiopharmaceuticalInformationSequence",
    "seg_index": "SegmentSequence",
    "sm_index": "OpticalPathSequence",
    "sm_instance_index": "SpecimenDescriptionSequence",
    "rtstruct_index": "StructureSetROISequence",
    "ann_index": "AnnotationCoordinateType",
    "ann_group_index": "AnnotationGroupSequence",
}
"""Of each index that the profile ct is not for, an attribute that it reads and lacks."""


def test_a_profile_that_lacks_attributes(
    ct_cohort: Cohort, ct_output: Path, tmp_path: Path
) -> None:
    found = written(ct_output, tmp_path)
    instances = read_cohort(ct_cohort, as_written=False)
    for name in OF_CT:
        expected = reference.INDICES[name](instances)
        assert expected
        assert reference.differences(name, rows_of(found[name]), expected) == []
        assert found[name].not_harvested == ()
    assert LACKING.keys() == set(NAMES) - set(OF_CT)
    for name, attribute in LACKING.items():
        assert found[name].rows == 0
        assert any(attribute in path for path in found[name].not_harvested), name
        columns = [column["name"] for column in schema_of(name)]
        assert pq.read_schema(found[name].path).names == columns


def test_what_no_file_has(scheduler: str, tmp_path: Path) -> None:
    """An attribute that was asked for and is in no file is no gap of the profile."""
    output = harvested_alone(small_ct("CT small"), tmp_path, {"profile": "ct"}, scheduler)
    (index,) = write_indices(str(output), ["ct_index"], str(tmp_path / "dest"))
    assert index.rows == 1
    assert index.not_harvested == ()
    assert {"KVP", "ImageType", "PixelSpacing"} <= set(index.not_found)
    assert {"Rows", "SOPClassUID", "SeriesInstanceUID"}.isdisjoint(index.not_found)


def test_without_a_column_for_the_series(scheduler: str, tmp_path: Path) -> None:
    """Nothing is a row of dicom_all, and nothing is said to be in no file that is in one."""
    image = small_ct("CT small")
    image.KVP = "120"
    output = harvested_alone(image, tmp_path, {"profile": [], "tags": ["KVP"]}, scheduler)
    (index,) = write_indices(str(output), ["ct_index"], str(tmp_path / "dest"))
    assert index.rows == 0
    assert "SeriesInstanceUID" in index.not_harvested
    assert "KVP" not in {*index.not_harvested, *index.not_found}


def harvested_alone(image: Dataset, folder: Path, read: dict[str, Any], scheduler: str) -> Path:
    path = folder / "made" / "alone.dcm"
    save(image, path)
    return harvested(
        place([Source("one", [path])], folder / "cohort"), folder / "out", read, scheduler
    )


def test_command(ct_output: Path, tmp_path: Path) -> None:
    ended = conftest.harvest("index", ct_output, "--all", "--dest", tmp_path)
    assert ended.returncode == 0, ended.stderr
    for name, attribute in LACKING.items():
        assert name in ended.stdout
        assert attribute in ended.stdout + ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{name}.parquet" for name in NAMES
    )
    some = conftest.harvest("index", ct_output, "ct_index", "--dest", tmp_path / "a", "--json")
    assert some.returncode == 0, some.stderr
    assert "ct_index" in json.dumps(json.loads(some.stdout))
    assert rows_of(tmp_path / "a" / "ct_index.parquet") == rows_of(tmp_path / "ct_index.parquet")


def test_an_output_in_a_bucket(
    lab: Lab, ct_output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    prefix = f"indices/{uuid.uuid4()}"
    uploads = [
        Upload(f"{prefix}/{path.relative_to(ct_output)}", path)
        for path in ct_output.rglob("*")
        if path.is_file()
    ]
    servers.put_s3(lab.s3, servers.OUTPUT_BUCKET, uploads)
    remote = output_config(f"s3://{servers.OUTPUT_BUCKET}/{prefix}", lab.s3.endpoint)
    found = write_indices(remote, OF_CT, tmp_path / "remote")
    for name, index in zip(OF_CT, found, strict=True):
        local = written(ct_output, tmp_path / "local", [name])[name]
        assert index.rows == local.rows > 0
        assert pq.read_table(index.path).equals(pq.read_table(local.path), check_metadata=True)


def test_wrong_use(ct_output: Path, tmp_path: Path) -> None:
    with pytest.raises(HarvestError, match="ct_index"):
        write_indices(str(ct_output), ["ct_indx"], str(tmp_path))
    # it reads more than headers
    with pytest.raises(HarvestError, match="clinical_index"):
        write_indices(str(ct_output), ["clinical_index"], str(tmp_path))
    with pytest.raises((OutputError, ConfigError)):
        write_indices(str(tmp_path / "nothing"), ["ct_index"], str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    ended = conftest.harvest("index", ct_output, "ct_indx", "--dest", tmp_path)
    assert ended.returncode == 1
    assert "ct_index" in ended.stderr


# --- another release of the indices ----------------------------------------------------------


NEW_RELEASE: Final = """
import json, sys
import idc_index_data
idc_index_data.INDEX_METADATA.update(json.load(open(sys.argv.pop(1))))
from harvest.cli import main
main()
"""
"""What is installed is not what was, and another process finds it."""


def new_release() -> dict[str, Any]:
    """Return an index with more columns, of attributes that no index names today, and a new one."""
    metadata: Any = idc_index_data.INDEX_METADATA["ct_index"]
    sql, schema = metadata["sql"], copy.deepcopy(metadata["schema"])
    for before, after in (
        ("idc_v25", "idc_v26"),
        (
            "ANY_VALUE(FilterType) AS FilterType,",
            """ANY_VALUE(FilterType) AS FilterType,
            MAX(SAFE_CAST(InstanceNumber AS INT64)) AS last_instance,
            ARRAY_AGG(DISTINCT SAFE_CAST(WindowCenter[SAFE_OFFSET(0)] AS FLOAT64) IGNORE NULLS)
              AS centers,
            ANY_VALUE(VolumetricProperties) AS volumetric,""",
        ),
        ("\n  FilterType,", "\n  FilterType, last_instance, centers, volumetric,"),
    ):
        assert before in sql
        sql = sql.replace(before, after)
    place_after = [column["name"] for column in schema["columns"]].index("FilterType") + 1
    schema["columns"][place_after:place_after] = [
        {"name": name, "type": kind, "mode": mode, "description": f"new: {name}"}
        for name, kind, mode in (
            ("last_instance", "INTEGER", "NULLABLE"),
            ("centers", "FLOAT", "REPEATED"),
            ("volumetric", "STRING", "NULLABLE"),
        )
    ]
    columns = [
        {"name": name, "type": kind, "mode": "NULLABLE", "description": f"new: {name}"}
        for name, kind in (("SeriesInstanceUID", "STRING"), ("images", "INTEGER"))
    ]
    tiny = (
        "SELECT SeriesInstanceUID, COUNT(*) AS images "
        "FROM `bigquery-public-data.idc_v26.dicom_all` GROUP BY SeriesInstanceUID"
    )
    return {
        name: {"parquet_filepath": None, "schema_path": None, "sql_path": None, **content}
        for name, content in (
            ("ct_index", {"sql": sql, "schema": schema}),
            ("tiny_index", {"sql": tiny, "schema": {"table_description": "", "columns": columns}}),
        )
    }


def test_a_new_release(ct_cohort: Cohort, ct_output: Path, tmp_path: Path) -> None:
    """Another release, another column, another index: nothing of ours is to change."""
    release = new_release()
    (tmp_path / "release.json").write_text(json.dumps(release))
    command = [sys.executable, "-c", NEW_RELEASE, str(tmp_path / "release.json"), "index"]
    command += [str(ct_output), "ct_index", "tiny_index", "--dest", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert "VolumetricProperties" in ended.stdout + ended.stderr
    for name, content in release.items():
        schema = pq.read_schema(tmp_path / f"{name}.parquet")
        assert schema.names == [column["name"] for column in content["schema"]["columns"]]
    rows = rows_of(tmp_path / "ct_index.parquet")
    check_new_columns(ct_cohort, rows, rows_of(tmp_path / "tiny_index.parquet"))


def check_new_columns(cohort: Cohort, rows: list[Row], tiny: list[Row]) -> None:
    instances = read_cohort(cohort, as_written=False)
    groups = reference.by_series(instances)
    assert {row["SeriesInstanceUID"]: row["images"] for row in tiny} == {
        series: len(group) for series, group in groups.items()
    }
    expected: list[Row] = [
        row
        | {
            "last_instance": max(
                each.header.integer("InstanceNumber") or 0
                for each in groups[row["SeriesInstanceUID"]]
            ),
            "centers": sorted_distinct(
                each.header.float_at("WindowCenter") for each in groups[row["SeriesInstanceUID"]]
            ),
            "volumetric": None,
        }
        for row in reference.INDICES["ct_index"](instances)
    ]
    assert reference.differences("ct_index", rows, expected) == []


# --- what must not happen --------------------------------------------------------------------

SMALL: Final = 1000
"""Bytes; no index fits."""


def _no_large_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))


def test_an_interrupted_write_leaves_the_old_file(ct_output: Path, tmp_path: Path) -> None:
    """The disk is full halfway, here by a limit that the kernel keeps."""
    (index,) = write_indices(str(ct_output), ["ct_index"], str(tmp_path))
    before = conftest.tree(tmp_path)
    assert len(before["ct_index.parquet"]) > SMALL
    command = [*conftest.HARVEST, "index", str(ct_output), "ct_index", "--dest", str(tmp_path)]
    ended = subprocess.run(
        command,
        preexec_fn=_no_large_files,
        env=conftest.environment(PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode != 0
    assert "ct_index" in ended.stderr
    assert conftest.tree(tmp_path) == before
    assert index.rows == 19
    (again,) = write_indices(str(ct_output), ["ct_index"], str(tmp_path))
    assert conftest.tree(tmp_path).keys() == before.keys()
    assert again.rows == 19


def test_files_are_replaced_whole(ct_output: Path, tmp_path: Path) -> None:
    for name in ("ct_index", "mr_index"):
        (tmp_path / f"{name}.parquet").write_bytes(b"old")
    (tmp_path / "mine.txt").write_text("mine")
    written(ct_output, tmp_path, ["ct_index"])
    assert pq.read_metadata(tmp_path / "ct_index.parquet").num_rows == 19
    assert (tmp_path / "mr_index.parquet").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {
        "ct_index.parquet",
        "mr_index.parquet",
        "mine.txt",
    }


def test_what_is_no_row(scheduler: str, tmp_path: Path) -> None:
    """Objects with an error are none, nor are those without a series."""
    made = tmp_path / "made"
    image = small_ct("CT sound")
    save(image, made / "sound.dcm")
    broken = tmp_path / "loose" / "broken.dcm"
    broken.parent.mkdir()
    broken.write_bytes(b"<html>503</html>" * 40)
    cohort = place([Source("one", [made / "sound.dcm"])], tmp_path / "cohort", [broken])
    output = harvested(cohort, tmp_path / "out", {"profile": "ct"}, scheduler)
    assert sorted(row["status"] for row in conftest.instances(output)) == ["error", "ok"]
    (index,) = write_indices(str(output), ["ct_index"], str(tmp_path / "dest"))
    (row,) = rows_of(index)
    assert row["SeriesInstanceUID"] == image.SeriesInstanceUID


def small_ct(series: str) -> Dataset:
    image = instance(CTImageStorage, "CT", series, 1)
    image.update(
        item(
            SamplesPerPixel=1,
            PhotometricInterpretation="MONOCHROME2",
            Rows=2,
            Columns=2,
            BitsAllocated=8,
            BitsStored=8,
            HighBit=7,
            PixelRepresentation=0,
            RequestAttributesSequence=items(),
        )
    )
    image.add_new("PixelData", "OB", bytes(4))
    return image


# --- real files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    if "HARVEST_CORPUS" not in os.environ:
        pytest.skip("HARVEST_CORPUS names no folder of real files with a manifest.csv")
    folder = Path(os.environ["HARVEST_CORPUS"])
    with (folder / "manifest.csv").open(newline="") as file:
        paths = sorted(folder / row["path"] for row in csv.DictReader(file))
    return place([Source("corpus", paths)], tmp_path_factory.mktemp("corpus"), link=True)


@pytest.mark.parametrize("kind", READS)
def test_real_files(corpus: Cohort, kind: str, scheduler: str, tmp_path: Path) -> None:
    output = harvested(corpus, tmp_path / "out", READS[kind], scheduler)
    sound = {row["url"] for row in conftest.instances(output) if row["status"] == "ok"}
    # which files are sound is for tests/test_corpus.py to say
    kept = [each for each in corpus.objects if each.path.as_uri() in sound]
    assert len(kept) > 300
    instances = read_cohort(corpus._replace(objects=tuple(kept)), as_written="header" in kind)
    found = written(output, tmp_path / "dest")
    for name, index in reference.INDICES.items():
        with lenient():
            expected = index(instances)
        assert reference.differences(name, rows_of(found[name]), expected) == [], name
        check_order(name, rows_of(found[name]), instances)
    assert {name for name, index in found.items() if index.rows} >= {
        *("ct_index", "mr_index", "pt_index", "contrast_index", "volume_geometry_index"),
        *("seg_index", "sm_index", "sm_instance_index", "rtstruct_index"),
    }
