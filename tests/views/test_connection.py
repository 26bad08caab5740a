"""Finished tables in DuckDB."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harvest
import harvest.output.bucket
from harvest.config import OutputConfig, output_config
from harvest.driver.runner import run
from harvest.errors import ConfigError, HarvestError, OutputError, StoreUnavailable
from harvest.store.patience import Policy
from harvest.views.queries import query_rows, query_text
from tests import conftest
from tests.faults.proxy import Gate, status
from tests.lab import Lab, servers
from tests.lab.servers import OUTPUT_BUCKET, Upload

BUCKETS: Final = ("s3", "gcs")


@pytest.fixture(scope="module")
def folder(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("it's a view")
    for number in range(3):
        conftest.write_dicom(folder / "in" / f"{number}.dcm", "1.2.3", instance=str(number + 1))
    (folder / "in" / "x.txt").write_text("x")
    out = folder / "out"
    run(conftest.config_of(out, {"prefix": str(folder / "in")}, scheduler=scheduler))
    return out


@dataclass
class Placed:
    """A finished output in a bucket, behind a gate."""

    config: OutputConfig
    gate: Gate
    put: Callable[[Path], None]
    """Uploads what is in a folder, over what is there."""


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)


@contextmanager
def placed(lab: Lab, name: str) -> Iterator[Placed]:
    prefix = f"it's a view/{uuid.uuid4()}"
    server, scheme = (lab.s3, "s3") if name == "s3" else (lab.gcs, "gs")

    def put(folder: Path) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        uploads = [Upload(f"{prefix}/{path.relative_to(folder)}", path) for path in files]
        upload = servers.put_s3 if name == "s3" else servers.put_gcs
        upload(server, OUTPUT_BUCKET, uploads)

    with conftest.gate(server.endpoint) as gate:
        config = output_config(f"{scheme}://{OUTPUT_BUCKET}/{prefix}", gate.url)
        yield Placed(config, gate, put)


@pytest.fixture(params=BUCKETS)
def bucket(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Placed]:
    with placed(lab, request.param) as found:
        yield found


@pytest.fixture(params=["folder", *BUCKETS])
def output(request: pytest.FixtureRequest, folder: Path) -> Iterator[OutputConfig]:
    if request.param == "folder":
        yield output_config(str(folder))
        return
    with placed(request.getfixturevalue("lab"), request.param) as found:
        found.put(folder)
        yield found.config


def test_connect(output: OutputConfig) -> None:
    with harvest.connect(output) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(4,)]
        assert connection.execute("SELECT sum(instances_planned) FROM series").fetchall() == [(4,)]
        views = ["dicom_all", "dicom_attributes", "dicom_metadata", "instances", "series"]
        assert connection.execute("SHOW TABLES").fetchall() == [(name,) for name in views]
        assert connection.execute("SELECT count(*) FROM dicom_all").fetchall() == [(3,)]


def test_a_folder_is_one_whatever_its_name(folder: Path, tmp_path: Path) -> None:
    for name in ("out[1]", "out1"):
        shutil.copytree(folder, tmp_path / name)
    file = next((tmp_path / "out1" / "instances").iterdir())
    pq.write_table(pq.read_table(file).slice(0, 1), file)
    with harvest.connect(str(tmp_path / "out[1]")) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(4,)]
        assert connection.execute("SELECT count(*) FROM dicom_all").fetchall() == [(3,)]


def test_a_bucket_answers_as_a_folder(folder: Path, bucket: Placed) -> None:
    bucket.put(folder)
    for table in ("instances", "series"):
        sql = f"SELECT * FROM {table}"
        local, remote = harvest.connect(str(folder)), harvest.connect(bucket.config)
        with local, remote:
            expected = local.execute(sql).to_arrow_table()
            assert expected.num_rows
            assert remote.execute(sql).to_arrow_table().equals(expected)


def test_connect_by_url(folder: Path, bucket: Placed) -> None:
    bucket.put(folder)
    with harvest.connect(bucket.config.url, endpoint=bucket.gate.url) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(4,)]
    with pytest.raises(ConfigError, match="plain http outside loopback"):
        harvest.connect(bucket.config.url, "http://192.0.2.1")
    with pytest.raises(ConfigError, match="region is for a bucket"):
        harvest.connect(str(folder), region="eu-west-1")


def test_the_manifest_says_which_files_belong(folder: Path, tmp_path: Path, bucket: Placed) -> None:
    copy = tmp_path / "out"
    shutil.copytree(folder, copy)
    shutil.copy(copy / "instances" / "00000.parquet", copy / "instances" / "x.parquet")
    bucket.put(copy)
    for output in (str(copy), bucket.config):
        assert query_rows(output, "SELECT count(*) AS n FROM instances") == [{"n": 4}]


def test_rows_and_text(output: OutputConfig) -> None:
    sql = "SELECT Modality, count(*) AS n FROM instances WHERE status = 'ok' GROUP BY ALL"
    assert query_rows(output, sql) == [{"Modality": "CT", "n": 3}]
    text = query_text(output, sql, 80)
    assert "Modality" in text
    assert "CT" in text
    assert query_text(output, "CREATE TABLE t AS SELECT 1", 80) == ""


@pytest.mark.parametrize("function", [query_rows, lambda o, s: query_text(o, s, 80)])
@pytest.mark.parametrize("sql", ["SELECT nothing FROM instances", "SELEC", "SELECT * FROM frames"])
def test_sql_that_fails(folder: Path, sql: str, function: object) -> None:
    assert callable(function)
    with pytest.raises(HarvestError, match="the query fails"):
        function(str(folder), sql)


def test_before_there_is_a_manifest(folder: Path, tmp_path: Path, bucket: Placed) -> None:
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "manifest.json").unlink()
    bucket.put(tmp_path / "out")
    for output in (str(tmp_path / "out"), str(tmp_path / "none"), bucket.config):
        with pytest.raises(OutputError, match=r"no finished harvest.*harvest status"):
            harvest.connect(output)


def test_a_file_that_is_gone(folder: Path, tmp_path: Path, bucket: Placed) -> None:
    shutil.copytree(folder, tmp_path / "out")
    (tmp_path / "out" / "series" / "00000.parquet").unlink()
    bucket.put(tmp_path / "out")
    for output in (str(tmp_path / "out"), bucket.config):
        with pytest.raises(OutputError, match="lacks files of its table series"):
            harvest.connect(output)


# --- buckets ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an output of some MB whose columns do not compress."""
    out = tmp_path_factory.mktemp("large")
    rows = 20_000
    names = []
    for number in range(2):
        path = out / "instances" / f"{number:05d}.parquet"
        path.parent.mkdir(exist_ok=True)
        wide = {f"wide_{n}": [os.urandom(100) for _ in range(rows)] for n in range(3)}
        table = pa.table({"n": range(rows), "status": ["ok"] * rows, **wide})
        pq.write_table(table, path, row_group_size=rows // 2)
        names.append({"name": f"instances/{path.name}"})
    (out / "manifest.json").write_text(
        json.dumps({"format_version": 1, "tables": {"instances": names}})
    )
    return out


@pytest.mark.parametrize(
    ("sql", "share"),
    [
        ("SELECT count(*) FROM instances", 0.02),
        ("SELECT status, sum(n) FROM instances GROUP BY ALL", 0.05),
        ("SELECT max(octet_length(wide_0)) FROM instances", 0.4),
        # row groups are left out by their statistics
        ("SELECT n, wide_0, wide_1 FROM instances WHERE n > 19990", 0.4),
    ],
)
def test_a_query_reads_what_it_needs(large: Path, bucket: Placed, sql: str, share: float) -> None:
    bucket.put(large)
    size = sum(path.stat().st_size for path in large.rglob("*.parquet"))
    with harvest.connect(bucket.config) as connection, harvest.connect(str(large)) as local:
        assert connection.execute(sql).fetchall() == local.execute(sql).fetchall()
    sent = sum(seen.body_bytes for seen in bucket.gate.seen)
    print(f"{sql}: {len(bucket.gate.seen)} requests, {sent:,} of {size:,} bytes")
    assert sent < share * size
    assert len(bucket.gate.seen) < 40


def test_a_query_whose_bucket_fails(
    large: Path, bucket: Placed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harvest.output.bucket, "WHOLE_FILE", Policy(0, 120))
    bucket.put(large)
    bucket.gate.only = "00001.parquet"
    bucket.gate.always = status(503)
    with pytest.raises(StoreUnavailable, match=r"does not answer.*run the same command again"):
        query_rows(bucket.config, "SELECT sum(n) FROM instances")
    bucket.gate.always = status(403)
    with pytest.raises(OutputError, match="refuses the environment's credentials"):
        query_rows(bucket.config, "SELECT sum(n) FROM instances")


def test_a_fault_of_a_query_passes(large: Path, bucket: Placed) -> None:
    bucket.put(large)
    bucket.gate.only = "00001.parquet"
    bucket.gate.faults.append(status(503))
    assert query_rows(bucket.config, "SELECT count(*) AS n FROM instances") == [{"n": 40_000}]


def test_a_table_that_is_replaced_under_a_query(large: Path, bucket: Placed) -> None:
    bucket.put(large)
    with harvest.connect(bucket.config) as connection:
        path = large / "instances" / "00001.parquet"
        before = path.read_bytes()
        pq.write_table(pq.read_table(path).slice(0, 10), path)
        bucket.put(large)
        path.write_bytes(before)
        with pytest.raises(duckdb.Error, match="was replaced while it was read"):
            connection.execute("SELECT max(wide_0) FROM instances")
