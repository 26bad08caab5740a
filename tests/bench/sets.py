"""The sets of objects that are read: what they hold, and how they come into the buckets."""

from __future__ import annotations

import random
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import obstore
import urllib3
from pydicom import dcmread
from pydicom.uid import SegmentationStorage, VLWholeSlideMicroscopyImageStorage

from tests.bench import multiframe, scanner
from tests.lab import servers
from tests.lab.files import (
    BROKEN_COLLECTION,
    GCS_BUCKETS,
    STUB_COLLECTION,
    Instance,
    Series,
    collect,
    corpus_from_environment,
    sources,
)
from tests.lab.generate import generate
from tests.lab.servers import Server
from tests.support.build import EXPLICIT_LITTLE, JPEG, LITTLE, header_of

NAMES: Final = ("ct", "mr", "slides", "seg", "mixed")
_UPLOADS: Final = 8
_NAMESPACE: Final = uuid.UUID("0d1de9f4-2d0a-5a27-8f0c-3b6b9d9c2a11")
_MANY: Final = "CT many"
"""A series of the lab that would outnumber all others of the mixed set."""


class Body(NamedTuple):
    """One object: its header, and what follows it."""

    sop_instance_uid: str
    header: bytes
    pixels: bytes
    header_bytes: int
    """Where the pixel area begins; less than the header's length in a deflated data set."""


class Filled(NamedTuple):
    """A series and its objects' bytes, in the order of its instances."""

    series: Series
    bodies: list[Body]


class Target(NamedTuple):
    """One object as the ways of reading are told of it."""

    bucket: str
    key: str
    size: int
    header_bytes: int


@dataclass(frozen=True)
class ObjectSet:
    """A set that lies in the buckets."""

    name: str
    profile: list[str]
    """Of the harvest."""
    series: tuple[Series, ...]
    small: int
    """How many of the series, the first ones, are the small cohort."""
    header_bytes: Mapping[str, int]
    """By key."""
    on_gcs: int
    """How many of the series, the first ones, lie on GCS too."""

    many_items: bool
    """Headers are long for their items, so that what they cost goes by their bytes."""

    @property
    def collection(self) -> str:
        """Name of the whole cohort in the index."""
        return f"bench_{self.name}"

    def targets(self, *, gcs: bool = False, small: bool = False) -> list[Target]:
        """List the objects, in the order of the series.

        Parameters
        ----------
        gcs
            Those that lie on GCS, under GCS's names.
        small
            Those of the small cohort.
        """
        series = self.series[: self.small] if small else self.series
        return [
            Target(
                each.gcs_bucket if gcs else each.aws_bucket,
                key := each.key(instance),
                instance.size,
                self.header_bytes[key],
            )
            for each in (series[: self.on_gcs] if gcs else series)
            for instance in each.instances
        ]

    def per_object(self, spent: float, targets: Sequence[Target]) -> float:
        """Divide what reading some of the objects cost among them.

        Where headers cost by their bytes, an object is one of mean length.
        """
        if not self.many_items:
            return spent / len(targets)
        mean = sum(self.header_bytes.values()) / len(self.header_bytes)
        return spent * mean / sum(each.header_bytes for each in targets)

    def cohort(self, *, small: bool) -> str:
        """Return the SQL of a cohort."""
        column = "SeriesInstanceUID"
        where = f"collection_id = '{self.collection}'"
        if small:
            wanted = ", ".join(
                f"'{each.series_instance_uid}'" for each in self.series[: self.small]
            )
            where += f" AND {column} IN ({wanted})"
        return f"SELECT {column} FROM index WHERE {where}"


@dataclass(frozen=True)
class Recipe:
    """How a set is made."""

    profile: list[str]
    fill: Callable[[bool], Iterator[Filled]]
    """Makes the series, fewer if quick."""
    small_objects: Callable[[bool], int]
    """How many objects the small cohort has, of whole series."""
    many_items: bool = False
    """See `ObjectSet`."""


