"""Dask's own report on what its workers do: for those who look for what takes the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from distributed import Client, performance_report

from ..errors import HarvestError
from ..meaning import install
from ..output.destination import local_file, written_whole
from .workers import scheduler_lost


def check_report(file: str | Path) -> Path:
    """Make sure that a report can be made here, before anything is read; raises `HarvestError`."""
    if find_spec("bokeh") is None:
        raise HarvestError(f"a performance report needs bokeh: {install('report')}")
    return local_file(file)


@contextmanager
def reported(client: Client, file: Path | None) -> Iterator[None]:
    """Have Dask report what is done in this block, as HTML, if it ends well.

    Parameters
    ----------
    client
        Of the scheduler.
    file
        Where the report goes, by `check_report`; None for none.

    Raises
    ------
    HarvestError
        The scheduler is elsewhere, and has no bokeh, or the file cannot be written.
    """
    if file is None:
        yield
        return
    with written_whole(file) as unfinished:
        report = performance_report(filename=str(unfinished), mode="inline")
        with client.as_current(), _refused():
            report.__enter__()
        yield
        with client.as_current(), _refused():
            report.__exit__(None, None, None)


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise HarvestError(
            f"the scheduler cannot make a performance report ({error}): install bokeh there, or "
            "run the same command without it; nothing is read again"
        ) from None
    except OSError:
        raise scheduler_lost() from None
