"""The examples of IDC's page run on the lab: the same results in both ways, by fewer requests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import conftest
from tests.lab import Lab

EXAMPLES = Path(__file__).parents[1] / "configs" / "examples"


def run(name: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def url_of(lab: Lab, description: str, scheme: str = "s3") -> str:
    series = conftest.series_of(lab, description)
    instance = max(series.instances, key=lambda each: each.size)
    bucket = series.aws_bucket if scheme == "s3" else series.gcs_bucket
    return f"{scheme}://{bucket}/{series.key(instance)}"


def ways(found: dict[str, Any], *, ours: bool) -> list[dict[str, Any]]:
    return [each for each in found["costs"] if each["way"].startswith("harvest") == ours]


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_metadata(lab: Lab, scheme: str) -> None:
    url = url_of(lab, "SM basic offset table", scheme)
    server = lab.s3 if scheme == "s3" else lab.gcs
    found = run("metadata", url, "--endpoint", server.endpoint)
    assert found["same"]
    assert [each["requests"] for each in ways(found, ours=True)] == [1, 1]
    assert all(each["bytes"] <= 2**15 for each in ways(found, ours=True))
    assert all(each["requests"] >= 1 for each in ways(found, ours=False))
    assert all(each["bytes"] > 2**15 for each in ways(found, ours=False))


@pytest.mark.parametrize("table", ["basic", "extended", "empty"])
def test_slide_patch(lab: Lab, table: str) -> None:
    url = url_of(lab, f"SM {table} offset table", "gs")
    region = ["--region", "1000", "900", "200", "200"]
    found = run("slide_patch", url, "--endpoint", lab.gcs.endpoint, *region)
    assert found["same"]
    assert found["slide"] == "3254 x 3254 x 3"
    (page,), (ours,) = ways(found, ours=False), ways(found, ours=True)
    # a header, a table or a scan, and a request for each of four or five rows of tiles
    assert ours["requests"] <= 10
    assert ours["bytes"] < page["bytes"]


def test_segments(lab: Lab) -> None:
    (series, *_) = (
        each
        for each in lab.series
        if each.attributes["Modality"] == "SEG" and each.collection_id == "lab_generated"
    )
    url = f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/"
    found = run("segments", url, "--endpoint", lab.s3.endpoint, "--segments", "1")
    assert found["same"]
    assert next(iter(found["voxels"].values())) > 0


def test_offset_table(lab: Lab) -> None:
    urls = [url_of(lab, f"SM {table} offset table") for table in ("basic", "extended", "empty")]
    found = run("offset_table", *urls, "--endpoint", lab.s3.endpoint)
    assert found["same"]
    assert list(found["offset_tables"].values()) == ["basic", "extended", "empty"]
    assert all(each["requests"] <= 3 for each in ways(found, ours=True))


def test_wrong_use(lab: Lab) -> None:
    slide = url_of(lab, "SM basic offset table")
    for arguments, message in (
        (["segments.py", "--endpoint", lab.s3.endpoint], "name the URL"),
        (["segments.py", slide, "--endpoint", lab.s3.endpoint], "no segmentation"),
        (["slide_patch.py", slide, "--endpoint", lab.s3.endpoint], "does not lie inside"),
    ):
        command = [sys.executable, str(EXAMPLES / arguments[0]), *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode != 0
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_an_uncompressed_file(lab: Lab) -> None:
    url = url_of(lab, "CT many")
    found = run("offset_table", url, "--endpoint", lab.s3.endpoint)
    assert (found["same"], found["offset_tables"]) == (True, {url: "native"})


def test_as_text(lab: Lab) -> None:
    url = url_of(lab, "SM basic offset table")
    command = [sys.executable, str(EXAMPLES / "offset_table.py"), url]
    done = subprocess.run(
        [*command, "--endpoint", lab.s3.endpoint], capture_output=True, text=True, timeout=120
    )
    assert "harvest.read " in done.stdout
    assert "requests" in done.stdout
