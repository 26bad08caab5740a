"""Manifests: of the portal, of series and of URLs, here and in a bucket."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.cohort.resolve import SeriesCohort, UrlCohort
from harvest.errors import CohortError, HarvestError
from tests import conftest
from tests.lab import Lab
from tests.support.cohorts import resolved, uuids

Writer = Callable[[Path, Lab], Path]

PORTAL = """\
# To download the files in this manifest, install idc-index:
# pip install idc-index --upgrade
# idc download manifest.s5cmd
# or: s5cmd --no-sign-request --endpoint-url {endpoint} run manifest.s5cmd
cp 's3://{bucket}/{a}/*' .
cp s3://{bucket}/{b}/* .

"""


def two(lab: Lab) -> tuple[Any, Any]:
    found = [s for s in lab.series if s.aws_bucket == "idc-open-data-two"][:2]
    return found[0], found[1]


@pytest.mark.parametrize(
    ("bucket", "endpoint"),
    [
        ("idc-open-data-two", "https://s3.amazonaws.com"),
        ("idc-open-idc1", "https://storage.googleapis.com"),
    ],
)
def test_an_s5cmd_manifest(lab: Lab, tmp_path: Path, bucket: str, endpoint: str) -> None:
    a, b = two(lab)
    path = tmp_path / "manifest.s5cmd"
    text = PORTAL.format(
        bucket=bucket, endpoint=endpoint, a=a.crdc_series_uuid, b=b.crdc_series_uuid
    )
    for written in (text, text.replace("\n", "\r\n"), text.replace("#", "  #")):
        path.write_text(written, newline="")
        cohort = resolved(lab, manifest=str(path))
        assert isinstance(cohort, SeriesCohort)
        assert uuids(cohort) == {a.crdc_series_uuid, b.crdc_series_uuid}


def test_an_s5cmd_manifest_with_a_long_head(lab: Lab, tmp_path: Path) -> None:
    a, _ = two(lab)
    path = tmp_path / "manifest.s5cmd"
    path.write_text("# a comment\n" * 1000 + f"cp s3://x/{a.crdc_series_uuid}/* .\n")
    assert uuids(resolved(lab, manifest=str(path))) == {a.crdc_series_uuid}


@pytest.mark.parametrize("key", ["SeriesInstanceUID", "crdc_series_uuid"])
@pytest.mark.parametrize("form", ["csv", "parquet", "extra"])
def test_manifests_of_series(lab: Lab, tmp_path: Path, key: str, form: str) -> None:
    a, b = two(lab)
    values = [
        s.series_instance_uid if key == "SeriesInstanceUID" else s.crdc_series_uuid for s in (a, b)
    ]
    path = tmp_path / "manifest"
    if form == "parquet":
        pq.write_table(pa.table({key: values}), path)
    elif form == "csv":
        path.write_text("\n".join([key, *values]) + "\n")
    else:
        path.write_text("\n".join([f"note,{key}", *(f'"a, b",{v}' for v in values)]) + "\n")
    assert uuids(resolved(lab, manifest=str(path))) == {a.crdc_series_uuid, b.crdc_series_uuid}


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_manifests_of_urls(lab: Lab, tmp_path: Path, form: str) -> None:
    a, b = two(lab)
    urls = [f"s3://{s.aws_bucket}/{s.key(s.instances[0])}" for s in (a, b)]
    path = tmp_path / "manifest"
    if form == "parquet":
        pq.write_table(pa.table({"url": [*urls, urls[0]]}), path)
    else:
        path.write_text("\n".join(["url", *urls, urls[0]]) + "\n")
    cohort = resolved(lab, manifest=str(path))
    assert isinstance(cohort, UrlCohort)
    assert [str(url) for url in cohort.urls] == sorted(urls)
    assert uuids(cohort.known) == {a.crdc_series_uuid, b.crdc_series_uuid}


def test_the_scheme_of_a_url_wins(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "urls.csv"
    path.write_text("url\ngs://idc-open-data/a\ns3://idc-open-data/a\ns3://idc-open-idc1/a\n/a b\n")
    cohort = resolved(lab, manifest=str(path))
    assert {str(url) for url in cohort.urls} == {
        "gs://idc-open-data/a",
        "s3://idc-open-data/a",
        "gs://idc-open-idc1/a",
        "file:///a%20b",
    }
    with pytest.raises(CohortError, match="split the manifest"):
        resolved(lab, {"endpoint": "http://127.0.0.1:1"}, manifest=str(path))


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_a_manifest_in_a_bucket(lab: Lab, tmp_path: Path, cloud: str, transport: str) -> None:
    a, b = two(lab)
    path = tmp_path / "manifest.csv"
    # over a megabyte, which is more than one range
    rows = [a.crdc_series_uuid, b.crdc_series_uuid] * 20_000
    path.write_text("\n".join(["crdc_series_uuid", *rows]) + "\n")
    key = f"test-cohort-{uuid.uuid4()}/manifest.csv"
    conftest.put(lab, "idc-open-data", {key: path})
    url = f"{'s3' if cloud == 'aws' else 'gs'}://idc-open-data/{key}"
    source = conftest.source_of(lab, cloud, transport=transport)
    cohort = resolved(lab, source, manifest=url)
    assert uuids(cohort) == {a.crdc_series_uuid, b.crdc_series_uuid}
    with pytest.raises(CohortError, match="a dry run reads none"):
        resolved(lab, source, manifest=url, offline=True)
    with pytest.raises(HarvestError, match="no such object"):
        resolved(lab, source, manifest=f"{url}.none")


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_a_manifest_in_a_bucket_is_read_through_a_fault(
    lab: Lab, tmp_path: Path, transport: str, s3_gate: conftest.Gate
) -> None:
    a, _ = two(lab)
    path = tmp_path / "manifest.csv"
    path.write_text(f"crdc_series_uuid\n{a.crdc_series_uuid}\n")
    key = f"test-cohort-{uuid.uuid4()}/manifest.csv"
    conftest.put(lab, "idc-open-data", {key: path})
    s3_gate.faults.append(conftest.status(503))
    source = {"endpoint": s3_gate.url, "transport": transport}
    cohort = resolved(lab, source, manifest=f"s3://idc-open-data/{key}")
    assert uuids(cohort) == {a.crdc_series_uuid}


def test_an_empty_manifest_in_a_bucket(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    key = f"test-cohort-{uuid.uuid4()}/manifest.csv"
    conftest.put(lab, "idc-open-data", {key: tmp_path / "empty"})
    with pytest.raises(CohortError):
        resolved(lab, conftest.source_of(lab), manifest=f"s3://idc-open-data/{key}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty|no s5cmd manifest|names nothing|needs url"),
        (b"url\n", "names nothing"),
        (b"url\n\n\n", "names nothing"),
        (b"crdc_series_uuid\n", "no series"),
        (b"name,size\na,1\n", "has the columns name, size: it needs url"),
        (b"url\nftp://host/x\n", "no s3://"),
        (b"url\ns3://b/%s/*\ns3://b/one.dcm\n" % (b"a" * 36), "mixes"),
        (b"# only comments\n", "needs url|names nothing|no s5cmd"),
        (b"PAR1 but broken", "no s5cmd manifest, CSV or Parquet"),
        (b"\x00\xff\xfe\x01" * 50, "needs url|no s5cmd"),
        (b"SeriesInstanceUID\n1.2.3.4\n", "not in IDC.*1.2.3.4"),
    ],
)
def test_manifests_that_are_refused(lab: Lab, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "manifest"
    path.write_bytes(content)
    with pytest.raises(CohortError, match=message):
        resolved(lab, manifest=str(path))


def test_a_manifest_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(CohortError, match="is not there"):
            resolved(lab, manifest=str(path))


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize(("named", "beside"), [("m[1]", "m1"), ("m*", "m1"), ("m?", "m1")])
def test_a_manifest_is_one_file_whatever_its_name(
    lab: Lab, tmp_path: Path, form: str, named: str, beside: str
) -> None:
    a, b = two(lab)
    for name, series in ((named, a), (beside, b)):
        path = tmp_path / f"{name}.{form}"
        if form == "parquet":
            pq.write_table(pa.table({"crdc_series_uuid": [series.crdc_series_uuid]}), path)
        else:
            path.write_text(f"crdc_series_uuid\n{series.crdc_series_uuid}\n")
    manifest = str(tmp_path / f"{named}.{form}")
    assert uuids(resolved(lab, manifest=manifest)) == {a.crdc_series_uuid}
