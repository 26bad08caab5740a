"""Where IDC's index tables lie: bundled with idc-index-data, cached, or fetched by idc-index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import idc_index_data
import platformdirs

from ..errors import CohortError

MAIN_TABLE = "index"
"""idc-index calls the file idc_index by this name in SQL."""
PRIOR_TABLE = "prior_versions_index"


@dataclass(frozen=True, slots=True)
class IndexColumn:
    """A column of an index table, as IDC describes it."""

    name: str
    type: str
    """BigQuery's: ``STRING``, ``INTEGER``, ``FLOAT``, ``BOOLEAN``, ..."""
    repeated: bool
    """Whether it is a list of them."""
    description: str


@dataclass(frozen=True, slots=True)
class IndexDefinition:
    """An index table, and how IDC builds it."""

    name: str
    sql: str
    """For BigQuery."""
    description: str
    columns: tuple[IndexColumn, ...]


def index_definitions() -> dict[str, IndexDefinition]:
    """Return what the installed release says of its index tables, by their names."""
    return {
        name: _definition(name, metadata)
        for name, metadata in idc_index_data.INDEX_METADATA.items()
        if metadata["sql"] and metadata["schema"]
    }


def _definition(name: str, metadata: dict[str, Any]) -> IndexDefinition:
    schema = metadata["schema"]
    columns = tuple(
        IndexColumn(
            each["name"], each["type"], each["mode"] == "REPEATED", each.get("description", "")
        )
        for each in schema["columns"]
    )
    return IndexDefinition(name, metadata["sql"], schema.get("table_description", ""), columns)


def installed_version() -> str:
    """Return the version of the installed index, such as 25.0.5."""
    return str(idc_index_data.__version__)


def installed_release() -> int:
    """Return the IDC release of the installed index, such as 25."""
    return int(installed_version().partition(".")[0])


def check_release(wanted: int | None) -> None:
    """Refuse another installed release than the pinned one.

    Raises
    ------
    CohortError
        They differ.
    """
    installed = installed_release()
    if wanted is not None and wanted != installed:
        raise CohortError(
            f"cohort.idc_version pins IDC v{wanted}, but the installed index is v{installed}: "
            f"install idc-index-data {wanted}.*, or change the pin"
        )


@lru_cache(maxsize=1)
def known_tables() -> Mapping[str, str]:
    """Map the names that cohort SQL may use to idc-index-data's names."""
    return {
        (MAIN_TABLE if name == "idc_index" else name): name
        for name in idc_index_data.INDEX_METADATA
    }


def table_files(tables: Iterable[str], *, fetch: bool) -> dict[str, Path]:
    """Find the Parquet files of index tables.

    Parameters
    ----------
    tables
        Names as cohort SQL uses them.
    fetch
        Whether to download what is neither bundled nor cached.

    Raises
    ------
    CohortError
        A table has to be downloaded and may not be, or could not be.
    """
    return {table: _file(table, fetch=fetch) for table in tables}


def _file(table: str, *, fetch: bool) -> Path:
    name = known_tables()[table]
    bundled = idc_index_data.INDEX_METADATA[name]["parquet_filepath"]
    if bundled is not None:
        return Path(str(bundled))
    cached = _cache_folder() / f"{name}.parquet"
    if cached.is_file():
        return cached
    if not fetch:
        raise CohortError(
            f"the index table {table} is neither bundled with idc-index-data nor cached: "
            f"`harvest plan` without --dry-run downloads it once"
        )
    _download(name)
    if not cached.is_file():
        raise _not_downloaded(name, "IDC's release assets were not to be had")
    return cached


def _not_downloaded(name: str, reason: str) -> CohortError:
    return CohortError(
        f"the index table {name} could not be downloaded ({reason}): "
        "check the network, then run the same command again"
    )


def _cache_folder() -> Path:
    # the folder that idc_index.IDCClient uses: one cache for both
    return Path(
        platformdirs.user_data_dir("idc_index_data", "IDC", version=idc_index_data.__version__)
    )


def _download(name: str) -> None:
    # imported here: it brings pandas, and its client loads the whole index
    import requests
    from idc_index.index import IDCClient

    try:
        IDCClient().fetch_index(name)  # type: ignore[no-untyped-call]
    except requests.RequestException as error:
        raise _not_downloaded(name, type(error).__name__) from None
