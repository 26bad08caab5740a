"""Frames of native pixels: arithmetic, believed only where the length agrees.

One frame follows the other without padding (PS3.5 section 8.1.1), so that a frame of single bits
may begin inside a byte.
"""

from __future__ import annotations

from .codecs import Codec
from .description import PixelDescription
from .ranges import FrameRanges, FrameSource, Stop, Why

_FLOAT_BITS = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}
# Two pixels share their chrominance: two samples for each pixel (PS3.3 section C.7.6.3.1.2)
_SHARED_CHROMINANCE = frozenset({"YBR_FULL_422", "YBR_PARTIAL_422"})


def locate_native(pixels: PixelDescription, frames: int) -> FrameRanges:
    """Locate the frames of a pixel value of defined length.

    Parameters
    ----------
    pixels
        Of the object.
    frames
        Number of Frames.

    Raises
    ------
    Stop
        The attributes and the length of the value do not agree.
    """
    length = pixels.value_length or 0
    if pixels.value_offset + length > pixels.size:
        raise Stop(Why.TRUNCATED, "the object ends before its pixel value does")
    bits = frame_bits(pixels)
    expected = -(-frames * bits // 8)
    if length < expected:
        raise Stop(Why.UNCLEAR, f"{length} bytes of pixels where {frames} frames take {expected}")
    excess = length - expected
    exact = excess <= expected % 2
    if pixels.codec is not Codec.NATIVE and not (exact and pixels.codec is Codec.UNKNOWN):
        raise Stop(Why.UNCLEAR, "native pixels in a compressed transfer syntax")
    if frames > 1 and not pixels.little_endian and pixels.vr == "OW" and bits % 16:
        # the bytes of a word are swapped, even if one is of the frame before (PS3.5 section 7.3)
        raise Stop(Why.UNCLEAR, "frames that begin inside a big endian word")
    if pixels.photometric_interpretation in _SHARED_CHROMINANCE and 2 * length >= 3 * expected:
        raise Stop(Why.UNCLEAR, "YBR_FULL_422 with as many bytes as without shared chrominance")
    return FrameRanges(
        FrameSource.NATIVE,
        frames,
        first_offset=pixels.value_offset,
        frame_bits=bits,
        problem=None if exact else f"{excess} bytes of pixels more than {frames} frames take",
    )


def frame_bits(pixels: PixelDescription) -> int:
    """Return the bits of one native frame.

    Raises
    ------
    Stop
        An attribute that it depends on is absent, zero or cannot be read.
    """
    width = _FLOAT_BITS.get(pixels.keyword or "") or pixels.bits_allocated
    samples = pixels.samples_per_pixel or (1 if pixels.samples_per_pixel is None else 0)
    if not (pixels.rows and pixels.columns and width and samples):
        raise Stop(Why.UNCLEAR, "Rows, Columns, Samples per Pixel or Bits Allocated is missing")
    if samples == 3 and pixels.photometric_interpretation in _SHARED_CHROMINANCE:
        samples = 2
    return pixels.rows * pixels.columns * samples * width
