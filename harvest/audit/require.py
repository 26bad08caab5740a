"""From a rule's ``require:`` to the SQL that finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Final

from ..config.audit import RequireConfig
from ..errors import HarvestError
from ..sql import identifier, quoted

_SCOPES: Final = {
    "series": "SeriesInstanceUID",
    "study": "StudyInstanceUID",
    "patient": "PatientID",
}
_NAMED: Final = ("url", "SeriesInstanceUID")
"""Columns that tell where an offending row is, beside those that offend."""
_NUMBERS: Final = frozenset({"BIGINT", "UBIGINT", "DOUBLE"})
"""DuckDB's types of columns that hold numbers."""
_SIGNS: Final = {"DATE": "-", "TIME": ":"}
"""That DuckDB writes, and a header does not."""
_UID: Final = r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*"
_SHOWN_URLS: Final = 3


class NoSuchColumn(Exception):
    """A column that a rule asks of is not there; the text is its name."""


def required_sql(require: RequireConfig, columns: Mapping[str, str]) -> str:
    """Write the SELECT that returns what breaks a requirement.

    Parameters
    ----------
    require
        The condition.
    columns
        Of ``instances``, with DuckDB's types.

    Raises
    ------
    NoSuchColumn
        It asks of a column that is not there.
    HarvestError
        A value of `one_of` cannot be one of its column.
    """
    if require.unique is not None:
        return _duplicates(require, columns)
    if require.constant_within is not None:
        return _inconstant(require, columns)
    offends: dict[str, str] = {}
    if require.not_null is not None:
        offends = {name: f"{identifier(name)} IS NULL" for name in require.not_null}
    for name, values in (require.one_of or {}).items():
        offends[name] = _any(name, columns, _not_among(name, _type_of(name, columns), values))
    for name, (low, high) in (require.range or {}).items():
        offends[name] = _any(name, columns, _outside(_type_of(name, columns), low, high))
    for name, pattern in (require.matches or {}).items():
        offends[name] = _any(name, columns, _unlike(pattern))
    for name, kind in (require.type or {}).items():
        unfit = _any(name, columns, _TYPES[kind])
        misfit = f"list_contains(list_transform(issues, lambda i: i.path), {quoted(name)})"
        offends[name] = f"({unfit} OR coalesce({misfit}, false))"
    shown = _list(_shown(_NAMED, columns), _shown(offends, columns, needed=True))
    return f"SELECT {shown} FROM instances WHERE {_of_these(require)} AND ({_any_of(offends)})"


def _duplicates(require: RequireConfig, columns: Mapping[str, str]) -> str:
    keys = _shown(require.unique or (), columns, needed=True)
    given = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    return (
        f"SELECT {_list(keys)}, count(*) AS objects, list(url ORDER BY url)[1:{_SHOWN_URLS}]"
        f" AS urls FROM instances WHERE {_of_these(require)} AND {given}"
        f" GROUP BY {_list(keys)} HAVING count(*) > 1 ORDER BY {_list(keys)}"
    )


def _inconstant(require: RequireConfig, columns: Mapping[str, str]) -> str:
    """Count values per scope; `row` makes absent a value of its own."""
    selects = []
    for scope, names in (require.constant_within or {}).items():
        (key,) = _shown((_SCOPES[scope],), columns, needed=True)
        for name, column in zip(names, _shown(names, columns, needed=True), strict=True):
            selects.append(
                f"SELECT {quoted(scope)} AS scope, {key} AS uid, {quoted(name)} AS attribute,"
                f" count(DISTINCT row({column})) AS different_values, count(*) AS objects"
                f" FROM instances WHERE {_of_these(require)} AND {key} IS NOT NULL"
                f" GROUP BY {key} HAVING count(DISTINCT row({column})) > 1"
            )
    return " UNION ALL ".join(selects) + " ORDER BY ALL"


def _of_these(require: RequireConfig) -> str:
    # on lines of its own, so that a comment in it ends with it
    return "status = 'ok'" + (f" AND (\n{require.where}\n)" if require.where else "")


