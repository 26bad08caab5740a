"""Plans: the same rows whichever way they were listed, and partitions that workers like."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvest.config import Config
from harvest.errors import HarvestError, StoreUnavailable
from harvest.output import open_output
from harvest.plan import listing_tasks
from harvest.plan import planner as planning
from harvest.plan.listing import ListedSeries, ListingTask
from harvest.plan.planner import make_plan
from harvest.plan.stored import Plan
from harvest.table.arrow import PLAN_ROW, SERIES_PLAN, read_arrow, read_plan_rows
from harvest.table.rows import Planned
from tests import conftest
from tests.conftest import SQL_GENERATED, OwnSeries
from tests.faults.proxy import Gate
from tests.lab import Lab, servers
from tests.support.cohorts import EVERYTHING
from tests.support.plans import lab_config, planned


@pytest.fixture(scope="module")
def reference(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Plan, list[Planned]]]:
    """The lab's whole plan on each cloud, listed by series through obstore."""
    folder = tmp_path_factory.mktemp("reference")
    return {cloud: planned(lab_config(lab, folder / cloud, cloud)) for cloud in ("aws", "gcs")}


# --- rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_a_row_for_each_object_of_the_index(
    lab: Lab, reference: dict[str, tuple[Plan, list[Planned]]], cloud: str
) -> None:
    made, rows = reference[cloud]
    scheme = "s3" if cloud == "aws" else "gs"
    expected = {
        f"{scheme}://{s.aws_bucket if cloud == 'aws' else s.gcs_bucket}/{s.key(i)}": (
            i.size,
            s.crdc_series_uuid,
            i.crdc_instance_uuid,
            s.series_instance_uid,
        )
        for s in lab.series
        for i in s.instances
    }
    assert len(rows) == made.rows == len(expected)
    found = {
        r.url: (r.size, r.crdc_series_uuid, r.crdc_instance_uuid, r.series_instance_uid)
        for r in rows
    }
    assert found == expected
    assert all(row.etag and '"' not in row.etag for row in rows)
    assert made.series == len(lab.series)
    assert made.bytes == sum(i.size for s in lab.series for i in s.instances)
    assert (made.missing, made.surplus, made.differences) == (0, 0, ())


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_plan_order_is_url_order(
    reference: dict[str, tuple[Plan, list[Planned]]], cloud: str
) -> None:
    urls = [row.url for row in reference[cloud][1]]
    assert urls == sorted(urls)


# --- transports and shards --------------------------------------------------------------------


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_transports_agree(
    lab: Lab, tmp_path: Path, reference: dict[str, tuple[Plan, list[Planned]]], cloud: str
) -> None:
    made, rows = planned(lab_config(lab, tmp_path / "out", cloud, transport="sdk"))
    assert rows == reference[cloud][1]
    assert made.identity == reference[cloud][0].identity


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_shards_agree_with_series(
    lab: Lab,
    tmp_path: Path,
    reference: dict[str, tuple[Plan, list[Planned]]],
    cloud: str,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing_tasks, "LEAST_SERIES_FOR_SHARDS", 1)
    tasks: list[ListingTask] = []

    def mapper(
        function: Callable[[ListingTask], ListedSeries], each: Iterable[ListingTask]
    ) -> Iterator[ListedSeries]:
        for task in each:
            tasks.append(task)
            yield function(task)

    config = lab_config(lab, tmp_path / "out", cloud, transport=transport)
    made, rows = planned(config, mapper=mapper)
    assert all(task.shard is not None for task in tasks)
    assert all(s.crdc_series_uuid.startswith(t.shard or "") for t in tasks for s in t.series)
    assert rows == reference[cloud][1]
    assert made.identity == reference[cloud][0].identity


def test_a_small_part_of_a_bucket_is_listed_by_series(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing_tasks, "LEAST_SERIES_FOR_SHARDS", 1)
    seen: list[str | None] = []

    def mapper(
        function: Callable[[ListingTask], ListedSeries], each: Iterable[ListingTask]
    ) -> Iterator[ListedSeries]:
        for task in each:
            seen.append(task.shard)
            yield function(task)

    planned(lab_config(lab, tmp_path / "out", sql=SQL_GENERATED), mapper=mapper)
    assert set(seen) == {None}


# --- what the listing finds ------------------------------------------------------------------


@pytest.fixture
def three(lab: Lab, tmp_path: Path) -> tuple[OwnSeries, OwnSeries, OwnSeries]:
    return (
        conftest.own_series(lab, tmp_path, 3),
        conftest.own_series(lab, tmp_path, 4, bucket="idc-open-data-two"),
        conftest.own_series(lab, tmp_path, 5, bucket="idc-open-data-cr"),
    )


