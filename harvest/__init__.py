"""Read the DICOM headers of whole cohorts from the cloud; leave Parquet tables.

Everything public is imported when it is first used, so that `import harvest` costs nothing.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Config, load_config
    from .lazy import open, read_frames  # noqa: A004 - as io.open and gzip.open
    from .runner import run
    from .single import read
    from .views import connect

__version__ = version("harvest")
__all__ = ["Config", "__version__", "connect", "load_config", "open", "read", "read_frames", "run"]

_HOMES = {
    "Config": "config",
    "connect": "views",
    "load_config": "config",
    "open": "lazy",
    "read": "single",
    "read_frames": "lazy",
    "run": "runner",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harvest' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
