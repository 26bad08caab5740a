"""Rows of built objects, as they come back from a table."""

from __future__ import annotations

from typing import Any

from harvest.dicom.converter import Converter, number_of_frames
from harvest.dicom.elements import Selection
from harvest.dicom.offsets import Pixels, locate_pixels
from harvest.dicom.tags import Wanted
from harvest.store.fetch import Traffic
from harvest.table.parts import table_of
from harvest.table.rows import Planned, ok_row
from harvest.table.schema import instances_schema
from tests.support.build import (
    EXPLICIT_LITTLE,
    LITTLE,
    Syntax,
    attributes,
    header_of,
    identity,
    part10,
    series,
    window_of,
)

FREE = Planned("file:///x", None, None)


def row_of(data: bytes, *paths: str, planned: Planned = FREE) -> dict[str, Any]:
    """Read an object and build its row, as it comes back from a table."""
    wanted = attributes(*paths)
    header = header_of(data, Selection(wanted))
    pixels = locate_pixels(window_of(data), header, number_of_frames(header))
    assert isinstance(pixels, Pixels)
    values = Converter(Wanted(tuple(wanted))).values(header)
    row = ok_row(planned, Traffic(len(data), "abc", 500, 2), header.end, pixels, values)
    (back,) = table_of([row], instances_schema(wanted)).to_pylist()
    assert isinstance(back, dict)
    return back


def dataset(*elements: bytes, syntax: str = EXPLICIT_LITTLE, code: Syntax = LITTLE) -> bytes:
    return part10(identity(code) + series(code) + b"".join(elements), syntax)
