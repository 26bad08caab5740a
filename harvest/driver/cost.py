"""What a run costs in a cloud, by public list prices: for an order of magnitude, not for a bill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DOLLARS_PER_CPU_HOUR: Final = 0.048
"""AWS, us-east-1, on demand: half of an m5.large; spot machines cost about a third of it."""
DOLLARS_PER_REQUEST: Final = 0.0004 / 1000
"""A GET of S3 Standard; of Cloud Storage Standard it is the same."""


@dataclass(frozen=True, slots=True)
class Cost:
    """US dollars, in the region of the bucket, where bytes are free."""

    workers: float
    """For the time of the workers' threads, each on a CPU of its own."""
    requests: float
    """For GET requests; nothing where the bucket's owner pays for them, as with IDC's own."""


def cost_of(worker_seconds: float, requests: int) -> Cost:
    """Estimate what a run costs.

    Parameters
    ----------
    worker_seconds
        That threads of workers spent on partitions, added up.
    requests
        For objects.
    """
    return Cost(
        workers=worker_seconds / 3600 * DOLLARS_PER_CPU_HOUR,
        requests=requests * DOLLARS_PER_REQUEST,
    )
