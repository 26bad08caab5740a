"""Audits: the story of a cohort over two of them, and what may interrupt, overlap or go wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from shutil import copy
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from harvest import connect
from harvest.audit.auditor import Audited, audit
from harvest.cohort.idc_index import table_files
from harvest.config import Config
from harvest.config.audit import RuleConfig
from harvest.driver.runner import run
from harvest.driver.status import read_status
from harvest.errors import ConfigError, ExitCode, HarvestError, OutputBusy, OutputError
from harvest.output import lease, open_output
from harvest.output.lease import hold
from tests.conftest import (
    HARVEST,
    Gate,
    OwnSeries,
    config_of,
    harvest,
    index_of,
    instances,
    own_series,
    put,
    table,
    tree,
    write_dicom,
)
from tests.lab import Lab, servers
from tests.support.audits import snapshots
from tests.support.snapshots import read_table

SQL = "SELECT SeriesInstanceUID FROM index"
LOST = {
    "name": "no_lost_tables",
    "severity": "error",
    "description": "Frames of which nobody knows where they lie.",
    "sql": "SELECT url, NumberOfFrames FROM instances WHERE offset_table = 'empty'",
}


# --- the story ---------------------------------------------------------------------------------


class Cohort:
    """Series of a test's own on both clouds, and the index that tells of them."""

    def __init__(self, lab: Lab, folder: Path, gate: Gate, scheduler: str) -> None:
        self._lab = lab
        self._folder = folder
        self._gate = gate
        self._scheduler = scheduler
        self.series: dict[str, OwnSeries] = {}

    def add(self, name: str, count: int) -> OwnSeries:
        self.series[name] = own_series(self._lab, self._folder / name, count)
        return self.series[name]

    def revise(self, name: str, change: Callable[[Dataset], None]) -> str:
        """Make a new version of a series, of which one object is another; return its new key."""
        old = self.series[name]
        folder = str(uuid4())
        keys = [f"{folder}/{Path(key).name}" for key in old.keys]
        paths = [self._folder / folder / Path(key).name for key in keys]
        paths[0].parent.mkdir()
        for before, after in zip(old.paths, paths, strict=True):
            copy(before, after)
        paths[0] = paths[0].rename(paths[0].with_name(f"{uuid4()}.dcm"))
        keys[0] = f"{folder}/{paths[0].name}"
        dataset = dcmread(paths[0])
        change(dataset)
        dataset.save_as(paths[0])
        put(self._lab, old.bucket, dict(zip(keys, paths, strict=True)))
        self.series[name] = OwnSeries(old.uid, folder, old.bucket, tuple(keys), tuple(paths))
        return keys[0]

    def audited(self, output: Path, **section: Any) -> tuple[Audited, int, int]:
        """Audit; return with it the requests for objects, and all others."""
        rows = [(series, len(series.keys)) for series in self.series.values()]
        index = index_of(self._lab, self._folder / "index.parquet", rows)
        config = config_of(
            output,
            {"sql": SQL, "index": str(index)},
            {"endpoint": self._gate.url},
            scheduler=self._scheduler,
            audit={"rule_sets": ["completeness", "offset_tables"], "rules": [LOST], **section},
        )
        before = len(self._gate.seen)
        ended = audit(config)
        asked = self._gate.seen[before:]
        objects = sum(".dcm" in seen.path for seen in asked)
        return ended, objects, len(asked) - objects


def with_table(dataset: Dataset) -> None:
    """Make a compressed image of three frames, with a Basic Offset Table."""
    _compress(dataset, has_table=True)


def without_table(dataset: Dataset) -> None:
    _compress(dataset, has_table=False)


def _compress(dataset: Dataset, *, has_table: bool) -> None:
    frames = [b"\xff\xd8" + bytes([number]) * 30 + b"\xff\xd9" for number in range(3)]
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.NumberOfFrames = 3
    dataset.PixelData = encapsulate(frames, has_bot=has_table)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def rename(dataset: Dataset) -> None:
    dataset.SeriesDescription = "=HYPERLINK('x') <script>alert(1)</script>"


