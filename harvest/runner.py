"""The run: the only module that knows Dask.

A few partitions for each worker are in flight, results are some hundred bytes, and all state
that matters is in the output: a run that is started again reads what has no part yet.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import uuid4

from distributed import Client, KilledWorker, LocalCluster, Worker, WorkerPlugin, as_completed
from distributed.client import FutureCancelledError
from distributed.security import Security

from .cohort import Cohort, SeriesCohort, resolve_cohort
from .config import ClusterConfig, Config, load_config
from .errors import ExitCode, OutputError, StoreUnavailable
from .output import MANIFEST, LocalOutput, open_output
from .plan import Plan, attributes_of, check_output
from .planning import make_plan
from .progress import Progress, Silent
from .reader import PartitionRead, read_partition, read_task
from .schema import instances_schema
from .table import (
    PARTS,
    PublishedFile,
    part_name,
    parts_folder,
    publish_instances,
    publish_series,
    read_json,
    rows_of_part,
    status_counts,
    write_json,
)

IN_FLIGHT_PER_SLOT: Final = 2
SERIES_FOR_WORKERS: Final = 20_000
"""Cohorts of more series are listed by the workers."""
SECONDS_FOR_WORKERS: Final = 60

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended."""

    output: str
    rows: int
    ok: int
    errors: dict[str, int]
    """Rows by kind of error."""
    requests: int
    """For objects; listings are not among them."""
    bytes_read: int
    exit_code: ExitCode


def plan(config: Config, progress: Progress | None = None) -> Plan:
    """Return the plan of a config's output, made and stored if there is none.

    Raises
    ------
    HarvestError
        The output holds something else, or the cohort cannot be listed.
    """
    output = open_output(config.output.url)
    stored = check_output(output, config)
    if stored is not None:
        return stored
    cohort = resolve_cohort(config.cohort, config.source)
    (progress or Silent()).message("listing the cohort")
    if not _is_large(cohort):
        return make_plan(config, output, cohort)
    with cluster_client(config.cluster) as client:
        return make_plan(config, output, cohort, _ordered(client))


def run(config: Config | str | Path, progress: Progress | None = None) -> Outcome:
    """Harvest a cohort, or finish a harvest that was begun.

    Parameters
    ----------
    config
        Or the path of its file.
    progress
        Is told what happens; silent if None.

    Raises
    ------
    HarvestError
        Something the user can mend; what was read stays and is not read again.
    """
    if not isinstance(config, Config):
        config = load_config(config)
    progress = progress or Silent()
    output = open_output(config.output.url)
    stored = check_output(output, config)
    if stored is None or not output.exists(MANIFEST):
        # what is wrong with the cohort shows before a cluster is started
        stored = stored or plan(config, progress)
        with cluster_client(config.cluster) as client:
            _read(stored, config, output, client, progress)
        progress.message("writing the tables")
        _publish(stored, config, output)
    return outcome(output, config.limits.max_error_rate)


def _is_large(cohort: Cohort) -> bool:
    return isinstance(cohort, SeriesCohort) and cohort.count() > SERIES_FOR_WORKERS


@contextmanager
def cluster_client(cluster: ClusterConfig) -> Iterator[Client]:
    """Yield a client of the configured cluster, with at least one worker.

    Raises
    ------
    StoreUnavailable
        The scheduler does not answer, or no worker comes.
    """
    if cluster.address is None:
        # one thread each: the threads that wait for the network are the reader's own
        with (
            LocalCluster(
                n_workers=cluster.workers,
                threads_per_worker=1,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.ERROR,
            ) as local,
            Client(local, set_as_default=False) as client,
        ):
            client.register_plugin(_WithoutProfiler())
            yield client
        return
    try:
        client = Client(
            cluster.address, security=_security(cluster), set_as_default=False, timeout=30
        )
    except OSError:
        raise StoreUnavailable(
            f"the scheduler {cluster.address} does not answer: start it, or correct "
            "cluster.address, then run the same command again"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS_FOR_WORKERS)
        except TimeoutError:
            raise StoreUnavailable(
                f"the scheduler {cluster.address} has no workers: start some, "
                "then run the same command again"
            ) from None
        client.register_plugin(_WithoutProfiler())
        yield client


class _WithoutProfiler(WorkerPlugin):
    """Stops Dask's profiler in every worker, those that come later included.

    It looks at all threads' stacks every 10 ms. When that starts a garbage collection while
    another thread begins, CPython 3.11 locks up for good: the look and the thread's birth wait
    for each other's lock.
    """

    name = "harvest-without-profiler"

    def setup(self, worker: Worker) -> None:
        for name in ("profile", "profile-cycle"):
            callback = worker.periodic_callbacks.pop(name, None)
            if callback is not None:
                callback.stop()


def _security(cluster: ClusterConfig) -> Security | None:
    if cluster.tls is None:
        return None
    return Security(
        tls_ca_file=str(cluster.tls.ca_file),
        tls_client_cert=str(cluster.tls.cert),
        tls_client_key=str(cluster.tls.key),
        require_encryption=True,
    )


