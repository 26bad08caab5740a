"""Rows of a small table, for the tests of its files."""

from __future__ import annotations

from collections import ChainMap

from harvest.config.profile import resolve_attributes
from harvest.store.fetch import Traffic
from harvest.table.rows import Planned, Row
from harvest.table.schema import instances_schema
from harvest.worker.object_reader import ObjectReader
from harvest.worker.reading import read_alone

SCHEMA = instances_schema(resolve_attributes((), ("Modality", "SeriesInstanceUID")))


def row(number: int) -> Row:
    own = {
        "url": f"s3://b/{number:06d}",
        "status": "ok",
        "crdc_instance_uuid": f"uuid {number}",
    }
    return ChainMap(own, {"SeriesInstanceUID": "1.2"})


def row_of(reader: ObjectReader, planned: Planned, traffic: Traffic | None = None) -> Row:
    """Read one object, whatever happens to it, and return its row."""
    return read_alone(reader, planned, traffic).row()
