"""What the sections of the config, and files like it, have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

Location = tuple[str | int, ...]
"""Where in the config: names of sections and keys, places in lists."""


class Section(BaseModel):
    """A mapping of known keys; others are a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check what must hold between keys; raises `ValueError` where it does not.

        Parameters
        ----------
        given
            The section, or its YAML, in which single keys may be wrong: those are told elsewhere.
        """

    def __copy__(self) -> Self:
        """Copy the keys alone: of a copy with others, what was worked out of them is another."""
        copied = super().__copy__()
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @model_validator(mode="after")
    def _checked(self) -> Self:
        self.check(self.model_dump(by_alias=True))
        return self


def check_one_of(given: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Check that exactly one of some keys has a value; raises `ValueError`."""
    found = [name for name in names if given.get(name) is not None]
    if len(found) != 1:
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        raise ValueError(f"needs exactly one of {listed}, found {' and '.join(found) or 'none'}")
