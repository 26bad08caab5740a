"""What the sections of the config, and files like it, have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

Location = tuple[str | int, ...]
"""Where in the config: names of sections and keys, places in lists."""


class Section(BaseModel):
    """A mapping of known keys; others are a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
