"""Commands that harvest: plan, run, status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode
from .group import end_on_signals, errors_text, main, progress_shown, reporting
from .options import cluster_option, json_option, output_options

if TYPE_CHECKING:
    from ..driver.record import RunRecord
    from ..driver.runner import Outcome
    from ..driver.status import Status
    from ..plan.estimate import Estimate
    from ..plan.stored import Plan


@main.command()
@click.argument("config", type=click.Path())
@click.option("--dry-run", is_flag=True, help="From the index alone, without network.")
@cluster_option
@json_option
@reporting
def plan(config: str, dry_run: bool, cluster: str | None, as_json: bool) -> int | None:
    """List the cohort of CONFIG and store the plan in its output.

    With --dry-run nothing is listed or stored: it tells what the harvest will take,
    from the index alone, without the network.

    \b
    Examples:
      harvest plan configs/lung_phantom.yaml --dry-run
      harvest plan configs/lung_phantom.yaml --json
    """
    from ..config import load_config
    from ..show import told

    loaded = load_config(config, cluster)
    end_on_signals()
    if dry_run:
        from ..plan.planner import dry_run as estimated

        told(estimated(loaded), as_json, _print_estimate)
        return None
    from ..driver.runner import plan as stored_plan

    made = stored_plan(loaded, progress_shown(log=True))
    told(made, as_json, lambda made: _print_plan(made, loaded.output.url))
    return None


def _print_estimate(estimate: Estimate) -> None:
    from ..show import print_pairs, size_text, time_text

    scans = {}
    if estimate.scan_bytes is not None:
        most = size_text(estimate.scan_bytes)
        scans = {"scans": f"up to {most} more, if no compressed object had a right table"}
    print_pairs(
        {
            "series": f"{estimate.series:,}",
            "instances": f"{estimate.instances:,}",
            "bytes of objects": f"{size_text(estimate.object_bytes)} (not downloaded)",
            "expected listing requests": f"{estimate.list_requests:,}",
            "expected read requests": f"{estimate.read_requests:,}",
            "expected bytes read": size_text(estimate.bytes_read),
            **scans,
            "expected time": f"{time_text(estimate.seconds)} with {estimate.workers} workers",
        }
    )


def _print_plan(made: Plan, output: str) -> None:
    from ..show import print_pairs, print_table, size_text

    print_pairs(
        {
            "plan": made.identity[:16],
            "series": f"{made.series:,}",
            "instances": f"{made.rows:,}",
            "bytes of objects": size_text(made.bytes),
            **({"scans": f"up to {size_text(made.bytes)}"} if made.with_scans else {}),
            "partitions": f"{len(made.partitions):,}",
            "missing objects": f"{made.missing:,} that the index counts",
            "surplus objects": f"{made.surplus:,} beyond the index's counts",
            "stored in": output,
        }
    )
    if made.differences:
        print_table(
            ["crdc_series_uuid", "by the index", "listed"],
            [(d.crdc_series_uuid, d.expected, d.listed) for d in made.differences],
        )


@main.command()
@click.argument("config", type=click.Path())
@click.option("--retry-errors", is_flag=True, help="Read the retryable error rows again.")
@click.option("--performance-report", metavar="FILE", help="Write Dask's own report, as HTML.")
@cluster_option
@json_option
@reporting
def run(
    config: str,
    retry_errors: bool,
    performance_report: str | None,
    cluster: str | None,
    as_json: bool,
) -> int | None:
    """Harvest the cohort of CONFIG, or finish a harvest that was begun.

    With --retry-errors the retryable error rows of a complete harvest are read again,
    and nothing else. What happens is drawn on a terminal, and otherwise told on stderr
    as lines of JSON.

    \b
    Examples:
      harvest run configs/lung_phantom.yaml
      harvest run configs/lung_phantom.yaml --retry-errors
      harvest run configs/folder.yaml --performance-report report.html
      harvest run configs/idc_sample.yaml --cluster configs/slurm/cluster.yaml
    """
    from ..config import load_config
    from ..driver.runner import run as run_harvest
    from ..show import told

    loaded = load_config(config, cluster)
    end_on_signals()
    ended = run_harvest(
        loaded,
        progress_shown(log=True),
        retry_errors=retry_errors,
        performance_report=performance_report,
    )
    if ended.exit_code == ExitCode.TOO_MANY_ERRORS:
        click.echo(
            f"harvest: {sum(ended.errors.values()):,} of {ended.rows:,} objects could not be read, "
            f"more than limits.max_error_rate {loaded.limits.max_error_rate:g} allows; the tables "
            "are complete, and tell which: SELECT url, error, error_detail FROM instances "
            "WHERE status = 'error'",
            err=True,
        )
    if ended.retryable:
        click.echo(
            f"harvest: {ended.retryable:,} of them may end otherwise: run the same command with "
            "--retry-errors",
            err=True,
        )
    told(ended, as_json, _print_outcome)
    return ended.exit_code


def _print_outcome(ended: Outcome) -> None:
    from ..show import print_pairs, size_text

    print_pairs(
        {
            "instances": f"{ended.rows:,}",
            "ok": f"{ended.ok:,}",
            "errors": errors_text(ended.errors),
            "requests": f"{ended.requests:,}",
            "bytes read": size_text(ended.bytes_read),
            "tables": ended.output,
        }
    )


@main.command()
@click.argument("output")
@output_options
@json_option
@reporting
def status(output: str, bucket: dict[str, Any], as_json: bool) -> int | None:
    """Tell how far the harvest in OUTPUT is, and what it took in the end.

    It reads the output alone, so that any machine can ask.

    \b
    Examples:
      harvest status out/lung_phantom
      harvest status s3://bucket/lung_phantom
    """
    from ..config import output_config
    from ..driver.status import read_status
    from ..show import told

    told(read_status(output_config(output, **bucket)), as_json, _print_status)
    return None


def _print_status(found: Status) -> None:
    from ..show import print_pairs

    pairs = {
        "state": f"{found.state}: {found.state.meaning}".replace("`", ""),
        "instances": f"{found.rows:,}",
        "read": f"{found.done:,}",
    }
    if found.errors is not None:
        pairs |= {"ok": f"{found.ok:,}", "errors": errors_text(found.errors)}
    if found.run is not None:
        pairs |= _run_pairs(found.run) if found.state == "complete" else _going_pairs(found.run)
    if found.sample is not None:
        pairs["sample"] = f"the {found.sample} largest instances of each series"
    pairs["missing objects"] = f"{found.missing:,}"
    print_pairs(pairs)


def _going_pairs(told: RunRecord) -> dict[str, str]:
    """Describe a run that goes on, as it told last."""
    from ..show import time_text

    left = "" if told.seconds_left is None else time_text(told.seconds_left)
    rate = "" if told.rate is None else f"{told.rate:,.0f} instances/s"
    return {"workers": f"{told.workers:,}", "rate": rate, "time left": left, "as of": told.told}


def _run_pairs(told: RunRecord) -> dict[str, str]:
    """Describe what a harvest took."""
    from ..show import size_text, time_text

    return {
        "requests": f"{told.requests:,}, {told.retries:,} of them again after a fault",
        "bytes read": size_text(told.bytes_read),
        "workers": f"{told.most_workers:,}, of {size_text(told.peak_bytes)} of memory at most",
        "wall time": time_text(told.wall_seconds),
        "worker time": f"{time_text(told.worker_seconds)}, {time_text(told.cpu_seconds)} of CPU",
        "slowest partitions": ", ".join(
            f"{slow.partition} ({time_text(slow.seconds)})" for slow in told.slowest[:3]
        ),
        "in a cloud": f"about {told.cost.workers:.2f} USD, and {told.cost.requests:.2f} USD for "
        "requests where their bucket's owner does not pay",
    }


@main.command()
@json_option
@reporting
def schema(as_json: bool) -> None:
    """Print the JSON Schema of the config, for editors.

    An editor with a YAML language server completes and checks a config by it whose
    first line is "# yaml-language-server: $schema=harvest.schema.json". It is JSON
    with and without --json.

    \b
    Examples:
      harvest schema > harvest.schema.json
    """
    from ..config.json_schema import config_schema
    from ..show import print_json, told

    told(config_schema(), as_json, print_json)