def own_config(lab: Lab, output: Path, index: Path, **cohort: Any) -> Config:
    asked = {"sql": EVERYTHING, "index": str(index), **cohort}
    return conftest.config_of(output, asked, conftest.source_of(lab))


def test_missing_and_surplus_objects_are_reported(
    lab: Lab, tmp_path: Path, three: tuple[OwnSeries, OwnSeries, OwnSeries]
) -> None:
    right, short, long = three
    rows = [(right, 3), (short, 6), (long, 4)]
    index = conftest.index_of(lab, tmp_path / "index.parquet", rows)
    obstore.delete(servers.admin_s3_store(lab.s3, short.bucket), short.keys[0])
    made, found = planned(own_config(lab, tmp_path / "out", index))
    assert (made.rows, made.missing, made.surplus) == (3 + 3 + 5, 3, 1)
    assert {(d.crdc_series_uuid, d.expected, d.listed) for d in made.differences} == {
        (short.uuid, 6, 3),
        (long.uuid, 4, 5),
    }
    assert len(found) == made.rows
    stored = read_arrow(open_output(str(tmp_path / "out")), SERIES_PLAN).to_pylist()
    listed = {row["crdc_series_uuid"]: row["instances_listed"] for row in stored}
    assert listed == {right.uuid: 3, short.uuid: 3, long.uuid: 5}


def test_a_series_without_objects_is_reported_and_not_fatal(
    lab: Lab, tmp_path: Path, three: tuple[OwnSeries, OwnSeries, OwnSeries]
) -> None:
    gone = OwnSeries("2.25.1", str(uuid.uuid4()), "idc-open-data", (), ())
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(three[0], 3), (gone, 7)])
    made, _ = planned(own_config(lab, tmp_path / "out", index))
    assert (made.rows, made.series, made.missing) == (3, 2, 7)


def test_a_cohort_without_any_object_is_refused_and_leaves_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    gone = OwnSeries("2.25.1", str(uuid.uuid4()), "idc-open-data", (), ())
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(gone, 7)])
    with pytest.raises(HarvestError, match=r"no objects.*source\.endpoint"):
        planned(own_config(lab, tmp_path / "out", index))
    assert conftest.tree(tmp_path / "out") == {}


def test_sample_takes_the_largest(
    lab: Lab, tmp_path: Path, three: tuple[OwnSeries, OwnSeries, OwnSeries]
) -> None:
    sizes = {series: [path.stat().st_size for path in series.paths] for series in three}
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(s, len(s.keys)) for s in three])
    made, rows = planned(own_config(lab, tmp_path / "out", index, sample=2))
    assert (made.rows, made.missing, made.surplus) == (6, 0, 0)
    for series in three:
        found = sorted(row.size or 0 for row in rows if row.crdc_series_uuid == series.uuid)
        assert found == sorted(sizes[series])[-2:]
    assert [row.url for row in rows] == sorted(row.url for row in rows)


def test_a_bucket_that_denies_listing(lab: Lab, tmp_path: Path) -> None:
    series = OwnSeries("2.25.1", str(uuid.uuid4()), servers.PRIVATE_BUCKET, (), ())
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(series, 7)])
    with pytest.raises(HarvestError, match=r"private-bucket denies listing.*anonymous: false"):
        planned(own_config(lab, tmp_path / "out", index))
    assert conftest.tree(tmp_path / "out") == {}


