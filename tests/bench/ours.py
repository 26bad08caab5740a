"""``harvest run`` as a user types it, with what its whole process tree cost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import psutil
import pyarrow.parquet as pq
import yaml

from tests.bench.sets import ObjectSet

_LOOK_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Source:
    """A server as the config names it."""

    cloud: str
    endpoint: str
    index: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the command, such as the certificate to trust."""


@dataclass(frozen=True)
class Harvest:
    """What one command cost, and what its table says of it."""

    objects: int
    errors: int
    cpu: float
    """Seconds of driver, scheduler, nannies and workers together."""
    wall: float
    """Seconds from start to end of the command."""
    requests: int
    bytes_read: int
    header_bytes: int
    table_bytes: int
    """Of the files of ``instances``."""
    columns: int


def harvest(
    objects: ObjectSet,
    source: Source,
    folder: Path,
    *,
    small: bool = False,
    header: str = "none",
    workers: int = 2,
    profile: str | None = None,
    watched: Watched | None = None,
) -> Harvest:
    """Run ``harvest run`` on a set.

    Parameters
    ----------
    objects
        What to read.
    source
        Where from.
    folder
        For the config and the output, which is removed.
    small
        Read the small cohort.
    header
        ``read.header``.
    workers
        ``cluster.workers``.
    profile
        ``read.profile``, instead of the set's.
    watched
        Is told of the processes while they run; costs CPU time of this process.
    """
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    config = folder / "harvest.yaml"
    read = {"profile": profile or objects.profile, "header": header}
    config.write_text(_config(objects, source, output, small, read, workers), encoding="utf-8")
    begun = time.monotonic()
    with (folder / "harvest.log").open("w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "harvest", "run", str(config)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **source.environment},
        )
        with watched.watching(process.pid) if watched else _nobody():
            # nannies wait for their workers and the driver for its nannies: this is the tree
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            tail = log.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"harvest ended with exit code {process.returncode}:\n{tail}")
    row = duckdb.sql(
        "SELECT count(*), count(*) FILTER (status <> 'ok'), sum(requests), sum(bytes_read), "
        f"sum(header_bytes) FROM '{output}/instances/*.parquet'"
    ).fetchone()
    assert row is not None
    count, errors, requests, bytes_read, header_bytes = map(int, row)
    files = list((output / "instances").iterdir())
    return Harvest(
        objects=count,
        errors=errors,
        cpu=usage.ru_utime + usage.ru_stime,
        wall=wall,
        requests=requests,
        bytes_read=bytes_read,
        header_bytes=header_bytes,
        table_bytes=sum(file.stat().st_size for file in files),
        columns=len(pq.read_schema(files[0]).names),
    )


def _config(
    objects: ObjectSet,
    source: Source,
    output: Path,
    small: bool,
    read: Mapping[str, Any],
    workers: int,
) -> str:
    config: dict[str, Any] = {
        "cohort": {"sql": objects.cohort(small=small), "index": str(source.index)},
        "source": {"cloud": source.cloud, "endpoint": source.endpoint},
        "read": dict(read),
        "output": str(output),
        "cluster": {"workers": workers},
        "limits": {"max_error_rate": 0.0},
    }
    return yaml.safe_dump(config, sort_keys=False, width=10_000)


@contextmanager
def _nobody() -> Iterator[None]:
    yield


@dataclass
class Watched:
    """What was seen of the processes of a command while it ran."""

    cpu: dict[int, float] = field(default_factory=dict)
    """Seconds by process, as last seen."""
    peak: dict[int, int] = field(default_factory=dict)
    """VmHWM by process, in bytes."""
    parents: dict[int, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    @contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Look at a process and its descendants for the length of a ``with`` block."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(pid, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, pid: int, ended: threading.Event) -> None:
        root = psutil.Process(pid)
        while not ended.wait(_LOOK_SECONDS):
            try:
                processes = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in processes:
                self._look(process)

    def _look(self, process: psutil.Process) -> None:
        try:
            times = process.cpu_times()
            status = Path(f"/proc/{process.pid}/status").read_text()
            self.names.setdefault(process.pid, " ".join(process.cmdline()))
        except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            return
        # a zombie has no memory any more
        peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
        if peaks:
            self.cpu[process.pid] = times.user + times.system
            self.peak[process.pid] = int(peaks[0]) * 1024

    def workers(self) -> list[int]:
        """Return the processes of Dask's workers."""
        return [pid for pid, name in self.names.items() if "spawn_main" in name]
