"""IDC's own queries that read nothing but ``dicom_all`` and ``dicom_metadata``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from sqlglot import exp

from ..cohort.idc_index import IndexDefinition, index_definitions
from . import bigquery
from .attribute_use import attribute_uses
from .uses import Use

_TABLES: Final = frozenset({"dicom_all", "dicom_metadata"})


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A query that runs on a harvest, and what it reads."""

    definition: IndexDefinition
    query: exp.Expr
    uses: dict[str, Use]
    """By keyword, or by the name of a column that no header has."""


@cache
def index_queries() -> dict[str, IndexQuery]:
    """Find the index tables that need nothing but a harvest, by their names."""
    found = {}
    for name, definition in index_definitions().items():
        try:
            query = bigquery.parse(definition.sql)
        except bigquery.UnknownSql:
            continue  # a script, as for the prior versions: it is BigQuery's alone
        if bigquery.tables(query) <= _TABLES:
            repeated = {column.name: column.repeated for column in definition.columns}
            found[name] = IndexQuery(definition, query, attribute_uses(query, repeated))
    return found


@cache
def attributes_of_indices() -> dict[str, Use]:
    """Return what all these queries together read."""
    return together(query.uses for query in index_queries().values())


def together(uses: Iterable[dict[str, Use]]) -> dict[str, Use]:
    """Put the uses of several queries together."""
    everything = Use("")
    for each in uses:
        for name, use in each.items():
            everything.member(name).add(use)
    return everything.members
