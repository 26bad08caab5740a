"""The command that all others belong to: how they end, and what they tell on the way."""

from __future__ import annotations

import signal
import sys
import textwrap
import threading
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn, ParamSpec

import click

from .. import __version__
from ..errors import ErrorKind, ExitCode, HarvestError, ObjectError, place_of

if TYPE_CHECKING:
    from ..driver.progress import Progress


COMMANDS: Final = (
    *("plan", "run", "status", "query", "index", "columns", "census", "audit", "diff"),
    *("read", "frames", "region", "schema"),
)
"""In the order in which one comes to need them."""

Parameters = ParamSpec("Parameters")


class _Interrupted(Exception):
    """The batch system wants the run to end."""


class _Group(click.Group):
    """A group whose wrong use exits with 1, as the exit codes say."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=COMMANDS.index)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.ClickException as error:
            error.show()
            sys.exit(ExitCode.WRONG_USE)
        except click.Abort:
            sys.exit(ExitCode.RUN_AGAIN)


def _exit_codes() -> str:
    # click keeps lines as they are behind its \b
    lines = (
        textwrap.fill(code.meaning, 70, initial_indent=f"{code:>4}  ", subsequent_indent=" " * 6)
        for code in ExitCode
    )
    return "\n".join(("\b", "Exit codes:", *lines)).replace("`", "")


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_exit_codes(),
)
@click.version_option(__version__)
def main() -> None:
    """Read the DICOM headers of whole cohorts from the cloud; leave Parquet tables."""


_HINTS = {
    ErrorKind.UNAVAILABLE: ": check the network and --endpoint",
    ErrorKind.DENIED: ": --credentials sends those of the environment",
}


def reporting(function: Callable[Parameters, int | None]) -> Callable[Parameters, None]:
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
            if error.kind == ErrorKind.INTERNAL:
                _report_bug(error.detail)
                sys.exit(ExitCode.BUG)
            hint = _HINTS.get(error.kind, "")
            click.echo(f"harvest: {error.kind}: {error.detail}{hint}", err=True)
            sys.exit(ExitCode.RUN_AGAIN if error.kind.retryable else ExitCode.WRONG_USE)
        except (KeyboardInterrupt, _Interrupted):
            _report_interruption()
        except Exception as error:
            # DuckDB makes an error of its own of an interruption
            if _signalled.is_set() or str(error) == "Query interrupted":
                _report_interruption()
            # without the exception's text: it may hold a tag value
            _report_bug(f"{type(error).__name__} at {place_of(error)}")
            sys.exit(ExitCode.BUG)
        sys.exit(code or ExitCode.COMPLETE)

    return command


def _report_interruption() -> NoReturn:
    click.echo("harvest: interrupted; run the same command again to go on", err=True)
    sys.exit(ExitCode.RUN_AGAIN)


def _report_bug(what: str) -> None:
    click.echo(
        f"harvest: a bug: {what}; please report it with the command and harvest {__version__}",
        err=True,
    )


_signalled = threading.Event()


def end_on_signals() -> None:
    """End in an orderly way where the batch system or the user says so."""

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


def progress_shown(*, log: bool = False) -> Progress:
    """Tell people on a terminal, and a log collector where `log` is true, what happens."""
    from ..driver.progress import Bar, Heeding, Lines, Progress

    elsewhere = Lines(sys.stderr) if log else Progress()
    return Heeding(Bar() if sys.stderr.isatty() else elsewhere, _heed_signals)


def errors_text(errors: dict[str, int]) -> str:
    """Write rows by kind of error for people."""
    return ", ".join(f"{count:,} {kind}" for kind, count in sorted(errors.items())) or "none"
