"""Pixels as a picture that any program shows: PNG, by Pillow, without loss."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..errors import HarvestError
from ..objects.decoding import DECODERS
from ..output.destination import write_whole

_KINDS: Final = (("u1", 2), ("u2", 2), ("u1", 3))
"""dtypes and dimensions that PNG has: grey of 8 and 16 bits, RGB."""


def write_png(pixels: np.ndarray[Any, Any], file: Path) -> None:
    """Write pixels as they are stored, neither scaled nor windowed.

    Parameters
    ----------
    pixels
        (rows, columns) of uint8 or uint16, or (rows, columns, 3) of uint8.
    file
        As `harvest.destination.local_file` gives it.

    Raises
    ------
    HarvestError
        PNG has no such pixels, or Pillow is not installed.
    OutputError
        The file cannot be written.
    """
    try:
        from PIL import Image
    except ImportError:
        raise HarvestError(f"PNG is written by Pillow: pip install {DECODERS}") from None
    if (pixels.dtype.str[1:], pixels.ndim) not in _KINDS:
        raise HarvestError(
            f"PNG has no pixels of {pixels.dtype} in {pixels.ndim} dimensions: read them in Python "
            "with harvest.read_region"
        )
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    write_whole(file, written.getvalue())