def test_a_store_that_fails_in_the_middle_leaves_no_plan(
    lab: Lab, tmp_path: Path, s3_gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harvest.store.patience.FIRST_BACKOFF_SECONDS", 0.0)
    config = lab_config(lab, tmp_path / "out")
    content = {**config.model_dump(), "source": {"endpoint": s3_gate.url}}
    s3_gate.faults.extend([lambda answer: answer] * 20)
    s3_gate.always = conftest.status(503)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        planned(Config.model_validate(content))
    assert conftest.tree(tmp_path / "out") == {}


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("shards", [False, True])
def test_a_listing_survives_a_fault(
    lab: Lab,
    tmp_path: Path,
    s3_gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
    shards: bool,
    transport: str,
) -> None:
    monkeypatch.setattr("harvest.store.patience.FIRST_BACKOFF_SECONDS", 0.01)
    if shards:
        monkeypatch.setattr(listing_tasks, "LEAST_SERIES_FOR_SHARDS", 1)
    content = lab_config(lab, tmp_path / "out").model_dump()
    content["source"] = {"endpoint": s3_gate.url, "transport": transport}
    s3_gate.faults.extend([lambda answer: answer] * 3 + [conftest.status(503)])
    made, _ = planned(Config.model_validate(content))
    assert made.rows == sum(len(series.instances) for series in lab.series)


# --- partitions ------------------------------------------------------------------------------


def made_listing(
    counts: dict[str, int],
) -> Callable[
    [Callable[[ListingTask], ListedSeries], Iterable[ListingTask]], Iterator[ListedSeries]
]:
    """Make a mapper that finds so many objects of each series, without any store."""

    def mapper(
        _: Callable[[ListingTask], ListedSeries], tasks: Iterable[ListingTask]
    ) -> Iterator[ListedSeries]:
        for task in tasks:
            found = [counts[series.crdc_series_uuid] for series in task.series]
            rows = [
                (f"{series.url}{number:012d}.dcm", series)
                for series, count in zip(task.series, found, strict=True)
                for number in range(count)
            ]
            columns = [
                [url for url, _ in rows],
                [1000] * len(rows),
                ["e"] * len(rows),
                [series.crdc_series_uuid for _, series in rows],
                [None] * len(rows),
                [series.series_instance_uid for _, series in rows],
                [series.kind for _, series in rows],
            ]
            arrays = [pa.array(c, f.type) for c, f in zip(columns, PLAN_ROW, strict=True)]
            batch = pa.RecordBatch.from_arrays(arrays, schema=PLAN_ROW)
            yield ListedSeries(batch, tuple(found), tuple(found))

    return mapper


def made_cohort(
    lab: Lab, tmp_path: Path, counts: list[int], modality: str = "CT"
) -> tuple[Config, dict[str, int]]:
    series = [
        OwnSeries(f"2.25.{n}", str(uuid.UUID(int=n)), "idc-open-data", (), ())
        for n in range(len(counts))
    ]
    rows = list(zip(series, counts, strict=True))
    index = conftest.index_of(lab, tmp_path / "index.parquet", rows)
    table = pq.read_table(index)
    at = table.column_names.index("Modality")
    column = pa.array([modality] * len(counts), table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), column), index)
    config = own_config(lab, tmp_path / "out", index)
    return config, {each.uuid: count for each, count in rows}


def test_a_series_of_90_000_instances_is_split(lab: Lab, tmp_path: Path) -> None:
    config, counts = made_cohort(lab, tmp_path, [90_000])
    made = make_plan(config, open_output(config.output.url), mapper=made_listing(counts))
    sizes = [part.rows for part in made.partitions]
    assert sum(sizes) == made.rows == 90_000
    assert len(sizes) >= 45
    assert max(sizes) <= planning.MOST_PARTITION_ROWS
    assert max(sizes[:-1]) - min(sizes[:-1]) <= 1
    assert [part.number for part in made.partitions] == list(range(len(sizes)))
    output = open_output(config.output.url)
    assert [len(read_plan_rows(output, n)) for n in (0, len(sizes) - 1)] == [sizes[0], sizes[-1]]


def test_costly_series_make_shorter_partitions(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    (tmp_path / "rtstruct").mkdir()
    longest = {}
    for modality in ("CT", "RTSTRUCT"):
        config, counts = made_cohort(lab, tmp_path / modality.lower(), [9_000] * 4, modality)
        made = make_plan(config, open_output(config.output.url), mapper=made_listing(counts))
        longest[modality] = max(part.rows for part in made.partitions)
    assert longest["RTSTRUCT"] < longest["CT"] / 3


def test_small_series_share_partitions(lab: Lab, tmp_path: Path) -> None:
    config, counts = made_cohort(lab, tmp_path, [1] * 3000)
    made = make_plan(config, open_output(config.output.url), mapper=made_listing(counts))
    assert made.rows == 3000
    sizes = [part.rows for part in made.partitions]
    assert len(sizes) < 50
    assert max(sizes[:-1]) - min(sizes[:-1]) <= 1


def test_a_file_holds_a_fixed_range_of_rows(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "ROWS_PER_FILE", 1000)
    config, counts = made_cohort(lab, tmp_path, [700, 700, 1600, 1, 500])
    made = make_plan(config, open_output(config.output.url), mapper=made_listing(counts))
    by_file: dict[int, int] = {}
    for part in made.partitions:
        by_file[part.file] = by_file.get(part.file, 0) + part.rows
    assert by_file == {0: 1000, 1: 1000, 2: 1000, 3: 501}


def test_a_file_boundary_that_the_rows_end_on(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "ROWS_PER_FILE", 1000)
    config, counts = made_cohort(lab, tmp_path, [1000, 1000])
    made = make_plan(config, open_output(config.output.url), mapper=made_listing(counts))
    assert {part.file for part in made.partitions} == {0, 1}
    assert sum(part.rows for part in made.partitions if part.file == 0) == 1000


# --- prefixes, folders, single URLs ----------------------------------------------------------


@pytest.fixture
def prefix(lab: Lab, tmp_path: Path) -> str:
    """A prefix of both clouds with a folder in it, an empty object, and a neighbour."""
    name = f"test-plan-{uuid.uuid4()}"
    files = {}
    for key in ("b/1.dcm", "b/2.dcm", "a.dcm", "c d.dcm"):
        files[f"{name}/{key}"] = conftest.write_dicom(tmp_path / "data" / key, "1.2.3", header=30)
    (tmp_path / "data" / "zero.dcm").write_bytes(b"")
    files[f"{name}/zero.dcm"] = tmp_path / "data" / "zero.dcm"
    files[f"{name}-neighbour/x.dcm"] = tmp_path / "data" / "a.dcm"
    conftest.put(lab, "idc-open-data", files)
    return name


NAMES = ["a.dcm", "b/1.dcm", "b/2.dcm", "c d.dcm", "zero.dcm"]


@pytest.mark.parametrize("slash", ["/", ""])
@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_a_prefix_is_a_folder(
    lab: Lab, tmp_path: Path, prefix: str, cloud: str, transport: str, slash: str
) -> None:
    root = f"{'s3' if cloud == 'aws' else 'gs'}://idc-open-data/{prefix}"
    source = conftest.source_of(lab, cloud, transport=transport)
    config = conftest.config_of(tmp_path / "out", {"prefix": f"{root}{slash}"}, source)
    made, rows = planned(config)
    assert [row.url for row in rows] == [f"{root}/{name}" for name in NAMES]
    assert made.rows == 5
    assert made.series == 0
    assert {row.crdc_series_uuid for row in rows} == {None}
    assert {row.series_instance_uid for row in rows} == {None}


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}/"])
def test_a_folder(tmp_path: Path, form: str) -> None:
    data = tmp_path / "data"
    for name in NAMES:
        conftest.write_dicom(data / name, "1.2.3")
    config = conftest.config_of(tmp_path / "out", {"prefix": form.format(data)})
    _, rows = planned(config)
    names = [name.replace(" ", "%20") for name in NAMES]
    assert [row.url for row in rows] == [f"file://{data}/{name}" for name in names]
    assert all(row.size and row.etag for row in rows)