def _any(name: str, columns: Mapping[str, str], offends: Callable[[str], str]) -> str:
    """Write whether any value of a column offends; an absent one does not."""
    (column,) = _shown((name,), columns, needed=True)
    values = column if columns[name].endswith("[]") else f"[{column}]"
    return f"len(list_filter({values}, lambda x: x IS NOT NULL AND {offends('x')})) > 0"


def _type_of(name: str, columns: Mapping[str, str]) -> str:
    """Return DuckDB's type of a column's values."""
    if name not in columns:
        raise NoSuchColumn(name)
    return columns[name].removesuffix("[]")


def _outside(kind: str, low: float | None, high: float | None) -> Callable[[str], str]:
    def offends(value: str) -> str:
        number = f"try_cast({_text(value, kind)} AS DOUBLE)"
        bounds = [f"{number} < {low!r}"] if low is not None else []
        bounds += [f"{number} > {high!r}"] if high is not None else []
        return f"({' OR '.join([f'coalesce(isnan({number}), true)', *bounds])})"

    return offends


def _not_among(name: str, kind: str, values: Sequence[object]) -> Callable[[str], str]:
    if kind in _NUMBERS:
        # a quoted one would be cast, and rounded
        listed = ", ".join(_number(name, value) for value in values)
        return lambda value: f"{value} NOT IN ({listed})"
    if kind in _SIGNS:
        listed = ", ".join(quoted(str(value).replace(_SIGNS[kind], "")) for value in values)
        return lambda value: f"{_text(value, kind)} NOT IN ({listed})"
    listed = ", ".join(map(quoted, values))
    return lambda value: f"{value} NOT IN ({listed})"


def _text(value: str, kind: str) -> str:
    """Write a value as text: a date or time as in a header (PS3.5 section 6.2)."""
    text = f"CAST({value} AS VARCHAR)"
    return f"replace({text}, '{_SIGNS[kind]}', '')" if kind in _SIGNS else text


def _number(name: str, value: object) -> str:
    try:
        number = value if isinstance(value, int) else float(str(value))
        if isfinite(number):
            return repr(number)
    except ValueError:
        pass
    raise HarvestError(f"one_of: {value!r} is no number, and {name} is one")


def _unlike(pattern: str) -> Callable[[str], str]:
    return lambda value: f"NOT regexp_full_match(CAST({value} AS VARCHAR), {quoted(pattern)})"


def _no_integer(value: str) -> str:
    # a cast would round
    text = f"trim(CAST({value} AS VARCHAR))"
    return rf"NOT regexp_full_match({text}, '[+-]?[0-9]+(\.0*)?')"


def _no_number(value: str) -> str:
    number = f"try_cast(trim(CAST({value} AS VARCHAR)) AS DOUBLE)"
    return f"NOT coalesce(isfinite({number}), false)"


def _no_uid(value: str) -> str:
    text = f"CAST({value} AS VARCHAR)"
    return f"(length({text}) > 64 OR NOT regexp_full_match({text}, {quoted(_UID)}))"


def _no_date(value: str) -> str:
    text = f"trim(CAST({value} AS VARCHAR))"
    return f"(try_strptime({text}, '%Y%m%d') IS NULL AND try_cast({text} AS DATE) IS NULL)"


def _no_time(value: str) -> str:
    text = f"trim(CAST({value} AS VARCHAR))"
    dicom = r"([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?"
    return f"(NOT regexp_full_match({text}, '{dicom}') AND try_cast({text} AS TIME) IS NULL)"


_TYPES: Final[Mapping[str, Callable[[str], str]]] = {
    "integer": _no_integer,
    "number": _no_number,
    "date": _no_date,
    "time": _no_time,
    "uid": _no_uid,
}


def _shown(
    names: Sequence[str] | Mapping[str, str], columns: Mapping[str, str], *, needed: bool = False
) -> list[str]:
    """Return those columns that there are, as identifiers."""
    for name in names:
        if needed and name not in columns:
            raise NoSuchColumn(name)
    return [identifier(name) for name in names if name in columns]


def _list(*names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(name for each in names for name in each))


def _any_of(offends: Mapping[str, str]) -> str:
    return " OR ".join(offends.values())
