"""The commands that read single objects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harvest.pixels.slides import read_region
from tests import conftest
from tests.lab import Lab, servers
from tests.support.commands import PUBLIC, public_environment
from tests.support.proxy import refusing_proxy


def test_read_as_json_and_as_text(lab: Lab) -> None:
    series = conftest.series_of(lab, "SM basic offset table")
    url = f"s3://{series.aws_bucket}/{series.key(series.instances[0])}"
    ended = conftest.harvest("read", url, "--endpoint", lab.s3.endpoint, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert found["url"] == url
    assert found["size"] == series.instances[0].size
    text = conftest.harvest("read", url, "--endpoint", lab.s3.endpoint)
    assert (text.returncode, text.stderr) == (0, "")
    assert "(0020,000E) UI SeriesInstanceUID" in text.stdout


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_read_of_what_is_not_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = conftest.harvest("read", tmp_path / "none.dcm", *arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("harvest: not_found")


def test_read_of_a_bucket_that_has_no_such_object(lab: Lab) -> None:
    ended = conftest.harvest("read", "s3://idc-open-data/none", "--endpoint", lab.s3.endpoint)
    assert ended.returncode == 1
    assert ended.stderr.startswith("harvest: not_found")


def test_read_without_network() -> None:
    endpoint = f"http://127.0.0.1:{servers.free_port()}"
    ended = conftest.harvest("read", "s3://bucket/x", "--endpoint", endpoint)
    assert ended.returncode == 75
    assert ended.stderr.startswith("harvest: unavailable")


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_read_asks_the_public_hosts(tmp_path: Path, scheme: str, transport: str) -> None:
    with refusing_proxy() as proxy:
        ended = conftest.harvest(
            "read",
            f"{scheme}://idc-open-data/x/y.dcm",
            "--transport",
            transport,
            env=public_environment(proxy.url, tmp_path),
        )
    assert ended.returncode == 75
    assert ended.stderr.startswith("harvest: unavailable")
    hosts = {host.replace("s3.amazonaws", "s3.us-east-1.amazonaws") for host in proxy.hosts}
    assert hosts == {PUBLIC["aws" if scheme == "s3" else "gcs"]}
    assert "the-users" not in "".join(proxy.requests)


def test_a_region_becomes_a_picture(lab: Lab, tmp_path: Path) -> None:
    series = conftest.series_of(lab, "SM extended offset table")
    url = f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/"
    picture = tmp_path / "patch.png"
    place = ("100", "200", "300", "150", "--level", "1", "--dest", picture)
    ended = conftest.harvest("region", url, *place, "--endpoint", lab.s3.endpoint, "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["width"], found["height"], found["level_width"]) == (300, 150, 813)
    assert found["requests"] > 4
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    expected = read_region(url, 100, 200, 300, 150, level=1, endpoint=lab.s3.endpoint)
    assert np.array_equal(pixels, expected)
    shown = conftest.harvest("region", url, *place, "--endpoint", lab.s3.endpoint)
    assert "300 x 150 pixels" in shown.stdout
    assert "request(s)" in shown.stdout


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("9000", "0", "5", "5"), "does not lie inside the matrix of 3254 x 3254 pixels"),
        (("0", "0", "5", "5", "--level", "7"), "there is no level 7"),
        (("0", "0", "5", "5", "--optical-path", "x"), "there is no optical path 'x'"),
        (("0", "0", "5", "5", "--region", "x", "--endpoint", "nonsense"), "endpoint"),
    ],
)
def test_a_wrong_region_is_told(lab: Lab, tmp_path: Path, more: tuple[str, ...], text: str) -> None:
    series = conftest.series_of(lab, "SM basic offset table")
    url = f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/"
    ended = conftest.harvest(
        "region", url, "--dest", tmp_path / "p.png", "--endpoint", lab.s3.endpoint, *more
    )
    assert ended.returncode == 1
    assert text in ended.stderr
    assert not list(tmp_path.iterdir())
