"""How much a machine bears: from its CPUs and its memory, as far as this process may use them."""

from __future__ import annotations

from typing import Final

from ..config import ClusterConfig

WORKER_BYTES: Final = 600 * 10**6
"""Memory of one worker process: 300 MB at most as measured, doubled, since Dask pauses a worker
at 80 % of its share."""
LEAST_WORKER_BYTES: Final = 375 * 10**6
"""Below this a worker is paused or killed while it reads: 300 MB at Dask's 80 %."""
WORKERS_ELSEWHERE: Final = 8
"""How many a scheduler that others run is taken to have before it is asked."""


def workers_for(cpus: int, memory_bytes: int) -> int:
    """Return how many worker processes a machine bears; at least one.

    Parameters
    ----------
    cpus
        That may be used: one worker keeps one busy, whatever it waits for.
    memory_bytes
        That may be used.
    """
    return max(1, min(cpus, memory_bytes // WORKER_BYTES))


def expected_workers(cluster: ClusterConfig) -> int:
    """Return how many workers a cluster will have at most, as far as that can be known before."""
    if cluster.most_workers is not None:
        return cluster.most_workers
    return WORKERS_ELSEWHERE if cluster.address is not None else workers_here()


def workers_here() -> int:
    """Return how many worker processes this machine bears, by its control groups as well."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return workers_for(CPU_COUNT, MEMORY_LIMIT)
