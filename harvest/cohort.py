"""Which objects a config means: a cohort of series, of single URLs, or of a prefix.

SQL of a config is code from outside: it runs in a DuckDB that can read the index tables and
nothing else, neither other files nor the network, and that can write nowhere.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa

from . import idc_index
from .config import CohortConfig, SourceConfig
from .errors import CohortError, ObjectError
from .store import open_store
from .store.urls import AWS_TO_GCS, ObjectUrl, idc_series_url, idc_series_uuid, idc_uuids, parse_url

SERIES_KEYS: Final = ("crdc_series_uuid", "SeriesInstanceUID")
"""Columns by which a cohort may name series, the more exact one first."""


@dataclass(frozen=True, slots=True)
class ModalityTotal:
    """What the index knows of a cohort's series of one modality."""

    modality: str
    series: int
    instances: int
    bytes: int


class SeriesCohort:
    """Series of the IDC index.

    Parameters
    ----------
    connection
        Holds the view ``all_series`` and the table ``picked`` of crdc_series_uuids.
    cloud
        ``aws`` or ``gcs``.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, cloud: str) -> None:
        self._connection = connection
        self._cloud = cloud

    def count(self) -> int:
        """Count the series."""
        row = self._connection.execute("SELECT count(*) FROM picked").fetchone()
        return int(row[0]) if row else 0

    def totals(self) -> list[ModalityTotal]:
        """Count series, instances and bytes by modality, most bytes first."""
        rows = self._connection.execute(
            """
            SELECT coalesce(Modality, '?'), count(*), coalesce(sum(instanceCount), 0)::BIGINT,
                   coalesce(sum(series_size_MB) * 1e6, 0)::BIGINT
            FROM all_series JOIN picked USING (crdc_series_uuid)
            GROUP BY 1 ORDER BY 4 DESC, 1
            """
        ).fetchall()
        return [ModalityTotal(*row) for row in rows]

    def share_of_buckets(self) -> dict[str, tuple[int, int]]:
        """Map each bucket to (series of the cohort, series of the current index)."""
        rows = self._connection.execute(
            """
            SELECT aws_bucket, count(p.crdc_series_uuid), count(*) FILTER (s.is_current)
            FROM all_series s LEFT JOIN picked p USING (crdc_series_uuid)
            GROUP BY ALL HAVING count(p.crdc_series_uuid) > 0 ORDER BY 1
            """
        ).fetchall()
        return {bucket: (cohort, current) for bucket, cohort, current in rows}

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the index's columns of the cohort's series, in URL order."""
        reader = self._connection.execute(
            f"""
            SELECT s.* EXCLUDE (is_current)
            FROM all_series s JOIN picked USING (crdc_series_uuid)
            ORDER BY {self._bucket_in_sql()}, crdc_series_uuid
            """
        ).to_arrow_reader(rows)
        yield from (batch for batch in reader if batch.num_rows)

    def schema(self) -> pa.Schema:
        """Return the names and types of the index's columns."""
        return (
            self._connection.execute("SELECT * EXCLUDE (is_current) FROM all_series LIMIT 0")
            .to_arrow_table()
            .schema
        )

    def _bucket_in_sql(self) -> str:
        if self._cloud == "aws":
            return "aws_bucket"
        cases = " ".join(f"WHEN '{aws}' THEN '{gcs}'" for aws, gcs in AWS_TO_GCS.items())
        return f"CASE aws_bucket {cases} ELSE aws_bucket END"

    def url(self, aws_bucket: str, crdc_series_uuid: str) -> ObjectUrl:
        """Return the prefix of a series on the cohort's cloud."""
        return idc_series_url(aws_bucket, crdc_series_uuid, self._cloud)


@dataclass(frozen=True, slots=True)
class UrlCohort:
    """Single objects, by URL."""

    urls: tuple[ObjectUrl, ...]
    """In URL order, each once."""
    known: SeriesCohort
    """The series of the index that the URLs' keys name, if any."""


@dataclass(frozen=True, slots=True)
class PrefixCohort:
    """Everything below a prefix or folder."""

    prefix: ObjectUrl
    known: SeriesCohort
    """No series: it tells the index's columns."""


Cohort = SeriesCohort | UrlCohort | PrefixCohort


def resolve_cohort(cohort: CohortConfig, source: SourceConfig, *, offline: bool = False) -> Cohort:
    """Resolve the cohort of a config.

    Parameters
    ----------
    cohort, source
        Sections of the config.
    offline
        Refuse what needs the network, such as an index table that is not cached.

    Raises
    ------
    CohortError
        The SQL fails, returns no series column or no series; a manifest cannot be read; a
        series is not in the index; the pinned release is not installed.
    """
    idc_index.check_release(cohort.idc_version)
    if cohort.prefix is not None:
        connection = _index_connection(cohort, (), offline=offline)
        return PrefixCohort(_parsed(cohort.prefix), _known(connection, (), source.cloud))
    if cohort.sql is not None:
        return _series_of_sql(cohort, cohort.sql, source.cloud, offline=offline)
    assert cohort.manifest is not None
    with _local_copy(cohort.manifest, source, offline=offline) as path:
        urls, keys = read_manifest(path, cohort.manifest)
    connection = _index_connection(cohort, (), offline=offline)
    if keys is not None:
        return _picked(connection, keys, source.cloud)
    if source.endpoint is not None and len({url.scheme for url in urls} - {"file"}) > 1:
        raise CohortError(
            f"cohort.manifest {cohort.manifest} names s3:// and gs:// URLs, and source.endpoint "
            "can serve only one of them: split the manifest"
        )
    uuids = {idc_uuids(url.key)[0] for url in urls}
    return UrlCohort(tuple(sorted(set(urls))), _known(connection, uuids, source.cloud))


