"""Two harvests of one output: one goes on, whatever happens to the other."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harvest.config import OutputConfig
from harvest.errors import ExitCode, HarvestError, OutputBusy, OutputError
from harvest.output import MANIFEST, LocalOutput, Output, lease, open_output
from harvest.output.lease import LEASE, hold
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab import Lab, servers
from tests.support.waiting import wait_until

SECONDS = {"LEASE_SECONDS": 6.0, "RENEWAL_SECONDS": 0.2, "WATCH_SECONDS": 0.05}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in SECONDS.items():
        monkeypatch.setattr(lease, name, seconds)


@pytest.fixture(params=["folder", "s3", "gs"])
def output(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Output:
    if request.param == "folder":
        return open_output(str(tmp_path / "out"))
    lab: Lab = request.getfixturevalue("lab")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    server = lab.s3 if request.param == "s3" else lab.gcs
    region = servers.S3_REGION if request.param == "s3" else None
    url = f"{request.param}://{servers.OUTPUT_BUCKET}/{uuid.uuid4()}"
    return open_output(OutputConfig(url=url, endpoint=server.endpoint, region=region))


def quiet(_: str) -> None:
    """Take no message."""


# --- one holder ------------------------------------------------------------------------------


def test_a_lease_leaves_nothing(output: Output) -> None:
    with hold(output, quiet) as held:
        held.check()
        found = output.versioned(LEASE)
        assert found is not None
        assert json.loads(found[0])["process"] == os.getpid()
    assert output.versioned(LEASE) is None
    assert output.names("_harvest") == []


def test_a_lease_is_released_when_the_work_fails(output: Output) -> None:
    with pytest.raises(ZeroDivisionError), hold(output, quiet):
        raise ZeroDivisionError
    assert output.versioned(LEASE) is None


def test_it_is_renewed_by_itself(output: Output) -> None:
    with hold(output, quiet):
        seen: set[bytes] = set()

        def renewed() -> bool:
            found = output.versioned(LEASE)
            assert found is not None
            seen.add(found[0])
            return len(seen) > 3

        wait_until(renewed)


def test_a_second_one_ends(output: Output) -> None:
    messages: list[str] = []
    with hold(output, quiet) as held:
        with (
            pytest.raises(OutputBusy, match=r"let it finish") as busy,
            hold(output, messages.append),
        ):
            pass
        assert busy.value.exit_code == ExitCode.RUN_AGAIN
        assert output.location in str(busy.value)
        held.check()
    assert "is held by process" in messages[-1]


def test_of_many_at_once_one_holds(output: Output) -> None:
    """They all begin before any of them ends."""
    count = 4
    output.honours_conditions()
    begin, ended = threading.Barrier(count), threading.Barrier(count)
    held: list[bool] = []

    def take() -> None:
        begin.wait()
        try:
            with hold(output, quiet):
                held.append(True)
                ended.wait()
        except OutputBusy:
            held.append(False)
            ended.wait()

    threads = [threading.Thread(target=take) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held) == [False] * (count - 1) + [True]


def test_one_that_has_ended_meanwhile_is_not_waited_for(output: Output) -> None:
    first = hold(output, quiet)
    first.__enter__()

    def message(_: str) -> None:
        first.__exit__(None, None, None)

    with hold(output, message) as held:
        held.check()


# --- holders that are gone, or unknown -------------------------------------------------------


def gone() -> dict[str, Any]:
    """Describe a holder of this machine whose process has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return {"name": "x", "host": socket.gethostname(), "boot": lease._boot(), "process": child.pid}


def test_a_dead_process_of_this_machine_is_not_waited_for(output: Output) -> None:
    output.write(LEASE, json.dumps(gone()).encode())
    messages: list[str] = []
    with hold(output, messages.append):
        pass
    assert messages == []


FOREIGN: dict[str, Callable[[], bytes]] = {
    "of another machine": lambda: json.dumps({**gone(), "host": "elsewhere"}).encode(),
    "of another start of this machine": lambda: json.dumps({**gone(), "boot": "before"}).encode(),
    "of another harvest's format": lambda: json.dumps({**gone(), "more": 1}).encode(),
    "with a process that is no number": lambda: json.dumps({**gone(), "process": "7"}).encode(),
    "with a process that is none": lambda: json.dumps({**gone(), "process": 2**40}).encode(),
    "empty": lambda: b"",
    "no JSON": lambda: b"\xff{",
    "a list": lambda: b"[1, 2]",
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_shows_no_life_is_taken_after_a_while(tmp_path: Path, what: str) -> None:
    output = LocalOutput(tmp_path / "out")
    output.write(LEASE, FOREIGN[what]())
    messages: list[str] = []
    with hold(output, messages.append) as held:
        held.check()
    assert len(messages) == 1
    assert not output.folder.exists()


def test_what_shows_life_is_left_alone(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path / "out")
    output.write(LEASE, b"torn")

    def message(_: str) -> None:
        output.write(LEASE, b"torn again")

    with pytest.raises(OutputBusy), hold(output, message):
        pass
    assert output.read(LEASE) == b"torn again"


def refuses(held: lease.Lease, kind: type[HarvestError], text: str) -> bool:
    try:
        held.check()
    except kind as error:
        return text in str(error)
    return False


def test_a_holder_that_was_overwritten_writes_no_more(output: Output) -> None:
    with hold(output, quiet) as held:
        output.write(LEASE, b"another's")
        # noticed at the next renewal: nobody overwrites a lease that is renewed in time
        wait_until(lambda: refuses(held, OutputBusy, "has taken over"))
        assert refuses(held, OutputBusy, "has taken over")
    assert output.read(LEASE) == b"another's"


def test_a_lease_that_cannot_be_renewed_for_a_while(tmp_path: Path) -> None:
    """Its thread bears that; a check in between says what is wrong."""
    output = LocalOutput(tmp_path / "out")
    with hold(output, quiet) as held:
        tries: list[str] = []

        def full(self: LocalOutput, name: str, data: bytes) -> None:
            tries.append(name)
            raise OutputError("the disk is full")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalOutput, "write", full)
            wait_until(lambda: len(tries) > 2)
            wait_until(lambda: refuses(held, OutputError, "disk is full"))
        held.check()
        before = output.read(LEASE)
        wait_until(lambda: output.read(LEASE) != before)


