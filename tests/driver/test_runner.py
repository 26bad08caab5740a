"""Whole runs on the lab: what they leave, how they go on, and how they end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import obstore
import pandas as pd  # type: ignore[import-untyped]
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from distributed import LocalCluster

import harvest
from harvest.config import Config, ReadConfig
from harvest.driver import runner
from harvest.driver.progress import Progress
from harvest.driver.runner import Outcome, run
from harvest.errors import ExitCode, HarvestError, OutputError, RunAgain, StoreUnavailable
from harvest.output import Output, open_output
from harvest.plan import listing_tasks
from harvest.plan import planner as planning
from harvest.plan.planner import make_plan
from harvest.plan.stored import load_plan
from harvest.table.parts import parts_folder
from harvest.worker.partition import PartitionRead
from tests import conftest
from tests.conftest import SQL_GENERATED
from tests.faults.proxy import Gate
from tests.lab import Lab, servers
from tests.support import json_model, oracle

EVERYTHING = "SELECT SeriesInstanceUID FROM index"


class Kept(Progress):
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.begun: tuple[int, int] | None = None
        self.parts: list[PartitionRead] = []
        self.ended = 0

    def message(self, text: str) -> None:
        self.messages.append(text)

    def begin(self, rows: int, done: int) -> None:
        self.begun = (rows, done)

    def partition(self, part: PartitionRead) -> None:
        self.parts.append(part)

    def end(self) -> None:
        self.ended += 1


def lab_config(lab: Lab, output: Path, scheduler: str, **sections: Any) -> Config:
    cohort = sections.pop("cohort", {"sql": SQL_GENERATED, "index": str(lab.index)})
    source = sections.pop("source", conftest.source_of(lab))
    return conftest.config_of(output, cohort, source, scheduler=scheduler, **sections)


@pytest.fixture(scope="module")
def whole(
    lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Outcome, Kept]:
    """Everything in the lab, the broken objects included, read from S3."""
    output = tmp_path_factory.mktemp("whole") / "out"
    config = lab_config(
        lab,
        output,
        scheduler,
        cohort={"sql": EVERYTHING, "index": str(lab.index)},
        read={"profile": ["core", "ct"]},
    )
    told = Kept()
    return config, run(config, told), told


# --- the tables ------------------------------------------------------------------------------


def test_one_row_for_each_planned_instance(lab: Lab, whole: tuple[Config, Outcome, Kept]) -> None:
    config, ended, _ = whole
    rows = conftest.instances(Path(config.output.url))
    expected = {
        f"s3://{series.aws_bucket}/{series.key(instance)}": (
            instance.size,
            series.crdc_series_uuid,
            instance.crdc_instance_uuid,
        )
        for series in lab.series
        for instance in series.instances
    }
    assert len(rows) == len(expected) == ended.rows
    assert {
        row["url"]: (row["size"], row["crdc_series_uuid"], row["crdc_instance_uuid"])
        for row in rows
    } == expected
    assert [row["url"] for row in rows] == sorted(row["url"] for row in rows)


def test_duckdb_pandas_and_pyarrow_read_the_same(whole: tuple[Config, Outcome, Kept]) -> None:
    output = Path(whole[0].output.url)
    for name in ("instances", "series"):
        (row,) = conftest.table(f"SELECT count(*) AS n FROM '{output}/{name}/*.parquet'")
        frame = pd.read_parquet(output / name)
        table = ds.dataset(output / name, format="parquet").to_table()
        assert row["n"] == len(frame) == table.num_rows
        assert list(frame.columns) == table.column_names
        by_duckdb = conftest.table(f"SELECT * FROM '{output}/{name}/*.parquet'")
        assert by_duckdb == table.to_pylist()
    plan = load_plan(open_output(str(output)))
    assert plan is not None
    (row,) = conftest.table(f"SELECT count(*) AS n FROM '{output}/instances/*.parquet'")
    assert row["n"] == plan.rows


def test_values_equal_pydicoms(lab: Lab, whole: tuple[Config, Outcome, Kept]) -> None:
    rows = {row["url"]: row for row in conftest.instances(Path(whole[0].output.url))}
    paths = oracle.profile_paths("core")
    for series in lab.series:
        if series.collection_id != "lab_generated":
            continue
        for instance in series.instances[:20]:
            dataset = oracle.read_without_force(instance.path)
            assert dataset is not None
            values, _ = oracle.expected_values(dataset, paths)
            row = rows[f"s3://{series.aws_bucket}/{series.key(instance)}"]
            assert row["status"] == "ok"
            assert {name: row[name] for name in values} == values


def test_errors_are_rows(lab: Lab, whole: tuple[Config, Outcome, Kept]) -> None:
    config, ended, _ = whole
    rows = {row["url"]: row for row in conftest.instances(Path(config.output.url))}
    broken = [series for series in lab.series if series.collection_id == "lab_broken"]
    for series in broken:
        (instance,) = series.instances
        row = rows[f"s3://{series.aws_bucket}/{series.key(instance)}"]
        assert row["status"] == "error", instance.path
        assert row["error"] in ("not_dicom", "truncated", "malformed", "wrong_object")
        assert row["retryable"] is False
        assert row["error_detail"]
        assert row["Modality"] is None
    errors = Counter(row["error"] for row in rows.values() if row["status"] == "error")
    assert ended.errors == dict(errors)
    assert ended.ok == len(rows) - errors.total()
    assert "internal" not in errors
    assert ended.exit_code == ExitCode.TOO_MANY_ERRORS


def test_series_counts_add_up(lab: Lab, whole: tuple[Config, Outcome, Kept]) -> None:
    output = Path(whole[0].output.url)
    series = conftest.table(f"SELECT * FROM '{output}/series/*.parquet'")
    assert len(series) == len(lab.series)
    by_uuid = {row["crdc_series_uuid"]: row for row in series}
    counted = conftest.table(
        f"SELECT crdc_series_uuid, count(*) AS n, count(*) FILTER (status = 'ok') AS ok "
        f"FROM '{output}/instances/*.parquet' GROUP BY ALL"
    )
    for row in counted:
        found = by_uuid[row["crdc_series_uuid"]]
        assert found["instances_planned"] == found["instances_listed"] == row["n"]
        assert found["instances_ok"] == row["ok"]
        assert found["instances_error"] == row["n"] - row["ok"]
        assert found["instanceCount"] == row["n"]
    index = pq.read_table(lab.index).to_pylist()
    for row in index:
        found = by_uuid[row["crdc_series_uuid"]]
        assert {name: found[name] for name in row} == row


def test_the_manifest_lists_every_file_truly(whole: tuple[Config, Outcome, Kept]) -> None:
    config, ended, _ = whole
    output = Path(config.output.url)
    manifest = json.loads((output / "manifest.json").read_text())
    listed = {file["name"]: file for files in manifest["tables"].values() for file in files}
    assert set(listed) == {str(path.relative_to(output)) for path in output.rglob("*.parquet")}
    for name, file in listed.items():
        content = (output / name).read_bytes()
        assert file["bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["rows"] == pq.read_metadata(output / name).num_rows
    assert sum(file["rows"] for file in manifest["tables"]["instances"]) == ended.rows
    plan = load_plan(open_output(str(output)))
    assert plan is not None
    assert manifest["plan"] == plan.identity
    assert {"harvest", "pydicom", "pyarrow"} <= set(manifest["versions"])
    assert manifest["sample"] is None


def test_the_tables_describe_themselves(whole: tuple[Config, Outcome, Kept]) -> None:
    output = Path(whole[0].output.url)
    for path in output.rglob("*.parquet"):
        schema = pq.read_schema(path)
        assert schema.metadata[b"harvest.plan"]
        assert schema.metadata[b"harvest.format_version"]
    field = pq.read_schema(next((output / "instances").iterdir())).field("KVP")
    assert field.metadata[b"tag"] == b"(0018,0060)"
    assert field.metadata[b"vr"] == b"DS"
    assert field.metadata[b"vm"] == b"1"
    assert field.metadata[b"description"]


def test_no_work_is_left_but_the_plan(whole: tuple[Config, Outcome, Kept]) -> None:
    output = Path(whole[0].output.url)
    assert {path.name for path in output.iterdir()} == {
        "_harvest",
        "instances",
        "series",
        "manifest.json",
    }
    left = {path.relative_to(output / "_harvest").parts[0] for path in files(output / "_harvest")}
    assert left == {"plan", "run.json"}
    assert not [path for path in files(output) if path.suffix == ".tmp"]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_progress_is_told(whole: tuple[Config, Outcome, Kept]) -> None:
    _, ended, told = whole
    assert told.begun == (ended.rows, 0)
    assert told.ended == 1
    assert sum(part.rows for part in told.parts) == ended.rows
    assert sum(part.ok for part in told.parts) == ended.ok
    assert sum(part.requests for part in told.parts) == ended.requests
    assert sum(part.bytes_read for part in told.parts) == ended.bytes_read
    assert sorted(part.partition for part in told.parts) == list(range(len(told.parts)))
    assert told.messages


def test_nothing_of_this_machine_or_of_secrets_is_in_the_tables(
    lab: Lab, whole: tuple[Config, Outcome, Kept]
) -> None:
    output = Path(whole[0].output.url)
    manifest = (output / "manifest.json").read_text()
    for text in (lab.s3.endpoint, servers.S3_SECRET_KEY, "anonymous"):
        assert text not in manifest
        assert not any(text in str(row) for row in conftest.instances(output))


# --- ways to the same tables -----------------------------------------------------------------


@pytest.fixture(scope="module")
def generated(
    lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Config, Outcome]:
    """The generated series, all of them fine."""
    config = lab_config(lab, tmp_path_factory.mktemp("generated") / "out", scheduler)
    return config, run(config)


def parts_of(output: Output) -> list[str]:
    plan = load_plan(output)
    assert plan is not None
    return output.names(parts_folder(plan.identity))


def without_traffic(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    dropped = ("bytes_read", "requests", "error_detail")
    return [{k: v for k, v in row.items() if k not in dropped} for row in rows]


def test_a_run_without_errors_is_complete(generated: tuple[Config, Outcome], lab: Lab) -> None:
    _, ended = generated
    count = sum(len(s.instances) for s in lab.series if s.collection_id == "lab_generated")
    assert (ended.rows, ended.ok, ended.errors) == (count, count, {})
    assert ended.exit_code == ExitCode.COMPLETE


def test_whole_headers_become_a_column(lab: Lab, scheduler: str, tmp_path: Path) -> None:
    """Walked or recognised, each is what pydicom reads, and points into its own object."""
    config = conftest.config_of(
        tmp_path / "out",
        {"sql": SQL_GENERATED, "index": str(lab.index), "sample": 30},
        conftest.source_of(lab),
        scheduler=scheduler,
        read={"profile": "ct", "header": "json"},
    )
    assert run(config).exit_code == ExitCode.COMPLETE
    paths = {
        f"s3://{series.aws_bucket}/{series.key(each)}": each.path
        for series in lab.series
        for each in series.instances
    }
    rows = conftest.instances(tmp_path / "out")
    assert len(rows) > 90
    for row in rows:
        data = paths[row["url"]].read_bytes()
        found = json.loads(row["header"].replace(row["url"], json.dumps(json_model.URL)[1:-1]))
        expected = oracle.expected_json(data)
        assert not dict(json_model.differing(found, expected, data)), row["url"]
        assert found["00080018"]["Value"] == [row["SOPInstanceUID"]]
    with pytest.raises(OutputError, match="header: 'json', now 'none'"):
        run(config.model_copy(update={"read": ReadConfig(profile="ct")}))


@pytest.mark.parametrize(
    ("cloud", "transport"), [("aws", "sdk"), ("gcs", "obstore"), ("gcs", "sdk")]
)
def test_clouds_and_transports_agree(
    lab: Lab,
    scheduler: str,
    tmp_path: Path,
    generated: tuple[Config, Outcome],
    cloud: str,
    transport: str,
) -> None:
    source = conftest.source_of(lab, cloud, transport=transport)
    config = lab_config(lab, tmp_path / "out", scheduler, source=source)
    ended = run(config)
    assert ended.errors == {}
    expected = without_traffic(conftest.instances(Path(generated[0].output.url)))
    found = without_traffic(conftest.instances(tmp_path / "out"))
    if cloud == "gcs":
        assert all(row["url"].startswith("gs://") for row in found)
        for row in (*found, *expected):
            row["url"] = row["url"].rpartition("/")[2]
            del row["etag"]
        found.sort(key=lambda row: str(row["url"]))
        expected.sort(key=lambda row: str(row["url"]))
    assert found == expected


def test_listed_by_the_workers(
    lab: Lab,
    scheduler: str,
    tmp_path: Path,
    generated: tuple[Config, Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "SERIES_FOR_WORKERS", 0)
    monkeypatch.setattr(listing_tasks, "SERIES_PER_TASK", 2)
    config = lab_config(lab, tmp_path / "out", scheduler)
    assert run(config).rows == generated[1].rows
    mine = load_plan(open_output(config.output.url))
    other = load_plan(open_output(generated[0].output.url))
    assert mine is not None
    assert other is not None
    assert (mine.identity, mine.series, mine.rows) == (other.identity, other.series, other.rows)
    expected = without_traffic(conftest.instances(Path(generated[0].output.url)))
    assert without_traffic(conftest.instances(tmp_path / "out")) == expected


def test_workers_that_cannot_list_end_the_run(
    lab: Lab, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SERIES_FOR_WORKERS", 0)
    source = {"endpoint": f"http://127.0.0.1:{servers.free_port()}"}
    config = lab_config(lab, tmp_path / "out", scheduler, source=source)
    with pytest.raises(StoreUnavailable, match=r"does not answer"):
        run(config)
    assert conftest.tree(tmp_path / "out") == {}


def test_several_files_hold_fixed_ranges(
    lab: Lab,
    scheduler: str,
    tmp_path: Path,
    generated: tuple[Config, Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "ROWS_PER_FILE", 500)
    config = lab_config(lab, tmp_path / "out", scheduler)
    ended = run(config)
    paths = sorted((tmp_path / "out" / "instances").iterdir())
    assert [path.name for path in paths] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    counts = [pq.read_metadata(path).num_rows for path in paths]
    assert counts == [500, 500, ended.rows - 1000]
    rows = [row["url"] for path in paths for row in pq.read_table(path).to_pylist()]
    expected = conftest.instances(Path(generated[0].output.url))
    assert rows == [row["url"] for row in expected]


def test_a_local_cluster_and_a_path(lab: Lab, tmp_path: Path) -> None:
    """The default cluster, from a config file, through the public function."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"""
        cohort:
          sql: SELECT SeriesInstanceUID FROM index WHERE Modality = 'SM'
          index: {lab.index}
          sample: 1
        source: {{endpoint: "{lab.s3.endpoint}"}}
        output: {tmp_path / "out"}
        cluster: {{workers: 1}}
        """
    )
    ended = harvest.run(str(path))
    assert ended.exit_code in (ExitCode.COMPLETE, ExitCode.TOO_MANY_ERRORS)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["sample"] == 1
    rows = conftest.instances(tmp_path / "out")
    tables = {
        row["SeriesInstanceUID"]: row["offset_table"] for row in rows if row["status"] == "ok"
    }
    for description, kind in (
        ("SM basic offset table", "basic"),
        ("SM extended offset table", "extended"),
        ("SM empty offset table", "empty"),
    ):
        assert tables[conftest.series_of(lab, description).series_instance_uid] == kind


def test_a_folder_of_files(scheduler: str, tmp_path: Path) -> None:
    for number in range(3):
        name = f"{number} +ü.dcm"
        conftest.write_dicom(tmp_path / "in" / name, "1.2.3", instance=str(number + 1))
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    config = conftest.config_of(
        tmp_path / "out", {"prefix": f"{tmp_path / 'in'}/"}, scheduler=scheduler
    )
    ended = run(config)
    assert (ended.rows, ended.ok, ended.errors) == (4, 3, {"not_dicom": 1})
    series = conftest.table(f"SELECT * FROM '{tmp_path}/out/series/*.parquet'")
    by_uid = {row["SeriesInstanceUID"]: row for row in series}
    assert by_uid["1.2.3"]["instances_planned"] == by_uid["1.2.3"]["instances_ok"] == 3
    assert sum(row["instances_planned"] for row in series) == 4
    assert by_uid["1.2.3"]["collection_id"] is None
    assert set(pq.read_schema(Path(harvest_index())).names) < set(series[0])


def harvest_index() -> str:
    import idc_index_data

    return str(idc_index_data.IDC_INDEX_PARQUET_FILEPATH)


def test_a_wrong_object_of_a_series_is_an_error_row(
    lab: Lab, scheduler: str, tmp_path: Path
) -> None:
    series = conftest.own_series(lab, tmp_path, 3)
    alien = conftest.write_dicom(tmp_path / "alien.dcm", "1.2.3.4.5")
    conftest.put(lab, series.bucket, {series.keys[0]: alien})
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(series, 3)])
    config = lab_config(
        lab, tmp_path / "out", scheduler, cohort={"sql": EVERYTHING, "index": str(index)}
    )
    ended = run(config)
    assert (ended.ok, ended.errors) == (2, {"wrong_object": 1})
    assert ended.exit_code == ExitCode.TOO_MANY_ERRORS
    tolerant = Config.model_validate({**config.model_dump(), "limits": {"max_error_rate": 0.4}})
    assert run(tolerant).exit_code == ExitCode.COMPLETE


def test_an_object_that_vanishes_after_the_plan(lab: Lab, scheduler: str, tmp_path: Path) -> None:
    series = conftest.own_series(lab, tmp_path, 3)
    index = conftest.index_of(lab, tmp_path / "index.parquet", [(series, 3)])
    config = lab_config(
        lab, tmp_path / "out", scheduler, cohort={"sql": EVERYTHING, "index": str(index)}
    )
    make_plan(config, open_output(config.output.url))
    obstore.delete(servers.admin_s3_store(lab.s3, series.bucket), series.keys[1])
    ended = run(config)
    assert (ended.ok, ended.errors) == (2, {"not_found": 1})
    row = conftest.instances(tmp_path / "out")[1]
    assert (row["error"], row["retryable"], row["bytes_read"]) == ("not_found", False, 0)
    assert row["size"] == series.paths[1].stat().st_size


# --- going on, and refusing to ---------------------------------------------------------------


@pytest.fixture
def copy(generated: tuple[Config, Outcome], tmp_path: Path, s3_gate: Gate) -> Config:
    """A finished output of one's own, whose config reads through a gate."""
    shutil.copytree(generated[0].output.url, tmp_path / "out")
    content = generated[0].model_dump()
    content |= {"output": str(tmp_path / "out"), "source": {"endpoint": s3_gate.url}}
    return Config.model_validate(content)


