"""What a worker is given to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harvest.config import OutputConfig, SourceConfig
from harvest.config.profile import resolve_wanted
from harvest.dicom.walk import HeaderLimits
from harvest.store.fetch import Traffic
from harvest.table.parts import part_of
from harvest.table.rows import Planned, Row
from harvest.worker.object_reader import ObjectReader
from harvest.worker.partition import ReadTask
from harvest.worker.reading import read_alone
from tests import conftest
from tests.conftest import OwnSeries

WANTED = resolve_wanted(("core",), ())


def planned_of(series: OwnSeries, cloud: str = "aws", **more: Any) -> list[Planned]:
    scheme = "s3" if cloud == "aws" else "gs"
    bucket = (
        series.bucket if cloud == "aws" else conftest.GCS_NAMES.get(series.bucket, series.bucket)
    )
    return [
        Planned(
            f"{scheme}://{bucket}/{key}",
            path.stat().st_size,
            "listed",
            series.uuid,
            Path(key).stem,
            series.uid,
            **more,
        )
        for key, path in zip(series.keys, series.paths, strict=True)
    ]


def task_of(source: dict[str, Any], **more: Any) -> ReadTask:
    defaults: dict[str, Any] = {
        "part": part_of("plan", 0),
        "output": OutputConfig(url="out"),
        "source": SourceConfig.model_validate(source),
        "wanted": WANTED,
        "header": False,
        "frames": "none",
        "limits": HeaderLimits(),
        "object_seconds": 60,
        "retries": 3,
        "threads": 1,
        "requests_per_second": None,
    }
    return ReadTask(**{**defaults, **more})


def read_row(reader: ObjectReader, planned: Planned, traffic: Traffic | None = None) -> Row:
    """Read one object, whatever happens to it, and return its row."""
    return read_alone(reader, planned, traffic).row()