def test_the_story_of_a_cohort(lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str) -> None:
    cohort = Cohort(lab, tmp_path, s3_gate, scheduler)
    for name, count in (("stays", 70), ("revised", 60), ("slide", 1), ("removed", 9)):
        cohort.add(name, count)
    cohort.add("large", 60)
    cohort.revise("slide", with_table)
    output = tmp_path / "audits"

    first, objects, listings = cohort.audited(output)
    assert (first.exit_code, objects, listings) == (ExitCode.COMPLETE, 200, 5)
    assert (first.report.carried, first.report.diff, len(first.report.trend)) == (0, None, 1)
    (before,) = snapshots(output)
    kept = tree(before)

    removed = cohort.series.pop("removed")
    cohort.add("added", 4)
    revised = cohort.revise("revised", rename)
    slide = cohort.revise("slide", without_table)
    second, objects, listings = cohort.audited(output)

    # 6 of 195 objects are new: they are read, the five series are listed, and that is all
    assert (second.report.rows, objects, listings) == (195, 6, 5)
    assert (second.report.carried, second.report.read, second.report.requests) == (189, 6, 6)
    assert tree(before) == kept
    _diff_names_every_change(second, cohort, removed, revised, slide)
    _tables_of_the_diff(snapshots(output)[1], revised, slide)

    broken = {rule.name: rule for rule in second.report.rules if rule.state == "broken"}
    assert second.exit_code == ExitCode.TOO_MANY_ERRORS
    assert broken["no_lost_tables"].first == ((f"s3://idc-open-data/{slide}", "3"),)
    assert "no_lost_tables" not in {r.name for r in first.report.rules if r.state == "broken"}

    page = (snapshots(output)[1] / "report.html").read_text(encoding="utf-8")
    assert "1 rule of severity error broken" in page
    assert "no_lost_tables" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page
    content = json.loads((snapshots(output)[1] / "report.json").read_text(encoding="utf-8"))
    assert [point["instances"] for point in content["trend"]] == [200, 195]
    assert content["previous"] == before.name
    _newest_is_meant(output, 195)

    third, objects, listings = cohort.audited(output)
    assert (objects, listings, third.report.carried) == (0, 5, 195)
    assert third.report.diff is not None
    assert third.report.diff.nothing
    assert len(third.report.trend) == 3


def _diff_names_every_change(
    ended: Audited, cohort: Cohort, removed: OwnSeries, revised: str, slide: str
) -> None:
    found = ended.report.diff
    assert found is not None
    series, counts, tables = found.series, found.instances, found.offset_tables
    assert (series.added, series.removed, series.revised, series.changed) == (1, 1, 2, 0)
    assert (counts.added, counts.removed, counts.revised, counts.changed) == (4, 9, 2, 0)
    assert (counts.moved, counts.unchanged) == (59, 130)
    assert (tables.gained, tables.lost, tables.replaced) == (0, 1, 0)
    assert found.columns == ()
    named = {change.attribute: change for change in found.attributes}
    assert {name for name in named if named[name].table == "instances"} == {
        "SeriesDescription",
        "size",
        "header_bytes",
        "pixel_data_offset",
        "offset_table",
        "offset_table_frames",
    }
    (pair,) = named["SeriesDescription"].examples
    assert (pair.old, pair.new) == (None, "=HYPERLINK('x') <script>alert(1)</script>")


def _tables_of_the_diff(snapshot: Path, revised: str, slide: str) -> None:
    rows = read_table(snapshot / "diff" / "instances.parquet")
    changed = {row["new_url"]: row["attributes"] for row in rows if row["change"] == "revised"}
    assert set(changed) == {f"s3://idc-open-data/{key}" for key in (revised, slide)}
    assert "SeriesDescription" in changed[f"s3://idc-open-data/{revised}"]
    (lost,) = read_table(snapshot / "diff" / "offset_tables.parquet")
    assert (lost["change"], lost["new_url"]) == ("lost", f"s3://idc-open-data/{slide}")
    assert len(read_table(snapshot / "diff" / "series.parquet")) == 4


def _newest_is_meant(output: Path, rows: int) -> None:
    with connect(str(output)) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(rows,)]
    assert read_status(str(output)).rows == rows
    asked = harvest("query", output, "SELECT count(*) AS n FROM instances", "--json")
    assert json.loads(asked.stdout) == [{"n": rows}]