def test_a_second_run_sends_nothing(
    copy: Config, s3_gate: Gate, generated: tuple[Config, Outcome], tmp_path: Path
) -> None:
    before = conftest.tree(tmp_path / "out")
    again = run(copy)
    assert s3_gate.seen == []
    assert {**asdict(again), "output": ""} == {**asdict(generated[1]), "output": ""}
    assert conftest.tree(tmp_path / "out") == before


def test_a_second_run_of_a_failed_one_ends_the_same(
    whole: tuple[Config, Outcome, Kept],
) -> None:
    config, ended, _ = whole
    assert run(config) == ended


class _Stop(BaseException):
    pass


class Stopping(Kept):
    """Raises after some partitions."""

    def partition(self, part: PartitionRead) -> None:
        super().partition(part)
        if len(self.parts) == 3:
            raise _Stop


def test_an_interrupted_run_reads_only_what_is_missing(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str, generated: tuple[Config, Outcome]
) -> None:
    config = lab_config(lab, tmp_path / "out", scheduler, source={"endpoint": s3_gate.url})
    first = Stopping()
    with pytest.raises(_Stop):
        run(config, first)
    assert first.ended == 1
    output = open_output(config.output.url)
    assert not output.exists("manifest.json")
    assert not list((tmp_path / "out").rglob("*.parquet"))
    finished = parts_of(output)
    assert len(finished) >= 3
    plan = load_plan(output)
    assert plan is not None
    assert len(finished) < len(plan.partitions)

    before = len(s3_gate.seen)
    second = Kept()
    ended = run(config, second)
    assert second.begun is not None
    done = second.begun[1]
    assert 0 < done < plan.rows
    assert not {part.partition for part in second.parts} & {int(n[-12:-6]) for n in finished}
    assert sum(part.rows for part in second.parts) == plan.rows - done
    # a stored plan is never listed again
    assert not [seen for seen in s3_gate.seen[before:] if "list-type" in seen.path]
    assert {**asdict(ended), "output": "", "requests": 0, "bytes_read": 0} == {
        **asdict(generated[1]),
        "output": "",
        "requests": 0,
        "bytes_read": 0,
    }
    expected = without_traffic(conftest.instances(Path(generated[0].output.url)))
    assert without_traffic(conftest.instances(tmp_path / "out")) == expected


