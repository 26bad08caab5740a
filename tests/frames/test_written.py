"""Offset tables that harvest writes are read by pydicom as they were meant."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.encaps import parse_basic_offsets

from harvest.frames.written import basic_table, extended_table
from tests.support.build import part10

OFFSETS = [0, 110, 5_000]


@pytest.mark.parametrize("offsets", [OFFSETS, []])
def test_a_basic_table(offsets: list[int]) -> None:
    assert parse_basic_offsets(BytesIO(basic_table(offsets))) == offsets


def test_an_extended_table() -> None:
    lengths = [102, 4_882, 2**33]
    read = dcmread(BytesIO(part10(extended_table(OFFSETS, lengths))))
    assert struct.unpack("<3Q", read.ExtendedOffsetTable) == tuple(OFFSETS)
    assert struct.unpack("<3Q", read.ExtendedOffsetTableLengths) == tuple(lengths)