def test_nobody_waits_for_a_store_that_hangs(tmp_path: Path) -> None:
    """The work is done: a batch system's signal does not wait for the lease to be given up."""
    hangs, answers = threading.Event(), threading.Event()
    answered: list[bool] = []

    class Hanging(LocalOutput):
        def versioned(self, name: str) -> tuple[bytes, str] | None:
            if hangs.is_set():
                answered.append(answers.wait(5))
            return super().versioned(name)

    output = Hanging(tmp_path / "out")
    with hold(output, quiet):
        hangs.set()
    assert answered == []
    answers.set()
    wait_until(lambda: not output.exists(LEASE))


def test_two_holders_differ(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path)
    assert asdict(lease.Lease(output)._holder)["name"] != lease.Lease(output)._holder.name


# --- whole harvests --------------------------------------------------------------------------

DRIVER = f"""
import sys
from harvest.output import lease
vars(lease).update({SECONDS})
from harvest.cli import main
main()
"""


class Driver:
    """``harvest run`` in a process of its own, with a short lease."""

    def __init__(self, config: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, "run", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def drivers() -> Iterator[Callable[[Path], Driver]]:
    started: list[Driver] = []

    def start(config: Path) -> Driver:
        started.append(Driver(config))
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            each.process.kill()
            each.process.communicate()


@pytest.fixture
def held_up(lab: Lab, s3_gate: Gate, tmp_path: Path, scheduler: str) -> Iterator[Path]:
    """A config whose objects are not answered before `let_go` of the gate is set."""
    series = conftest.own_series(lab, tmp_path, 3)
    config = conftest.config_of(
        tmp_path / "out",
        {"prefix": f"s3://{series.bucket}/{series.uuid}/"},
        {"endpoint": s3_gate.url},
        scheduler=scheduler,
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.model_dump_json(exclude_none=True))  # JSON is YAML
    let_go = threading.Event()

    def wait(number: int) -> None:
        if ".dcm" in s3_gate.seen[number].path:
            let_go.wait(60)

    s3_gate.on_request = wait
    s3_gate.let_go = let_go  # type: ignore[attr-defined]
    try:
        yield path
    finally:
        let_go.set()


def reading(gate: Gate) -> bool:
    return any(".dcm" in seen.path for seen in list(gate.seen))


def test_two_drivers(
    held_up: Path, s3_gate: Gate, tmp_path: Path, drivers: Callable[[Path], Driver]
) -> None:
    """The second ends; when the first is killed, a third goes on at once."""
    first = drivers(held_up)
    wait_until(lambda: reading(s3_gate))
    code, errors = drivers(held_up).ended()
    assert code == ExitCode.RUN_AGAIN, errors
    assert f"process {first.process.pid} on" in errors
    assert "Traceback" not in errors
    first.process.kill()
    first.process.wait()
    s3_gate.let_go.set()  # type: ignore[attr-defined]
    code, errors = drivers(held_up).ended()
    assert (code, conftest.without_progress(errors)) == (ExitCode.COMPLETE, "")
    left = conftest.tree(tmp_path / "out")
    assert LEASE not in left
    assert MANIFEST in left


def test_a_driver_that_was_stopped_for_long(
    held_up: Path, s3_gate: Gate, tmp_path: Path, drivers: Callable[[Path], Driver]
) -> None:
    first = drivers(held_up)
    wait_until(lambda: reading(s3_gate))
    first.process.send_signal(signal.SIGSTOP)
    second = drivers(held_up)
    s3_gate.let_go.set()  # type: ignore[attr-defined]
    code, errors = second.ended()
    assert code == ExitCode.COMPLETE, errors
    before = conftest.tree(tmp_path / "out")
    first.process.send_signal(signal.SIGCONT)
    code, errors = first.ended()
    assert code == ExitCode.RUN_AGAIN, errors
    assert "another harvest has taken over the output" in errors
    assert conftest.tree(tmp_path / "out") == before
