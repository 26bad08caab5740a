"""Cohorts of the lab, resolved."""

from __future__ import annotations

from typing import Any

from harvest.cohort.resolve import SeriesCohort, resolve_cohort
from harvest.config import CohortConfig, SourceConfig
from tests.lab import Lab

EVERYTHING = "SELECT SeriesInstanceUID FROM index"


def resolved(lab: Lab | None, source: dict[str, Any] | None = None, **cohort: Any) -> Any:
    if lab is not None:
        cohort = {"index": str(lab.index), **cohort}
    offline = cohort.pop("offline", False)
    return resolve_cohort(
        CohortConfig.model_validate(cohort),
        SourceConfig.model_validate(source or {}),
        offline=offline,
    )


def uuids(cohort: SeriesCohort) -> set[str]:
    return {
        name
        for batch, _ in cohort.batches(7)
        for name in batch.column("crdc_series_uuid").to_pylist()
    }
