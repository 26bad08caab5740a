"""From BigQuery's SQL to DuckDB's: sqlglot, and rules for what it does not translate.

Each rule changes the syntax tree that sqlglot makes of BigQuery's text, and says what goes wrong
without it. None knows a table, a column or a query.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from ..errors import HarvestError

Rule = Callable[[exp.Expr], None]

_logger = logging.getLogger("sqlglot")
# the names that BigQuery has for its one integer type, as sqlglot reads them
_INTEGER_TYPES: Final = (
    exp.DType.TINYINT,
    exp.DType.SMALLINT,
    exp.DType.INT,
    exp.DType.BIGINT,
)
_INTEGER_OF_TEXT: Final = r"""
CASE WHEN typeof(x) <> 'VARCHAR'
    OR regexp_full_match(CAST(x AS VARCHAR), '\s*[+-]?([0-9]+|0[xX][0-9a-fA-F]+)\s*')
THEN TRY_CAST(x AS BIGINT) END
"""
_TEXT_OF_TIME: Final = """
CASE WHEN typeof(x) = 'TIME' AND length(CAST(x AS VARCHAR)) > 8
THEN rpad(CAST(x AS VARCHAR), CASE WHEN length(CAST(x AS VARCHAR)) > 12 THEN 15 ELSE 12 END, '0')
ELSE CAST(x AS VARCHAR) END
"""


class UnknownSql(HarvestError):
    """BigQuery's SQL that is more than a query, or that DuckDB has nothing for."""


def parse(sql: str) -> exp.Expr:
    """Parse a BigQuery script that ends with a query; its parameters are put in.

    Raises
    ------
    UnknownSql
        It is no query that sqlglot understands.
    """
    try:
        with _silent():
            parsed = sqlglot.parse(sql, read="bigquery")
    except SqlglotError as error:
        raise UnknownSql(f"the BigQuery SQL cannot be read: {_first_line(error)}") from None
    # comments behind a semicolon are statements, too
    statements = [each for each in parsed if each and not isinstance(each, exp.Semicolon)]
    if not statements or not isinstance(statements[-1], exp.Query):
        raise UnknownSql("the BigQuery SQL does not end with a query")
    *declares, query = statements
    return put_parameters_in(declares, query)


def to_duckdb(query: exp.Expr) -> str:
    """Write a query that `parse` has read as DuckDB's SQL, the tables named without their dataset.

    Raises
    ------
    UnknownSql
        It holds something that DuckDB has not.
    """
    query = query.copy()
    for rule in RULES:
        rule(query)
    try:
        with _silent():
            return query.sql("duckdb", comments=False, unsupported_level=sqlglot.ErrorLevel.RAISE)
    except SqlglotError as error:
        raise UnknownSql(f"DuckDB has no such SQL: {_first_line(error)}") from None


def tables(query: exp.Expr) -> frozenset[str]:
    """Name the tables that a query reads, without their dataset, and without its own CTEs."""
    own = {cte.alias for cte in query.find_all(exp.CTE)}
    return frozenset(
        table.name for table in query.find_all(exp.Table) if table.db or table.name not in own
    )


@contextmanager
def _silent() -> Iterator[None]:
    """Keep sqlglot's remarks from the log: what matters is raised."""
    disabled, _logger.disabled = _logger.disabled, True
    try:
        yield
    finally:
        _logger.disabled = disabled


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def put_parameters_in(declares: list[exp.Expr], query: exp.Expr) -> exp.Expr:
    """Replace the parameters of ``DECLARE`` by their values: DuckDB has no such statement.

    Raises
    ------
    UnknownSql
        Something else than DECLARE with a DEFAULT stands before the query.
    """
    values: dict[str, exp.Expr] = {}
    for statement in declares:
        items = statement.expressions if isinstance(statement, exp.Declare) else []
        if not items or not all(item.args.get("default") for item in items):
            raise UnknownSql(
                "only DECLARE with a DEFAULT is understood before the query of a BigQuery script"
            )
        for item in items:
            default, kind = item.args["default"], item.args.get("kind")
            value = exp.Cast(this=default.copy(), to=kind.copy()) if kind else default
            names = item.this if isinstance(item.this, list) else [item.this]
            values |= {name.name.lower(): value for name in names}
    for column in list(query.find_all(exp.Column)):
        known = None if column.table else values.get(column.name.lower())
        if known is not None:
            column.replace(known.copy())
    return query


# --- rules -----------------------------------------------------------------------------------


def drop_datasets(query: exp.Expr) -> None:
    """Name tables without project and dataset, which a harvest's tables have not."""
    for table in query.find_all(exp.Table):
        table.set("db", None)
        table.set("catalog", None)


def widen_integers(query: exp.Expr) -> None:
    """Cast to 64 bits: INT is BigQuery's name for them, and DuckDB's for 32."""
    for cast in query.find_all(exp.Cast):
        if cast.to.this in _INTEGER_TYPES:
            cast.set("to", exp.DataType.build("BIGINT"))