# --- across releases of IDC --------------------------------------------------------------------


def test_prior_versions_are_carried_into_the_next_release(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str
) -> None:
    """One instance of the prior version is copied into the current one, under the same UUID."""
    prior = _prior_series()
    old = _version(lab, tmp_path, prior["SeriesInstanceUID"], prior["crdc_series_uuid"], "ab")
    new = _version(lab, tmp_path, prior["SeriesInstanceUID"], str(uuid4()), "bc")
    index = index_of(lab, tmp_path / "index.parquet", [(new, 2)])
    picked = (
        f"SELECT crdc_series_uuid FROM prior_versions_index WHERE crdc_series_uuid = '{old.uuid}'"
    )

    def audited(sql: str) -> Audited:
        return audit(
            config_of(
                tmp_path / "audits",
                {"sql": sql, "index": str(index)},
                {"endpoint": s3_gate.url},
                scheduler=scheduler,
                audit={"rule_sets": ["identity"]},
            )
        )

    assert audited(picked).report.rows == 2
    asked = len(s3_gate.of(".dcm"))
    second = audited(f"{picked} UNION ALL SELECT crdc_series_uuid FROM index").report
    assert [seen.path.rpartition("/")[2] for seen in s3_gate.of(".dcm")[asked:]] == [
        Path(new.keys[1]).name
    ]
    assert (second.rows, second.carried, second.requests) == (4, 3, 1)
    assert second.diff is not None
    assert (second.diff.series.revised, second.diff.instances.added) == (1, 2)
    assert second.diff.instances.removed == 0
    rows = instances(snapshots(tmp_path / "audits")[1])
    assert {row["crdc_series_uuid"] for row in rows} == {old.uuid, new.uuid}


def _prior_series() -> dict[str, str]:
    """Return a series of IDC's prior versions in the bucket that the lab has."""
    path = table_files(["prior_versions_index"], fetch=False)["prior_versions_index"]
    (found,) = table(
        f"SELECT SeriesInstanceUID, crdc_series_uuid FROM '{path}'"
        " WHERE aws_bucket = 'idc-open-data' ORDER BY ALL LIMIT 1"
    )
    return found


def _version(lab: Lab, folder: Path, uid: str, uuid: str, instances: str) -> OwnSeries:
    """Put a version of a series into the lab's buckets; each instance is named by a letter."""
    names = [f"00000000-0000-4000-8000-00000000000{letter}" for letter in instances]
    keys = [f"{uuid}/{name}.dcm" for name in names]
    paths = [
        write_dicom(folder / key, uid, instance=str(ord(letter)))
        for key, letter in zip(keys, instances, strict=True)
    ]
    put(lab, "idc-open-data", dict(zip(keys, paths, strict=True)))
    return OwnSeries(uid, uuid, "idc-open-data", tuple(keys), tuple(paths))


# --- in a bucket --------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_snapshots_in_a_bucket(
    lab: Lab,
    tmp_path: Path,
    folder: Path,
    scheduler: str,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    server = lab.s3 if scheme == "s3" else lab.gcs
    output = {
        "url": f"{scheme}://{servers.OUTPUT_BUCKET}/{uuid4()}",
        "endpoint": server.endpoint,
        "region": servers.S3_REGION if scheme == "s3" else None,
    }
    copied = {"name": "copy", "severity": "info", "description": "x", "sql": "FROM 'x.parquet'"}
    before = "SELECT url FROM instances WHERE url NOT IN (SELECT url FROM previous.instances)"
    config = Config.model_validate(
        {
            "cohort": {"prefix": f"{folder}/"},
            "output": output,
            "cluster": {"workers": 1},
            "audit": {
                "rule_sets": ["offset_tables"],
                "rules": [{**copied, "name": "new", "sql": before}],
                "keep": 1,
            },
        }
    )
    assert audit(config).report.rows == 70
    write_dicom(folder / "9b.dcm", "1.2.5", instance="900")
    second = audit(config)
    assert (second.report.carried, second.report.read, len(second.removed)) == (70, 1, 1)
    assert second.report.diff is not None
    assert second.report.diff.instances.added == 1
    assert [rule.rows for rule in second.report.rules if rule.name == "new"] == [1]
    opened = open_output(config.output)
    assert opened.folders() == [second.report.snapshot]
    assert opened.exists(f"{second.report.snapshot}/diff/instances.parquet")
    with connect(config.output) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchall() == [(71,)]
    section = config.audit
    assert section is not None
    wrong = section.model_copy(update={"rules": [RuleConfig.model_validate(copied)]})
    with pytest.raises(ConfigError, match="disabled by configuration"):
        audit(config.model_copy(update={"audit": wrong}))


