"""Native frames: where they lie is arithmetic."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harvest.frames import FrameSource, Why
from tests.support.build import (
    BIG,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG,
    LITTLE,
    PIXEL_DATA,
)
from tests.support.frames import describe, drive, frames_in, locate, multiframe, native, padded


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_native_frames_are_arithmetic(syntax: str, bits: int) -> None:
    pixels = bytes(n % 251 for n in range(5 * 6 * bits // 8))
    data = native(pixels, 5, syntax, rows=2, columns=3, bits=bits)
    located = locate(data, scan=False)
    assert located.asked == []
    assert located.ranges.source == FrameSource.NATIVE
    assert located.ranges.frame_bits == 6 * bits
    assert located.ranges.problem is None
    expected = [bytes(frame) for frame in np.frombuffer(pixels, "u1").reshape(5, -1)]
    assert frames_in(data, located.ranges) == expected


@pytest.mark.parametrize(("rows", "columns", "frames"), [(3, 5, 7), (1, 1, 9), (4, 4, 3)])
def test_frames_of_single_bits_are_not_byte_aligned(rows: int, columns: int, frames: int) -> None:
    bits = np.random.default_rng(1).integers(0, 2, (frames, rows, columns), np.uint8)
    pixels = np.packbits(bits.ravel(), bitorder="little").tobytes()
    data = native(padded(pixels), frames, rows=rows, columns=columns, bits=1)
    ranges = locate(data).ranges
    assert ranges.problem is None
    for number, expected in enumerate(bits, start=1):
        read = np.frombuffer(data[slice(*ranges.byte_range(number))], np.uint8)
        unpacked = np.unpackbits(read, bitorder="little")[ranges.bit_offset(number) :]
        assert (unpacked[: rows * columns] == expected.ravel()).all()
        assert len(unpacked) - rows * columns < 8


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_422"])
def test_shared_chrominance_takes_two_samples_a_pixel(photometric: str) -> None:
    pixels = bytes(range(3 * 32))
    data = native(pixels, 3, samples=3, photometric=photometric)
    assert frames_in(data, locate(data).ranges) == [pixels[n : n + 32] for n in (0, 32, 64)]


def test_chrominance_that_is_not_shared_after_all() -> None:
    data = native(bytes(3 * 48), 3, samples=3, photometric="YBR_FULL_422")
    assert locate(data).reason.why == Why.UNCLEAR


@pytest.mark.parametrize(
    ("tag", "vr", "width"), [(0x7FE00008, "OF", 4), (0x7FE00009, "OD", 8)], ids=["OF", "OD"]
)
@pytest.mark.parametrize("bits", [0, 16, 64])
def test_the_width_of_floating_point_is_that_of_its_element(
    tag: int, vr: str, width: int, bits: int
) -> None:
    pixels = bytes(n % 251 for n in range(2 * 16 * width))
    data = multiframe(EXPLICIT_LITTLE, LITTLE.element(tag, vr, pixels), 2, bits=bits)
    half = 16 * width
    assert frames_in(data, locate(data).ranges) == [pixels[:half], pixels[half:]]


@pytest.mark.parametrize("frames", [None, 0, 1])
def test_a_single_frame_needs_no_number(frames: int | None) -> None:
    data = native(bytes(16), frames)
    assert locate(data).ranges.frames == 1


MISSING = "Rows, Columns, Samples per Pixel or Bits Allocated is missing"
COMPRESSED = "native pixels in a compressed transfer syntax"


@pytest.mark.parametrize(
    ("pixels", "changes", "reason"),
    [
        (bytes(30), {}, "30 bytes of pixels where 2 frames take 32"),
        (b"", {}, "0 bytes of pixels where 2 frames take 32"),
        (bytes(32), {"rows": 0}, MISSING),
        (bytes(32), {"samples": 0}, MISSING),
        (bytes(32), {"transfer_syntax": JPEG}, COMPRESSED),
        (bytes(34), {"transfer_syntax": "1.2.3.4"}, COMPRESSED),
    ],
)
def test_native_pixels_whose_length_does_not_agree(
    pixels: bytes, changes: dict[str, Any], reason: str
) -> None:
    found = locate(native(pixels, 2, **changes)).reason
    assert (found.why, found.reason) == (Why.UNCLEAR, reason)


def test_native_pixels_of_an_unknown_syntax_must_fit_exactly() -> None:
    assert locate(native(bytes(32), 2, "1.2.3.4")).ranges.frame_bits == 128


def test_frames_that_begin_inside_a_big_endian_word() -> None:
    """Their bytes are swapped with those of the frame before."""
    odd = native(bytes(30), 2, EXPLICIT_BIG, rows=3, columns=5)
    assert locate(odd).reason.why == Why.UNCLEAR
    assert locate(native(bytes(16), 1, EXPLICIT_BIG, rows=3, columns=5)).ranges.frame_bits == 120
    element = BIG.element(PIXEL_DATA, "OB", bytes(30))
    bytewise = multiframe(EXPLICIT_BIG, element, 2, code=BIG, rows=3, columns=5)
    assert locate(bytewise).ranges.frame_bits == 120


def test_more_native_bytes_than_the_frames_take_are_told() -> None:
    ranges = locate(native(bytes(40), 2)).ranges
    assert ranges.problem == "8 bytes of pixels more than 2 frames take"
    assert ranges.frame_bits == 128


def test_native_pixels_that_end_early() -> None:
    assert locate(native(bytes(32), 2)[:-1]).reason.why == Why.TRUNCATED


def test_a_single_sample_shares_no_chrominance() -> None:
    data = native(bytes(32), 2, photometric="YBR_FULL_422")
    assert locate(data).ranges.frame_bits == 128


def test_without_samples_per_pixel_there_is_one() -> None:
    data = native(bytes(32), 2)
    pixels = replace(describe(data), samples_per_pixel=None)
    assert drive(data, pixels).ranges.frame_bits == 128
