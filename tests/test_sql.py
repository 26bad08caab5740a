"""Text of SQL: literals and names that hold anything, and the errors of DuckDB."""

from __future__ import annotations

import duckdb
import pytest

from harvest.sql import first_lines, identifier, quoted


@pytest.mark.parametrize("text", ["", "it's", "''", 'a "b"', "x'; DROP TABLE t; --", "\\n", "山"])
def test_literals_and_names_hold_any_text(text: str) -> None:
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT {quoted(text)}").fetchone() == (text,)
        if text:
            found = connection.execute(f"SELECT 1 AS {identifier(text)}")
            assert found.description is not None
            assert found.description[0][0] == text


def test_an_error_does_not_repeat_the_statement() -> None:
    with duckdb.connect() as connection, pytest.raises(duckdb.Error) as caught:
        connection.execute("SELECT 'a value' AS a, nothing FROM range(3)")
    said = first_lines(caught.value)
    assert "nothing" in said
    assert "a value" not in said
    assert "\n" not in said