def uploaded(name: str, quick: bool, s3: Server, gcs: Server, gcs_objects: int) -> ObjectSet:
    """Make a set and put it into the buckets of both servers.

    Parameters
    ----------
    name
        One of `NAMES`.
    quick
        A small one.
    s3, gcs
        Servers with IDC's buckets.
    gcs_objects
        How many objects GCS gets, which keeps them in memory.
    """
    recipe = RECIPES[name]
    series: list[Series] = []
    lengths: dict[str, int] = {}
    small = on_gcs = objects = 0
    with _Uploads(s3, gcs) as uploads:
        for filled, bodies in recipe.fill(quick):
            if objects < recipe.small_objects(quick):
                small += 1
            to_gcs = objects < gcs_objects
            on_gcs += to_gcs
            for instance, body in zip(filled.instances, bodies, strict=True):
                key = filled.key(instance)
                lengths[key] = body.header_bytes
                uploads.put(filled, key, body, to_gcs)
            series.append(filled)
            objects += len(bodies)
    return ObjectSet(name, recipe.profile, tuple(series), small, lengths, on_gcs, recipe.many_items)


class _Uploads:
    """Puts objects, several at a time; a few wait at most, for they are large."""

    def __init__(self, s3: Server, gcs: Server) -> None:
        self._stores = {name: servers.admin_s3_store(s3, name) for name in GCS_BUCKETS}
        self._gcs = gcs
        self._pool = urllib3.PoolManager(maxsize=_UPLOADS)
        self._threads = ThreadPoolExecutor(_UPLOADS)
        self._waiting: list[Callable[[], None]] = []

    def __enter__(self) -> _Uploads:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._threads.shutdown()
        self._pool.clear()

    def put(self, series: Series, key: str, body: Body, to_gcs: bool) -> None:
        def both() -> None:
            content = body.header + body.pixels
            obstore.put(self._stores[series.aws_bucket], key, content, use_multipart=False)
            if to_gcs:
                self._put_gcs(series.gcs_bucket, key, content)

        self._waiting.append(both)
        if len(self._waiting) >= 8 * _UPLOADS:
            self._flush()

    def _flush(self) -> None:
        for _ in self._threads.map(lambda put: put(), self._waiting):
            pass
        self._waiting.clear()

    def _put_gcs(self, bucket: str, key: str, content: bytes) -> None:
        answer = self._pool.request(
            "POST",
            f"{self._gcs.endpoint}/upload/storage/v1/b/{bucket}/o?uploadType=media&name="
            + quote(key, safe=""),
            body=content,
            headers={"Content-Type": "application/dicom"},
        )
        if answer.status != 200:
            raise servers.ServerError(f"cannot put {key}: {answer.status}")


def create_buckets(s3: Server, gcs: Server) -> None:
    """Create IDC's buckets on both servers."""
    for name in GCS_BUCKETS:
        servers.create_s3_bucket(s3, name)
        # the first object of a bucket makes the server allocate volumes, and has to be alone
        obstore.put(servers.admin_s3_store(s3, name), "first", b"first", use_multipart=False)
        servers.create_gcs_bucket(gcs, GCS_BUCKETS[name])


# --- what the sets hold ----------------------------------------------------------------------


def _filled(
    collection: str, series_uid: str, attributes: Mapping[str, str | None], bodies: list[Body]
) -> Filled:
    folder = str(uuid.uuid5(_NAMESPACE, series_uid))
    instances = [
        Instance(
            Path(),
            body.sop_instance_uid,
            str(uuid.uuid5(_NAMESPACE, body.sop_instance_uid)),
            len(body.header) + len(body.pixels),
        )
        for body in bodies
    ]
    return Filled(
        Series(series_uid, folder, collection, None, attributes, tuple(instances)), bodies
    )


