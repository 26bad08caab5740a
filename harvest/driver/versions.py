"""Whether driver, scheduler and workers run the same software: what one sends, others run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

WORKER_PACKAGES: Final = (
    "harvest",
    "dask",
    "distributed",
    "cloudpickle",
    "msgpack",
    "obstore",
    "pyarrow",
    "pydicom",
)
"""A worker with another of these may fail on a task, or put other values into the tables."""
SCHEDULER_PACKAGES: Final = ("dask", "distributed", "msgpack")
"""A scheduler passes tasks on as they are."""

Versions = Mapping[str, str | None]
"""By package, and of ``python``; None where a package is not installed."""


def version_differences(
    driver: Versions, others: Mapping[str, Versions], packages: Iterable[str]
) -> Iterator[str]:
    """Tell which software others have that is not the driver's.

    Parameters
    ----------
    driver
        What the driver has.
    others
        The same of schedulers or workers, by what they are called.
    packages
        To compare; of Python, the minor version counts as well.

    Yields
    ------
    str
        Such as ``harvest 0.2.0 on tls://10.0.0.1:4321 (here 0.1.0)``.
    """
    for name, theirs in others.items():
        if _minor(theirs) != _minor(driver):
            yield f"Python {_minor(theirs)} on {name} (here {_minor(driver)})"
        for package in packages:
            if theirs.get(package) != driver.get(package):
                found, own = theirs.get(package) or "absent", driver.get(package) or "absent"
                yield f"{package} {found} on {name} (here {own})"


def _minor(versions: Versions) -> str:
    return ".".join((versions.get("python") or "?").split(".")[:2])
