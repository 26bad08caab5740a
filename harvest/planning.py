"""What `harvest plan` does: a stored plan, or an estimate from the index alone."""

from __future__ import annotations

from .cohort import SeriesCohort, resolve_cohort
from .config import Config
from .errors import CohortError
from .estimate import Estimate, estimate_cohort
from .output import open_output
from .plan import Plan, attributes_of, check_output, make_plan


def stored_plan(config: Config) -> Plan:
    """Return the plan of a config's output, made and stored if there is none.

    Raises
    ------
    HarvestError
        The output holds something else, or the cohort cannot be listed.
    """
    output = open_output(config.output.url)
    return check_output(output, config) or make_plan(config, output)


def dry_run(config: Config) -> Estimate:
    """Estimate a harvest without network, and without touching its output.

    Raises
    ------
    CohortError
        The cohort is not one of the index's series, or needs a table that is not cached.
    """
    attributes_of(config)
    cohort = resolve_cohort(config.cohort, config.source, offline=True)
    if not isinstance(cohort, SeriesCohort):
        raise CohortError(
            "a dry run counts series of the index; this cohort must be listed: "
            "use `harvest plan` without --dry-run"
        )
    return estimate_cohort(cohort.totals(), config)
