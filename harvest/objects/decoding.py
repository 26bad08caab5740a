"""From the bytes of one frame to its pixels, by pydicom's decoders.

What a decoder must know are a few attributes, which harvest's own walk has read: pydicom never
sees the header. Picklable, so that a frame can be decoded in another process than the one that
read the header.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
)

from ..errors import ErrorKind, HarvestError, ObjectError
from ..frames import PixelDescription, join_fragments

DECODING_ATTRIBUTES: Final = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
"""Keywords of all that a decoder asks for (PS3.3 section C.7.6.3)."""
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"
"""Deflated Image Frame Compression (PS3.5 section A.4.13), which pydicom does not decode."""
DECODERS: Final = "pillow pyjpegls pylibjpeg pylibjpeg-openjpeg"
"""Packages of decoders, as the extra ``frames`` names them."""
LIBJPEG: Final = "pylibjpeg pylibjpeg-libjpeg"
"""Those for JPEG Lossless and for 12 bits, as the extra ``lossless`` names them; under the GPL."""

_OF_LIBJPEG: Final = frozenset({JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1})
_FLOATS: Final = {"FloatPixelData": np.float32, "DoubleFloatPixelData": np.float64}
# what pydicom raises of a frame, or of attributes, that cannot be right
_REFUSALS: Final = (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class FrameDecoder:
    """Decodes single frames of one object; safe to use from many threads."""

    pixels: PixelDescription
    """Of the object."""
    attributes: Mapping[str, Any]
    """Values of `DECODING_ATTRIBUTES` by keyword; None where absent."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a decoded frame: (rows, columns) or (rows, columns, samples).

        Raises
        ------
        ObjectError
            The object does not say.
        """
        rows, columns, samples = (
            self._positive(name) for name in ("Rows", "Columns", "SamplesPerPixel")
        )
        return (rows, columns) if samples == 1 else (rows, columns, samples)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a decoded frame; single bits become bytes.

        Raises
        ------
        ObjectError
            The object does not say.
        """
        if self.pixels.keyword in _FLOATS:
            return np.dtype(_FLOATS[self.pixels.keyword])
        bits = self._positive("BitsAllocated")
        if bits != 1 and bits % 8:
            raise ObjectError(ErrorKind.UNSUPPORTED, f"{bits} bits for each pixel")
        kind = "i" if self.attributes.get("PixelRepresentation") else "u"
        return np.dtype("u1" if bits == 1 else f"{kind}{bits // 8}")

    @property
    def is_colour(self) -> bool:
        """Whether a decoded frame has several samples for each pixel."""
        return self._positive("SamplesPerPixel") > 1

    def _positive(self, keyword: str) -> int:
        value = self.attributes.get(keyword)
        if not isinstance(value, int) or value < 1:
            raise ObjectError(ErrorKind.MALFORMED, f"{keyword} is absent, or no positive number")
        return value

    def decode(self, data: bytes, first_bit: int = 0) -> np.ndarray[Any, Any]:
        """Decode one frame.

        Parameters
        ----------
        data
            Encapsulated: its items; native: the bytes that hold it.
        first_bit
            Native frames of single bits: how many bits of the first byte are not the frame's.

        Returns
        -------
        numpy.ndarray
            Of `shape` and `dtype`, as pydicom's `pixel_array` gives them: YBR becomes RGB.

        Raises
        ------
        HarvestError
            No decoder for the transfer syntax is installed.
        ObjectError
            ``unsupported``: nobody decodes this transfer syntax; ``malformed``: this frame cannot
            be decoded.
        """
        if self.pixels.value_length is not None:
            return self._native(data, first_bit, self.pixels.keyword or "PixelData")
        frame = join_fragments(data, little_endian=self.pixels.little_endian)
        if self.pixels.transfer_syntax == DEFLATED_FRAMES:
            return self._native(_inflated(frame, self._frame_bytes()), 0, "PixelData")
        return self._encapsulated(frame)

    def _native(self, data: bytes, first_bit: int, keyword: str) -> np.ndarray[Any, Any]:
        if self.attributes.get("BitsAllocated") == 1:
            return self._bits(data, first_bit)
        return _decoded(self._single(data, keyword, self._native_syntax))

    def _bits(self, data: bytes, first_bit: int) -> np.ndarray[Any, Any]:
        """Unpack a frame of single bits, which need not begin with a byte (PS3.5 section 8.1.1)."""
        rows, columns = self._positive("Rows"), self._positive("Columns")
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        if len(bits) < first_bit + rows * columns:
            raise ObjectError(ErrorKind.MALFORMED, "a frame has fewer bits than pixels")
        return bits[first_bit : first_bit + rows * columns].reshape(rows, columns)

    def _frame_bytes(self) -> int:
        bits = self._positive("BitsAllocated")
        return -(-int(np.prod(self.shape)) * bits // 8)

    def _encapsulated(self, frame: bytes) -> np.ndarray[Any, Any]:
        syntax = UID(self.pixels.transfer_syntax or "")
        plugin = _plugin(syntax)
        return _decoded(
            self._single(encapsulate([frame], has_bot=False), "PixelData", syntax), plugin
        )

    def _single(self, data: bytes, keyword: str, syntax: UID) -> Dataset:
        """Make an image of one frame.

        Parameters
        ----------
        data
            The value of its pixel element.
        keyword
            Of the pixel element.
        syntax
            Transfer syntax.
        """
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = syntax
        for name in DECODING_ATTRIBUTES:
            value = self.attributes.get(name)
            if value is not None:
                setattr(made, name, value)
        made.NumberOfFrames = 1
        setattr(made, keyword, data + b"\0" * (len(data) % 2))
        made[keyword].VR = self.pixels.vr or "OW"
        return made

    @property
    def _native_syntax(self) -> UID:
        """What tells the byte order of native pixels."""
        if self.pixels.transfer_syntax is None:
            return ImplicitVRLittleEndian
        compressed = self.pixels.transfer_syntax == DEFLATED_FRAMES
        return ExplicitVRLittleEndian if compressed else UID(self.pixels.transfer_syntax)


def _inflated(frame: bytes, expected: int) -> bytes:
    """Inflate a frame, and no more of it than a frame has: a bomb stays small."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(frame, expected + 2)
    except zlib.error:
        raise ObjectError(ErrorKind.MALFORMED, "a deflated frame is corrupt") from None
    if expected <= len(data) <= expected + 1:  # one byte of padding
        return data[:expected]
    raise ObjectError(ErrorKind.MALFORMED, "a deflated frame has another size than the others")


def _plugin(syntax: UID) -> str:
    """Choose a decoder; empty for whichever pydicom finds.

    Raises
    ------
    HarvestError
        None is installed.
    ObjectError
        There is none.
    """
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ObjectError(
            ErrorKind.UNSUPPORTED, f"pydicom has no decoder for the transfer syntax {syntax}"
        ) from None
    if not decoder.is_available:
        packages = LIBJPEG if syntax in _OF_LIBJPEG else DECODERS
        raise HarvestError(
            f"no decoder for {syntax.name} ({syntax}) is installed: pip install {packages}"
        )
    # all give the same pixels; this one lets other threads work meanwhile
    pillow = syntax == JPEGBaseline8Bit and "pillow" in decoder.available_plugins
    return "pillow" if pillow else ""


def _decoded(single: Dataset, plugin: str = "") -> np.ndarray[Any, Any]:
    try:
        return pixel_array(single, decoding_plugin=plugin)
    except _REFUSALS as refusal:
        # its text may hold values of the object
        problem = f"a frame cannot be decoded ({type(refusal).__name__} in pydicom)"
    syntax = single.file_meta.TransferSyntaxUID
    if syntax in _OF_LIBJPEG and "pylibjpeg" not in get_decoder(syntax).available_plugins:
        problem += f"; a decoder that can do more: pip install {LIBJPEG}"
    raise ObjectError(ErrorKind.MALFORMED, problem)