def _parsed(text: str) -> ObjectUrl:
    try:
        return parse_url(text)
    except ValueError as error:
        raise CohortError(str(error)) from None


def _series_of_sql(cohort: CohortConfig, sql: str, cloud: str, *, offline: bool) -> SeriesCohort:
    words = set(re.findall(r"\w+", sql))
    named = [table for table in idc_index.known_tables() if table in words]
    connection = _index_connection(cohort, named, offline=offline)
    _check_select(sql)
    try:
        found = connection.execute(sql).to_arrow_table()
    except duckdb.Error as error:
        raise CohortError(f"cohort.sql fails: {_first_lines(error)}{_hint(error)}") from None
    return _picked(connection, found, cloud)


def _check_select(sql: str) -> None:
    try:
        statements = duckdb.extract_statements(sql)
    except duckdb.Error as error:
        raise CohortError(f"cohort.sql is no SQL: {_first_lines(error)}") from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise CohortError("cohort.sql must be exactly one SELECT")


def _first_lines(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2]).strip()


def _hint(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.PermissionException):
        return " (it can read the index tables and nothing else)"
    if isinstance(error, duckdb.CatalogException):
        return f" (the tables are {', '.join(sorted(idc_index.known_tables()))})"
    return ""


def _index_connection(
    cohort: CohortConfig, tables: Sequence[str], *, offline: bool
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that sees index tables as views and can reach nothing else."""
    main = None
    if cohort.index is not None:
        main = Path(cohort.index)
        if not main.is_file():
            raise CohortError(f"cohort.index {cohort.index} is not there")
    wanted = dict.fromkeys((idc_index.MAIN_TABLE, "prior_versions_index", *tables))
    files = idc_index.table_files(wanted, main, fetch=not offline)
    connection = duckdb.connect()
    paths = ", ".join(_quoted(path) for path in files.values())
    connection.execute(f"SET allowed_paths = [{paths}]")
    try:
        for table, path in files.items():
            connection.execute(
                f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet({_quoted(path)})'
            )
        connection.execute(_all_series(connection))
    except duckdb.Error as error:
        raise CohortError(f"the index cannot be read: {_first_lines(error)}") from None
    # python variables are tables to DuckDB unless told otherwise
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _quoted(path: Path) -> str:
    return "'" + str(path.absolute()).replace("'", "''") + "'"


def _all_series(connection: duckdb.DuckDBPyConnection) -> str:
    """Write the view of current and prior series, with the columns of the current index."""
    columns = {row[0] for row in connection.execute('DESCRIBE "index"').fetchall()}
    lacking = {"SeriesInstanceUID", "crdc_series_uuid", "aws_bucket", "instanceCount"} - columns
    if lacking:
        raise CohortError(f"cohort.index lacks IDC's columns {', '.join(sorted(lacking))}")
    prior = connection.execute("DESCRIBE prior_versions_index").fetchall()
    extra = ", ".join(row[0] for row in prior if row[0] not in columns)
    return f"""
        CREATE VIEW all_series AS
        SELECT *, true AS is_current FROM "index"
        UNION ALL BY NAME
        SELECT * EXCLUDE ({extra}), false AS is_current FROM prior_versions_index
        WHERE crdc_series_uuid NOT IN (SELECT crdc_series_uuid FROM "index")
    """


def _picked(connection: duckdb.DuckDBPyConnection, found: pa.Table, cloud: str) -> SeriesCohort:
    """Narrow the index to the series that SQL or a manifest named."""
    key = next((name for name in SERIES_KEYS if name in found.column_names), None)
    if key is None:
        raise CohortError(
            f"the cohort returns {', '.join(found.column_names)}: it must return "
            "SeriesInstanceUID or crdc_series_uuid"
        )
    if not found.num_rows:
        raise CohortError("the cohort has no series: check the conditions of its SQL or manifest")
    connection.register("named", found.select([key]))
    connection.execute(
        f"""
        CREATE TEMP TABLE picked AS
        SELECT DISTINCT crdc_series_uuid FROM all_series
        WHERE {key} IN (SELECT {key} FROM named)
          AND (is_current OR '{key}' = 'crdc_series_uuid')
        """
    )
    unknown = connection.execute(
        f"""
        SELECT DISTINCT {key} FROM named
        WHERE {key} IS NOT NULL AND {key} NOT IN (SELECT {key} FROM all_series) ORDER BY 1
        """
    ).fetchall()
    if unknown:
        raise CohortError(
            f"{len(unknown)} series of the cohort are not in IDC v{idc_index.installed_release()}, "
            f"the first is {key} {unknown[0][0]}: correct the cohort, or install the "
            "idc-index-data release that has them"
        )
    connection.unregister("named")
    return SeriesCohort(connection, cloud)


def _known(
    connection: duckdb.DuckDBPyConnection, uuids: Collection[str | None], cloud: str
) -> SeriesCohort:
    """Take those of the series that the index has, without insisting on any."""
    connection.register("named", pa.table({"crdc_series_uuid": pa.array(uuids, pa.string())}))
    connection.execute(
        """
        CREATE TEMP TABLE picked AS
        SELECT crdc_series_uuid FROM all_series
        WHERE crdc_series_uuid IN (SELECT crdc_series_uuid FROM named)
        """
    )
    connection.unregister("named")
    return SeriesCohort(connection, cloud)


@contextmanager
def _local_copy(location: str, source: SourceConfig, *, offline: bool) -> Iterator[Path]:
    """Yield a manifest as a local file, fetched if it lies in a bucket."""
    url = _parsed(location)
    if url.scheme == "file":
        if not Path(url.key).is_file():
            raise CohortError(f"cohort.manifest {location} is not there")
        yield Path(url.key)
        return
    if offline:
        raise CohortError(f"cohort.manifest {location} lies in a bucket: a dry run reads none")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(url.key).name
        try:
            path.write_bytes(_whole_object(url, source))
        except ObjectError as error:
            raise CohortError(
                f"cohort.manifest {location} cannot be read: {error.detail}"
            ) from None
        yield path


def _whole_object(url: ObjectUrl, source: SourceConfig) -> bytes:
    store = open_store(url, source)
    first = store.get(url.key, 0, 2**20, None)
    if first.size <= len(first.data):
        return first.data
    return first.data + store.get(url.key, len(first.data), first.size, first.version).data


def read_manifest(path: Path, name: str) -> tuple[list[ObjectUrl], pa.Table | None]:
    """Read a manifest: an s5cmd one as IDC's portal exports it, a CSV or a Parquet file.

    Parameters
    ----------
    path
        A local file.
    name
        What to call it in messages.

    Returns
    -------
    tuple of list of ObjectUrl and pyarrow.Table or None
        The URLs of single objects; or a table with one column of `SERIES_KEYS`, where the
        manifest names series.

    Raises
    ------
    CohortError
        It is none of these, or is empty, or mixes series and objects.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if _S5CMD.search(start):
        locations = [line[1].decode() for line in _S5CMD.finditer(path.read_bytes())]
    else:
        table = _read_table(path, name, is_parquet=start[:4] == b"PAR1")
        for key in SERIES_KEYS:
            if key in table.column_names and "url" not in table.column_names:
                return [], table.select([key])
        if "url" not in table.column_names:
            raise CohortError(
                f"cohort.manifest {name} has the columns {', '.join(table.column_names)}: "
                "it needs url, SeriesInstanceUID or crdc_series_uuid"
            )
        locations = [value for value in table["url"].to_pylist() if value]
    if not locations:
        raise CohortError(f"cohort.manifest {name} names nothing")
    return _series_or_objects(locations, name)


# lines such as: cp s3://idc-open-data/<crdc_series_uuid>/* .
_S5CMD = re.compile(rb"^\s*cp\s+(?:-\S+\s+)*'?\"?((?:s3|gs)://[^\s'\"]+)", re.MULTILINE)


def _read_table(path: Path, name: str, *, is_parquet: bool) -> pa.Table:
    reader = "read_parquet" if is_parquet else "read_csv"
    options = "" if is_parquet else ", header = true, all_varchar = true"
    try:
        with duckdb.connect() as connection:
            return connection.execute(
                f"SELECT * FROM {reader}({_quoted(path)}{options})"
            ).to_arrow_table()
    except duckdb.Error as error:
        raise CohortError(
            f"cohort.manifest {name} is no s5cmd manifest, CSV or Parquet: {_first_lines(error)}"
        ) from None


def _series_or_objects(
    locations: Sequence[str], name: str
) -> tuple[list[ObjectUrl], pa.Table | None]:
    """Tell prefixes of IDC's series from single objects; a manifest holds one of the two."""
    urls = [_parsed(location) for location in locations]
    prefixes = [url for url in urls if url.key.endswith(("*", "/"))]
    if not prefixes:
        return urls, None
    series = [idc_series_uuid(url.key) for url in prefixes]
    if len(prefixes) < len(urls) or None in series:
        odd = next(url for url in urls if url not in prefixes or idc_series_uuid(url.key) is None)
        raise CohortError(
            f"cohort.manifest {name} mixes IDC series with other URLs, such as {odd}: "
            "name series alone or objects alone"
        )
    return [], pa.table({"crdc_series_uuid": pa.array(series, pa.string())})
