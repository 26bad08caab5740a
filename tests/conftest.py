"""What the tests share: one lab, one scheduler, and gates before the lab's servers."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from harvest import store
from harvest.config import Config
from harvest.driver.record import RECORD
from tests.faults.proxy import Gate as Gate
from tests.faults.proxy import gate as gate
from tests.faults.proxy import moved_range as moved_range
from tests.faults.proxy import reset as reset
from tests.faults.proxy import short_body as short_body
from tests.faults.proxy import shorter_range as shorter_range
from tests.faults.proxy import status as status
from tests.faults.proxy import whole_object as whole_object
from tests.lab import Lab, servers
from tests.lab import lab as running_lab
from tests.lab.files import Series, corpus_from_environment
from tests.lab.servers import Upload

HARVEST: Final = (sys.executable, "-m", "harvest")
SQL_GENERATED: Final = "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'lab_generated'"


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with running_lab(tmp_path_factory.mktemp("lab"), corpus=corpus_from_environment()) as started:
        yield started


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a Dask scheduler with two worker processes."""
    servers.bypass_proxies()
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield str(cluster.scheduler_address)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy, endpoint or credential of the machine, nor of another test, decide a test."""
    servers.bypass_proxies()
    store._open_bucket.cache_clear()  # its clients keep what the environment said
    for name in os.environ:
        known = name.startswith(("AWS_", "GOOGLE_", "STORAGE_EMULATOR"))
        if known or name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.delenv(name)


# --- configs and outputs ---------------------------------------------------------------------


def source_of(lab: Lab, cloud: str = "aws", **more: Any) -> dict[str, Any]:
    """Return the config's source section for one of the lab's clouds."""
    endpoint = lab.s3.endpoint if cloud == "aws" else lab.gcs.endpoint
    return {"cloud": cloud, "endpoint": endpoint, **more}


def config_of(
    output: Path | str,
    cohort: dict[str, Any],
    source: dict[str, Any] | None = None,
    *,
    scheduler: str | None = None,
    **sections: Any,
) -> Config:
    """Build a config; one worker process where no scheduler is given."""
    cluster = {"address": scheduler} if scheduler else {"workers": 1}
    content = {"cohort": cohort, "output": str(output), "cluster": cluster, **sections}
    return Config.model_validate({**content, "source": source or {}})


def instances(output: Path) -> list[dict[str, Any]]:
    """Read the table ``instances`` as anyone would, in the order of its rows."""
    return table(f"SELECT * FROM '{output}/instances/*.parquet'")


def table(sql: str) -> list[dict[str, Any]]:
    """Run SQL in a DuckDB of its own."""
    with duckdb.connect() as connection:
        found = connection.execute(sql).to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, but for what runs tell of their times."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.match(RECORD)
    }


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment with changes, for a child."""
    return {**os.environ, **more}


def harvest(
    *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [*HARVEST, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=90
    )


def messages(ended: subprocess.CompletedProcess[str]) -> str:
    """Return what a command said on stderr, but for the lines of JSON that tell its progress."""
    return without_progress(ended.stderr)


def without_progress(text: str) -> str:
    """Leave out the lines of JSON that tell a command's progress."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith('{"time"'))


# --- data ------------------------------------------------------------------------------------


def series_of(lab: Lab, description: str) -> Series:
    """Find one of the lab's generated series."""
    (found,) = (
        each
        for each in lab.series
        if each.collection_id == "lab_generated"
        and each.attributes["SeriesDescription"] == description
    )
    return found


def write_dicom(path: Path, series: str, *, header: int = 0, instance: str = "1") -> Path:
    """Write a small CT image whose header has at least `header` bytes."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = f"{series}.{instance}"
    image.SeriesInstanceUID = series
    image.StudyInstanceUID = "1.2.3"
    image.Modality = "CT"
    image.PatientID = "SECRET-PATIENT"
    image.TextValue = "x" * header
    image.Rows = image.Columns = 4
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit = 7
    image.SamplesPerPixel = 1
    image.PixelRepresentation = 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = bytes(16)
    image["PixelData"].VR = "OB"
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path


@dataclass(frozen=True)
class OwnSeries:
    """A series of a test's own on both of the lab's clouds."""

    uid: str
    uuid: str
    bucket: str
    keys: tuple[str, ...]
    paths: tuple[Path, ...]


def own_series(
    lab: Lab, folder: Path, count: int, *, bucket: str = "idc-open-data", header: int = 0
) -> OwnSeries:
    """Put a series of new objects into a public bucket of both clouds."""
    uid = f"2.25.{uuid.uuid4().int}"
    name = str(uuid.uuid4())
    paths = [
        write_dicom(
            folder / name / f"{uuid.uuid5(uuid.NAMESPACE_OID, f'{name}/{number}')}.dcm",
            uid,
            header=header + number,
            instance=str(number + 1),
        )
        for number in range(count)
    ]
    paths.sort()
    keys = tuple(f"{name}/{path.name}" for path in paths)
    put(lab, bucket, dict(zip(keys, paths, strict=True)))
    return OwnSeries(uid, name, bucket, keys, tuple(paths))


def put(lab: Lab, bucket: str, files: dict[str, Path]) -> None:
    """Put files into a bucket of both clouds, named as on AWS."""
    uploads = [Upload(key, path) for key, path in files.items()]
    servers.put_s3(lab.s3, bucket, uploads)
    servers.put_gcs(lab.gcs, GCS_NAMES.get(bucket, bucket), uploads)


GCS_NAMES: Final = {"idc-open-data-two": "idc-open-idc1", "idc-open-data-cr": "idc-open-cr"}


def index_of(lab: Lab, path: Path, rows: Iterable[tuple[OwnSeries, int]]) -> Path:
    """Write an index of one's own with the columns of IDC's.

    Parameters
    ----------
    lab
        Whose index's columns are taken.
    path
        File to write.
    rows
        Series, and the instanceCount to say of them.
    """
    schema = pq.read_schema(lab.index)
    content = [
        {
            # one collection each: of one series a reader learns nothing for another
            "collection_id": f"own_{series.uuid}",
            "Modality": "CT",
            "SeriesInstanceUID": series.uid,
            "crdc_series_uuid": series.uuid,
            "aws_bucket": series.bucket,
            "series_aws_url": f"s3://{series.bucket}/{series.uuid}/*",
            "instanceCount": count,
            "series_size_MB": 0.1,
        }
        for series, count in rows
    ]
    pq.write_table(pa.Table.from_pylist(content, schema=schema), path)
    return path


# --- a gate before a real server -------------------------------------------------------------


@pytest.fixture
def s3_gate(lab: Lab) -> Iterator[Gate]:
    with gate(lab.s3.endpoint) as opened:
        yield opened


@pytest.fixture
def gcs_gate(lab: Lab) -> Iterator[Gate]:
    with gate(lab.gcs.endpoint) as opened:
        yield opened
