"""Kinds of errors: exit codes, what is worth trying again, and the way through a pickle."""

import json
import pickle
import re

import pytest

from harvest.errors import (
    CohortError,
    ConfigError,
    ErrorKind,
    ExitCode,
    HarvestError,
    ObjectError,
    OutputError,
    StoreUnavailable,
    place_of,
)


def test_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "COMPLETE": 0,
        "WRONG_USE": 1,
        "TOO_MANY_ERRORS": 2,
        "BUG": 70,
        "RUN_AGAIN": 75,
    }


@pytest.mark.parametrize("error", [HarvestError, ConfigError, CohortError, OutputError])
def test_what_the_user_can_mend_is_wrong_use(error: type[HarvestError]) -> None:
    assert error("text").exit_code == 1
    assert issubclass(error, HarvestError)


def test_an_unreachable_store_means_run_again() -> None:
    assert StoreUnavailable("text").exit_code == 75
    assert isinstance(StoreUnavailable("text"), HarvestError)


def test_the_kinds_are_those_of_the_contract() -> None:
    assert [kind.value for kind in ErrorKind] == [
        "not_found",
        "denied",
        "unavailable",
        "changed",
        "wrong_object",
        "not_dicom",
        "truncated",
        "malformed",
        "too_large",
        "too_slow",
        "unsupported",
        "killed_worker",
        "internal",
    ]


@pytest.mark.parametrize("kind", ErrorKind)
def test_what_the_bytes_decide_is_not_retryable(kind: ErrorKind) -> None:
    passing = {"unavailable", "changed", "too_slow", "killed_worker", "internal"}
    assert kind.retryable is (kind in passing)


def test_an_object_error_is_no_harvest_error() -> None:
    """One wrong object never ends a run."""
    assert not issubclass(ObjectError, HarvestError)


def test_an_object_error_survives_the_way_from_a_worker() -> None:
    error = ObjectError(ErrorKind.TRUNCATED, "ends at 12")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is ObjectError
    assert (back.kind, back.detail, str(back)) == (error.kind, error.detail, str(error))
    assert str(error) == "truncated: ends at 12"


def test_the_place_of_an_error_is_ours_where_it_can_be() -> None:
    with pytest.raises(ValueError, match="Expecting value") as foreign:
        json.loads("SECRET")
    assert re.fullmatch(r"decoder\.py:\d+", place_of(foreign.value))
    with pytest.raises(AttributeError) as own:
        ObjectError.__reduce__(None)  # type: ignore[arg-type]
    assert re.fullmatch(r"errors\.py:\d+", place_of(own.value))
    assert place_of(ValueError()) == "?:0"
