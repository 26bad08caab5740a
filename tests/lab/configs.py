"""The config of the lab, ``configs/lab.yaml``, with what only a running lab knows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from tests.lab.laboratory import Lab

CONFIG: Final = Path(__file__).parents[2] / "configs" / "lab.yaml"


def lab_config(running: Lab, cloud: str, output: Path) -> str:
    """Write a config for one of the lab's clouds.

    Parameters
    ----------
    running
        The lab.
    cloud
        ``aws`` or ``gcs``.
    output
        Folder for the tables.
    """
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["cohort"]["index"] = str(running.index)
    config["source"]["cloud"] = cloud
    config["source"]["endpoint"] = (running.s3 if cloud == "aws" else running.gcs).endpoint
    config["output"] = str(output)
    return yaml.safe_dump(config, sort_keys=False, width=200)