def _cut(total: int, count: int, chance: random.Random) -> list[int]:
    """Cut a number of instances into series of about the same size."""
    sizes = [total // count + chance.randint(-30, 30) * (total > 90 * count) for _ in range(count)]
    sizes[-1] += total - sum(sizes)
    return sizes


def _scans(
    collection: str,
    sizes: Iterable[int],
    chance: random.Random,
    begin: Callable[[random.Random, str, int], scanner.Scan],
    header: Callable[[scanner.Scan, int], tuple[str, bytes]],
    side: int,
) -> Iterator[Filled]:
    pixels = LITTLE.element(scanner.PIXEL_DATA, "OW", chance.randbytes(2 * side**2))
    for size in sizes:
        scan = begin(chance, collection, side)
        made = (header(scan, number) for number in range(1, size + 1))
        bodies = [Body(sop, content, pixels, len(content)) for sop, content in made]
        yield _filled(collection, scan.attributes["SeriesInstanceUID"], scan.attributes, bodies)


def _ct(quick: bool) -> Iterator[Filled]:
    chance = random.Random(1)
    first, rest = ((100, 1), (500, 2)) if quick else ((1_000, 3), (8_000, 27))
    sizes = [*_cut(*first, chance), *_cut(*rest, chance)]
    side = 64 if quick else 512
    yield from _scans("bench_ct", sizes, chance, scanner.ct_scan, scanner.ct_header, side)


def _mr(quick: bool) -> Iterator[Filled]:
    chance = random.Random(2)
    sizes = [10, 30] if quick else [300, 300, 900, 900]
    side = 64 if quick else 256
    yield from _scans("bench_mr", sizes, chance, scanner.mr_scan, scanner.mr_header, side)


def _slides(quick: bool) -> Iterator[Filled]:
    chance = random.Random(3)
    sop_class = VLWholeSlideMicroscopyImageStorage
    sparse_and_full = ((400, 100), (1_000, 400)) if quick else ((2_000, 400), (8_000, 2_000, 400))
    for number, (sparse, table) in enumerate(product((True, False), repeat=2)):
        series, study = scanner.uid(chance), scanner.uid(chance)
        bodies = []
        for level, count in enumerate(sparse_and_full[not sparse], start=1):
            sop, header, pixels = multiframe.slide(
                chance, series, level, count, table=table, sparse=sparse
            )
            bodies.append(Body(sop, header, pixels, len(header)))
        facts = multiframe.attributes("SM", sop_class, JPEG, f"SLIDE-{number}", study)
        yield _filled("bench_slides", series, facts, bodies)


def _seg(quick: bool) -> Iterator[Filled]:
    chance = random.Random(4)
    frames = (100, 300, 600) if quick else (200, 500, 1_000, 2_000, 12_000)
    for number, count in enumerate(frames):
        series, study = scanner.uid(chance), scanner.uid(chance)
        sop, header, pixels = multiframe.segmentation(chance, series, 1, count)
        facts = multiframe.attributes(
            "SEG", SegmentationStorage, EXPLICIT_LITTLE, f"SEG-{number}", study
        )
        yield _filled("bench_seg", series, facts, [Body(sop, header, pixels, len(header))])


def _mixed(quick: bool) -> Iterator[Filled]:
    """The lab's own files and, if there is one, the corpus, without what is no DICOM."""
    cache = Path(__file__).parents[2] / ".lab"
    corpus = None if quick else corpus_from_environment()
    for series in collect(sources(generate(cache), corpus), cache / "variants"):
        if series.collection_id in (BROKEN_COLLECTION, STUB_COLLECTION):
            continue
        if series.attributes["SeriesDescription"] == _MANY:
            continue
        contents = [instance.path.read_bytes() for instance in series.instances]
        lengths = [_length(content) for content in contents]
        if None in lengths:
            continue
        bodies = [
            Body(instance.sop_instance_uid, content, b"", length)
            for instance, content, length in zip(series.instances, contents, lengths, strict=True)
            if length is not None
        ]
        renamed = Series(
            series.series_instance_uid,
            series.crdc_series_uuid,
            "bench_mixed",
            None,
            series.attributes,
            series.instances,
        )
        yield Filled(renamed, bodies)


def _length(content: bytes) -> int | None:
    """Return where a header ends; None where not all ways can read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dcmread(BytesIO(content), stop_before_pixels=True)
            return header_of(content).end
        except Exception:
            # pydicom has no class of its own for what it cannot read
            return None


RECIPES: Final[Mapping[str, Recipe]] = {
    "ct": Recipe(["ct"], _ct, lambda quick: 100 if quick else 1_000),
    "mr": Recipe(["mr"], _mr, lambda quick: 10 if quick else 600),
    "slides": Recipe(["sm"], _slides, lambda quick: 1, many_items=True),
    "seg": Recipe(["seg"], _seg, lambda quick: 1, many_items=True),
    "mixed": Recipe(["core"], _mixed, lambda quick: 1),
}
"""By the names in `NAMES`."""


def series_of(targets: Iterable[Target]) -> Counter[tuple[str, str]]:
    """Count objects by bucket and the folder of their series."""
    return Counter((each.bucket, each.key.partition("/")[0]) for each in targets)