def test_lost_parts_are_read_again(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str, generated: tuple[Config, Outcome]
) -> None:
    config = lab_config(lab, tmp_path / "out", scheduler, source={"endpoint": s3_gate.url})
    first = Kept()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "publish", lambda *_: (_ for _ in ()).throw(_Stop()))
        with pytest.raises(_Stop):
            run(config, first)
    output = open_output(config.output.url)
    names = parts_of(output)
    output.remove(names[1])
    lost = next(part for part in first.parts if part.partition == 1)
    before = len(s3_gate.seen)
    second = Kept()
    run(config, second)
    assert [(part.partition, part.rows) for part in second.parts] == [(1, lost.rows)]
    assert len(s3_gate.seen) - before == second.parts[0].requests
    expected = without_traffic(conftest.instances(Path(generated[0].output.url)))
    assert without_traffic(conftest.instances(tmp_path / "out")) == expected


def test_a_damaged_part_is_removed_and_read_again(
    lab: Lab, tmp_path: Path, scheduler: str, generated: tuple[Config, Outcome]
) -> None:
    config = lab_config(lab, tmp_path / "out", scheduler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "publish", lambda *_: (_ for _ in ()).throw(_Stop()))
        with pytest.raises(_Stop):
            run(config)
    output = open_output(config.output.url)
    names = parts_of(output)
    for damage in (output.read(names[-1]), b"torn", b""):
        output.write(names[0], damage)
        with pytest.raises(RunAgain, match=names[0]):
            run(config)
        assert not list((tmp_path / "out").rglob("*.parquet"))
        assert names[0] not in parts_of(output)
        if damage:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(runner, "publish", lambda *_: (_ for _ in ()).throw(_Stop()))
                with pytest.raises(_Stop):
                    run(config)
    told = Kept()
    assert run(config, told).errors == {}
    assert [part.partition for part in told.parts] == [0]
    expected = conftest.instances(Path(generated[0].output.url))
    assert without_traffic(conftest.instances(tmp_path / "out")) == without_traffic(expected)


