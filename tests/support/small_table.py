"""Rows of a small table, for the tests of its files."""

from __future__ import annotations

from collections import ChainMap

from harvest.table.rows import Row
from harvest.table.schema import instances_schema
from tests.support.profiles import resolve_attributes

SCHEMA = instances_schema(resolve_attributes((), ("Modality", "SeriesInstanceUID")))


def row(number: int) -> Row:
    own = {
        "url": f"s3://b/{number:06d}",
        "status": "ok",
        "crdc_instance_uuid": f"uuid {number}",
    }
    return ChainMap(own, {"SeriesInstanceUID": "1.2"})
