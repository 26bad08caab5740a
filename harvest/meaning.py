"""Words that harvest writes, each with what it means: the README's tables are made of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Meaning(StrEnum):
    """A value that stands in a column or a report, with its meaning."""

    _value_: str
    meaning: str
    """For people, without a full stop."""

    def __new__(cls, value: str, meaning: str = "") -> Meaning:
        """Take a value with its meaning; to look one up, the value is enough."""
        self = str.__new__(cls, value)
        self._value_ = value
        self.meaning = meaning
        return self

    @classmethod
    def told(cls) -> str:
        """List all values with their meanings."""
        return ", ".join(f"{value} ({value.meaning})" for value in cls)


EXTRAS: Final = {
    "frames": "decoders of JPEG, JPEG-LS, JPEG 2000 and its High-Throughput kind; PNG",
    "lossless": "decoders of JPEG Lossless, and of JPEG of 12 bits, which are under the GPL",
    "plot": "the census as a picture",
    "examples": "what `configs/examples/` compares with",
    "slurm": "Dask's cluster classes for Slurm, PBS, LSF and the like",
    "kubernetes": "Dask's cluster class for Kubernetes",
    "report": "Dask's own report of a run",
}
"""What can be installed besides, as in pyproject.toml."""


def install(extra: str) -> str:
    """Say how one of `EXTRAS` is installed."""
    assert extra in EXTRAS
    return f"pip install 'harvest[{extra}]'"
