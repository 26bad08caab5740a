"""BigQuery's functions, as far as IDC's SQL uses them, on Python's values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydicom.valuerep import TM

Row = dict[str, Any]
"""Cells by column."""


class AnyOf(tuple[Any, ...]):
    """Values of which a query is free to give any."""

    __slots__ = ()


def safe_float(text: str | float | None) -> float | None:
    """SAFE_CAST(text AS FLOAT64)."""
    if text is None or isinstance(text, (int, float)):
        return None if text is None else float(text)
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def safe_integer(text: str | None) -> int | None:
    """SAFE_CAST(text AS INT64): '20.0' is no integer."""
    return int(text) if text is not None and re.fullmatch(r"[+-]?\d+", text) else None


def at(values: Sequence[Any] | None, index: int) -> Any:
    """values[SAFE_OFFSET(index)]."""
    return values[index] if values is not None and index < len(values) else None


def concat(*parts: str | None) -> str | None:
    """CONCAT(parts)."""
    return None if None in parts else "".join(map(str, parts))


def joined(values: Iterable[str], separator: str) -> str:
    """ARRAY_TO_STRING(values, separator)."""
    return separator.join(value for value in values if value)


def any_value(values: Iterable[Any]) -> AnyOf:
    """ANY_VALUE(values): any but NULL, unless there is nothing else."""
    distinct: list[Any] = []
    for value in values:
        if value is not None and value not in distinct:
            distinct.append(value)
    return AnyOf(distinct or [None])


def sorted_distinct(values: Iterable[Any]) -> list[Any]:
    """ARRAY_AGG(DISTINCT values IGNORE NULLS ORDER BY values)."""
    return sorted({value for value in values if value is not None})


def known(values: Iterable[Any]) -> list[Any]:
    """Leave NULL out, as MIN, MAX and COUNT do."""
    return [value for value in values if value is not None]


def all_of(*conditions: bool | None) -> bool | None:
    """Join by AND, in three-valued logic."""
    if False in conditions:
        return False
    return None if None in conditions else True


def less(left: float | None, right: float | None) -> bool | None:
    """Tell whether left < right; NULL if either is."""
    return None if left is None or right is None else left < right


def dot(left: Sequence[float | None], right: Sequence[float | None]) -> float | None:
    """Add up products from the left; NULL if any part is."""
    total = 0.0
    for index, (one, other) in enumerate(zip(left, right, strict=True)):
        if one is None or other is None:
            return None
        total = one * other if index == 0 else total + one * other
    return total


def two_figures(value: float | None) -> float | None:
    """Round to two significant figures, half away from zero."""
    if not value:
        return value
    digits = 1 - math.floor(math.log10(abs(value)))
    scaled = abs(value) * 10.0**digits
    rounded: float = math.floor(scaled + 0.5) / 10.0**digits
    return math.copysign(rounded, value)


def time_text(value: str | None) -> str | None:
    """CAST(a TIME AS STRING): its fraction has no digits, three or six."""
    if value is None:
        return None
    time = TM(value)
    fraction = f"{time.microsecond:06d}"
    fraction = fraction[:3] if fraction.endswith("000") else fraction
    return f"{time:%H:%M:%S}" + ("" if not time.microsecond else f".{fraction}")


def nulls_first(value: Any) -> tuple[Any, ...]:
    """Sort as ORDER BY does."""
    return (0,) if value is None else (1, value)


def nulls_last(value: Any) -> tuple[Any, ...]:
    """Sort as ORDER BY ... NULLS LAST does."""
    return (1,) if value is None else (0, value)


def descending(value: Any) -> tuple[Any, ...]:
    """Sort as ORDER BY ... DESC does."""
    if value is None:
        return (1,)
    text = value if isinstance(value, str) else str(int(value))
    # the end of a text comes after all that continues it
    return (0, *(-ord(character) for character in text), 1)
