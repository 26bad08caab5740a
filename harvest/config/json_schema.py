"""The config as a JSON Schema: editors complete keys by it, and mark mistakes while one writes."""

from __future__ import annotations

from typing import Any, Final

from .sections import Config

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """Describe the config for editors, from its own model.

    Returns
    -------
    dict
        A JSON Schema of draft 2020-12, with every key's meaning and default. What must hold
        between keys, and what a name must be (a profile, a tag), only `parse_config` checks.
    """
    made = Config.model_json_schema()
    return {"$schema": DIALECT, **made, "title": "Config of a harvest"}
