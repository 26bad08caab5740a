"""Which objects a config means: a cohort of series, of single URLs, or of a prefix.

SQL of a config is code from outside: it runs in a DuckDB that can read the index tables and
nothing else, neither other files nor the network, and that can write nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from ..config import CohortConfig, SourceConfig
from ..errors import CohortError, HarvestError
from ..sql import first_lines, lock, one_select, quoted
from ..urls import AWS_TO_GCS, ObjectUrl, idc_series_url, idc_uuids
from . import idc_index
from .manifest import SERIES_KEYS, parsed_location, read_manifest

COMPRESSED: Final = r"\b1\.2\.840\.10008\.1\.2\.[458]\b"
"""In the index's TransferSyntaxUID, which joins those of a series: some have encapsulated pixels
(PS3.5 section A.4)."""


@dataclass(frozen=True, slots=True)
class ModalityTotal:
    """What the index knows of a cohort's series of one modality."""

    modality: str
    series: int
    instances: int
    bytes: int
    compressed_instances: int = 0
    """Whose transfer syntax may need an offset table."""
    compressed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BucketShare:
    """How much of one of IDC's buckets a cohort is."""

    aws_bucket: str
    series: int
    """Of the cohort."""
    current_series: int
    """Of the current index."""
    instances: int
    """Of the cohort, by the index."""
    current_instances: int
    """Of the current index."""


SERIES_TO_SORT: Final = 100_000
"""At once, with all columns of the index."""


class SeriesCohort:
    """Series of the IDC index.

    Parameters
    ----------
    connection
        Holds the view ``all_series``, and the table ``picked`` of crdc_series_uuid and cloud.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def count(self) -> int:
        """Count the series."""
        row = self._connection.execute("SELECT count(*) FROM picked").fetchone()
        return int(row[0]) if row else 0

    def on(self, cloud: str) -> SeriesCohort:
        """Take all series from one cloud, whatever the config or a manifest said."""
        self._connection.execute("UPDATE picked SET cloud = ?", [cloud])
        return self

    def totals(self) -> list[ModalityTotal]:
        """Count series, instances and bytes by modality, most bytes first."""
        rows = self._connection.execute(
            """
            SELECT coalesce(Modality, '?'), count(*), coalesce(sum(instanceCount), 0)::BIGINT,
                   coalesce(sum(series_size_MB) * 1e6, 0)::BIGINT,
                   coalesce(sum(instanceCount) FILTER (compressed), 0)::BIGINT,
                   coalesce(sum(series_size_MB) FILTER (compressed) * 1e6, 0)::BIGINT
            FROM (SELECT *, coalesce(regexp_matches(TransferSyntaxUID, ?), true) AS compressed
                  FROM all_series) JOIN picked USING (crdc_series_uuid)
            GROUP BY 1 ORDER BY 4 DESC, 1
            """,
            [COMPRESSED],
        ).fetchall()
        return [ModalityTotal(*row) for row in rows]

    def buckets(self) -> list[BucketShare]:
        """Tell how much of each of its buckets the cohort is."""
        rows = self._connection.execute(
            """
            SELECT aws_bucket, count(p.crdc_series_uuid), count(*) FILTER (s.is_current),
                   coalesce(sum(instanceCount) FILTER (p.crdc_series_uuid IS NOT NULL), 0)::BIGINT,
                   coalesce(sum(instanceCount), 0)::BIGINT
            FROM all_series s LEFT JOIN picked p USING (crdc_series_uuid)
            GROUP BY ALL HAVING count(p.crdc_series_uuid) > 0 ORDER BY 1
            """
        ).fetchall()
        return [BucketShare(*row) for row in rows]

    def batches(self, rows: int) -> Iterator[tuple[pa.RecordBatch, list[ObjectUrl]]]:
        """Yield the index's columns of the cohort's series with their prefixes, in URL order.

        Parameters
        ----------
        rows
            Of a batch, at most.
        """
        self._connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE placed AS
            SELECT crdc_series_uuid, cloud, is_current,
                   CASE cloud WHEN 'gcs' THEN 'gs://' || {_gcs_bucket_in_sql()}
                              ELSE 's3://' || aws_bucket END || '/' || crdc_series_uuid AS prefix
            FROM all_series JOIN picked USING (crdc_series_uuid)
            """
        )
        for span in self._spans():
            reader = self._connection.execute(
                f"""
                SELECT s.*, cloud, prefix FROM {self._source()} s
                JOIN (SELECT * EXCLUDE (is_current) FROM placed WHERE {span})
                USING (crdc_series_uuid) ORDER BY prefix
                """
            ).to_arrow_reader(rows)
            for batch in reader:
                urls = [
                    idc_series_url(bucket, uuid, cloud)
                    for bucket, uuid, cloud in zip(
                        *(
                            batch.column(name).to_pylist()
                            for name in ("aws_bucket", "crdc_series_uuid", "cloud")
                        ),
                        strict=True,
                    )
                ]
                if urls:
                    yield batch.drop_columns(["cloud", "prefix"]), urls

    def _source(self) -> str:
        """Return where the columns of the cohort's series are; without prior ones it is cheaper."""
        row = self._connection.execute("SELECT bool_and(is_current) FROM placed").fetchone()
        current = row is not None and row[0]
        return '"index"' if current else "(SELECT * EXCLUDE (is_current) FROM all_series)"

    def _spans(self) -> Iterator[str]:
        """Yield conditions on the prefix, in its order, each of few enough series.

        Sorting all columns of all of IDC at once would take two gigabytes.
        """
        cuts = self._connection.execute(
            f"""
            SELECT prefix FROM (SELECT prefix, row_number() OVER (ORDER BY prefix) AS n FROM placed)
            WHERE n % {SERIES_TO_SORT} = 0 ORDER BY prefix
            """
        ).fetchall()
        after = ""
        for (cut,) in cuts:
            yield f"prefix > {quoted(after)} AND prefix <= {quoted(cut)}"
            after = cut
        yield f"prefix > {quoted(after)}"

    def schema(self) -> pa.Schema:
        """Return the names and types of the index's columns."""
        return (
            self._connection.execute("SELECT * EXCLUDE (is_current) FROM all_series LIMIT 0")
            .to_arrow_table()
            .schema
        )


