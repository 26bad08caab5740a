"""Finished tables in DuckDB: in BigQuery's shape too, as IDC's indices, with later columns."""
