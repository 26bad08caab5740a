"""Measures all ways of reading a region on real servers, in turns, through relays that count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from tests.bench import peers
from tests.bench.regions.fragments import write_fragments
from tests.bench.regions.slides import TABLES, TILE, write_slides
from tests.bench.relay import Running, relay
from tests.lab import servers
from tests.lab.servers import Upload

REGION: Final = 512
"""Pixels on each side; it touches three tiles in each direction."""
LATENCY: Final = 0.02
BUCKETS: Final = {"s3": "slides-s3", "gcs": "slides-gcs"}
_WAYS: Final = Path(__file__).with_name("ways.py")
# a wsidicom that decodes and converts colours by itself is off by a shade
MOST_DIFFERENCE: Final = 3


class Case(NamedTuple):
    """One way of reading one file."""

    way: str
    """Of `tests.bench.regions.ways`."""
    cloud: str
    """s3 or gcs."""
    table: str
    """Of `TABLES`."""
    indexed: bool
    """Whether it has a frame index."""
    metadata: bool = False
    """Whether only the header is wanted."""

    @property
    def ours(self) -> bool:
        """Whether it is harvest's."""
        return self.way.startswith("harvest")


def cases() -> Iterator[Case]:
    """Yield all that is measured."""
    for table in TABLES:
        for way in ("smart_open", "s3fs", "wsidicom"):
            yield Case(way, "s3", table, False)
        yield Case("gcs_blob", "gcs", table, False)
        for cloud in BUCKETS:
            for way in ("harvest_open", "harvest_region"):
                for indexed in (False, True):
                    yield Case(way, cloud, table, indexed)
        yield Case("floor", "s3", table, True)
    for way, cloud in (
        ("smart_open", "s3"),
        ("s3fs", "s3"),
        ("gcs_blob", "gcs"),
        ("harvest_open", "s3"),
        ("harvest_open", "gcs"),
    ):
        yield Case(way, cloud, "basic", False, metadata=True)


@dataclass(frozen=True)
class Step:
    """What a step of a way cost."""

    requests: int
    bytes: int
    """Of the bodies of answers, on the wire."""
    seconds: float


@dataclass
class Measured:
    """Of one case."""

    opening: list[Step] = field(default_factory=list)
    region: list[Step] = field(default_factory=list)
    difference: int = 0
    """Largest difference of a sample from harvest's."""
    failure: str | None = None
    """Why it could not be measured."""


@dataclass
class Located:
    """What finding the frames of a file took."""

    source: str
    frames: int
    requests: int
    bytes: int
    size: int


@dataclass
class Results:
    """All that was measured."""

    across: int
    tile_bytes: int
    """Of the tiles that the region touches."""
    cases: list[tuple[Case, Measured]] = field(default_factory=list)
    located: dict[str, Located] = field(default_factory=dict)
    """By the kind of file."""
    index_bytes_per_frame: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return all of it in plain types."""
        return {
            **asdict(self),
            "cases": [{**case._asdict(), **asdict(found)} for case, found in self.cases],
        }


@dataclass(frozen=True)
class Bench:
    """Servers with the slides in them, and relays before them."""

    folder: Path
    relays: Mapping[str, Running]
    region: tuple[int, int, int, int]
    ranges: Mapping[str, list[tuple[int, int]]]
    """By the kind of file: of the tiles under the region, a row each."""

    def index(self, cloud: str) -> Path:
        """Return the frame index of a cloud's files."""
        return self.folder / f"{cloud}.parquet"


