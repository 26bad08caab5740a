"""Pictures: the same pixels when Pillow reads them again."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harvest.errors import HarvestError
from harvest.pixels.picture import write_png
from tests.support.tiled import picture


@pytest.mark.parametrize(
    "pixels",
    [picture(), picture()[..., 0], 257 * picture()[..., 0].astype(np.uint16)],
    ids=["RGB", "8 bits", "16 bits"],
)
def test_pixels_are_kept(tmp_path: Path, pixels: Any) -> None:
    write_png(pixels, tmp_path / "new" / "patch.png")
    with Image.open(tmp_path / "new" / "patch.png") as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), pixels)


def test_pixels_that_png_has_not(tmp_path: Path) -> None:
    with pytest.raises(HarvestError, match="no pixels of int16 in 2 dimensions"):
        write_png(np.zeros((2, 2), np.int16), tmp_path / "patch.png")
    assert not list(tmp_path.iterdir())


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refusing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "PIL":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(HarvestError, match="PNG is written by Pillow: pip install pillow"):
        write_png(picture(), tmp_path / "patch.png")
