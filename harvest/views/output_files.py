"""Files of an output in a bucket, as DuckDB reads what is not local."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import duckdb
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

from ..errors import HarvestError
from ..output import BucketOutput
from ..store.protocol import Version
from ..store.ranged_file import RangedFile


class OutputFiles(AbstractFileSystem):  # type: ignore[misc]
    """The files of an output in a bucket, as DuckDB reads what is not local.

    This and not DuckDB's own httpfs, which is a download and has its own idea of credentials and
    endpoints; and not a dataset of pyarrow: of a table of 55 MB that sends 9.3 MB where this sends
    0.1 MB for a count of rows, and all of it where this sends 6.8 MB for one row, and types that
    went through Arrow are not always Parquet's.

    Parameters
    ----------
    output
        Of the files.
    name
        Of the output among those of one connection.
    """

    cachable = False

    def __init__(self, output: BucketOutput, name: str) -> None:
        super().__init__()
        self.protocol = f"harvest-{name}"
        self._output = output
        self._states: dict[str, tuple[int, Version]] = {}
        self.fault: HarvestError | None = None
        """What DuckDB made a text of."""

    def _state(self, name: str) -> tuple[int, Version]:
        if name not in self._states:
            with self._noted():
                self._states[name] = self._output.state(name)
        return self._states[name]

    def _read(self, name: str, start: int, stop: int) -> bytes:
        with self._noted():
            return self._output.read_range(name, start, stop, self._state(name)[1])

    @contextmanager
    def _noted(self) -> Iterator[None]:
        try:
            yield
        except HarvestError as error:
            self.fault = error
            raise

    def glob(self, path: str, **_: Any) -> list[str]:
        """Find a file; no name of ours is a pattern."""
        name = path.removeprefix(f"{self.protocol}://")
        try:
            self._state(name)
        except FileNotFoundError:
            return []
        return [name]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Tell the size of a file."""
        name = path.removeprefix(f"{self.protocol}://")
        return {"name": name, "type": "file", "size": self._state(name)[0]}

    def modified(self, path: str) -> datetime:
        """Return one time for all: what is read is always the state that was found first."""
        return datetime.fromtimestamp(0, UTC)

    def open(self, path: str, mode: str = "rb", **_: Any) -> RangedFile:
        """Open a file for reading by ranges."""
        name = path.removeprefix(f"{self.protocol}://")
        return RangedFile(partial(self._read, name), self._state(name)[0])


@contextmanager
def faults_of(tables: OutputFiles | None) -> Iterator[None]:
    """Raise a fault of the bucket as what it was before DuckDB made a text of it."""
    if tables is not None:
        tables.fault = None
    try:
        yield
    except duckdb.Error:
        if tables is not None and tables.fault is not None:
            raise tables.fault from None
        raise
