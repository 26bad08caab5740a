"""Finished outputs in a DuckDB that reads their tables, and reaches nothing else.

SQL of rules is code from outside. It may read the files of these tables; it may not read or write
another file, reach the network, load an extension, or change a setting; it has so much memory,
room on disk and time and no more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import duckdb
import pyarrow as pa

from ..config import OutputConfig
from ..locked import lock
from ..sql import first_lines, quoted
from ..views.connection import add_tables
from ..views.output_files import OutputFiles

MAIN: Final = "main"
"""Schema of the tables that are named without one."""
BATCH_ROWS: Final = 10_000
_INTERRUPTED: Final = re.compile("INTERRUPT Error|Query interrupted")
"""By a signal: not the query's failure."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What SQL may use."""

    memory_bytes: int = 2 * 2**30
    """Of DuckDB's buffers; beyond it sorts and joins go to disk."""
    disk_bytes: int = 64 * 2**30
    """Of the temporary folder."""
    seconds: float | None = None
    """Of one query; None for no limit."""


class QueryFails(Exception):
    """A query of a sandbox fails; the text says why, for people."""


class QueryTooSlow(QueryFails):
    """A query took longer than the sandbox's limit."""


class Sandbox:
    """A locked connection; see `sandboxed`.

    Parameters
    ----------
    connection
        With the views of the tables, which can reach nothing else.
    files
        The file systems of outputs in buckets.
    seconds
        Longest time of one query.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: Iterable[OutputFiles] = (),
        seconds: float | None = None,
    ) -> None:
        self._connection = connection
        self._files = tuple(files)
        self._seconds = seconds

    def columns(self, table: str) -> dict[str, str]:
        """Return the columns of a table, or of a query in parentheses, with DuckDB's types.

        Raises
        ------
        QueryFails
            There is none such, or the query is wrong.
        """
        rows = self.rows(f"DESCRIBE SELECT * FROM {table}")
        return {str(row[0]): str(row[1]) for row in rows}

    def execute(self, sql: str) -> None:
        """Run a statement of our own that has no rows; raises `QueryFails`."""
        self._run(lambda: self._connection.execute(sql))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of our own; raises `QueryFails`."""
        return self._run(lambda: self._connection.execute(sql).fetchall())

    def table(self, sql: str) -> pa.Table:
        """Return the rows of a query of our own as an Arrow table; raises `QueryFails`."""
        return self._run(lambda: self._connection.execute(sql).to_arrow_table())

    def read(self, sql: str, take: Callable[[pa.RecordBatchReader], Result]) -> Result:
        """Stream the rows of a query in Arrow batches; raises `QueryFails`.

        Parameters
        ----------
        sql
            One query.
        take
            Is given the reader while the query runs; what it returns is returned.
        """
        return self._run(lambda: take(self._connection.execute(sql).to_arrow_reader(BATCH_ROWS)))

    def _run(self, query: Callable[[], Result]) -> Result:
        with self._limited() as late:
            try:
                return query()
            # a reader of Arrow batches raises DuckDB's errors as its own
            except (duckdb.Error, pa.ArrowException) as error:
                fault = next((each.fault for each in self._files if each.fault), None)
                if fault is not None:
                    raise fault from None
                if late.is_set():
                    raise QueryTooSlow(f"it took longer than {self._seconds:g} s") from None
                if _INTERRUPTED.search(str(error)):
                    raise
                raise QueryFails(first_lines(error)) from None

    @contextmanager
    def _limited(self) -> Iterator[threading.Event]:
        """Interrupt what takes too long; the event tells whether it was."""
        late = threading.Event()
        if self._seconds is None:
            yield late
            return

        def interrupt() -> None:
            late.set()
            self._connection.interrupt()

        timer = threading.Timer(self._seconds, interrupt)
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()
            timer.join()  # one that has begun would interrupt the next query


@contextmanager
def sandboxed(
    outputs: Mapping[str, OutputConfig],
    limits: SandboxLimits | None = None,
    more: Mapping[str, str] | None = None,
    tables: Mapping[str, pa.Table] | None = None,
    absent: Iterable[str] = (),
) -> Iterator[Sandbox]:
    """Open a sandbox with the tables of finished outputs.

    Parameters
    ----------
    outputs
        By the name of the schema that holds their views; `MAIN` needs not be named in SQL.
    limits
        Of its SQL; None for the usual ones.
    more
        Further Parquet files of the output `MAIN` that are views, by the name of the view.
    tables
        Further tables in memory, by name, with their schema if it is not `MAIN`.
    absent
        Further schemas, whose tables are those of `MAIN` without their rows.

    Raises
    ------
    OutputError, StoreUnavailable
        As `harvest.connect`.
    """
    limits = limits or SandboxLimits()
    with TemporaryDirectory(prefix="harvest-sql-") as scratch, duckdb.connect() as connection:
        connection.execute(f"SET temp_directory = {quoted(scratch)}")
        connection.execute(f"SET memory_limit = '{limits.memory_bytes}B'")
        connection.execute(f"SET max_temp_directory_size = '{limits.disk_bytes}B'")
        allowed: list[str] = []
        files: list[OutputFiles] = []
        for schema, config in outputs.items():
            found, file_system = add_tables(
                connection, config, schema, more if schema == MAIN else None
            )
            allowed += [path for paths in found.values() for path in paths]
            files += [file_system] if file_system is not None else []
            for other in absent if schema == MAIN else ():
                connection.execute(f'CREATE SCHEMA "{other}"')
                for name in found:
                    connection.execute(
                        f'CREATE TABLE "{other}"."{name}" AS SELECT * FROM "{name}" LIMIT 0'
                    )
        for name, table in (tables or {}).items():
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{name.rpartition(".")[0] or MAIN}"')
            connection.register("given", table)
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
            connection.unregister("given")
        lock(connection, allowed)
        yield Sandbox(connection, files, limits.seconds)
