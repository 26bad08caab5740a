"""Columns that say one thing of a series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tests.reference.bigquery import any_value, known, sorted_distinct
from tests.reference.header import Header, Instance

Column = Callable[[list[Instance]], Any]


def by_series(
    instances: Iterable[Instance], wanted: Callable[[Instance], bool] = lambda _: True
) -> dict[str, list[Instance]]:
    """Do as WHERE wanted GROUP BY SeriesInstanceUID."""
    groups: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        if wanted(instance):
            groups[instance.series].append(instance)
    return groups


def any_array(keyword: str) -> Column:
    """ANY_VALUE(keyword) of a repeated attribute, for which an empty array is a value."""
    return lambda group: any_value(each.header.array(keyword) for each in group)


def any_scalar(keyword: str) -> Column:
    """ANY_VALUE(keyword)."""
    return lambda group: any_value(each.header.value(keyword) for each in group)


def any_float(keyword: str, index: int = 0) -> Column:
    """ANY_VALUE(SAFE_CAST(keyword AS FLOAT64)), or of one value of several."""
    return lambda group: any_value(each.header.float_at(keyword, index) for each in group)


def any_integer(keyword: str) -> Column:
    """ANY_VALUE(SAFE_CAST(keyword AS INT64))."""
    return lambda group: any_value(each.header.integer(keyword) for each in group)


def least(keyword: str) -> Column:
    """MIN(SAFE_CAST(keyword AS FLOAT64))."""
    return lambda group: min(known(e.header.float_at(keyword) for e in group), default=None)


def greatest(keyword: str) -> Column:
    """MAX(SAFE_CAST(keyword AS FLOAT64))."""
    return lambda group: max(known(e.header.float_at(keyword) for e in group), default=None)


def all_floats(keyword: str) -> Column:
    """Distinct numbers of a series in order."""
    return lambda group: sorted_distinct(each.header.float_at(keyword) for each in group)


def all_texts(keyword: str) -> Column:
    """Distinct texts of a series in order."""
    return lambda group: sorted_distinct(each.header.value(keyword) for each in group)


def of_each(find: Callable[[Header], Any]) -> Column:
    """ANY_VALUE of what is found in the headers."""
    return lambda group: any_value(find(each.header) for each in group)


def of_class(*sop_classes: str) -> Callable[[Instance], bool]:
    return lambda instance: instance.header.value("SOPClassUID") in sop_classes


def of_modality(*modalities: str) -> Callable[[Instance], bool]:
    return lambda instance: instance.header.value("Modality") in modalities