def test_another_config_on_the_same_output(copy: Config, tmp_path: Path, s3_gate: Gate) -> None:
    before = conftest.tree(tmp_path / "out")
    other = Config.model_validate({**copy.model_dump(), "read": {"tags": ["PatientBirthName"]}})
    with pytest.raises(OutputError, match=r"another plan \(tags: \[\], now \['PatientBirthName'\]"):
        run(other)
    assert s3_gate.seen == []
    assert conftest.tree(tmp_path / "out") == before


def test_an_output_that_holds_something_else(
    lab: Lab, tmp_path: Path, scheduler: str, s3_gate: Gate
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    config = lab_config(lab, tmp_path / "out", scheduler, source={"endpoint": s3_gate.url})
    with pytest.raises(OutputError, match=r"thesis\.tex.*name an empty folder"):
        run(config)
    assert s3_gate.seen == []
    assert conftest.tree(tmp_path / "out") == {"thesis.tex": b"mine"}


def test_an_output_that_is_a_file(lab: Lab, tmp_path: Path, scheduler: str) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError):
        run(lab_config(lab, tmp_path / "out", scheduler))
    assert (tmp_path / "out").read_text() == "mine"


def test_a_folder_that_cannot_be_written(lab: Lab, tmp_path: Path, scheduler: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HarvestError):
        run(lab_config(lab, tmp_path / "file" / "out", scheduler))


