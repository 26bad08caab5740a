"""Listings: by series, by shard, below a prefix, and the faults of each."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import obstore
import pytest

from harvest.config import SourceConfig
from harvest.errors import ExitCode, HarvestError, StoreUnavailable
from harvest.plan.listing import (
    ListingTask,
    SeriesPrefix,
    list_prefix,
    list_task,
    plan_row,
    sampled,
)
from harvest.store.patience import LISTING
from harvest.store.protocol import Listed
from harvest.urls import AWS_TO_GCS, ObjectUrl, parse_url
from tests import conftest
from tests.conftest import OwnSeries
from tests.faults import proxy
from tests.faults.proxy import Gate
from tests.lab import Lab, servers


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harvest.store.patience.FIRST_BACKOFF_SECONDS", 0.0)


@pytest.fixture(scope="module")
def own(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> OwnSeries:
    return conftest.own_series(lab, tmp_path_factory.mktemp("own"), 4)


def task_of(
    series: OwnSeries, source: SourceConfig, sample: int | None = None, shard: str | None = None
) -> ListingTask:
    on_gcs = source.cloud == "gcs"
    bucket = AWS_TO_GCS[series.bucket] if on_gcs else series.bucket
    url = ObjectUrl("gs" if on_gcs else "s3", bucket, f"{series.uuid}/")
    return ListingTask((SeriesPrefix(url, series.uuid, series.uid),), source, sample, shard)


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_by_series_and_by_shard(lab: Lab, own: OwnSeries, cloud: str, transport: str) -> None:
    source = SourceConfig.model_validate(conftest.source_of(lab, cloud, transport=transport))
    by_series = list_task(task_of(own, source))
    by_shard = list_task(task_of(own, source, shard=own.uuid[:2]))
    assert by_series == by_shard
    assert by_series.listed == by_series.planned == (4,)
    assert by_series.rows.column("size").to_pylist() == [p.stat().st_size for p in own.paths]


def test_a_sample_counts_what_was_listed(lab: Lab, own: OwnSeries) -> None:
    source = SourceConfig.model_validate(conftest.source_of(lab))
    found = list_task(task_of(own, source, sample=1))
    assert (found.listed, found.planned, found.rows.num_rows) == ((4,), (1,), 1)
    sizes = [path.stat().st_size for path in own.paths]
    assert found.rows.column("size").to_pylist() == [max(sizes)]


def test_of_equal_ones_the_first_by_key() -> None:
    entries = [Listed(key, size, None) for key, size in (("a", 1), ("b", 2), ("c", 2), ("d", 2))]
    assert [entry.key for entry in sampled(entries, 2)] == ["b", "c"]
    assert [entry.key for entry in sampled(entries, 3)] == ["b", "c", "d"]
    assert sampled(entries, None) == sampled(entries, 9) == entries


@pytest.mark.parametrize("shard", [False, True])
def test_a_fault_that_passes(s3_gate: Gate, own: OwnSeries, shard: bool) -> None:
    source = SourceConfig(endpoint=s3_gate.url)
    s3_gate.faults.extend([conftest.status(503), conftest.reset])
    assert list_task(task_of(own, source, shard=own.uuid[:2] if shard else None)).listed == (4,)


@pytest.mark.parametrize("shard", [False, True])
def test_a_fault_that_stays(s3_gate: Gate, own: OwnSeries, shard: bool) -> None:
    source = SourceConfig(endpoint=s3_gate.url)
    s3_gate.always = conftest.status(503)
    with pytest.raises(StoreUnavailable, match="does not answer") as ended:
        list_task(task_of(own, source, shard=own.uuid[:2] if shard else None))
    assert ended.value.exit_code == ExitCode.RUN_AGAIN
    assert len(s3_gate.seen) == LISTING.retries + 1


@pytest.mark.parametrize(
    ("code", "message"), [(403, "denies listing"), (401, "denies listing"), (404, "does not exist")]
)
def test_what_the_user_can_mend(s3_gate: Gate, own: OwnSeries, code: int, message: str) -> None:
    source = SourceConfig(endpoint=s3_gate.url)
    s3_gate.always = conftest.status(code)
    for shard in (None, own.uuid[:2]):
        with pytest.raises(HarvestError, match=rf"s3://idc-open-data.*{message}") as ended:
            list_task(task_of(own, source, shard=shard))
        assert ended.value.exit_code == ExitCode.WRONG_USE
    assert len(s3_gate.seen) == 2


def test_a_prefix_that_can_never_be_listed_is_no_outage() -> None:
    endpoint = f"http://127.0.0.1:{servers.free_port()}"
    with pytest.raises(HarvestError, match=r"s3://b/a//b/ cannot be listed.*sdk") as ended:
        list_prefix(parse_url("s3://b/a//b/"), SourceConfig(endpoint=endpoint))
    assert ended.value.exit_code == ExitCode.WRONG_USE


def test_nobody_listens(own: OwnSeries) -> None:
    source = SourceConfig(endpoint=f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(StoreUnavailable, match=r"source\.endpoint"):
        list_task(task_of(own, source))


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(HarvestError, match=r"folder .* does not exist"):
        list_prefix(parse_url(str(tmp_path / "none")), SourceConfig())
    for name in ("b/1", "b-2", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = list_prefix(parse_url(f"{tmp_path}/"), SourceConfig())
    assert [Path(entry.key).relative_to(tmp_path).as_posix() for entry in found] == [
        "a",
        "b-2",
        "b/1",
    ]


def test_rows() -> None:
    series, instance = (
        "4a30ffd2-8489-427b-9a83-03f4cf28534d",
        "ad46e1e3-b37c-434b-a67a-5bacbcc608d9",
    )
    url = parse_url(f"s3://b/{series}/{instance}.dcm")
    assert plan_row(url) == {
        "url": str(url),
        "size": None,
        "etag": None,
        "crdc_series_uuid": series,
        "crdc_instance_uuid": instance,
        "series_instance_uid": None,
        "kind": None,
    }
    row = plan_row(parse_url("s3://b/x.dcm"), Listed("x.dcm", 5, "e"))
    assert (row["size"], row["etag"], row["crdc_series_uuid"]) == (5, "e", None)


def test_callables_are_importable_on_a_worker() -> None:
    import pickle

    function: Callable[[ListingTask], object] = pickle.loads(pickle.dumps(list_task))
    assert function is list_task


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_a_page_instead_of_a_listing_loses_nothing(
    s3_gate: Gate, own: OwnSeries, transport: str
) -> None:
    """XML that is no listing: a sign-in page of a proxy, once."""
    source = SourceConfig.model_validate({"endpoint": s3_gate.url, "transport": transport})
    s3_gate.faults.append(conftest.status(200, b"<html><body>sign in</body></html>"))
    task = task_of(own, source)
    expecting = replace(task, series=(replace(task.series[0], expected=4),))
    assert list_task(expecting).listed == (4,)


def test_a_series_with_fewer_objects_than_the_index_says_is_listed_twice(
    s3_gate: Gate, own: OwnSeries
) -> None:
    source = SourceConfig(endpoint=s3_gate.url)
    task = task_of(own, source)
    expecting = replace(task, series=(replace(task.series[0], expected=5),))
    assert list_task(expecting).listed == (4,)
    assert len(s3_gate.seen) == 2


@pytest.fixture(scope="module")
def many(lab: Lab) -> ObjectUrl:
    """A prefix of one object more than a page of a listing has."""
    prefix = f"many-{uuid.uuid4()}/"
    store = servers.admin_s3_store(lab.s3, "idc-open-data")
    for number in range(1001):
        obstore.put(store, f"{prefix}{number:04d}", b"x")
    return ObjectUrl("s3", "idc-open-data", prefix)


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("lost", [0, 1], ids=["first", "second"])
def test_a_page_instead_of_a_page_of_a_listing(
    s3_gate: Gate, many: ObjectUrl, lost: int, transport: str
) -> None:
    source = SourceConfig.model_validate({"endpoint": s3_gate.url, "transport": transport})
    s3_gate.faults.extend([lambda answer: answer] * lost + [proxy.page])
    found = list_prefix(many, source)
    assert [entry.key for entry in found] == [f"{many.key}{number:04d}" for number in range(1001)]
