"""What an answer says of its range, and what is wrong with it."""

from __future__ import annotations

import pytest

from harvest.errors import ErrorKind
from harvest.store.faults import check_range, parse_content_range
from tests.support.stores import raised


@pytest.mark.parametrize(
    "value", [None, "", "bytes */10", "bytes 0-9/*", "items 0-9/10", "0-9/10", "bytes a-b/c"]
)
def test_an_unusable_content_range(value: str | None) -> None:
    assert raised(lambda: parse_content_range(value)).kind == ErrorKind.UNAVAILABLE


def test_content_range() -> None:
    assert parse_content_range("bytes 42-1233/1234") == (42, 1234)


@pytest.mark.parametrize("answer", [(1, 10), (0, 9), (0, 11), (0, 0)])
def test_check_range(answer: tuple[int, int]) -> None:
    check_range(0, 10, 100, 0, 10)
    check_range(0, 10, 5, 0, 5)
    assert raised(lambda: check_range(0, 10, 100, *answer)).kind == ErrorKind.UNAVAILABLE
