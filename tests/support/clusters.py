"""Clusters of a test's own: of few tries, or of jobs of a batch system of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harvest.config import ClusterConfig
from harvest.driver import clients

BLAMED_AT_ONCE = {**clients._LOCAL, "distributed.scheduler.allowed-failures": 0}
"""As the local workers of a harvest, but for the second try."""

SOON = {"distributed.adaptive.interval": "100ms", "distributed.adaptive.target-duration": "1s"}

QUEUE = "tests.support.queue_cluster.QueueCluster"


def config_of(scale: dict[str, int], folder: Path, **more: Any) -> ClusterConfig:
    options = {
        "cores": 1,
        "memory": "1GB",
        "nanny": False,
        "local_directory": str(folder),
        "worker_extra_args": ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"],
        **more.pop("options", {}),
    }
    content = {"class": more.pop("cluster_class", QUEUE), "options": options, "scale": scale}
    return ClusterConfig.model_validate({**content, **more})