def _gcs_bucket_in_sql() -> str:
    cases = " ".join(f"WHEN '{aws}' THEN '{gcs}'" for aws, gcs in AWS_TO_GCS.items())
    return f"CASE aws_bucket {cases} ELSE aws_bucket END"


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
        connection = _index_connection(cohort, "", offline=offline)
        return PrefixCohort(_prefix(cohort.prefix), _known(connection, ()))
    if cohort.sql is not None:
        connection = _index_connection(cohort, cohort.sql, offline=offline)
        return _picked(connection, _selected(connection, cohort.sql), source.cloud)
    assert cohort.manifest is not None
    named = read_manifest(cohort.manifest, source, offline=offline)
    connection = _index_connection(cohort, "", offline=offline)
    if isinstance(named, pa.Table):
        return _picked(connection, named, source.cloud)
    _check_urls(named, cohort, source)
    uuids = {idc_uuids(url.key)[0] for url in named}
    return UrlCohort(tuple(sorted(set(named), key=str)), _known(connection, uuids))


def _prefix(text: str) -> ObjectUrl:
    """Parse a prefix; in a bucket it is a whole number of path segments."""
    url = parsed_location(text)
    if url.scheme == "file" or not url.key or url.key.endswith("/"):
        return url
    return url.with_key(f"{url.key}/")


def _check_urls(urls: Sequence[ObjectUrl], cohort: CohortConfig, source: SourceConfig) -> None:
    if cohort.sample is not None:
        raise CohortError(
            f"cohort.manifest {cohort.manifest} names single objects, of which cohort.sample "
            "cannot tell the largest: name series, or leave sample out"
        )
    if source.endpoint is not None and len({url.scheme for url in urls} - {"file"}) > 1:
        raise CohortError(
            f"cohort.manifest {cohort.manifest} names s3:// and gs:// URLs, and source.endpoint "
            "can serve only one of them: split the manifest"
        )


