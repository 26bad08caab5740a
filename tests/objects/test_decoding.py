"""From a frame's bytes to its pixels: those that were encoded, or one of our errors."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import pack_bits
from pydicom.pixels.common import CoderBase
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLosslessSV1

from harvest.errors import ErrorKind, HarvestError, ObjectError
from harvest.frames import PixelDescription
from harvest.objects.decoding import DEFLATED_FRAMES, FrameDecoder
from tests.support.tiled import jpeg, picture

NATIVE: dict[str, Any] = {
    "transfer_syntax": str(ExplicitVRLittleEndian),
    "keyword": "PixelData",
    "vr": "OW",
}


def decoder(description: dict[str, Any], bits: int = 8, **more: Any) -> FrameDecoder:
    attributes = {
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 5,
        "Columns": 7,
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        **more,
    }
    return FrameDecoder(PixelDescription(size=1000, **description), attributes)


def items(frame: bytes) -> bytes:
    """Write a frame as its one item."""
    return encapsulate([frame], has_bot=False)[8:]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_native_integers(dtype: str) -> None:
    kind = np.iinfo(dtype)
    pixels = np.random.default_rng(1).integers(kind.min, kind.max, (5, 7), dtype)
    signed = int(dtype.startswith("i"))
    made = decoder({**NATIVE, "value_length": 35}, kind.bits, PixelRepresentation=signed)
    found = made.decode(pixels.tobytes())
    assert (made.dtype, made.shape, made.is_colour) == (np.dtype(dtype), (5, 7), False)
    assert found.dtype == made.dtype
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize(
    ("keyword", "dtype"), [("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8")]
)
def test_native_floats(keyword: str, dtype: str) -> None:
    pixels = np.random.default_rng(1).random((5, 7)).astype(dtype)
    vr = {"f4": "OF", "f8": "OD"}[dtype]
    made = decoder(
        {**NATIVE, "keyword": keyword, "vr": vr, "value_length": pixels.nbytes},
        8 * pixels.itemsize,
    )
    assert made.dtype == dtype
    assert np.array_equal(made.decode(pixels.tobytes()), pixels)


@pytest.mark.parametrize("first_bit", range(8))
def test_single_bits_begin_anywhere(first_bit: int) -> None:
    bits = np.random.default_rng(first_bit).integers(0, 2, 35, np.uint8)
    before, behind = np.ones(first_bit, np.uint8), np.ones(-(first_bit + 35) % 8, np.uint8)
    data = bytes(pack_bits(np.concatenate([before, bits, behind]), pad=False))
    made = decoder({**NATIVE, "value_length": 5}, 1)
    assert np.array_equal(made.decode(data, first_bit), bits.reshape(5, 7))
    with pytest.raises(ObjectError, match="fewer bits than pixels"):
        made.decode(data[:-1], first_bit)


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_deflated_frames(bits: int) -> None:
    pixels = np.random.default_rng(3).integers(
        0, 2**bits, (5, 7), np.uint16 if bits > 8 else np.uint8
    )
    data = bytes(pack_bits(pixels)) if bits == 1 else pixels.tobytes()
    made = decoder({**NATIVE, "transfer_syntax": DEFLATED_FRAMES, "value_length": None}, bits)

    def deflated(content: bytes) -> bytes:
        frame = zlib.compress(content, wbits=-zlib.MAX_WBITS)
        return items(frame + b"\0" * (len(frame) % 2))

    assert np.array_equal(made.decode(deflated(data)), pixels)
    for wrong in (data[:-2], data + bytes(9), bytes(50_000_000)):
        with pytest.raises(ObjectError, match="another size") as told:
            made.decode(deflated(wrong))
        assert told.value.kind == ErrorKind.MALFORMED
    with pytest.raises(ObjectError, match="corrupt"):
        made.decode(items(b"\xff" * 20))


def compressed(syntax: str = JPEGBaseline8Bit) -> FrameDecoder:
    return decoder(
        {**NATIVE, "transfer_syntax": str(syntax), "value_length": None, "vr": "OB"},
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="YBR_FULL_422",
        Rows=32,
        Columns=48,
    )


def test_colours_become_rgb() -> None:
    made = compressed()
    found = made.decode(items(jpeg(picture(32, 48))))
    assert (found.shape, made.is_colour) == ((32, 48, 3), True)
    assert found.shape == made.shape
    assert np.abs(found.astype(int) - picture(32, 48)).mean() < 12


def test_what_cannot_be_decoded() -> None:
    with pytest.raises(ObjectError, match="cannot be decoded") as told:
        compressed().decode(items(jpeg(picture(32, 48))[:200]))
    assert told.value.kind == ErrorKind.MALFORMED
    with pytest.raises(ObjectError, match=r"no decoder for the transfer syntax 1\.2\.3\.4") as told:
        compressed("1.2.3.4").decode(items(bytes(20)))
    assert told.value.kind == ErrorKind.UNSUPPORTED
    with pytest.raises(ObjectError, match="Rows is absent"):
        _ = decoder(NATIVE, Rows=None).shape
    with pytest.raises(ObjectError, match="12 bits for each pixel"):
        _ = decoder(NATIVE, 12).dtype


@pytest.mark.parametrize(
    ("syntax", "packages"),
    [
        (JPEGBaseline8Bit, "pillow pyjpegls pylibjpeg pylibjpeg-openjpeg"),
        (JPEGLosslessSV1, "pylibjpeg pylibjpeg-libjpeg"),
    ],
)
def test_a_missing_decoder(monkeypatch: pytest.MonkeyPatch, syntax: str, packages: str) -> None:
    monkeypatch.setattr(CoderBase, "is_available", property(lambda self: False))
    with pytest.raises(HarvestError, match=rf"installed: pip install {packages}$"):
        compressed(syntax).decode(items(bytes(20)))
