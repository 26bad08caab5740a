"""The command line: results on stdout, progress and messages on stderr."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import click

from . import __version__
from .errors import ConfigError, ErrorKind, ExitCode, HarvestError, ObjectError

if TYPE_CHECKING:
    from .census import Grouping
    from .progress import Progress
    from .tags import Wanted

# what only one command needs is imported inside it: `harvest --help` answers at once

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Interrupted(Exception):
    """The batch system wants the run to end."""


class _Group(click.Group):
    """A group whose wrong use exits with 1, as the exit codes say."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(ExitCode.WRONG_USE)
        except click.ClickException as error:
            error.show()
            sys.exit(ExitCode.WRONG_USE)
        except click.Abort:
            sys.exit(ExitCode.RUN_AGAIN)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Read the DICOM headers of whole cohorts from the cloud; leave Parquet tables.

    \b
    Exit codes: 0 complete; 1 wrong use or config; 2 complete, with more error
    rows than limits.max_error_rate, or a rule of severity error broken; 70 a
    bug; 75 interrupted, or the store does not answer: run the same command
    again.
    """


_HINTS = {
    ErrorKind.UNAVAILABLE: ": check the network and --endpoint",
    ErrorKind.DENIED: ": --credentials sends those of the environment",
}


def _reporting(function: Callable[Parameters, int | None]) -> Callable[Parameters, None]:
    """Turn what a command raises into one message and an exit code."""

    @wraps(function)
    def command(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            code = function(*args, **kwargs)
        except click.ClickException:
            raise  # the group shows it
        except HarvestError as error:
            click.echo(f"harvest: {error}", err=True)
            sys.exit(error.exit_code)
        except ObjectError as error:
            hint = _HINTS.get(error.kind, "")
            click.echo(f"harvest: {error.kind}: {error.detail}{hint}", err=True)
            sys.exit(ExitCode.RUN_AGAIN if error.kind.retryable else ExitCode.WRONG_USE)
        except (KeyboardInterrupt, _Interrupted):
            _report_interruption()
        except BrokenPipeError:
            # the reader of stdout has left: not our failure, and nothing more can be said
            sys.stderr.close()
            sys.exit(ExitCode.COMPLETE)
        except Exception as error:
            # DuckDB makes an error of its own of an interruption
            if _signalled.is_set() or str(error) == "Query interrupted":
                _report_interruption()
            _report_bug(error)
            sys.exit(ExitCode.BUG)
        sys.exit(code or ExitCode.COMPLETE)

    return command


def _report_interruption() -> NoReturn:
    click.echo("harvest: interrupted; run the same command again to go on", err=True)
    sys.exit(ExitCode.RUN_AGAIN)


def _report_bug(error: Exception) -> None:
    """Say where a bug is, without the exception's text: it may hold a tag value."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
    click.echo(
        f"harvest: a bug: {type(error).__name__} at {where}; please report it with the command "
        f"and harvest {__version__}",
        err=True,
    )


_signalled = threading.Event()


def _end_on_signals() -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        # a second one must not interrupt the orderly end
        if not _signalled.is_set():
            _signalled.set()
            raise _Interrupted

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)


def _heed_signals() -> None:
    # an exception that a signal raises inside a destructor is lost
    if _signalled.is_set():
        raise _Interrupted


def _progress(*, log: bool = False) -> Progress:
    """Tell people on a terminal, and a log collector where `log` is true, what happens."""
    from .progress import Bar, Heeding, Lines, Silent

    elsewhere = Lines(sys.stderr) if log else Silent()
    return Heeding(Bar() if sys.stderr.isatty() else elsewhere, _heed_signals)


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_cluster = click.option(
    "--cluster", type=click.Path(), metavar="FILE", help="A file whose section cluster: is taken."
)
_endpoint = click.option("--endpoint", help="An S3-compatible server or GCS emulator.")
_region = click.option("--region", help="Region of an S3 bucket.")
_allow_http = click.option("--allow-http", is_flag=True, help="Allow plain http outside loopback.")


