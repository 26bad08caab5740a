"""The config: YAML in, one checked `Config` out, or every mistake at once with its line.

In the order of their use: `parsing`, `sections`, `section`, `addresses`, `cluster_class`,
`profile`, `audit`, `ready`, `json_schema`.
"""

from .addresses import check_endpoint
from .parsing import load_config, output_config, output_of, parse_config, source_config, source_of
from .sections import (
    ClusterConfig,
    CohortConfig,
    Config,
    FramesWanted,
    LimitsConfig,
    OutputConfig,
    ReadConfig,
    ScaleConfig,
    SourceConfig,
    TlsConfig,
)

__all__ = [
    "ClusterConfig",
    "CohortConfig",
    "Config",
    "FramesWanted",
    "LimitsConfig",
    "OutputConfig",
    "ReadConfig",
    "ScaleConfig",
    "SourceConfig",
    "TlsConfig",
    "check_endpoint",
    "load_config",
    "output_config",
    "output_of",
    "parse_config",
    "source_config",
    "source_of",
]