def _slots(client: Client) -> int:
    """Count the tasks that the workers do at once."""
    return max(1, int(sum(client.nthreads().values())))


def _ordered(
    client: Client,
) -> Callable[[Callable[[Task], Result], Iterable[Task]], Iterator[Result]]:
    """Make a mapper over workers whose results come in the order of the tasks."""

    def mapper(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        in_flight: deque[Any] = deque()
        for task in tasks:
            in_flight.append(client.submit(function, task, pure=False))
            if len(in_flight) >= IN_FLIGHT_PER_SLOT * _slots(client):
                yield _result(in_flight.popleft())
        while in_flight:
            yield _result(in_flight.popleft())

    return mapper


def _result(future: Any) -> Any:
    """Return what a task returned, or say what its loss means."""
    try:
        return future.result()
    except FutureCancelledError:
        raise StoreUnavailable(
            "the scheduler was lost: start it, then run the same command again; "
            "finished partitions are not read again"
        ) from None
    except KilledWorker:
        raise StoreUnavailable(
            f"the workers that read {future.key} died, for memory perhaps: run the same command "
            "again, with fewer workers if it repeats"
        ) from None
    finally:
        # a result that is held is computed again when its worker dies
        future.release()


def _read(
    plan: Plan, config: Config, output: LocalOutput, client: Client, progress: Progress
) -> None:
    """Read the partitions that have no part yet."""
    done = set(output.names(parts_folder(plan.identity)))
    todo = [p for p in plan.partitions if part_name(plan.identity, p.number) not in done]
    slots = _slots(client)
    first = read_task(config, plan, output, slots)
    tasks = iter([replace(first, partition=partition.number) for partition in todo])
    # a scheduler may serve other runs, and forgets no key while somebody holds its result
    attempt = f"{plan.identity[:16]}-{uuid4().hex[:8]}"
    finished = as_completed(loop=client.loop)

    def submit() -> None:
        task = next(tasks, None)
        if task is not None:
            key = f"harvest-{attempt}-{task.partition:06d}"
            finished.add(client.submit(read_partition, task, key=key, pure=False, retries=0))

    progress.begin(plan.rows, plan.rows - sum(partition.rows for partition in todo))
    try:
        for _ in range(IN_FLIGHT_PER_SLOT * slots):
            submit()
        for future in finished:
            part: PartitionRead = _result(future)
            progress.partition(part)
            submit()
    finally:
        progress.end()


def _publish(plan: Plan, config: Config, output: LocalOutput) -> None:
    """Check the parts, write the tables, and commit them with the manifest."""
    schema = instances_schema(attributes_of(config))
    files: dict[int, list[str]] = {}
    for partition in plan.partitions:
        name = part_name(plan.identity, partition.number)
        rows = rows_of_part(output, name, schema)
        if rows != partition.rows:
            raise OutputError(
                f"part {partition.number} is damaged, or not of this plan: remove "
                f"{output.path(name)} and run the same command again"
            )
        files.setdefault(partition.file, []).append(name)
    properties = {"harvest.plan": plan.identity}
    instances = [
        publish_instances(output, number, parts, schema, properties)
        for number, parts in files.items()
    ]
    series = publish_series(output, instances, properties)
    _check_alone(output, [*instances, series])
    write_json(output, MANIFEST, _manifest(plan, output, instances, series))
    output.remove(PARTS)


def _check_alone(output: LocalOutput, files: list[PublishedFile]) -> None:
    """Refuse to commit beside foreign files: a query of the folder would take them in."""
    present = {*output.names("instances"), *output.names("series")}
    strangers = sorted(present - {file.name for file in files})
    if strangers:
        raise OutputError(
            f"output {output.folder} holds {strangers[0]}, which is not of this harvest: "
            "remove it and run the same command again"
        )


def _manifest(
    plan: Plan, output: LocalOutput, instances: list[PublishedFile], series: PublishedFile
) -> dict[str, Any]:
    counts = status_counts(output, instances)
    return {
        "format_version": plan.format_version,
        "plan": plan.identity,
        "asked": plan.asked,
        "sample": plan.asked["cohort"].get("sample"),
        "rows": plan.rows,
        "series": series.rows,
        "object_bytes": plan.bytes,
        "missing": plan.missing,
        "surplus": plan.surplus,
        **asdict(counts),
        "tables": {
            "instances": [asdict(file) for file in instances],
            "series": [asdict(series)],
        },
        "versions": {name: version(name) for name in ("harvest", "pydicom", "pyarrow", "obstore")},
    }


def outcome(output: LocalOutput, max_error_rate: float) -> Outcome:
    """Tell how a finished run ended, from its manifest."""
    manifest = read_json(output, MANIFEST)
    errors = Counter(manifest["errors"])
    too_many = errors.total() > max_error_rate * manifest["rows"]
    return Outcome(
        output=str(output.folder),
        rows=manifest["rows"],
        ok=manifest["ok"],
        errors=dict(errors),
        requests=manifest["requests"],
        bytes_read=manifest["bytes_read"],
        exit_code=ExitCode.TOO_MANY_ERRORS if too_many else ExitCode.COMPLETE,
    )