def _selected(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """Run the cohort's SQL; return its columns that name series."""
    try:
        return connection.execute(one_select(sql, "cohort.sql")).to_arrow_table()
    except duckdb.Error as error:
        raise CohortError(f"cohort.sql fails: {first_lines(error)}{_hint(error)}") from None
    except HarvestError as error:
        raise CohortError(str(error)) from None


def _hint(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.PermissionException):
        return " (it can read the index tables and nothing else)"
    if isinstance(error, duckdb.CatalogException):
        return f" (the tables are {', '.join(sorted(idc_index.known_tables()))})"
    return ""


def _index_connection(
    cohort: CohortConfig, sql: str, *, offline: bool
) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB that sees the index tables that `sql` names, and can reach nothing else."""
    main = None
    if cohort.index is not None:
        main = Path(cohort.index)
        if not main.is_file():
            raise CohortError(f"cohort.index {cohort.index} is not there")
    words = {word.lower() for word in re.findall(r"\w+", sql)}
    named = [table for table in idc_index.known_tables() if table in words]
    wanted = dict.fromkeys((idc_index.MAIN_TABLE, "prior_versions_index", *named))
    files = idc_index.table_files(wanted, main, fetch=not offline)
    connection = duckdb.connect()
    try:
        for table, path in files.items():
            connection.execute(
                f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet({quoted(path.absolute())})'
            )
        connection.execute(_all_series(connection))
    except duckdb.Error as error:
        raise CohortError(f"the index cannot be read: {first_lines(error)}") from None
    lock(connection, (quoted(path.absolute()) for path in files.values()))
    return connection


_INDEX_COLUMNS = frozenset(
    {
        "SeriesInstanceUID",
        "crdc_series_uuid",
        "aws_bucket",
        "instanceCount",
        "series_size_MB",
        "Modality",
        "TransferSyntaxUID",
    }
)


def _all_series(connection: duckdb.DuckDBPyConnection) -> str:
    """Write the view of current and prior series, with the columns of the current index."""
    columns = {row[0] for row in connection.execute('DESCRIBE "index"').fetchall()}
    lacking = _INDEX_COLUMNS - columns
    if lacking:
        raise CohortError(f"cohort.index lacks IDC's columns {', '.join(sorted(lacking))}")
    prior = connection.execute("DESCRIBE prior_versions_index").fetchall()
    extra = ", ".join(row[0] for row in prior if row[0] not in columns)
    return f"""
        CREATE VIEW all_series AS
        SELECT *, true AS is_current FROM "index"
        UNION ALL BY NAME
        -- a prior version has a row for each range of releases that had it
        SELECT DISTINCT ON (crdc_series_uuid) * EXCLUDE ({extra}), false AS is_current
        FROM prior_versions_index ANTI JOIN "index" USING (crdc_series_uuid)
        ORDER BY crdc_series_uuid
    """


def _picked(connection: duckdb.DuckDBPyConnection, found: pa.Table, cloud: str) -> SeriesCohort:
    """Narrow the index to the series that SQL or a manifest named.

    Parameters
    ----------
    connection
        With the index.
    found
        A column of `SERIES_KEYS`; a column ``cloud`` where a manifest's URLs say which.
    cloud
        Where nothing says which.
    """
    key = next((name for name in SERIES_KEYS if name in found.column_names), None)
    if key is None:
        raise CohortError(
            f"the cohort returns {', '.join(found.column_names)}: it must return "
            "SeriesInstanceUID or crdc_series_uuid"
        )
    if found.column_names.count(key) > 1 or not pa.types.is_string(found.schema.field(key).type):
        raise CohortError(f"the cohort must return {key} once, as text")
    clouds = found["cloud"] if "cloud" in found.column_names else [cloud] * found.num_rows
    named = pa.table({key: found[key], "cloud": clouds}).filter(pc.is_valid(found[key]))
    if not named.num_rows:
        raise CohortError("the cohort has no series: check the conditions of its SQL or manifest")
    connection.register("named", named)
    current = "is_current AND" if key == "SeriesInstanceUID" else ""
    connection.execute(
        f"""
        CREATE TEMP TABLE picked AS
        SELECT crdc_series_uuid, any_value(cloud) AS cloud, any_value({key}) AS named_by
        FROM all_series JOIN named USING ({key}) WHERE {current} true GROUP BY 1
        """
    )
    _check_known(connection, key, current)
    connection.unregister("named")
    return SeriesCohort(connection)


def _check_known(connection: duckdb.DuckDBPyConnection, key: str, current: str) -> None:
    """Refuse series that the index lacks: a cohort that silently shrinks is a wrong one."""
    counts = connection.execute(
        f"""
        SELECT (SELECT count(DISTINCT {key}) FROM named),
               (SELECT count(DISTINCT named_by) FROM picked)
        """
    ).fetchone()
    if counts is not None and counts[0] == counts[1]:
        return  # the usual case, which spares the look through the whole index
    unknown = connection.execute(
        f"""
        SELECT DISTINCT {key}, {key} IN (SELECT {key} FROM all_series)
        FROM named ANTI JOIN (SELECT {key} FROM all_series WHERE {current} true) USING ({key})
        ORDER BY 1
        """
    ).fetchall()
    first, is_prior = unknown[0]
    release = idc_index.installed_release()
    raise CohortError(
        f"{len(unknown)} series of the cohort are not in IDC v{release}, the first is {key} "
        f"{first}: "
        + (
            "it is in prior versions only, which are named by crdc_series_uuid"
            if is_prior
            else "correct the cohort, or install the idc-index-data release that has them"
        )
    )


def _known(connection: duckdb.DuckDBPyConnection, uuids: Collection[str | None]) -> SeriesCohort:
    """Take those of the series that the index has, without insisting on any."""
    connection.register("named", pa.table({"crdc_series_uuid": pa.array(uuids, pa.string())}))
    connection.execute(
        """
        CREATE TEMP TABLE picked AS
        SELECT crdc_series_uuid, 'aws' AS cloud FROM all_series
        WHERE crdc_series_uuid IN (SELECT crdc_series_uuid FROM named)
        """
    )
    connection.unregister("named")
    return SeriesCohort(connection)
