"""Every file of HARVEST_CORPUS through every way of reading, against pydicom and its manifest."""

from __future__ import annotations

import csv
import io
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pydicom
import pytest
from pydicom.dataset import Dataset

import harvest
from harvest.config import Config
from tests.lab import servers
from tests.lab.servers import Upload
from tests.support import oracle

BUCKET = "corpus-bucket"
CUTS = 40
SEED = 20261122

pytestmark = pytest.mark.skipif(
    "HARVEST_CORPUS" not in os.environ,
    reason="HARVEST_CORPUS names no folder of real files with a manifest.csv",
)

# pydicom reads these, and harvest says `truncated`. Each ends before what it must have; that
# pydicom takes them is the silent truncation that harvest is not to repeat.
EXPLAINED = {
    "pydicom/rtplan_truncated.dcm": "its last value is announced to end 8 bytes behind the file",
    "pydicom/no_meta_group_length.dcm": "an RT image of three elements that ends at (0008,0013)",
    **{
        f"pydicom/IM00000{character}": "a CT image that ends at (0020,0013), before its pixels"
        for character in "0123456789ABCDEFGHIJK"
    },
}

# manifest.csv's words for the offset table, in the Contract's
OFFSET_TABLES = {
    "bot": "basic",
    "empty_bot": "empty",
    "eot": "extended",
    "native": "native",
    "none-no-pixel-data": "no_pixel_data",
}
DEFLATED = "1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class RealFile:
    """A file of the corpus."""

    path: Path
    entry: dict[str, str]
    dataset: Dataset | None
    """As pydicom reads it without force."""

    @property
    def key(self) -> str:
        return f"corpus/{self.entry['path']}"


@pytest.fixture(scope="module")
def corpus() -> list[RealFile]:
    folder = Path(os.environ["HARVEST_CORPUS"])
    with (folder / "manifest.csv").open() as file:
        entries = list(csv.DictReader(file))
    return [
        RealFile(path, entry, oracle.read_without_force(path))
        for entry in entries
        if (path := folder / entry["path"]).is_file()
    ]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.seaweedfs(tmp_path_factory.mktemp("s3"), [BUCKET]) as server:
        servers.create_s3_bucket(server, BUCKET)
        yield server


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    with servers.fake_gcs(tmp_path_factory.mktemp("gcs")) as server:
        servers.create_gcs_bucket(server, BUCKET)
        yield server


def harvested(
    prefix: str, output: Path, endpoint: str | None, transport: str = "obstore", cloud: str = "aws"
) -> dict[str, dict[str, Any]]:
    config = Config.model_validate(
        {
            "cohort": {"prefix": prefix},
            "source": {"cloud": cloud, "endpoint": endpoint, "transport": transport},
            "output": str(output),
            "cluster": {"workers": 2},
        }
    )
    ended = harvest.run(config)
    with duckdb.connect() as connection:
        result = connection.execute(f"SELECT * FROM '{output}/instances/*.parquet'")
        names = [column[0] for column in result.description or []]
        rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    assert ended.rows == len(rows)
    return {row["url"]: row for row in rows}


def check_against_oracles(corpus: list[RealFile], rows: dict[str, dict[str, Any]]) -> None:
    paths = oracle.profile_paths("core")
    by_key = {url.partition("corpus/")[2]: row for url, row in rows.items()}
    assert set(by_key) == {file.entry["path"] for file in corpus}
    for file in corpus:
        name = file.entry["path"]
        row = by_key[name]
        assert row["size"] == int(file.entry["size"])
        if name in EXPLAINED:
            assert (row["status"], row["error"]) == ("error", "truncated"), name
            continue
        assert (row["status"] == "ok") == (file.dataset is not None), name
        if file.dataset is None:
            assert row["error"] == "not_dicom", name
            continue
        values, unreadable = oracle.expected_values(file.dataset, paths)
        assert {column: row[column] for column in values} == values, name
        issues = {issue["path"] for issue in row["issues"] or [] if issue["raw"] is not None}
        assert issues == unreadable, name
        check_pixels(file, row)


def check_pixels(file: RealFile, row: dict[str, Any]) -> None:
    entry = file.entry
    assert file.dataset is not None
    deflated = file.dataset.file_meta.get("TransferSyntaxUID") == DEFLATED
    expected = OFFSET_TABLES[entry["offset_table"]]
    if deflated and expected == "native":
        expected = "deflated"
    assert row["offset_table"] == expected, entry["path"]
    if not entry["pixel_data_offset"]:
        assert row["pixel_data_offset"] is None, entry["path"]
        return
    # the manifest gives the tag's offset: the value is 8 or 12 bytes on (PS3.5 section 7.1)
    data = file.path.read_bytes()
    at = int(entry["pixel_data_offset"])
    explicit = data[at + 4 : at + 6] in (b"OB", b"OW", b"OF", b"OD", b"UN")
    assert row["pixel_data_offset"] == at + (12 if explicit else 8), entry["path"]