REFUSED: dict[str, Callable[[Lab], dict[str, Any]]] = {
    "sql that fails": lambda lab: {
        "cohort": {"sql": "SELECT nothing FROM index", "index": str(lab.index)}
    },
    "no series": lambda lab: {
        "cohort": {
            "sql": "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'none'",
            "index": str(lab.index),
        }
    },
    "a bucket that is not there": lambda lab: {"cohort": {"prefix": "s3://no-such-bucket/"}},
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_run_leaves_nothing(lab: Lab, tmp_path: Path, scheduler: str, why: str) -> None:
    config = lab_config(lab, tmp_path / "out", scheduler, **REFUSED[why](lab))
    with pytest.raises(HarvestError) as refused:
        run(config)
    assert refused.value.exit_code == ExitCode.WRONG_USE
    assert conftest.tree(tmp_path) == {}
    assert not (tmp_path / "out").exists()


# --- stores and clusters that fail -----------------------------------------------------------


def test_faults_that_pass_are_retried_and_counted(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str
) -> None:
    config = lab_config(
        lab,
        tmp_path / "out",
        scheduler,
        cohort={"sql": f"{SQL_GENERATED} AND Modality = 'PT'", "index": str(lab.index)},
        source={"endpoint": s3_gate.url},
    )
    make_plan(config, open_output(config.output.url))
    s3_gate.seen.clear()
    s3_gate.faults.extend([conftest.status(503), conftest.reset, conftest.short_body])
    ended = run(config)
    assert ended.errors == {}
    assert ended.requests == len(s3_gate.seen) == 6 + 3
    rows = conftest.instances(tmp_path / "out")
    for row in rows:
        seen = s3_gate.of(row["url"].rpartition("/")[2])
        assert row["requests"] == len(seen)


def test_a_store_that_goes_away_ends_the_run_and_it_goes_on_later(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str
) -> None:
    config = lab_config(
        lab,
        tmp_path / "out",
        scheduler,
        source={"endpoint": s3_gate.url},
        limits={"retries": 0, "concurrency": 16},
    )
    make_plan(config, open_output(config.output.url))
    s3_gate.faults.extend([lambda answer: answer] * 300)
    s3_gate.always = conftest.status(503)
    with pytest.raises(StoreUnavailable, match=r"run the same command again"):
        run(config)
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))
    s3_gate.faults.clear()
    s3_gate.always = None
    assert run(config).errors == {}


