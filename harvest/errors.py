"""What can go wrong, and what each kind means to the person who ran the command.

::

    HarvestError              a message for the user: cause and next step      exit code 1
    ├── WrongArgument         a URL, a key of `source` or a region that cannot be
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

from collections.abc import Iterator
from enum import IntEnum, StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final

from .meaning import Meaning

_PACKAGE: Final = Path(__file__).parent


class ExitCode(IntEnum):
    """What the process tells its scheduler (values of sysexits.h where one fits)."""

    _value_: int
    meaning: str
    """For the tables of the exit codes."""

    def __new__(cls, code: int, meaning: str) -> ExitCode:
        """Take a code with its meaning."""
        self = int.__new__(cls, code)
        self._value_ = code
        self.meaning = meaning
        return self

    COMPLETE = 0, "complete"
    WRONG_USE = 1, "wrong use or config: the message names the cause and the next step"
    TOO_MANY_ERRORS = (
        2,
        "complete and committed, but more error rows than `limits.max_error_rate`, "
        "or an audit rule of severity error broken",
    )
    BUG = 70, "a bug of ours"
    RUN_AGAIN = (
        75,
        "interrupted, or the whole store, bucket or cluster does not answer, "
        "or another harvest holds the output: run the same command again",
    )


class HarvestError(Exception):
    """Something the user can mend; the text names the cause and the next step."""

    exit_code = ExitCode.WRONG_USE


class WrongArgument(HarvestError, ValueError):
    """A URL, a key of `source`, or a region cannot be what a function was given."""


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

    _value_: str
    meaning: str
    """For the table of the errors."""
    retryable: bool
    """Whether reading the same object again can end otherwise."""

    def __new__(cls, name: str, meaning: str, retryable: bool = False) -> ErrorKind:
        """Take a value of the column with its meaning."""
        self = str.__new__(cls, name)
        self._value_ = name
        self.meaning = meaning
        self.retryable = retryable
        return self

    NOT_FOUND = "not_found", "there is no such object"
    DENIED = "denied", "the store refuses: credentials are missing, or have no right to it"
    UNAVAILABLE = "unavailable", "no right answer came, however often it was asked for", True
    CHANGED = "changed", "it was replaced while it was read, again and again", True
    WRONG_OBJECT = "wrong_object", "it is another instance or series than the plan says"
    NOT_DICOM = "not_dicom", "it has no preamble and prefix of PS3.10"
    TRUNCATED = "truncated", "it ends within its header, or before pixels that it must have"
    MALFORMED = "malformed", "its header breaks the encoding of PS3.5"
    TOO_LARGE = "too_large", "its header asks for more than the limits allow"
    TOO_SLOW = "too_slow", "it took longer than `limits.object_seconds`", True
    UNSUPPORTED = "unsupported", "its encoding is none that harvest reads"
    KILLED_WORKER = "killed_worker", "the worker that reads it dies, each time", True
    INTERNAL = "internal", "a bug of ours, met with this object alone", True


class Problem(Meaning):
    """The values of ``instances.issues.problem``: what is wrong with a value, or beside it."""

    MISSING = "missing", "a UID that every object must have is absent or empty"
    UNKNOWN_CHARACTER_SET = (
        "unknown_character_set",
        "Specific Character Set names what there is not: Latin 1 is taken for it",
    )
    ZERO_BYTES_AT_THE_END = (
        "zero_bytes_at_the_end",
        "zeros behind the last element, too few to be one",
    )
    UNDECODABLE = "undecodable", "text that its character set cannot be"
    NOT_A_VALUE = "not_a_value", "items where the dictionary has a value"
    TOO_LONG = "too_long", "more bytes than are read of a value, or of all values of an object"
    SEVERAL_VALUES = "several_values", "several values where the dictionary has one"
    VR_CONFLICT = "vr_conflict", "a VR of another kind than the dictionary's"
    WRONG_LENGTH = "wrong_length", "bytes that are no whole number of values"
    NOT_AN_INTEGER = (
        "not_an_integer",
        "a number that is no integer of 64 bits, or text that is none",
    )
    NOT_A_NUMBER = "not_a_number", "text that is no finite number"
    NOT_A_DATE = "not_a_date", "text that is no date"
    NOT_A_TIME = "not_a_time", "text that is no time"
    TOO_DEEP = "too_deep", "a sequence inside more of them than become columns"
    TOO_MANY_COLUMNS = "too_many_columns", "an attribute that appeared after too many others"
    DEFLATED = (
        "deflated",
        "a value outside the header's JSON, in a data set whose bytes cannot be pointed at",
    )
    UNKNOWN_VR = "unknown_vr", "a VR that PS3.5 has not"
    NOT_FINITE = "not_finite", "infinity or NaN, which JSON has not"
    TOO_MANY_COMPONENT_GROUPS = (
        "too_many_component_groups",
        "a person name with over three component groups",
    )
    MORE_ISSUES = "more_issues", "there are more issues of this header than are told"
    ENDS_EARLY = "ends_early", "the object ends before its pixels do"
    ELEMENTS_BEHIND_IT_NOT_READ = (
        "elements_behind_it_not_read",
        "elements behind the pixels, which no column has",
    )
    LONGER_THAN_ITS_FRAMES = (
        "longer_than_its_frames",
        "native pixels of more bytes than their frames take",
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


def place_of(error: BaseException) -> str:
    """Say where an exception was raised, as ``converter.py:212``, without its text.

    The innermost line of harvest's own, if there is one: what others say may hold a tag value.
    """
    places = [
        (Path(frame.tb_frame.f_code.co_filename), frame.tb_lineno) for frame in _frames(error)
    ]
    own = [place for place in places if _PACKAGE in place[0].parents]
    file, line = (own or places or [(Path("?"), 0)])[-1]
    return f"{file.name}:{line}"


def _frames(error: BaseException) -> Iterator[TracebackType]:
    frame = error.__traceback__
    while frame is not None:
        yield frame
        frame = frame.tb_next
