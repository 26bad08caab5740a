"""URLs of objects, and IDC's names on its two clouds."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from harvest.urls import (
    AWS_TO_GCS,
    ObjectUrl,
    gcs_bucket_sql,
    idc_series_uuid,
    idc_uuids,
    parse_url,
)
from tests.lab.files import GCS_BUCKETS

SERIES = "4a30ffd2-8489-427b-9a83-03f4cf28534d"
INSTANCE = "ad46e1e3-b37c-434b-a67a-5bacbcc608d9"


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/key",
        "s3://bucket/a/b c.dcm",
        "s3://bucket/",
        "gs://bucket/a%20b",
        "file:///a/b",
        "file:///a/b%20c%25/%C3%BC",
    ],
)
def test_urls_are_written_as_they_are_read(text: str) -> None:
    assert str(parse_url(text)) == text


def test_parts() -> None:
    assert parse_url("s3://b/x/y") == ObjectUrl("s3", "b", "x/y")
    assert parse_url("gs://b") == ObjectUrl("gs", "b", "")
    assert parse_url("file:///a%20b") == ObjectUrl("file", "", "/a b")
    assert parse_url("s3://b/x").with_key("z") == ObjectUrl("s3", "b", "z")


def test_folder_and_place() -> None:
    for text, folder, place in (
        ("s3://b/a/b.dcm", "s3://b/a/", "s3://b"),
        ("gs://b/a/", "gs://b/a/", "gs://b"),
        ("s3://b/a", "s3://b/", "s3://b"),
        ("file:///a/b", "file:///a/", "file:///a/b"),
        ("file:///a", "file:///", "file:///a"),
    ):
        url = parse_url(text)
        assert (str(url.folder), url.place) == (folder, place)
    assert [parse_url(f"{s}://b/a").cloud for s in ("s3", "gs", "file")] == ["aws", "gcs", "aws"]


def test_local_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_url("a b").key == f"{tmp_path}/a b"
    assert parse_url("a/").key == f"{tmp_path}/a/"
    assert parse_url("~/a").key == f"{tmp_path}/a"
    assert parse_url("/").key == "/"
    assert parse_url(str(parse_url("a#b?c%20"))).key == f"{tmp_path}/a#b?c%20"


@pytest.mark.parametrize(
    "text", ["http://host/x", "ftp://host/x", "://x", "S3://b/k", "abfs://c/x"]
)
def test_other_schemes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no s3://"):
        parse_url(text)


@pytest.mark.parametrize("text", ["s3://", "gs:///key", "s3:///"])
def test_a_bucket_is_needed(text: str) -> None:
    with pytest.raises(ValueError, match="names no bucket"):
        parse_url(text)


@pytest.mark.parametrize("bucket", ["idc-open-idc1", "idc-open-cr", "public-datasets-idc"])
def test_an_s3_url_of_a_bucket_that_only_gcs_has_is_gcs(bucket: str) -> None:
    assert str(parse_url(f"s3://{bucket}/a/b")) == f"gs://{bucket}/a/b"


@pytest.mark.parametrize("bucket", ["idc-open-data", "idc-open-data-two", "idc-open-data-cr"])
def test_idcs_buckets_on_both_clouds(bucket: str) -> None:
    assert str(parse_url(f"s3://{bucket}/a")) == f"s3://{bucket}/a"
    sql = f"SELECT {gcs_bucket_sql('name')} FROM (SELECT ? AS name)"
    for name, expected in ((bucket, GCS_BUCKETS[bucket]), ("another", "another")):
        assert duckdb.execute(sql, [name]).fetchall() == [(expected,)]


def test_the_names_are_the_labs() -> None:
    assert AWS_TO_GCS == GCS_BUCKETS


def test_uuids_of_keys() -> None:
    assert idc_uuids(f"{SERIES}/{INSTANCE}.dcm") == (SERIES, INSTANCE)
    assert idc_uuids(f"mirror/{SERIES}/{INSTANCE}.dcm") == (SERIES, INSTANCE)
    for key in (f"{SERIES}/x.dcm", f"{SERIES}/{INSTANCE}", f"x{SERIES}/{INSTANCE}.dcm", "", "a/b"):
        assert idc_uuids(key) == (None, None)


def test_uuid_of_a_prefix() -> None:
    for prefix in (SERIES, f"{SERIES}/", f"{SERIES}/*", f"mirror/{SERIES}/*"):
        assert idc_series_uuid(prefix) == SERIES
    for prefix in ("", "x/", f"{SERIES}/{INSTANCE}.dcm", f"{SERIES[:-1]}/"):
        assert idc_series_uuid(prefix) is None