# --- what the index tells ----------------------------------------------------------------------


def test_what_the_index_says_is_refreshed_without_reading(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str
) -> None:
    series = own_series(lab, tmp_path / "data", 3)
    index = index_of(lab, tmp_path / "index.parquet", [(series, 3)])
    config = config_of(
        tmp_path / "audits",
        {"sql": SQL, "index": str(index)},
        {"endpoint": s3_gate.url},
        scheduler=scheduler,
        audit={"rule_sets": ["licence"]},
    )
    assert audit(config).exit_code == ExitCode.TOO_MANY_ERRORS  # it has neither licence nor DOI
    asked = len(s3_gate.of(".dcm"))
    rows = pq.read_table(index).to_pylist()
    told = {"license_short_name": "CC BY 4.0", "source_DOI": "10.1/x"}
    pq.write_table(pa.Table.from_pylist([rows[0] | told], pq.read_schema(index)), index)
    second = audit(config)
    assert len(s3_gate.of(".dcm")) == asked
    assert second.exit_code == ExitCode.COMPLETE
    assert second.report.diff is not None
    assert {(a.table, a.attribute) for a in second.report.diff.attributes} == {
        ("series", "license_short_name"),
        ("series", "source_DOI"),
    }
    with connect(str(tmp_path / "audits")) as connection:
        found = connection.execute("SELECT license_short_name, source_DOI FROM series").fetchall()
    assert found == [tuple(told.values())]


# --- both clouds -------------------------------------------------------------------------------


def test_both_clouds(lab: Lab, tmp_path: Path, scheduler: str) -> None:
    series = own_series(lab, tmp_path / "data", 3)
    index = index_of(lab, tmp_path / "index.parquet", [(series, 3)])
    config = config_of(
        tmp_path / "audits",
        {"sql": SQL, "index": str(index), "sample": 1},
        {"endpoint": lab.s3.endpoint},
        scheduler=scheduler,
        audit={
            "rule_sets": ["both_clouds"],
            "other_cloud": {"endpoint": lab.gcs.endpoint},
        },
    )
    first = audit(config)
    assert {rule.name: rule.first for rule in first.report.rules if rule.rows} == {}
    listed = read_table(snapshots(tmp_path / "audits")[0] / "listings" / "00000.parquet")
    assert sorted(row["cloud"] for row in listed) == ["aws"] * 3 + ["gcs"] * 3
    assert all(row["md5"] for row in listed)

    other = write_dicom(tmp_path / "other.dcm", "1.2.3", header=999)
    servers.put_gcs(lab.gcs, series.bucket, [servers.Upload(series.keys[0], other)])
    third = tmp_path / "third.dcm"
    third.write_bytes(series.paths[1].read_bytes()[:-1] + b"x")
    servers.put_gcs(lab.gcs, series.bucket, [servers.Upload(series.keys[1], third)])
    second = audit(config)
    broken = {rule.name for rule in second.report.rules if rule.state == "broken"}
    assert broken == {"sizes_differ", "checksums_differ"}
    assert second.exit_code == ExitCode.TOO_MANY_ERRORS


def test_listings_need_series(tmp_path: Path) -> None:
    config = config_of(
        tmp_path / "audits", {"prefix": f"{tmp_path}/"}, audit={"rule_sets": ["both_clouds"]}
    )
    with pytest.raises(ConfigError, match="need a cohort of IDC's series"):
        audit(config)


# --- interruptions, overlaps, retention, hooks -------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(70):
        write_dicom(tmp_path / "data" / f"{number:02}.dcm", "1.2.5", instance=str(number + 1))
    return tmp_path / "data"


def folder_config(data: Path, output: Path, scheduler: str, **section: Any) -> Config:
    given = {"rule_sets": ["offset_tables"], **section}
    return config_of(output, {"prefix": f"{data}/"}, scheduler=scheduler, audit=given)


