"""What can go wrong, and what each kind means to the person who ran the command.

::

    HarvestError              a message for the user: cause and next step      exit code 1
    ├── ConfigError           the config, with every mistake it has
    ├── CohortError           the cohort cannot be resolved
    ├── OutputError           the output is something else, or not finished
    └── RunAgain              it may pass: the same command can be run again   exit code 75
        ├── StoreUnavailable  a whole store or bucket does not answer
        ├── ClusterLost       the scheduler or all its workers are gone
        └── OutputBusy        another harvest is writing the same output
    ObjectError               one object is wrong: a row, never the end of a run

Everything else that is raised is a bug of ours and ends with exit code 70.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What the process tells its scheduler (values of sysexits.h where one fits)."""

    COMPLETE = 0
    WRONG_USE = 1
    TOO_MANY_ERRORS = 2
    BUG = 70
    RUN_AGAIN = 75


class HarvestError(Exception):
    """Something the user can mend; the text names the cause and the next step."""

    exit_code = ExitCode.WRONG_USE


class ConfigError(HarvestError):
    """The config is wrong; the text lists every mistake with its line."""


class CohortError(HarvestError):
    """The cohort cannot be resolved to series or URLs."""


class OutputError(HarvestError):
    """The output holds something else, another plan, or no finished tables."""


class RunAgain(HarvestError):
    """What may pass: the same command, run again, goes on where this one ended."""

    exit_code = ExitCode.RUN_AGAIN


class StoreUnavailable(RunAgain):
    """The whole store or bucket does not answer."""


class ClusterLost(RunAgain):
    """The scheduler does not answer, or no worker works."""


class OutputBusy(RunAgain):
    """Another harvest is writing the same output."""


class ErrorKind(StrEnum):
    """The values of ``instances.error``."""

    NOT_FOUND = "not_found"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    CHANGED = "changed"
    WRONG_OBJECT = "wrong_object"
    NOT_DICOM = "not_dicom"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNSUPPORTED = "unsupported"
    KILLED_WORKER = "killed_worker"
    INTERNAL = "internal"

    @property
    def retryable(self) -> bool:
        """Whether reading the same object again can end otherwise."""
        return self in _RETRYABLE


_RETRYABLE = frozenset(
    {
        ErrorKind.UNAVAILABLE,
        ErrorKind.CHANGED,
        ErrorKind.TOO_SLOW,
        ErrorKind.KILLED_WORKER,
        ErrorKind.INTERNAL,
    }
)


class ObjectError(Exception):
    """What is wrong with one object.

    Parameters
    ----------
    kind
        The value of its ``error`` column.
    detail
        For people; never a tag value and never a credential.
    """

    def __init__(self, kind: ErrorKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple[type[ObjectError], tuple[ErrorKind, str]]:
        """Pickle by its own arguments: ``Exception`` would pickle the joined text."""
        return type(self), (self.kind, self.detail)
