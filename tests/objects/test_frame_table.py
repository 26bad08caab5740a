"""Frames of whole cohorts in a table, and frame indices that are looked up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.pixels.utils import get_expected_length

import harvest
from harvest.cli import main
from harvest.config import Config
from harvest.driver.runner import run
from harvest.errors import ErrorKind, ExitCode, HarvestError, ObjectError
from harvest.objects.frame_table import indexed
from harvest.urls import parse_url
from tests import conftest
from tests.lab import Lab, servers
from tests.support.offset_tables import TABLES, WHOLE, WRONG, wrong

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
SQL = f"{conftest.SQL_GENERATED} OR collection_id = 'lab_pydicom'"


def harvested(lab: Lab, folder: Path, cloud: str, frames: str, scheduler: str) -> Config:
    config = conftest.config_of(
        folder / f"{cloud}_{frames}",
        {"sql": SQL, "index": str(lab.index)},
        conftest.source_of(lab, cloud),
        scheduler=scheduler,
        read={"frames": frames},
        limits={"max_error_rate": 1.0},
    )
    run(config)
    return config


class Harvests(NamedTuple):
    """The same cohort, without and with scans, and from both clouds."""

    none: Config
    table: Config
    scan: Config
    gcs: Config


@pytest.fixture(scope="module")
def harvests(lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Harvests:
    folder = tmp_path_factory.mktemp("frames")
    asked = (("aws", "none"), ("aws", "table"), ("aws", "scan"), ("gcs", "scan"))
    return Harvests(*(harvested(lab, folder, *each, scheduler) for each in asked))


def rows(config: Config, what: str) -> list[dict[str, Any]]:
    output = config.output.url
    return conftest.table(
        f"SELECT {what} FROM '{output}/instances/*.parquet' i "
        f"LEFT JOIN '{output}/frames/*.parquet' f USING (url) ORDER BY url"
    )


@pytest.fixture(scope="module")
def paths(lab: Lab) -> dict[str, Path]:
    """Files by the key of their objects."""
    return {
        series.key(instance): instance.path
        for series in lab.series
        for instance in series.instances
    }


def key(url: str) -> str:
    return parse_url(url).key


def encoded_frames(content: bytes, row: dict[str, Any]) -> list[bytes]:
    """Cut the frames that a row tells out of an object, and take their items away by pydicom."""
    pieces = zip(row["offsets"], row["lengths"], strict=True)
    return [b"".join(generate_fragments(content[at : at + size])) for at, size in pieces]


def check_row(row: dict[str, Any], path: Path) -> None:
    """Compare a row of frames with what pydicom makes of the file."""
    content = path.read_bytes()
    dataset = pydicom.dcmread(path, force=True)
    count = int(dataset.get("NumberOfFrames") or 1)
    assert (row["frames"], row["f_size"]) == (count, len(content))
    if row["offsets"] is not None:
        expected = list(generate_frames(dataset.PixelData, number_of_frames=count))
        assert encoded_frames(content, row) == expected
        return
    check_native(row, dataset, content, count)


def check_native(row: dict[str, Any], dataset: Dataset, content: bytes, count: int) -> None:
    assert row["source"] == "native"
    keyword = pixel_keyword(dataset)
    assert content[row["first_offset"] :].startswith(dataset[keyword].value[:1000])
    if keyword == "PixelData":
        assert -(-row["frame_bits"] * count // 8) == get_expected_length(dataset)


def pixel_keyword(dataset: Dataset) -> str:
    (keyword,) = (name for name in PIXELS if name in dataset)
    return keyword


ALL = "i.*, f.* EXCLUDE (url, size, SOPInstanceUID), f.size AS f_size, f.SOPInstanceUID AS f_uid"


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, on odd files
@pytest.mark.parametrize("name", ["table", "scan", "gcs"])
def test_rows_are_what_pydicom_finds(harvests: Harvests, name: str, paths: dict[str, Path]) -> None:
    found = rows(getattr(harvests, name), ALL)
    compared = 0
    for row in found:
        if row["source"] is None:
            continue
        assert row["f_uid"] == row["SOPInstanceUID"]
        check_row(row, paths[key(row["url"])])
        compared += 1
    assert compared > 1000
    sources = {row["source"] for row in found}
    assert sources == {"extended", "basic", "native", "scan", None}


def test_every_object_with_pixels_has_one_row(harvests: Harvests) -> None:
    for config in harvests[1:]:
        for row in rows(config, "i.status, offset_table, f.url, source, reason"):
            pixels = row["status"] == "ok" and row["offset_table"] != "no_pixel_data"
            assert (row["url"] is not None) >= pixels
            has_row = row["source"] is not None or row["reason"] is not None
            assert has_row == pixels
            assert (row["source"] is None) or (row["reason"] is None)


def test_a_table_read_without_scans_says_what_has_none(harvests: Harvests) -> None:
    frames = "source, reason, frames, offset_table"
    without = rows(harvests.table, frames)
    scanned = rows(harvests.scan, frames)
    differing = [
        (a, b) for a, b in zip(without, scanned, strict=True) if a["source"] != b["source"]
    ]
    assert differing
    for a, b in differing:
        assert (a["source"], a["reason"], b["source"]) == (None, "no offset table", "scan")
        assert a["offset_table"] == "empty"
    # one is of a single frame, in more fragments than are looked at
    assert sum(a["frames"] == 1 for a, _ in differing) == 1


def test_instances_are_the_same_whatever_is_found_of_frames(harvests: Harvests) -> None:
    columns = "i.* EXCLUDE (requests, bytes_read, offset_table_problem, issues)"
    plain = conftest.table(
        f"SELECT {columns} FROM '{harvests.none.output.url}/instances/*.parquet' i ORDER BY url"
    )
    for config in (harvests.table, harvests.scan):
        assert rows(config, columns) == plain


def test_both_clouds_have_the_same_frames(harvests: Harvests) -> None:
    what = "f.SOPInstanceUID, f.size, frames, source, reason, offsets, lengths, frame_bits"
    assert sorted(rows(harvests.scan, what), key=str) == sorted(rows(harvests.gcs, what), key=str)


def test_requests_and_bytes_are_counted(harvests: Harvests) -> None:
    """Tables cost a request or two, a scan never more bytes than the object, and natives none."""
    what = "url, source, offset_table, i.size, requests, bytes_read, frames"
    plain = conftest.table(f"SELECT * FROM '{harvests.none.output.url}/instances/*.parquet'")
    for row, before in zip(rows(harvests.scan, what), plain, strict=True):
        assert row["bytes_read"] <= row["size"]
        more = row["requests"] - before["requests"]
        if row["source"] in ("extended", "basic"):
            assert more <= 4
        elif row["source"] == "native":
            # by what was learnt of other objects, which differs
            assert more <= 1


def test_manifest_and_views_know_the_table(harvests: Harvests) -> None:
    output = Path(harvests.scan.output.url)
    manifest = json.loads((output / "manifest.json").read_text())
    assert set(manifest["tables"]) == {"instances", "frames", "series"}
    with harvest.connect(str(output)) as connection:
        (counted,) = connection.execute("SELECT count(*) FROM frames").fetchall()
    assert counted[0] == sum(file["rows"] for file in manifest["tables"]["frames"])
    assert (
        "frames"
        not in json.loads((Path(harvests.none.output.url) / "manifest.json").read_text())["tables"]
    )


def test_a_harvest_is_complete_with_its_frames(harvests: Harvests, scheduler: str) -> None:
    before = conftest.tree(Path(harvests.scan.output.url))
    run(harvests.scan)
    assert conftest.tree(Path(harvests.scan.output.url)) == before
    other = harvests.scan.model_copy(
        update={"read": harvests.scan.read.model_copy(update={"frames": "table"})}
    )
    with pytest.raises(HarvestError, match="frames: 'scan', now 'table'"):
        run(other)


# --- looking up ------------------------------------------------------------------------------


def slide(lab: Lab, description: str) -> tuple[str, Path]:
    series = conftest.series_of(lab, description)
    instance = max(series.instances, key=lambda each: each.size)
    return f"s3://{series.aws_bucket}/{series.key(instance)}", instance.path


@pytest.fixture
def in_bucket(harvests: Harvests, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The harvest in a bucket that needs credentials, as the config's ``output:``."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    output = Path(harvests.scan.output.url)
    files = [file for file in output.rglob("*") if file.is_file()]
    uploads = [servers.Upload(f"scan/{file.relative_to(output)}", file) for file in files]
    servers.put_s3(lab.s3, servers.OUTPUT_BUCKET, uploads)
    return {"url": f"s3://{servers.OUTPUT_BUCKET}/scan", "endpoint": lab.s3.endpoint}


@pytest.mark.parametrize("kind", ["folder", "file", "bucket", "file in a bucket"])
def test_a_harvest_is_an_index(
    harvests: Harvests, lab: Lab, in_bucket: dict[str, Any], kind: str
) -> None:
    folder = harvests.scan.output.url
    file = "/frames/00000.parquet"
    index: Any = {
        "folder": folder,
        "file": Path(folder + file),
        "bucket": in_bucket,
        "file in a bucket": {**in_bucket, "url": in_bucket["url"] + file},
    }[kind]
    url, path = slide(lab, "SM empty offset table")
    whole = pydicom.dcmread(path).pixel_array
    found = harvest.read_frames(url, [7, 2000], index=index, endpoint=lab.s3.endpoint)
    assert all(np.array_equal(a, b) for a, b in zip(found, whole[[6, 1999]], strict=True))
    with harvest.open(url, index=index, endpoint=lab.s3.endpoint) as opened:
        assert pydicom.dcmread(opened).pixel_array.shape == whole.shape


def test_an_object_of_which_the_index_knows_why_not(harvests: Harvests, lab: Lab) -> None:
    url, _ = slide(lab, "SM empty offset table")
    with pytest.raises(ObjectError, match="no place: no offset table") as caught:
        harvest.read_frames(url, [1], index=harvests.table.output.url, endpoint=lab.s3.endpoint)
    assert caught.value.kind == ErrorKind.UNSUPPORTED


def test_an_index_of_another_state_of_the_object(harvests: Harvests, lab: Lab) -> None:
    url, path = slide(lab, "SM basic offset table")
    size = path.stat().st_size
    assert indexed(harvests.scan.output.url, url, size).frames == 2601
    with pytest.raises(ObjectError, match="another object") as caught:
        indexed(harvests.scan.output.url, url, size + 2)
    assert caught.value.kind == ErrorKind.CHANGED


def test_a_file_at_the_root_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{tmp_path.name}-of-nobody.parquet"
    (tmp_path / name).write_text("no Parquet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarvestError, match="there is no frame index"):
        indexed(f"/{name}", "s3://b/x", 1)


def test_what_is_no_index(harvests: Harvests, lab: Lab, tmp_path: Path) -> None:
    url, path = slide(lab, "SM basic offset table")
    size = path.stat().st_size
    with pytest.raises(HarvestError, match="has no frames table: harvest into another output"):
        indexed(harvests.none.output.url, url, size)
    with pytest.raises(HarvestError, match="no finished harvest"):
        indexed(tmp_path / "nothing", url, size)
    with pytest.raises(HarvestError, match="there is no frame index"):
        indexed(tmp_path / "nothing.parquet", url, size)
    for name, message in (("torn.parquet", "that can be read"), ("notes.txt", "name a .parquet")):
        (tmp_path / name).write_text("no Parquet")
        with pytest.raises(HarvestError, match=message):
            indexed(tmp_path / name, url, size)
    instances = f"{harvests.scan.output.url}/instances/00000.parquet"
    with pytest.raises(HarvestError, match="lacks columns of a frame index"):
        indexed(instances, url, size)
    with pytest.raises(HarvestError, match="does not know"):
        indexed(harvests.scan.output.url, "s3://bucket/other.dcm", size)


# --- single objects --------------------------------------------------------------------------


def test_one_object_that_cannot_be_read_costs_the_others_nothing(lab: Lab, tmp_path: Path) -> None:
    _, path = slide(lab, "SM basic offset table")
    text = tmp_path / "notes.dcm"
    text.write_text("no DICOM")
    index = tmp_path / "index.parquet"
    arguments = ["frames", str(path), str(text), str(tmp_path / "gone"), "--dest", str(index)]
    ended = CliRunner().invoke(main, [*arguments, "--json"])
    assert ended.exit_code == ExitCode.WRONG_USE
    good, bad, gone = json.loads(ended.stdout)
    assert (good["source"], good["frames"], good["error"]) == ("basic", 2601, None)
    assert (bad["error"], gone["error"]) == ("not_dicom", "not_found")
    assert [row["url"] for row in conftest.table(f"SELECT url FROM '{index}'")] == [path.as_uri()]


def test_without_pixels_there_is_no_row(lab: Lab, tmp_path: Path) -> None:
    (series, *_) = (each for each in lab.series if each.attributes["Modality"] == "SR")
    index = tmp_path / "index.parquet"
    arguments = ["frames", str(series.instances[0].path), "--dest", str(index)]
    ended = CliRunner().invoke(main, arguments)
    assert (ended.exit_code, "no pixel data" in ended.stdout) == (ExitCode.COMPLETE, True)
    assert conftest.table(f"SELECT * FROM '{index}'") == []


# --- tables that lie -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def liars(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same six frames under every wrong table, harvested with and without scans."""
    folder = tmp_path_factory.mktemp("liars")
    for kind in TABLES:
        for name, (change, _) in WRONG.items():
            path = folder / "in" / f"{kind} {name}.dcm"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(wrong(kind, change))
    outputs = {}
    for frames in ("table", "scan"):
        outputs[frames] = folder / frames
        cohort = {"prefix": f"{folder / 'in'}/"}
        read = {"frames": frames, "profile": "core"}
        run(conftest.config_of(outputs[frames], cohort, scheduler=scheduler, read=read))
    return outputs


