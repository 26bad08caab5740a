"""The ways to read a region of a slide that people use today, and harvest's, each a generator.

``python ways.py WAY ...`` does one of them in three steps: imports; opening the object; reading.
Each step begins with a line on standard input and ends with a line of JSON on standard output, so
that who runs it can count in between what crosses the wire.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Pixels = np.ndarray[Any, Any]


class Task(NamedTuple):
    """What a way is told."""

    endpoint: str
    bucket: str
    key: str
    frame_index: str | None
    ranges: list[tuple[int, int]]
    """Of the tiles, a row of them each."""
    region: tuple[int, int, int, int] | None
    """Column, row, width, height; None where only the metadata are wanted."""


Way = Callable[[Task], Iterator[Any]]
"""Yields once when all is imported, once when the object is open, and then the pixels, if any."""


# --- files that others open ------------------------------------------------------------------


def smart_open_file(task: Task) -> Iterator[Any]:
    """Open an S3 object by smart_open and boto3, as IDC's page shows it."""
    import boto3
    import smart_open
    from botocore import UNSIGNED
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=task.endpoint,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED, s3={"addressing_style": "path"}),
    )
    yield None
    url = f"s3://{task.bucket}/{task.key}"
    yield smart_open.open(url, "rb", transport_params={"client": client})


def gcs_file(task: Task) -> Iterator[Any]:
    """Open a GCS blob by google-cloud-storage, as IDC's page shows it."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    client = storage.Client(
        project="bench",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": task.endpoint},
    )
    yield None
    yield client.bucket(task.bucket).blob(task.key).open("rb")


def s3fs_file(task: Task) -> Iterator[Any]:
    """Open an S3 object by s3fs with its own read-ahead."""
    import s3fs

    files = s3fs.S3FileSystem(anon=True, client_kwargs={"endpoint_url": task.endpoint})
    yield None
    yield files.open(f"{task.bucket}/{task.key}", "rb")


def harvest_file(task: Task) -> Iterator[Any]:
    """Open an object by harvest, with a frame index if there is one."""
    import harvest

    opened = harvest.open  # imported when it is first named
    yield None
    yield opened(_url(task), index=task.frame_index, endpoint=task.endpoint)


def _url(task: Task) -> str:
    scheme = "gs" if task.bucket.endswith("-gcs") else "s3"
    return f"{scheme}://{task.bucket}/{task.key}"


# --- what reads them -------------------------------------------------------------------------


def by_highdicom(opened: Callable[[Task], Iterator[Any]]) -> Way:
    """Read a region by highdicom, lazily; of the metadata, what pydicom reads before the pixels."""

    def way(task: Task) -> Iterator[Any]:
        import highdicom
        import pydicom

        steps = opened(task)
        yield next(steps)
        file = next(steps)
        if task.region is None:
            pydicom.dcmread(file, stop_before_pixels=True)
            yield None
            return
        image = highdicom.imread(file, lazy_frame_retrieval=True)
        yield None
        x, y, width, height = task.region
        yield image.get_total_pixel_matrix(
            row_start=y + 1,
            row_end=y + height + 1,
            column_start=x + 1,
            column_end=x + width + 1,
            dtype=np.uint8,
            apply_icc_profile=False,
        )

    return way


def wsidicom(task: Task) -> Iterator[Any]:
    """Read a region by wsidicom, through fsspec's S3 files."""
    from wsidicom import WsiDicom

    yield None
    options = {"anon": True, "client_kwargs": {"endpoint_url": task.endpoint}}
    slide = WsiDicom.open(f"s3://{task.bucket}/{task.key}", file_options=options)
    yield None
    assert task.region is not None
    x, y, width, height = task.region
    yield np.asarray(slide.read_region((x, y), 0, (width, height)))


def harvest_region(task: Task) -> Iterator[Any]:
    """Read a region by harvest, with a frame index if there is one."""
    import harvest

    opened = harvest.open_slide  # imported when it is first named
    yield None
    slide = opened(_url(task), index=task.frame_index, endpoint=task.endpoint)
    yield None
    assert task.region is not None
    yield slide.region(*task.region)


def floor(task: Task) -> Iterator[Any]:
    """Read the bytes of the tiles alone, a row a request, at once; nothing is decoded."""
    from concurrent.futures import ThreadPoolExecutor

    from obstore.store import S3Store

    store = S3Store(
        task.bucket,
        endpoint=task.endpoint,
        skip_signature=True,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
    yield None
    yield None
    with ThreadPoolExecutor(len(task.ranges)) as threads:
        list(
            threads.map(
                lambda each: store.get_range(task.key, start=each[0], end=each[1]), task.ranges
            )
        )
    yield None


WAYS: dict[str, Way] = {
    "smart_open": by_highdicom(smart_open_file),
    "gcs_blob": by_highdicom(gcs_file),
    "s3fs": by_highdicom(s3fs_file),
    "wsidicom": wsidicom,
    "harvest_open": by_highdicom(harvest_file),
    "harvest_region": harvest_region,
    "floor": floor,
}


def main() -> None:
    """Do one way, step by step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=list(WAYS))
    parser.add_argument("task", help="a Task, as a JSON list")
    parser.add_argument("pixels", type=Path, help="where the pixels are saved")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    task = Task(*json.loads(options.task))
    steps = WAYS[options.way](task)
    for number, _ in enumerate(sys.stdin):
        began = time.monotonic()
        found = next(steps, None)
        seconds = time.monotonic() - began
        if number == 2 and found is not None:
            np.save(options.pixels, found)
        print(json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main()