class Killed(BaseException):
    """What no code of ours expects."""


@pytest.mark.parametrize(
    "place",
    [
        "harvest.driver.runner.make_plan",
        "harvest.driver.runner.carry_over",
        "harvest.driver.runner._Run._read_on",
        "harvest.driver.runner.join_rows",
        "harvest.driver.runner.publish",
        "harvest.driver.runner.clear",
        "harvest.audit.auditor.diff",
        "harvest.audit.auditor.run_rules",
        "harvest.audit.auditor.report_html",
        "harvest.audit.auditor.report_json",
        "harvest.audit.auditor.remove_old",
    ],
)
def test_an_audit_may_be_interrupted_anywhere(
    folder: Path, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    config = folder_config(folder, tmp_path / "audits", scheduler, keep=2)
    audit(config)
    (last,) = snapshots(tmp_path / "audits")
    kept = tree(last)
    write_dicom(folder / "30b.dcm", "1.2.5", instance="900")

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(place, killed)
        with pytest.raises(Killed):
            audit(config)
    assert tree(last) == kept
    with connect(str(tmp_path / "audits")) as connection:
        assert connection.execute("SELECT count(*) FROM instances").fetchone() in ((70,), (71,))
    ended = audit(config)
    assert (ended.report.rows, ended.report.errors) == (71, {})
    assert ended.report.previous is not None
    if place != "harvest.audit.auditor.remove_old":  # by then the report was there
        assert (ended.report.previous, ended.report.carried) == (last.name, 70)
        assert ended.report.diff is not None
        assert ended.report.diff.instances.added == 1
        assert len(ended.report.trend) == 2
        assert tree(last) == kept
    for snapshot in snapshots(tmp_path / "audits"):
        assert len(instances(snapshot)) in (70, 71)
        assert (snapshot / "report.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_audit_that_is_killed_goes_on(
    lab: Lab, tmp_path: Path, s3_gate: Gate, scheduler: str, number: signal.Signals
) -> None:
    """A process of its own, in the middle of reading what is new."""
    cohort = Cohort(lab, tmp_path, s3_gate, scheduler)
    cohort.add("stays", 70)
    cohort.audited(tmp_path / "audits")
    (last,) = snapshots(tmp_path / "audits")
    kept = tree(last)
    cohort.add("added", 90)
    index_of(lab, tmp_path / "index.parquet", [(s, len(s.keys)) for s in cohort.series.values()])
    file = tmp_path / "audit.yaml"
    file.write_text(
        f"cohort: {{sql: {SQL}, index: {tmp_path}/index.parquet}}\n"
        f"source: {{endpoint: '{s3_gate.url}'}}\noutput: {tmp_path}/audits\n"
        f"cluster: {{address: '{scheduler}'}}\naudit: {{rule_sets: [completeness]}}\n"
    )
    command = [*HARVEST, "audit", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        first, ended = len(s3_gate.seen), threading.Event()

        def end(_: int) -> None:
            asked = [seen.path for seen in s3_gate.seen[first:]]
            if not ended.is_set() and any(path.endswith(".dcm") for path in asked):
                ended.set()
                process.send_signal(number)

        s3_gate.on_request = end
        process.communicate(timeout=60)
        s3_gate.on_request = None
    assert process.returncode == (75 if number == signal.SIGTERM else -signal.SIGKILL)
    assert tree(last) == kept
    done = harvest("audit", file, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert (content["rows"], content["carried"], content["errors"]) == (160, 70, {})
    assert content["previous"] == last.name
    assert tree(last) == kept


def test_two_audits_never_overlap(
    folder: Path, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("RENEWAL_SECONDS", 0.2), ("WATCH_SECONDS", 0.05)):
        monkeypatch.setattr(lease, name, seconds)
    output = tmp_path / "audits"
    with (
        hold(open_output(str(output)), lambda text: None),
        pytest.raises(OutputBusy, match="let it finish") as raised,
    ):
        audit(folder_config(folder, output, scheduler))
    assert raised.value.exit_code == ExitCode.RUN_AGAIN
    assert not output.exists()


def test_old_snapshots_are_removed_and_the_trend_stays(
    folder: Path, tmp_path: Path, scheduler: str
) -> None:
    config = folder_config(folder, tmp_path / "audits", scheduler, keep=2)
    ended = [audit(config) for _ in range(4)]
    assert [len(each.removed) for each in ended] == [0, 0, 1, 1]
    names = [each.report.snapshot for each in ended]
    assert len(set(names)) == 4
    assert [path.name for path in snapshots(tmp_path / "audits")] == names[2:]
    assert [point.snapshot for point in ended[-1].report.trend] == names


def test_the_hook_gets_the_report(folder: Path, tmp_path: Path, scheduler: str) -> None:
    told = tmp_path / "told.json"
    script = f"import pathlib, sys; pathlib.Path({str(told)!r}).write_text(sys.stdin.read())"
    hook = [sys.executable, "-c", script]
    ended = audit(folder_config(folder, tmp_path / "audits", scheduler, hook=hook))
    assert (ended.hook_failure, ended.exit_code) == (None, ExitCode.COMPLETE)
    assert json.loads(told.read_text())["snapshot"] == ended.report.snapshot


@pytest.mark.parametrize(
    ("hook", "told"),
    [(["false"], "false ended with 1"), (["/nothing/here"], "cannot be run")],
)
def test_a_hook_that_fails_is_told_and_the_audit_stands(
    folder: Path, tmp_path: Path, scheduler: str, hook: list[str], told: str
) -> None:
    ended = audit(folder_config(folder, tmp_path / "audits", scheduler, hook=hook))
    assert told in str(ended.hook_failure)
    assert ended.exit_code == ExitCode.WRONG_USE
    assert (snapshots(tmp_path / "audits")[0] / "report.json").is_file()


def test_another_config_leaves_a_begun_snapshot_alone(
    folder: Path, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "audits"

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("harvest.driver.runner.publish", killed)
        with pytest.raises(Killed):
            audit(folder_config(folder, output, scheduler))
    (begun,) = snapshots(output)
    config = folder_config(folder, output, scheduler)
    more = config.model_copy(update={"read": config.read.model_copy(update={"tags": ["KVP"]})})
    ended = audit(more)
    assert ended.report.rows == 70
    assert [path.name for path in snapshots(output)] == [ended.report.snapshot]
    assert ended.report.snapshot > begun.name


def test_an_object_that_is_not_read_fails_the_audit_by_its_rate(
    folder: Path, tmp_path: Path, scheduler: str
) -> None:
    (folder / "x.dcm").write_bytes(b"no DICOM" * 99)
    ended = audit(folder_config(folder, tmp_path / "audits", scheduler))
    assert (ended.exit_code, ended.report.errors) == (ExitCode.TOO_MANY_ERRORS, {"not_dicom": 1})
    again = audit(folder_config(folder, tmp_path / "audits", scheduler))
    assert (again.report.carried, again.report.requests) == (71, 0)


# --- wrong use ---------------------------------------------------------------------------------


def test_a_config_without_the_section_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no section audit"):
        audit(config_of(tmp_path / "audits", {"prefix": f"{tmp_path}/"}))


def test_run_refuses_a_config_of_audits(folder: Path, tmp_path: Path, scheduler: str) -> None:
    with pytest.raises(ConfigError, match="use `harvest audit`"):
        run(folder_config(folder, tmp_path / "audits", scheduler))
    assert not (tmp_path / "audits").exists()


def test_a_harvest_is_no_folder_of_audits(folder: Path, tmp_path: Path, scheduler: str) -> None:
    config = folder_config(folder, tmp_path / "out", scheduler)
    run(config.model_copy(update={"audit": None}))
    with pytest.raises(OutputError, match="is a harvest: name another folder"):
        audit(config)


def test_wrong_rules_are_told_before_anything_is_written(tmp_path: Path) -> None:
    rules = [{"name": "x", "severity": "error", "description": "x", "sql": "SELECT 1; SELECT 2"}]
    config = config_of(tmp_path / "audits", {"prefix": f"{tmp_path}/"}, audit={"rules": rules})
    with pytest.raises(HarvestError, match="rule x: it must be exactly one SELECT"):
        audit(config)
    assert not (tmp_path / "audits").exists()
