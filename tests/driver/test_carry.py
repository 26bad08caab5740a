"""Rows that are carried over: as if they had been read, and without a request."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from harvest.config import Config, output_config
from harvest.driver.runner import run
from harvest.errors import HarvestError
from harvest.output import open_output
from harvest.plan.stored import check_output
from tests.conftest import (
    Gate,
    config_of,
    index_of,
    instances,
    own_series,
    put,
    source_of,
    status,
    table,
    write_dicom,
)
from tests.lab import Lab

OF_READING = ("requests", "bytes_read", "error_detail", "etag")
SQL = "SELECT SeriesInstanceUID FROM index"


def folder_config(data: Path, output: Path, scheduler: str, **sections: Any) -> Config:
    return config_of(output, {"prefix": f"{data}/"}, scheduler=scheduler, **sections)


def some_files(folder: Path, count: int = 6) -> list[Path]:
    return [
        write_dicom(folder / f"{number}.dcm", "1.2.5", header=number, instance=str(number + 1))
        for number in range(count)
    ]


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in names} for row in rows]


@pytest.mark.parametrize(
    "read",
    [
        {"profile": "core"},
        {"profile": "all"},
        {"profile": "core", "tags": ["ReferencedSeriesSequence"]},
        {"profile": "core", "header": "json"},
        {"profile": "core", "frames": "table"},
    ],
    ids=["core", "all", "open", "header", "frames"],
)
def test_carried_rows_are_what_reading_gives(
    lab: Lab, tmp_path: Path, scheduler: str, read: dict[str, Any]
) -> None:
    """On the other cloud: URLs are others, and the objects are the same."""
    cohort = {"sql": SQL, "index": str(lab.index)}

    def config(name: str, cloud: str) -> Config:
        source = source_of(lab, cloud)
        return config_of(tmp_path / name, cohort, source, scheduler=scheduler, read=read)

    run(config("aws", "aws"))
    retried = sum(row["retryable"] for row in instances(tmp_path / "aws"))
    ended = run(config("carried", "gcs"), carry_from=output_config(str(tmp_path / "aws")))
    run(config("fresh", "gcs"))
    assert retried == 0
    assert (ended.requests, ended.bytes_read) == (0, 0)
    carried, fresh = (instances(tmp_path / name) for name in ("carried", "fresh"))
    assert len(carried) == len(fresh) > 100
    assert {row["url"].partition(":")[0] for row in carried} == {"gs"}
    assert without(carried, *OF_READING) == without(fresh, *OF_READING)
    if read.get("frames"):
        tables = [
            table(f"SELECT * FROM '{tmp_path}/{n}/frames/*.parquet'") for n in ("carried", "fresh")
        ]
        assert tables[0] == tables[1]
        assert len(tables[0]) > 50


def test_only_what_is_new_or_has_changed_is_read(tmp_path: Path, scheduler: str) -> None:
    files = some_files(tmp_path / "data", 8)
    run(folder_config(tmp_path / "data", tmp_path / "old", scheduler))
    files[2].unlink()
    changed = dcmread(files[4])
    changed.PatientID = "OTHER"
    changed.save_as(files[4])
    write_dicom(tmp_path / "data" / "3b.dcm", "1.2.5", instance="30")
    ended = run(
        folder_config(tmp_path / "data", tmp_path / "new", scheduler),
        carry_from=output_config(str(tmp_path / "old")),
    )
    rows = {Path(row["url"]).name: row for row in instances(tmp_path / "new")}
    assert ended.rows == 8
    assert {name for name, row in rows.items() if row["requests"]} == {"3b.dcm", "4.dcm"}
    assert (rows["4.dcm"]["PatientID"], rows["5.dcm"]["PatientID"]) == ("OTHER", "SECRET-PATIENT")
    run(folder_config(tmp_path / "data", tmp_path / "fresh", scheduler))
    assert without(instances(tmp_path / "new"), *OF_READING) == without(
        instances(tmp_path / "fresh"), *OF_READING
    )


def test_what_the_bytes_decide_is_carried_and_what_may_pass_is_tried_again(
    lab: Lab, tmp_path: Path, scheduler: str, s3_gate: Gate
) -> None:
    series = own_series(lab, tmp_path / "data", 4)
    series.paths[1].write_bytes(b"no DICOM" * 100)
    put(lab, series.bucket, {series.keys[1]: series.paths[1]})
    index = index_of(lab, tmp_path / "index.parquet", [(series, 4)])
    cohort = {"sql": SQL, "index": str(index)}

    def config(name: str) -> Config:
        source = {"endpoint": s3_gate.url}
        limits = {"retries": 0}
        return config_of(tmp_path / name, cohort, source, scheduler=scheduler, limits=limits)

    s3_gate.only, s3_gate.always = series.keys[2], status(503)
    run(config("old"))
    errors = [row["error"] for row in instances(tmp_path / "old")]
    assert errors == [None, "not_dicom", "unavailable", None]
    s3_gate.always = None
    before = len(s3_gate.of(".dcm"))
    ended = run(config("new"), carry_from=output_config(str(tmp_path / "old")))
    assert ended.errors == {"not_dicom": 1}
    asked = [seen.path for seen in s3_gate.seen if ".dcm" in seen.path][before:]
    assert len(asked) == 1
    assert series.keys[2] in asked[0]


def test_what_was_too_large_is_read_again(tmp_path: Path, scheduler: str) -> None:
    """The limit may be another one by now."""
    files = some_files(tmp_path / "data", 3)
    large = dcmread(files[1])
    large.ImageComments = "x" * 10_000
    large.save_as(files[1])
    limited = folder_config(
        tmp_path / "data", tmp_path / "old", scheduler, limits={"header_bytes": 4096}
    )
    assert run(limited).errors == {"too_large": 1}
    ended = run(
        folder_config(tmp_path / "data", tmp_path / "new", scheduler),
        carry_from=output_config(str(tmp_path / "old")),
    )
    assert ended.errors == {}
    assert [bool(row["requests"]) for row in instances(tmp_path / "new")] == [False, True, False]


def test_bulk_data_are_named_by_the_url_that_their_object_has_now(
    lab: Lab, tmp_path: Path, scheduler: str
) -> None:
    """Also where JSON escapes a part of it."""
    file = write_dicom(tmp_path / "0.dcm", "1.2.5", instance="1")
    large = dcmread(file)
    large.add_new(0x00420011, "OB", bytes(10_000))
    large.save_as(file)
    uuid = "00000000-0000-4000-8000-000000000001"
    names = {name: f'{name} "of ours"/{uuid}/{uuid}.dcm' for name in ("old", "new")}
    bucket = "idc-open-data"
    put(lab, bucket, dict.fromkeys(names.values(), file))
    for name, key in names.items():
        folder = f"s3://{bucket}/{key.partition('/')[0]}/"
        config = config_of(
            tmp_path / name,
            {"prefix": folder},
            source_of(lab, "aws"),
            scheduler=scheduler,
            read={"header": "json"},
        )
        before = output_config(str(tmp_path / "old")) if name == "new" else None
        ended = run(config, carry_from=before)
    assert ended.requests == 0
    (row,) = instances(tmp_path / "new")
    uri = json.loads(row["header"])["00420011"]["BulkDataURI"]
    assert uri.startswith(f"{row['url']}#bytes=")


def test_another_profile_carries_nothing(tmp_path: Path, scheduler: str) -> None:
    some_files(tmp_path / "data")
    run(folder_config(tmp_path / "data", tmp_path / "old", scheduler))
    config = folder_config(
        tmp_path / "data", tmp_path / "new", scheduler, read={"profile": "core", "tags": ["KVP"]}
    )
    ended = run(config, carry_from=output_config(str(tmp_path / "old")))
    assert ended.requests >= 6


def test_an_output_without_its_plan_carries_nothing(tmp_path: Path, scheduler: str) -> None:
    some_files(tmp_path / "data")
    run(folder_config(tmp_path / "data", tmp_path / "old", scheduler))
    shutil.rmtree(tmp_path / "old" / "_harvest")
    config = folder_config(tmp_path / "data", tmp_path / "new", scheduler)
    assert run(config, carry_from=output_config(str(tmp_path / "old"))).requests >= 6


def test_an_object_of_which_nothing_tells_whether_it_is_the_same_is_read(
    tmp_path: Path, scheduler: str
) -> None:
    """A manifest of URLs is not listed: neither size nor ETag is known."""
    files = some_files(tmp_path / "data")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("url\n" + "".join(f"{file.as_uri()}\n" for file in files))

    def config(name: str) -> Config:
        return config_of(tmp_path / name, {"manifest": str(manifest)}, scheduler=scheduler)

    run(config("old"))
    ended = run(config("new"), carry_from=output_config(str(tmp_path / "old")))
    assert ended.requests >= 6


@pytest.mark.parametrize("step", ["take_part", "write_part", "read_partition", "publish"])
def test_a_carry_over_that_is_interrupted_goes_on(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    some_files(tmp_path / "data", 130)  # three partitions, of which the first has a new row
    run(folder_config(tmp_path / "data", tmp_path / "old", scheduler))
    write_dicom(tmp_path / "data" / "100b.dcm", "1.2.5", instance="900")
    config = folder_config(tmp_path / "data", tmp_path / "new", scheduler)
    module = (
        "harvest.driver.runner" if step in ("read_partition", "publish") else "harvest.driver.carry"
    )

    class Killed(BaseException):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    old = output_config(str(tmp_path / "old"))
    with monkeypatch.context() as patched:
        name = "_Run._read_on" if step == "read_partition" else step
        patched.setattr(f"{module}.{name}", killed)
        with pytest.raises(Killed):
            run(config, carry_from=old)
    ended = run(config, carry_from=old)
    assert ended.rows == 131
    assert [row["requests"] > 0 for row in instances(tmp_path / "new")].count(True) == 1
    assert check_output(open_output(config.output), config) is not None
    left = sorted(path.name for path in (tmp_path / "new" / "_harvest").iterdir())
    assert left == ["plan", "run.json"]


def test_a_damaged_carried_part_is_read_again(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_files(tmp_path / "data")
    run(folder_config(tmp_path / "data", tmp_path / "old", scheduler))
    write_dicom(tmp_path / "data" / "9.dcm", "1.2.5", instance="900")
    config = folder_config(tmp_path / "data", tmp_path / "new", scheduler)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    old = output_config(str(tmp_path / "old"))
    with monkeypatch.context() as patched:
        patched.setattr("harvest.driver.runner.join_rows", killed)
        with pytest.raises(Killed):
            run(config, carry_from=old)
    (kept,) = (tmp_path / "new").rglob("kept/*.arrow")
    kept.write_bytes(kept.read_bytes()[:100])
    with pytest.raises(HarvestError, match="was damaged"):
        run(config, carry_from=old)
    assert run(config, carry_from=old).rows == 7