@pytest.mark.parametrize("frames", ["table", "scan"])
def test_wrong_tables_are_told_and_never_used(liars: dict[str, Path], frames: str) -> None:
    found = conftest.table(
        "SELECT parse_filename(url, true) AS name, i.url, status, offset_table_problem, source, "
        f"reason FROM '{liars[frames]}/instances/*.parquet' i "
        f"JOIN '{liars[frames]}/frames/*.parquet' f USING (url)"
    )
    assert len(found) == len(TABLES) * len(WRONG)
    for row in found:
        kind, _, name = unquote(row["name"]).partition(" ")
        assert row["status"] == "ok"
        assert WRONG[name][1].format(kind=kind) in row["offset_table_problem"]
        if frames == "table":
            assert (row["source"], row["reason"]) == (None, "no offset table is right")
            continue
        assert (row["source"], row["reason"]) == ("scan", None)
        path = Path(unquote(urlsplit(row["url"]).path))
        with harvest.open(str(path), index=liars[frames]) as file:
            read = pydicom.dcmread(file)
        assert list(generate_frames(read.PixelData, number_of_frames=6)) == WHOLE


def test_an_entry_that_leads_nowhere_gives_no_frame(tmp_path: Path) -> None:
    """What a harvest cannot see at the price of a few bytes, who reads that frame sees."""
    path = tmp_path / "slide.dcm"
    path.write_bytes(wrong("basic", lambda entries: entries.__setitem__(2, entries[2] + 2)))
    with pytest.raises(ObjectError, match="whole items") as caught:
        harvest.read_frames(str(path), [3])
    assert caught.value.kind == ErrorKind.MALFORMED
