"""The whole lab: two servers on loopback that hold the same series under IDC's bucket names."""

import contextlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.lab import servers
from tests.lab.files import GCS_BUCKETS, Series, collect, sources
from tests.lab.generate import generate
from tests.lab.index import write_index
from tests.lab.servers import PRIVATE_BUCKET, Server, Upload

INDEX: Final = "index.parquet"
_PRIVATE_SERIES: Final = "CT axial"
_VARIANTS: Final = "variants"


@dataclass(frozen=True)
class Lab:
    """A running lab."""

    s3: Server
    """SeaweedFS; IDC's AWS buckets are public, `PRIVATE_BUCKET` is not."""
    gcs: Server
    """fake-gcs-server with the same keys in IDC's GCS buckets."""
    index: Path
    """Parquet file with one row per series."""
    directory: Path
    """Folder of this lab's logs, data and index."""
    series: tuple[Series, ...]
    """What lies in the buckets, with the file behind every object."""


@contextlib.contextmanager
def lab(directory: Path | None = None, *, corpus: Path | None = None) -> Iterator[Lab]:
    """Run a lab for the length of a ``with`` block.

    Parameters
    ----------
    directory
        Folder that keeps the generated files between runs; several labs may share it at once.
        A temporary one if None.
    corpus
        Folder of further files; see `tests.lab.files.sources`.

    Yields
    ------
    Lab
        Servers that answer and hold everything that the index lists.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="harvest-lab-"))
            directory = Path(made)
        directory.mkdir(parents=True, exist_ok=True)
        run = Path(tempfile.mkdtemp(prefix="run-", dir=directory))
        stack.callback(shutil.rmtree, run, ignore_errors=True)
        started = start_lab(run, cache=directory, corpus=corpus)
        stack.callback(stop_lab, started)
        yield started


def start_lab(directory: Path, *, cache: Path, corpus: Path | None = None) -> Lab:
    """Start a lab and leave it running.

    Parameters
    ----------
    directory
        Folder for the servers' data and logs and for the index.
    cache
        Folder that keeps the generated and the patched files.
    corpus
        Folder of further files.

    Returns
    -------
    Lab
        To be ended with `stop_lab`, or with `tests.lab.servers.stop` by its pids.
    """
    with ThreadPoolExecutor(2) as threads, contextlib.ExitStack() as undo:
        # A server's start is mostly waiting, so the files are made meanwhile.
        starting = (
            threads.submit(servers.start_seaweedfs, directory / "seaweedfs", tuple(GCS_BUCKETS)),
            threads.submit(servers.start_fake_gcs, directory / "fake_gcs"),
        )
        for future in starting:
            undo.callback(_stop_if_started, future)
        series = tuple(collect(sources(generate(cache), corpus), cache / _VARIANTS))
        s3, gcs = (future.result() for future in starting)
        filling = (threads.submit(_fill_s3, s3, series), threads.submit(_fill_gcs, gcs, series))
        for filled in filling:
            filled.result()
        write_index(series, directory / INDEX)
        undo.pop_all()
    return Lab(s3, gcs, directory / INDEX, directory, series)


def stop_lab(running: Lab) -> None:
    """End both servers of a lab."""
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(servers.stop, (running.s3.pid, running.gcs.pid)))


def _stop_if_started(future: Future[Server]) -> None:
    with contextlib.suppress(servers.ServerError):
        servers.stop(future.result().pid)


def _fill_s3(server: Server, series: Iterable[Series]) -> None:
    uploads = _uploads(series, lambda each: each.aws_bucket)
    uploads[PRIVATE_BUCKET] = [
        upload
        for each in series
        if each.attributes["SeriesDescription"] == _PRIVATE_SERIES
        for upload in _uploads_of(each)
    ]
    for bucket, wanted in uploads.items():
        servers.create_s3_bucket(server, bucket)
        servers.put_s3(server, bucket, wanted)


def _fill_gcs(server: Server, series: Iterable[Series]) -> None:
    for bucket, wanted in _uploads(series, lambda each: each.gcs_bucket).items():
        servers.create_gcs_bucket(server, bucket)
        servers.put_gcs(server, bucket, wanted)


def _uploads(
    series: Iterable[Series], bucket_of: Callable[[Series], str]
) -> dict[str, list[Upload]]:
    uploads: dict[str, list[Upload]] = defaultdict(list)
    for each in series:
        uploads[bucket_of(each)].extend(_uploads_of(each))
    return uploads


def _uploads_of(series: Series) -> list[Upload]:
    return [Upload(series.key(instance), instance.path) for instance in series.instances]