def test_a_prefix_of_idcs_series_knows_the_uuids(lab: Lab, tmp_path: Path) -> None:
    series = conftest.series_of(lab, "CT axial")
    config = conftest.config_of(
        tmp_path / "out",
        {"prefix": f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/"},
        conftest.source_of(lab),
    )
    _, rows = planned(config)
    assert {row.crdc_series_uuid for row in rows} == {series.crdc_series_uuid}
    expected = sorted(each.crdc_instance_uuid for each in series.instances)
    assert [row.crdc_instance_uuid for row in rows] == expected


def test_sample_of_a_prefix_is_by_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for number in range(4):
            conftest.write_dicom(tmp_path / "in" / folder / str(number), "1.2", header=10 * number)
    cohort = {"prefix": str(tmp_path / "in"), "sample": 1}
    made, rows = planned(conftest.config_of(tmp_path / "out", cohort))
    assert made.rows == 2
    assert [row.url[-5:] for row in rows] == ["one/3", "two/3"]


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("{tmp}/none/", "folder .* does not exist"),
        ("{tmp}/empty", "no objects"),
        ("s3://no-such-bucket/x/", "no-such-bucket .*(not exist|denies)"),
        ("gs://no-such-bucket/x/", "no-such-bucket .*(not exist|denies)"),
        ("ftp://host/x", "no s3://"),
        ("s3:///x", "names no bucket"),
    ],
)
def test_a_wrong_prefix_is_refused(lab: Lab, tmp_path: Path, where: str, match: str) -> None:
    (tmp_path / "empty").mkdir()
    cloud = "gcs" if where.startswith("gs") else "aws"
    cohort = {"prefix": where.format(tmp=tmp_path)}
    with pytest.raises(HarvestError, match=match):
        planned(conftest.config_of(tmp_path / "out", cohort, conftest.source_of(lab, cloud)))
    assert conftest.tree(tmp_path / "out") == {}


def test_single_urls_are_sorted_and_unique_and_not_listed(
    lab: Lab, tmp_path: Path, s3_gate: Gate
) -> None:
    series = conftest.series_of(lab, "MR oblique")
    urls = [f"s3://{series.aws_bucket}/{series.key(i)}" for i in series.instances]
    other = "s3://idc-open-data-cr/some/other.dcm"
    manifest = tmp_path / "urls.csv"
    manifest.write_text("url\n" + "\n".join([*reversed(urls), urls[0], other]) + "\n")
    cohort = {"manifest": str(manifest), "index": str(lab.index)}
    config = conftest.config_of(tmp_path / "out", cohort, {"endpoint": s3_gate.url})
    made, rows = planned(config)
    assert s3_gate.seen == []
    assert [row.url for row in rows] == sorted({*urls, other})
    assert made.series == 1
    known = [row for row in rows if row.url != other]
    assert {row.crdc_series_uuid for row in known} == {series.crdc_series_uuid}
    assert {row.size for row in rows} == {None}