@main.command()
@click.argument("config", type=click.Path())
@click.option("--dry-run", is_flag=True, help="From the index alone, without network.")
@_cluster
@_json
@_reporting
def plan(config: str, dry_run: bool, cluster: str | None, as_json: bool) -> int | None:
    """List the cohort of CONFIG and store the plan in its output.

    \b
    Examples:
      harvest plan configs/lung_phantom.yaml --dry-run
      harvest plan configs/lung_phantom.yaml --json
    """
    from .config import load_config
    from .show import print_json

    loaded = load_config(config, cluster)
    _end_on_signals()
    if dry_run:
        from .planning import dry_run as estimated

        estimate = estimated(loaded)
        print_json(estimate) if as_json else _print_estimate(estimate)
        return None
    from .runner import plan as stored_plan

    made = stored_plan(loaded, _progress(log=True))
    print_json(made) if as_json else _print_plan(made, loaded.output.url)
    return None


def _print_estimate(estimate: Any) -> None:
    from .show import print_pairs, size_text, time_text

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


def _print_plan(made: Any, output: str) -> None:
    from .show import print_pairs, print_table, size_text

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
@_cluster
@_json
@_reporting
def run(
    config: str,
    retry_errors: bool,
    performance_report: str | None,
    cluster: str | None,
    as_json: bool,
) -> int | None:
    """Harvest the cohort of CONFIG, or finish a harvest that was begun.

    What happens is drawn on a terminal, and otherwise told on stderr as lines of JSON.

    \b
    Examples:
      harvest run configs/lung_phantom.yaml
      harvest run configs/lung_phantom.yaml --retry-errors
      harvest run configs/folder.yaml --performance-report report.html
      harvest run configs/idc_sample.yaml --cluster configs/slurm/cluster.yaml
    """
    from .config import load_config
    from .runner import run as run_harvest
    from .show import print_json, print_pairs, size_text

    loaded = load_config(config, cluster)
    _end_on_signals()
    ended = run_harvest(
        loaded,
        _progress(log=True),
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
    if as_json:
        print_json(ended)
        return ended.exit_code
    print_pairs(
        {
            "instances": f"{ended.rows:,}",
            "ok": f"{ended.ok:,}",
            "errors": _errors_text(ended.errors),
            "requests": f"{ended.requests:,}",
            "bytes read": size_text(ended.bytes_read),
            "tables": ended.output,
        }
    )
    return ended.exit_code


def _errors_text(errors: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(errors.items())) or "none"


_STATES = {
    "planned": "planned: harvest run CONFIG reads it",
    "unfinished": "unfinished: harvest run CONFIG goes on",
    "running": "running, or killed: harvest run CONFIG finds out",
    "complete": "complete",
}


@main.command()
@click.argument("output")
@_endpoint
@_region
@_allow_http
@_json
@_reporting
def status(
    output: str, endpoint: str | None, region: str | None, allow_http: bool, as_json: bool
) -> int | None:
    """Tell how far the harvest in OUTPUT is, and how it ended, from any machine.

    \b
    Examples:
      harvest status out/lung_phantom
      harvest status s3://bucket/lung_phantom
    """
    from .config import output_config
    from .show import print_json, print_pairs
    from .status import read_status

    found = read_status(output_config(output, endpoint, region, allow_http=allow_http))
    if as_json:
        print_json(found)
        return None
    pairs = {
        "state": _STATES[found.state],
        "instances": f"{found.rows:,}",
        "read": f"{found.done:,}",
    }
    if found.errors is not None:
        pairs |= {"ok": f"{found.ok:,}", "errors": _errors_text(found.errors)}
    if found.run is not None:
        pairs |= _run_pairs(found.run) if found.state == "complete" else _going_pairs(found.run)
    if found.sample is not None:
        pairs["sample"] = f"the {found.sample} largest instances of each series"
    pairs["missing objects"] = f"{found.missing:,}"
    print_pairs(pairs)
    return None


def _going_pairs(told: Any) -> dict[str, str]:
    """Describe a run that goes on, as it told last."""
    from .show import time_text

    left = "" if told.seconds_left is None else time_text(told.seconds_left)
    rate = "" if told.rate is None else f"{told.rate:,.0f} instances/s"
    return {"workers": f"{told.workers:,}", "rate": rate, "time left": left, "as of": told.told}


def _run_pairs(told: Any) -> dict[str, str]:
    """Describe what a harvest took."""
    from .show import size_text, time_text

    return {
        "requests": f"{told.requests:,}, {told.retries:,} of them again after a fault",
        "bytes read": size_text(told.bytes_read),
        "workers": f"{told.most_workers:,}",
        "wall time": time_text(told.wall_seconds),
        "worker time": f"{time_text(told.worker_seconds)}, {time_text(told.cpu_seconds)} of CPU",
        "slowest partitions": ", ".join(
            f"{slow.partition} ({time_text(slow.seconds)})" for slow in told.slowest[:3]
        ),
        "in a cloud": f"about {told.cost.workers:.2f} USD, and {told.cost.requests:.2f} USD for "
        "requests where their bucket's owner does not pay",
    }


@main.command()
@click.argument("output")
@click.argument("sql")
@_endpoint
@_region
@_allow_http
@_json
@_reporting
def query(
    output: str,
    sql: str,
    endpoint: str | None,
    region: str | None,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Run SQL with DuckDB on the tables instances, series and frames in OUTPUT.

    The views dicom_all and dicom_metadata hold the same in the shape of IDC's
    BigQuery tables; dicom_attributes tells where their values come from.

    \b
    Examples:
      harvest query out/lung_phantom "SELECT offset_table, count(*) FROM instances GROUP BY ALL"
      harvest query out/lung_phantom "DESCRIBE instances"
      harvest query gs://bucket/lung_phantom "SELECT count(*) FROM instances"
    """
    from .config import output_config
    from .show import print_json, printable, terminal_width
    from .views import query_rows, query_text

    config = output_config(output, endpoint, region, allow_http=allow_http)
    if as_json:
        print_json(query_rows(config, sql))
    else:
        text = query_text(config, sql, terminal_width())
        click.echo(printable(text, keep="\n"), nl=False)
    return None


@main.command()
@click.argument("output")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that a harvest can give.")
@click.option("--dest", required=True, type=click.Path(), help="Folder for the files.")
@_endpoint
@_region
@_allow_http
@_json
@_reporting
def index(
    output: str,
    names: tuple[str, ...],
    every: bool,
    dest: str,
    endpoint: str | None,
    region: str | None,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Write IDC's index tables of the harvest in OUTPUT, by IDC's own SQL.

    Each NAME, such as ct_index, becomes DEST/NAME.parquet with the columns
    that IDC publishes. What an index reads and OUTPUT has no column for counts
    as absent, and is named.

    \b
    Examples:
      harvest index out/lung_phantom ct_index volume_geometry_index --dest out/indices
      harvest index out/lung_phantom --all --dest out/indices --json
    """
    from .config import output_config
    from .indices import index_names, write_indices
    from .show import print_json

    if every == bool(names):
        raise HarvestError(f"name the indices, or say --all: there are {', '.join(index_names())}")
    config = output_config(output, endpoint, region, allow_http=allow_http)
    _end_on_signals()
    progress = _progress()
    written = write_indices(
        config,
        index_names() if every else names,
        dest,
        lambda name: progress.message(f"building {name}"),
    )
    print_json([asdict(each) for each in written]) if as_json else _print_indices(written)
    return None


def _print_indices(written: Any) -> None:
    from .show import print_table

    print_table(
        ["index", "rows", "file"], [(each.name, f"{each.rows:,}", each.path) for each in written]
    )
    for title, kind in (
        ("not in the harvest's profile", "not_harvested"),
        ("in no file of the harvest", "not_found"),
    ):
        rows = [(each.name, "\n".join(getattr(each, kind))) for each in written]
        if any(paths for _, paths in rows):
            print_table(["index", title], [row for row in rows if row[1]])


@main.command()
@click.argument("output")
@click.option("--tags", multiple=True, metavar="TAG", help="Keyword, Sequence.Keyword or private.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="A profile, or `all`.")
@click.option("--skip", multiple=True, metavar="TAG", help="To leave out where all are wanted.")
@click.option("--dest", required=True, metavar="FILE", help="The Parquet file to write.")
@_endpoint
@_region
@_allow_http
@_json
@_reporting
def columns(
    output: str,
    tags: tuple[str, ...],
    profiles: tuple[str, ...],
    skip: tuple[str, ...],
    dest: str,
    endpoint: str | None,
    region: str | None,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Make new columns of the headers in OUTPUT, without the network.

    OUTPUT is a finished harvest with read.header: json. FILE gets one row for each row of
    instances: url, issues and the columns; join it by url.

    \b
    Examples:
      harvest columns out/lung --tags ProtocolName --tags BodyPartThickness --dest protocol.parquet
      harvest columns out/lung --profile ct --dest ct.parquet
      harvest columns out/lung --profile all --skip ReferencedSeriesSequence --dest all.parquet
    """
    from .columns import write_columns
    from .config import output_config
    from .show import print_json, print_pairs

    if not tags and not profiles:
        raise click.UsageError("name --tags or a --profile")
    wanted = _wanted(profiles, tags, skip)
    config = output_config(output, endpoint, region, allow_http=allow_http)
    _end_on_signals()
    written = write_columns(config, wanted, dest, _progress())
    if as_json:
        print_json(asdict(written))
    else:
        print_pairs(
            {
                "rows": f"{written.rows:,}",
                "columns": f"{len(written.columns):,}",
                "file": written.path,
            }
        )
    return None


def _wanted(profiles: tuple[str, ...], tags: tuple[str, ...], skip: tuple[str, ...]) -> Wanted:
    from .profile import resolve

    resolved = resolve(profiles, tags, skip)
    if resolved.mistakes:
        # they name a key of the config's `read:` section, or a profile: here it is an option
        texts = (text.removeprefix("read.") for _, text in resolved.mistakes)
        raise ConfigError("\n".join(f"--{text}" for text in texts))
    return resolved.wanted


@main.command()
@click.argument("config", type=click.Path())
@_json
@_reporting
def audit(config: str, as_json: bool) -> int | None:
    """Audit the cohort of CONFIG: a new snapshot, what changed, which rules it breaks.

    Only what is new or has changed since the last snapshot is read. The new one holds
    report.html and report.json. The exit code is 2 where a rule of severity error is broken.

    \b
    Examples:
      harvest audit configs/audit.yaml
      harvest audit configs/audit.yaml --json
    """
    from .audit import audit as audited
    from .config import load_config
    from .report import report_json, verdict
    from .show import print_json

    loaded = load_config(config)
    _end_on_signals()
    ended = audited(loaded, _progress())
    print_json(report_json(ended.report)) if as_json else _print_audit(ended)
    click.echo(f"harvest: {verdict(ended.report).text}", err=True)
    for name in ended.removed:
        click.echo(f"harvest: removed the snapshot {name}, as audit.keep says", err=True)
    if ended.hook_failure is not None:
        click.echo(
            f"harvest: the audit is complete, but its hook failed: {ended.hook_failure}; correct "
            "audit.hook",
            err=True,
        )
    return ended.exit_code


def _print_audit(ended: Any) -> None:
    from .show import print_pairs, print_table, size_text
    from .snapshots import PAGE

    report = ended.report
    print_pairs(
        {
            "snapshot": report.location,
            "instances": f"{report.rows:,}",
            "carried over": f"{report.carried:,}",
            "read": f"{report.read:,}",
            "requests": f"{report.requests:,}",
            "bytes read": size_text(report.bytes_read),
            "errors": _errors_text(report.errors),
            "missing objects": f"{report.missing:,}",
            "changed": _changes_text(report),
            "report": f"{report.location}/{PAGE}",
        }
    )
    rows = [
        (rule.severity, rule.name, state, f"{rule.rows:,}" if rule.rows else "", rule.reason)
        for state in ("broken", "failed", "skipped")
        for rule in report.rules
        if rule.state == state
    ]
    if rows:
        print_table(["severity", "rule", "state", "rows", "reason"], rows)
    click.echo(f"{sum(rule.state == 'kept' for rule in report.rules)} rule(s) hold")


def _changes_text(report: Any) -> str:
    if report.diff is None:
        return "this is the first snapshot"
    counts = asdict(report.diff.instances).items()
    told = [f"{count:,} {name}" for name, count in counts if count and name != "unchanged"]
    return f"instances: {', '.join(told)}" if told else "no instance"


@main.command()
@click.argument("old")
@click.argument("new")
@click.option("--dest", metavar="DIR", help="Write all of it as tables, DIR/*.parquet.")
@_endpoint
@_region
@_allow_http
@_json
@_reporting
def diff(
    old: str,
    new: str,
    dest: str | None,
    endpoint: str | None,
    region: str | None,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Tell what changed from the harvest in OLD to the one in NEW.

    Series and instances that came, went or were revised; attributes with other
    values; columns; offset tables gained and lost.

    \b
    Examples:
      harvest diff out/lung_v24 out/lung_v25
      harvest diff out/lung_v24 out/lung_v25 --dest out/changes
      harvest diff s3://bucket/audits/20260105T060000Z s3://bucket/audits/20260112T060000Z --json
    """
    from .config import output_config
    from .diff import diff as compared
    from .show import print_json

    configs = [output_config(url, endpoint, region, allow_http=allow_http) for url in (old, new)]
    _end_on_signals()
    found = compared(configs[0], configs[1], dest)
    print_json(found) if as_json else _print_diff(found)
    return None


def _print_diff(found: Any) -> None:
    from .show import print_pairs, print_table, printable

    kinds = ("series", "instances", "offset_tables")
    print_pairs(
        {
            f"{kind.replace('_', ' ')} {name}": f"{count:,}"
            for kind in kinds
            for name, count in asdict(getattr(found, kind)).items()
        }
    )
    if found.columns:
        print_table(
            ["table", "column", "change", "old type", "new type"],
            [(c.table, c.column, c.change, c.old_type, c.new_type) for c in found.columns],
        )
    rows = [
        (change.table, change.attribute, f"{change.rows:,}", *pair)
        for change in found.attributes
        for pair in _pairs_text(change.examples, printable)
    ]
    if rows:
        print_table(["table", "attribute", "rows", "old", "new", "of these"], rows)


def _pairs_text(
    pairs: Any, printable: Callable[[str], str]
) -> list[tuple[str | None, str | None, str]]:
    """Return pairs of values for people: none of the header, which is too long."""
    shown = [
        (pair.old and printable(pair.old), pair.new and printable(pair.new), f"{pair.rows:,}")
        for pair in pairs
    ]
    return shown or [(None, None, "")]


@main.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--dest", metavar="FILE", help="Write a frame index, as Parquet.")
@click.option("--no-scan", is_flag=True, help="Believe tables only; never walk over the items.")
@_endpoint
@_region
@click.option("--transport", type=click.Choice(["obstore", "sdk"]), default="obstore")
@click.option("--credentials", is_flag=True, help="Send the environment's credentials.")
@_allow_http
@_json
@_reporting
def frames(
    urls: tuple[str, ...],
    dest: str | None,
    no_scan: bool,
    endpoint: str | None,
    region: str | None,
    transport: str,
    credentials: bool,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Tell where the frames of objects lie: by their tables, or by a walk over their items.

    An object that cannot be read says so, and the exit code is 1, or 75 where
    trying again may help; the others are told, and written, nevertheless.

    \b
    Examples:
      harvest frames slide.dcm
      harvest frames s3://idc-open-data/<series uuid>/<instance uuid>.dcm --dest frames.parquet
    """
    from .destination import local_file
    from .frame_table import located, write_frames
    from .show import print_json, print_table

    source = {
        "endpoint": endpoint,
        "region": region,
        "transport": transport,
        "anonymous": not credentials,
        "allow_http": allow_http,
    }
    file = None if dest is None else local_file(dest)
    _end_on_signals()
    progress = _progress()
    found = []
    for number, url in enumerate(urls, 1):
        progress.message(f"{number} of {len(urls)}: {url}")
        found.append(_mistakes_told(located, url, scan=not no_scan, **source))
    if file is not None:
        write_frames([each.row for each in found if each.row is not None], file)
    if as_json:
        print_json([each.report() for each in found])
    else:
        print_table(
            ["object", "frames", "source", "requests", "bytes read", "remark"],
            [each.shown() for each in found],
        )
    wrong = [each.error for each in found if each.error is not None]
    if any(kind.retryable for kind in wrong):
        return ExitCode.RUN_AGAIN
    return ExitCode.WRONG_USE if wrong else None


@main.command()
@click.argument("url")
@_endpoint
@_region
@click.option("--transport", type=click.Choice(["obstore", "sdk"]), default="obstore")
@click.option("--credentials", is_flag=True, help="Send the environment's credentials.")
@_allow_http
@_json
@_reporting
def read(
    url: str,
    endpoint: str | None,
    region: str | None,
    transport: str,
    credentials: bool,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Read one object: its header, where its pixels are, its offset table.

    \b
    Examples:
      harvest read s3://idc-open-data/<series uuid>/<instance uuid>.dcm
      harvest read image.dcm --json
    """
    from .show import print_json
    from .single import read as read_object

    report = _mistakes_told(
        read_object,
        url,
        endpoint=endpoint,
        region=region,
        transport=transport,
        anonymous=not credentials,
        allow_http=allow_http,
    )
    print_json(report) if as_json else _print_object(report)
    return None


def _mistakes_told(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call what takes a URL and the keys of `source`; say what is wrong with these."""
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        raise HarvestError(str(error)) from None


def _png_file(dest: str) -> Path:
    from .destination import local_file

    if not dest.casefold().endswith(".png"):
        raise HarvestError(f"{dest} is to be a PNG file: name one that ends with .png")
    return local_file(dest)


def _print_object(report: Any) -> None:
    from .show import print_pairs, printable, size_text

    pixels = report.pixels
    for depth, element in _flattened(report.elements):
        value = "\\".join("" if v is None else str(v) for v in element.value or ())
        shown = element.problem and f"<{element.problem}, {element.length} bytes>"
        indent = "  " * depth
        line = f"{element.tag} {element.vr} {element.name}: {shown or value}"
        click.echo(indent + printable(line))
    click.echo()
    print_pairs(
        {
            "url": report.url,
            "size": size_text(report.size),
            "header": size_text(report.header_bytes),
            "transfer syntax": report.transfer_syntax or "none",
            "offset table": str(pixels.offset_table),
            "its entries": "" if pixels.frames is None else f"{pixels.frames:,}",
            "its problem": pixels.problem or "none",
            "pixel data at": "" if pixels.offset is None else f"{pixels.offset:,}",
            "read": f"{size_text(report.bytes_read)} in {report.requests} request(s)",
        }
    )


def _flattened(elements: Any, depth: int = 0) -> Any:
    for element in elements:
        yield depth, element
        for item in element.items or ():
            yield from _flattened(item, depth + 1)


@main.command()
@click.argument("url")
@click.argument("x", type=int)
@click.argument("y", type=int)
@click.argument("width", type=int)
@click.argument("height", type=int)
@click.option("--dest", required=True, metavar="FILE", help="The PNG file to write.")
@click.option("--level", default=0, help="Of a series: 0 is the largest.")
@click.option("--optical-path", metavar="ID", help="Which one; the first if not given.")
@click.option("--focal-plane", default=0, help="Which one, from 0, from the slide upwards.")
@click.option("--index", metavar="INDEX", help="A frame index: a file, or the output of a harvest.")
@_endpoint
@_region
@click.option("--transport", type=click.Choice(["obstore", "sdk"]), default="obstore")
@click.option("--credentials", is_flag=True, help="Send the environment's credentials.")
@_allow_http
@_json
@_reporting
def region(
    url: str,
    x: int,
    y: int,
    width: int,
    height: int,
    dest: str,
    level: int,
    optical_path: str | None,
    focal_plane: int,
    index: str | None,
    endpoint: str | None,
    region: str | None,
    transport: str,
    credentials: bool,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Write a part of a slide as PNG: WIDTH x HEIGHT pixels from column X and row Y on.

    URL is a level's object, or its series with a / at its end.

    \b
    Examples:
      harvest region slide.dcm 12000 8000 512 512 --dest patch.png
      harvest region s3://idc-open-data/<series uuid>/ 300 200 512 512 --level 2 --dest patch.png
    """
    from .picture import write_png
    from .show import print_json
    from .slides import open_slide

    file = _png_file(dest)
    began = time.monotonic()
    slide = _mistakes_told(
        open_slide,
        url,
        level=level,
        optical_path=optical_path,
        index=index,
        endpoint=endpoint,
        region=region,
        transport=transport,
        anonymous=not credentials,
        allow_http=allow_http,
    )
    pixels = _mistakes_told(
        slide.region, x, y, width, height, optical_path=optical_path, focal_plane=focal_plane
    )
    write_png(pixels, file)
    found = {
        "file": str(file),
        "width": width,
        "height": height,
        "level_width": slide.shape[1],
        "level_height": slide.shape[0],
        "requests": slide.requests,
        "bytes_read": slide.bytes_read,
        "seconds": round(time.monotonic() - began, 3),
    }
    print_json(found) if as_json else _print_region(found)
    return None


def _print_region(found: dict[str, Any]) -> None:
    from .show import print_pairs, size_text

    print_pairs(
        {
            "picture": f"{found['file']}, {found['width']:,} x {found['height']:,} pixels",
            "of a level of": f"{found['level_width']:,} x {found['level_height']:,} pixels",
            "read": f"{size_text(found['bytes_read'])} in {found['requests']:,} request(s)",
            "took": f"{found['seconds']:.2f} s",
        }
    )


@main.command()
@click.argument("output")
@click.option("--by", type=click.Choice(["collection_id", "Modality"]), help="Groups.")
@click.option("--dest", metavar="FILE", help="A PNG file to draw.")
@_endpoint
@_region
@_allow_http
@_json
@_reporting
def census(
    output: str,
    by: Grouping | None,
    dest: str | None,
    endpoint: str | None,
    region: str | None,
    allow_http: bool,
    as_json: bool,
) -> int | None:
    """Count which objects in OUTPUT have an offset table, and draw it.

    Groups are collections where the harvest knows them, modalities otherwise.

    \b
    Examples:
      harvest census out/slides
      harvest census out/slides --by Modality --dest census.png
    """
    from .census import census as counted
    from .census import shown, title_of, write_census
    from .config import output_config
    from .show import print_json, print_table

    file = None if dest is None else _png_file(dest)
    found = counted(output_config(output, endpoint, region, allow_http=allow_http), by)
    if file is not None:
        write_census(found, file, title_of(found, output))
    if as_json:
        print_json([asdict(each) for each in found])
    else:
        columns = ["group", "offset table", "problem", "objects", "bytes", "frames"]
        print_table(columns, shown(found))
    return None