def measure(
    across: int, rounds: int, *, latency: float = LATENCY, chosen: Iterable[Case] | None = None
) -> Results:
    """Measure everything.

    Parameters
    ----------
    across
        Tiles of a row, and of a column, of the slide.
    rounds
        How often; the cases take turns in each.
    latency
        Of a round trip, in seconds.
    chosen
        What is measured; all `cases` where None.
    """
    servers.bypass_proxies()
    with tempfile.TemporaryDirectory(prefix="harvest-regions-") as made:
        folder = Path(made)
        files = write_slides(folder / "slides", across)
        with _served(folder, files) as endpoints:
            located = _index(folder, endpoints)
            ranges = {table: tile_ranges(folder / "s3.parquet", table, across) for table in TABLES}
            results = Results(across, sum(b - a for a, b in ranges["basic"]), located=located)
            results.located |= _scans(folder)
            results.index_bytes_per_frame = _bytes_per_frame(folder / "s3.parquet", across)
            with (
                relay(endpoints["s3"], latency) as s3,
                # fake-gcs-server answers to its own name alone
                relay(endpoints["gcs"], latency, rename=True) as gcs,
            ):
                bench = Bench(folder, {"s3": s3, "gcs": gcs}, region_of(across), ranges)
                results.cases = _rounds(bench, rounds, tuple(chosen or cases()))
    return results


def region_of(across: int) -> tuple[int, int, int, int]:
    """Place the region in the middle of the slide, off the grid in both directions."""
    begin = across // 2 * TILE + 100
    return begin, begin, REGION, REGION


@contextmanager
def _served(folder: Path, files: Mapping[str, Path]) -> Iterator[dict[str, str]]:
    with (
        servers.seaweedfs(folder / "s3", [BUCKETS["s3"]]) as s3,
        servers.fake_gcs(folder / "gcs") as gcs,
    ):
        servers.create_s3_bucket(s3, BUCKETS["s3"])
        servers.create_gcs_bucket(gcs, BUCKETS["gcs"])
        uploads = [Upload(path.name, path) for path in files.values()]
        servers.put_s3(s3, BUCKETS["s3"], uploads)
        servers.put_gcs(gcs, BUCKETS["gcs"], uploads)
        yield {"s3": s3.endpoint, "gcs": gcs.endpoint}


def _index(folder: Path, endpoints: Mapping[str, str]) -> dict[str, Located]:
    """Make a frame index of each cloud's files; return what it took on S3."""
    found = {}
    for cloud, scheme in (("gcs", "gs"), ("s3", "s3")):
        urls = [f"{scheme}://{BUCKETS[cloud]}/{table}.dcm" for table in TABLES]
        more = ["--dest", str(folder / f"{cloud}.parquet"), "--endpoint", endpoints[cloud]]
        found = dict(zip(TABLES, locate([*urls, *more]), strict=True))
    return found


def locate(arguments: list[str]) -> list[Located]:
    """Run ``harvest frames``; return what finding the frames of each object took."""
    command = [sys.executable, "-m", "harvest", "frames", "--json", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [
        Located(row["source"], row["frames"], row["requests"], row["bytes_read"], row["size"])
        for row in json.loads(done.stdout)
    ]


def _scans(folder: Path) -> dict[str, Located]:
    """Scan files whose fragments are large, which are mostly holes."""
    found = {}
    for frames, fragments, size in ((300, 300, 2**20), (40, 40, 8 * 2**20), (10, 120, 2**20)):
        name = f"{frames} frames, {fragments} fragments of {size >> 20} MiB"
        path = write_fragments(folder / "fragments.dcm", frames, fragments, size)
        (found[name],) = locate([str(path)])
        path.unlink()
    return found


def _bytes_per_frame(index: Path, across: int) -> float:
    metadata = pq.ParquetFile(index).metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(n) for group in groups for n in range(group.num_columns)]
    lists = [each for each in columns if each.path_in_schema.startswith(("offsets", "lengths"))]
    return float(sum(each.total_compressed_size for each in lists) / (len(TABLES) * across**2))


