"""Read the DICOM headers of whole cohorts from the cloud; leave Parquet tables.

Everything public is imported when it is first used, so that `import harvest` costs nothing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config, load_config
    from .driver.runner import run
    from .objects.indexed_file import open  # noqa: A004 - as io.open and gzip.open
    from .objects.report import read
    from .objects.single_frames import read_frames
    from .pixels.frame_array import dask_array
    from .pixels.segments import open_segmentation, read_segments
    from .pixels.slides import open_slide, read_region
    from .views.connection import connect

__version__ = version("harvest")
__all__ = [
    "Config",
    "__version__",
    "connect",
    "dask_array",
    "load_config",
    "open",
    "open_segmentation",
    "open_slide",
    "read",
    "read_frames",
    "read_region",
    "read_segments",
    "run",
]

_HOMES = {
    "Config": "config",
    "connect": "views.connection",
    "dask_array": "pixels.frame_array",
    "load_config": "config",
    "open": "objects.indexed_file",
    "open_segmentation": "pixels.segments",
    "open_slide": "pixels.slides",
    "read": "objects.report",
    "read_frames": "objects.single_frames",
    "read_region": "pixels.slides",
    "read_segments": "pixels.segments",
    "run": "driver.runner",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harvest' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