def refuse_fractions_as_integers(query: exp.Expr) -> None:
    """Let only the text of an integer become one.

    DuckDB makes 20 of the texts '20.0' and '2e1'; of these BigQuery's SAFE_CAST makes NULL.
    """
    for cast in list(query.find_all(exp.TryCast)):
        if cast.to.this in _INTEGER_TYPES:
            cast.replace(_filled(_INTEGER_OF_TEXT, cast.this))


def write_times_by_thousands(query: exp.Expr) -> None:
    """Write the fraction of a second with three or six digits, as BigQuery does; DuckDB cuts zeros.

    The text of 09:05:00.250 would be that of 09:05:00.25.
    """
    for cast in list(query.find_all(exp.Cast)):
        if not isinstance(cast, exp.TryCast) and cast.to.this in exp.DataType.TEXT_TYPES:
            cast.replace(_filled(_TEXT_OF_TIME, cast.this))


def _filled(duckdb: str, value: exp.Expr) -> exp.Expr:
    """Put a value in the place of ``x`` in an expression of DuckDB's."""
    filled = sqlglot.parse_one(duckdb, read="duckdb")
    for place in list(filled.find_all(exp.Column)):
        place.replace(value.copy())
    return filled


def number_offsets_from_zero(query: exp.Expr) -> None:
    """Subtract 1 from the numbers of UNNEST: WITH OFFSET begins at 0, WITH ORDINALITY at 1.

    Left as they are, the first three of six values are two.
    """
    for unnest in list(query.find_all(exp.Unnest)):
        offset = unnest.args.get("offset")
        select = unnest.find_ancestor(exp.Select)
        if not isinstance(offset, exp.Expr) or select is None:
            continue
        for column in list(select.find_all(exp.Column)):
            if column.name.lower() == offset.name.lower() and not column.table:
                from_zero: exp.Expr = exp.paren(
                    exp.Sub(this=column.copy(), expression=exp.Literal.number(1))
                )
                if column.arg_key == "expressions" and isinstance(column.parent, exp.Select):
                    from_zero = exp.alias_(from_zero, column.name)  # an output keeps its name
                column.replace(from_zero)


def cut_aggregated_lists(query: exp.Expr) -> None:
    """Take the first n of an aggregated list: DuckDB has no LIMIT inside ARRAY_AGG."""
    for aggregate in list(query.find_all(exp.ArrayAgg)):
        limit = aggregate.this
        if not isinstance(limit, exp.Limit):
            continue
        aggregate.set("this", limit.this)
        whole: exp.Expr = aggregate
        while isinstance(whole.parent, (exp.IgnoreNulls, exp.RespectNulls)):
            whole = whole.parent
        whole.replace(
            exp.Anonymous(
                this="LIST_SLICE",
                expressions=[whole.copy(), exp.Literal.number(1), limit.expression.copy()],
            )
        )


def round_by_small_integers(query: exp.Expr) -> None:
    """Cast the number of digits to 32 bits: DuckDB's ROUND takes no other type."""
    for rounding in query.find_all(exp.Round):
        digits = rounding.args.get("decimals")
        if digits is not None and not isinstance(digits, exp.Literal):
            small = exp.Cast(this=digits.copy(), to=exp.DataType.build("INT"))
            rounding.set("decimals", small)


def order_by_expressions(query: exp.Expr) -> None:
    """Repeat an output's expression in ORDER BY where it is part of one and holds a query.

    DuckDB sorts by the name of such an output, and refuses the name inside an expression.
    """
    for select in query.find_all(exp.Select):
        order = select.args.get("order")
        outputs = {
            each.alias.lower(): each.this
            for each in select.expressions
            if isinstance(each, exp.Alias) and each.this.find(exp.Query)
        }
        for column in list(order.find_all(exp.Column)) if order else []:
            found = None if column.table else outputs.get(column.name.lower())
            if found is not None and not isinstance(column.parent, exp.Ordered):
                column.replace(found.copy())


def survive_impossible_angles(query: exp.Expr) -> None:
    """Make NULL of an ACOS outside its domain: it ends the query, and one odd header would do."""
    for angle in list(query.find_all(exp.Acos)):
        if isinstance(angle.this, (exp.Literal, exp.Neg)):
            continue  # an error there is the query's own
        bounds = {"low": exp.Literal.number("-1"), "high": exp.Literal.number("1")}
        inside = exp.Between(this=angle.this.copy(), **bounds)
        angle.replace(exp.Case(ifs=[exp.If(this=inside, true=angle.copy())]))


RULES: Final[tuple[Rule, ...]] = (
    drop_datasets,
    widen_integers,
    write_times_by_thousands,
    refuse_fractions_as_integers,
    number_offsets_from_zero,
    cut_aggregated_lists,
    # not before the integers are widened
    round_by_small_integers,
    order_by_expressions,
    survive_impossible_angles,
)
"""In the order in which they apply."""