def tile_ranges(index: Path, table: str, across: int) -> list[tuple[int, int]]:
    """Return where the tiles under the region lie, from the index, a row of tiles each."""
    rows = pq.read_table(index).to_pylist()
    (row,) = (each for each in rows if each["url"].endswith(f"/{table}.dcm"))
    x, y, width, height = region_of(across)
    found = []
    for down in range(y // TILE, (y + height - 1) // TILE + 1):
        first = down * across + x // TILE
        last = down * across + (x + width - 1) // TILE
        found.append((row["offsets"][first], row["offsets"][last] + row["lengths"][last]))
    return found


def _rounds(bench: Bench, rounds: int, chosen: Sequence[Case]) -> list[tuple[Case, Measured]]:
    found: dict[Case, Measured] = defaultdict(Measured)
    for number in range(rounds):
        for case in chosen:
            if found[case].failure is None:
                print(f"  round {number + 1}: {' '.join(map(str, case))}", file=sys.stderr)
                _measure(bench, case, found[case])
    return list(found.items())


def _measure(bench: Bench, case: Case, found: Measured) -> None:
    pixels = bench.folder / "pixels.npy"
    pixels.unlink(missing_ok=True)
    try:
        opening, region = _steps(bench, case, pixels)
    except peers.Failed as failed:
        found.failure = str(failed)
        return
    found.opening.append(opening)
    if case.metadata:
        return
    found.region.append(region)
    if case.way != "floor":
        found.difference = max(found.difference, _difference(bench, case, np.load(pixels)))


def _difference(bench: Bench, case: Case, pixels: np.ndarray[Any, Any]) -> int:
    """Compare with what pydicom decodes of the same tiles, one by one."""
    expected = _expected(bench)
    if pixels.shape != expected.shape:
        raise peers.Failed(f"{case} gives {pixels.shape}")
    largest = int(np.abs(pixels.astype(int) - expected).max())
    if largest > (MOST_DIFFERENCE if case.way == "wsidicom" else 0):
        raise peers.Failed(f"{case} gives other pixels")
    return largest


def _expected(bench: Bench) -> np.ndarray[Any, Any]:
    saved = bench.folder / "expected.npy"
    if not saved.exists():
        np.save(saved, decoded(bench.folder / "slides" / "basic.dcm", bench.region))
    expected: np.ndarray[Any, Any] = np.load(saved).astype(int)
    return expected


def decoded(path: Path, region: tuple[int, int, int, int]) -> np.ndarray[Any, Any]:
    """Decode a region by pydicom alone, of a file with a table."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    header = dcmread(path, stop_before_pixels=True)
    across = header.TotalPixelMatrixColumns // TILE
    x, y, width, height = region
    rows, columns = (
        range(at // TILE, (at + size - 1) // TILE + 1) for at, size in ((y, height), (x, width))
    )
    whole = np.vstack(
        [
            np.hstack([pixel_array(path, index=row * across + column) for column in columns])
            for row in rows
        ]
    )
    top, left = y - rows[0] * TILE, x - columns[0] * TILE
    return whole[top : top + height, left : left + width]


def _steps(bench: Bench, case: Case, pixels: Path) -> tuple[Step, Step]:
    """Run a way in a process of its own; return what opening and reading cost."""
    running = bench.relays[case.cloud]
    task = [
        running.url,
        BUCKETS[case.cloud],
        f"{case.table}.dcm",
        str(bench.index(case.cloud)) if case.indexed else None,
        bench.ranges[case.table],
        None if case.metadata else bench.region,
    ]
    python = sys.executable if case.ours else peers.python()
    command = [python, str(_WAYS), case.way, json.dumps(task), str(pixels)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ) as process:
        assert process.stdin is not None
        steps = []
        for _ in range(3):
            running.counts()
            process.stdin.write("\n")
            process.stdin.flush()
            steps.append(_step(process, running))
        process.stdin.close()
    return steps[1], steps[2]


def _step(process: subprocess.Popen[str], running: Running) -> Step:
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        raise peers.Failed(process.stderr.read().strip().rpartition("\n")[2])
    counts: Counter[str] = running.counts()
    requests = counts["requests"] + counts["listings"]
    return Step(requests, counts["body_bytes"] + counts["listing_body_bytes"], json.loads(line))


def typical(steps: list[Step]) -> Step:
    """Return the medians of some steps."""
    return Step(
        round(median(step.requests for step in steps)),
        round(median(step.bytes for step in steps)),
        median(step.seconds for step in steps),
    )
