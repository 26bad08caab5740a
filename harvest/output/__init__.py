"""The output: named files, written whole or not at all, in a folder or a bucket.

In the order of their use: `protocol`, `folder`, `bucket`, `faults`, `documents`, `lease`,
`snapshots`, `destination`.
"""

from __future__ import annotations

from pathlib import Path

from ..config import OutputConfig, output_of
from ..store import open_bucket
from ..urls import parse_url
from .bucket import BucketOutput
from .folder import LocalOutput
from .protocol import FORMAT_VERSION, MANIFEST, PARTS, PLAN, TABLES, WORK, Output

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "PARTS",
    "PLAN",
    "TABLES",
    "WORK",
    "BucketOutput",
    "LocalOutput",
    "Output",
    "open_output",
]


def open_output(config: OutputConfig | str) -> Output:
    """Open the output that a config or a user names.

    Parameters
    ----------
    config
        Of the output, or its URL or path alone.

    Raises
    ------
    ConfigError
        No output can be there.
    OutputError
        The environment has no credentials for a bucket, or names an unsafe endpoint.
    """
    given = output_of(config)
    url = parse_url(given.url)
    if url.scheme == "file":
        return LocalOutput(Path(url.key))
    return BucketOutput(url, open_bucket(url, given))