@pytest.fixture(scope="module")
def served(corpus: list[RealFile], s3: servers.Server, gcs: servers.Server) -> None:
    uploads = [Upload(file.key, file.path) for file in corpus]
    servers.put_s3(s3, BUCKET, uploads)
    servers.put_gcs(gcs, BUCKET, uploads)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_from_s3(
    corpus: list[RealFile], s3: servers.Server, tmp_path: Path, transport: str
) -> None:
    rows = harvested(f"s3://{BUCKET}/corpus/", tmp_path / "out", s3.endpoint, transport)
    check_against_oracles(corpus, rows)


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_from_gcs(
    corpus: list[RealFile], gcs: servers.Server, tmp_path: Path, transport: str
) -> None:
    rows = harvested(f"gs://{BUCKET}/corpus/", tmp_path / "out", gcs.endpoint, transport, "gcs")
    check_against_oracles(corpus, rows)


def test_from_a_folder(corpus: list[RealFile], tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    for file in corpus:
        target = folder / file.entry["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file.path)
    rows = harvested(f"{folder}/", tmp_path / "out", None)
    unquoted = {url.replace("%2B", "+").replace("%21", "!"): row for url, row in rows.items()}
    check_against_oracles(corpus, unquoted)


def element_starts(dataset: Dataset) -> set[int]:
    """Return the offsets at which pydicom found top-level elements to begin."""
    starts = set()
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        assert element is not None
        value = element.value_tell if hasattr(element, "value_tell") else element.file_tell
        assert value is not None
        starts |= {value - 8, value - 12}
    return starts


def header_end(file: RealFile) -> int:
    offset = file.entry["pixel_data_offset"]
    return int(offset) if offset else int(file.entry["size"])


def test_cut_inside_the_header(
    corpus: list[RealFile], s3: servers.Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No object that was cut inside its header gives an ok row with a wrong or missing value."""
    chosen = random.Random(SEED)
    paths = oracle.profile_paths("core")
    uploads: list[Upload] = []
    cuts: dict[str, tuple[RealFile, int]] = {}
    for number, file in enumerate(corpus):
        if file.dataset is None:
            continue
        data = file.path.read_bytes()
        for cut in sorted(chosen.sample(range(1, header_end(file)), CUTS)):
            key = f"cuts/{number:03d}/{cut:08d}.dcm"
            target = tmp_path / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data[:cut])
            uploads.append(Upload(key, target))
            cuts[key] = (file, cut)
    servers.put_s3(s3, BUCKET, uploads)
    rows = harvested(f"s3://{BUCKET}/cuts/", tmp_path / "out", s3.endpoint)
    assert len(rows) == len(cuts)
    counts: Counter[str] = Counter()
    wrong: list[tuple[str, int]] = []
    for key, (file, cut) in cuts.items():
        row = rows[f"s3://{BUCKET}/{key}"]
        if row["status"] != "ok":
            counts[row["error"]] += 1
            continue
        assert file.dataset is not None
        values, _ = oracle.expected_values(file.dataset, paths)
        if {column: row[column] for column in values} == values:
            counts["ok, and every value is right"] += 1
            continue
        # the one thing that no reader can see
        without_pixels = not file.entry["pixel_data_offset"]
        if not (without_pixels and cut in element_starts(file.dataset)):
            wrong.append((file.entry["path"], cut))
        counts["ok, without pixels and cut exactly between two elements"] += 1
    with capsys.disabled():
        print(f"\n{len(cuts)} cuts with seed {SEED}: {dict(counts)}")
    assert not wrong


def test_the_oracle_sees_a_cut() -> None:
    """The comparison can fail: pydicom itself reads most cut headers without a word."""
    whole = Path(str(pydicom.data.get_testdata_file("CT_small.dcm"))).read_bytes()
    complete = oracle.read_without_force(io.BytesIO(whole))
    partial = oracle.read_without_force(io.BytesIO(whole[:3000]))
    assert complete is not None
    assert partial is not None
    paths = oracle.profile_paths("core")
    assert oracle.expected_values(complete, paths) != oracle.expected_values(partial, paths)