def test_a_store_that_is_away_for_a_small_cohort(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str
) -> None:
    """The whole store is unreachable: exit code 75 and no tables, however few the objects."""
    config = lab_config(
        lab,
        tmp_path / "out",
        scheduler,
        cohort={"sql": f"{SQL_GENERATED} AND Modality = 'PT'", "index": str(lab.index)},
        source={"endpoint": s3_gate.url},
        limits={"retries": 0},
    )
    make_plan(config, open_output(config.output.url))
    s3_gate.always = conftest.status(503)
    with pytest.raises(StoreUnavailable, match=r"run the same command again"):
        run(config)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_two_runs_at_once_on_one_scheduler(lab: Lab, scheduler: str, tmp_path: Path) -> None:
    def harvested(modality: str) -> Outcome:
        sql = f"{SQL_GENERATED} AND Modality = '{modality}'"
        cohort = {"sql": sql, "index": str(lab.index)}
        return run(lab_config(lab, tmp_path / modality, scheduler, cohort=cohort))

    modalities = ("CT", "MR", "PT", "SM")
    with ThreadPoolExecutor(len(modalities)) as pool:
        found = dict(zip(modalities, pool.map(harvested, modalities), strict=True))
    assert {name: ended.rows for name, ended in found.items()} == {
        name: sum(
            len(series.instances)
            for series in lab.series
            if series.collection_id == "lab_generated" and series.attributes["Modality"] == name
        )
        for name in modalities
    }
    for name in modalities:
        assert {row["Modality"] for row in conftest.instances(tmp_path / name)} == {name}


@pytest.fixture
def temporary_cluster() -> Iterator[Any]:
    with LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster


def test_a_worker_that_dies_is_replaced(
    lab: Lab, tmp_path: Path, temporary_cluster: Any, generated: tuple[Config, Outcome]
) -> None:
    config = lab_config(lab, tmp_path / "out", temporary_cluster.scheduler_address)

    class Killing(Kept):
        def partition(self, part: PartitionRead) -> None:
            super().partition(part)
            if len(self.parts) == 1:
                os.kill(next(iter(temporary_cluster.workers.values())).pid, signal.SIGKILL)

    ended = run(config, Killing())
    assert (ended.rows, ended.errors) == (generated[1].rows, {})
    rows = conftest.instances(tmp_path / "out")
    expected = conftest.instances(Path(generated[0].output.url))
    assert without_traffic(rows) == without_traffic(expected)
