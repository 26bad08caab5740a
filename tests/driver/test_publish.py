"""From parts to tables: stopped at every step, without room, beside what is foreign."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harvest.config import Config
from harvest.driver import runner
from harvest.driver.runner import run
from harvest.errors import ExitCode, OutputBusy, OutputError
from harvest.output import MANIFEST, PARTS, LocalOutput, lease, open_output
from harvest.output.lease import LEASE
from harvest.plan import planner as planning
from harvest.plan.stored import load_plan
from harvest.table.parts import parts_folder
from tests import conftest
from tests.support.stopping import Stop, check_manifest, stop_everywhere

OBJECTS = 12
ROWS_PER_FILE = 5
FILES = [f"instances/{number:05d}.parquet" for number in range(3)]


def files_of(config: Config) -> list[str]:
    """Name the final files of instances and frames in the order in which they get their names."""
    if not config.read.with_frames:
        return FILES
    return [name for file in FILES for name in (file.replace("instances", "frames"), file)]


@pytest.fixture(scope="module", params=["none", "table"])
def ready(
    request: pytest.FixtureRequest, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> Config:
    """An output whose parts are all there, and no table."""
    folder = tmp_path_factory.mktemp("ready")
    for number in range(OBJECTS - 1):
        uid = f"1.2.{number % 3}"
        conftest.write_dicom(folder / "in" / f"{number:02d}.dcm", uid, instance=str(number + 1))
    (folder / "in" / "notes.txt").write_text("no DICOM")
    cohort = {"prefix": f"{folder / 'in'}/"}
    read = {"frames": request.param}
    config = conftest.config_of(folder / "out", cohort, scheduler=scheduler, read=read)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "ROWS_PER_FILE", ROWS_PER_FILE)
        patch.setattr(planning, "ROWS_PER_LONG_FILE", ROWS_PER_FILE)
        patch.setattr(runner, "publish", lambda *_: (_ for _ in ()).throw(Stop()))
        with pytest.raises(Stop):
            run(config)
    return config


Copy = Callable[[], Config]


@pytest.fixture
def copy(ready: Config, tmp_path: Path) -> Copy:
    """Makes a fresh copy of that output, in the place of the last one."""

    def made() -> Config:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        shutil.copytree(ready.output.url, tmp_path / "out")
        return ready.model_copy(
            update={"output": ready.output.model_copy(update={"url": str(tmp_path / "out")})}
        )

    return made


@pytest.fixture
def undisturbed(copy: Copy) -> dict[str, bytes]:
    config = copy()
    run(config)
    return conftest.tree(Path(config.output.url))


def part_names(config: Config) -> list[str]:
    output = open_output(config.output)
    plan = load_plan(output)
    assert plan is not None
    return output.names(parts_folder(plan.identity))


def test_several_files_and_one_manifest(copy: Copy, undisturbed: dict[str, bytes]) -> None:
    config = copy()
    assert {name for name in undisturbed if not name.startswith("_harvest/plan/")} == {
        *files_of(config),
        "series/00000.parquet",
        MANIFEST,
    }
    ended = run(config)
    assert (ended.rows, ended.ok, ended.errors) == (OBJECTS, OBJECTS - 1, {"not_dicom": 1})
    manifest = check_manifest(Path(config.output.url))
    assert [file["rows"] for file in manifest["tables"]["instances"]] == [5, 5, 2]


def test_stopped_at_every_step(copy: Copy, undisturbed: dict[str, bytes]) -> None:
    def check(config: Config) -> None:
        output = Path(config.output.url)
        tables = conftest.tree(output)
        if MANIFEST in tables:
            # whoever sees the manifest sees all of it
            assert {name: tables[name] for name in undisturbed} == undisturbed
        for name in files_of(config):
            assert tables.get(name, undisturbed[name]) == undisturbed[name]
        run(config)
        assert conftest.tree(output) == undisturbed

    steps = stop_everywhere(copy, run, check)
    named = [f"name {name}" for name in (*files_of(copy()), MANIFEST)]
    assert [step for step in steps if step in named] == named
    assert {step.replace("name", "begin", 1) for step in named} <= set(steps)
    assert f"remove {PARTS}" in steps


def test_a_file_of_an_interrupted_publish_is_overwritten(
    copy: Copy, undisturbed: dict[str, bytes]
) -> None:
    config = copy()
    open_output(config.output).write(FILES[1], b"torn")
    run(config)
    assert conftest.tree(Path(config.output.url)) == undisturbed


@pytest.mark.parametrize("name", ["instances/00003.parquet", "series/mine.parquet"])
def test_a_foreign_file_is_not_published_with(
    copy: Copy, undisturbed: dict[str, bytes], name: str
) -> None:
    config = copy()
    parts = part_names(config)
    output = open_output(config.output)
    output.write(name, b"mine")
    with pytest.raises(OutputError, match=rf"holds {name}, which is not of this harvest"):
        run(config)
    assert output.read(name) == b"mine"
    assert not output.exists(MANIFEST)
    assert part_names(config) == parts
    output.remove(name)
    run(config)
    assert conftest.tree(Path(config.output.url)) == undisturbed


def test_without_room_nothing_is_written(
    copy: Copy, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = copy()
    before = conftest.tree(Path(config.output.url))
    with monkeypatch.context() as patch:
        patch.setattr(LocalOutput, "free_bytes", lambda _: 10)
        with pytest.raises(OutputError, match=r"need up to [\d,]+ bytes.* has 10 free") as refused:
            run(config)
    assert refused.value.exit_code == ExitCode.WRONG_USE
    assert conftest.tree(Path(config.output.url)) == before
    run(config)
    assert conftest.tree(Path(config.output.url)) == undisturbed


# --- a disk that is really full --------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    mounted = subprocess.run(mount, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(folder: Path, free: int) -> Path:
    """Leave so many bytes of a file system."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - free))
    return ballast


def written(config: Config, path: Path) -> Path:
    path.write_text(config.model_dump_json(exclude_none=True))  # JSON is YAML
    return path


@pytest.mark.parametrize(
    ("state", "message"),
    [("planned", "is full: free space"), ("read", "the tables need up to")],
)
def test_a_full_disk(
    copy: Copy, undisturbed: dict[str, bytes], tiny: Path, tmp_path: Path, state: str, message: str
) -> None:
    """Of a worker that writes a part, or of the driver that is going to write tables."""
    config = copy()
    output = tiny / "out"
    shutil.move(config.output.url, output)
    config = config.model_copy(
        update={"output": config.output.model_copy(update={"url": str(output)})}
    )
    parts = part_names(config)
    if state == "planned":
        open_output(config.output).remove(PARTS)
        parts = []
    # room for a lease, and for no part
    ballast = fill(tiny, 3 * os.sysconf("SC_PAGESIZE"))
    path = written(config, tmp_path / "config.yaml")
    ended = conftest.harvest("run", path)
    assert ended.returncode == ExitCode.WRONG_USE, ended.stderr
    assert message in ended.stderr
    assert "then run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (output / MANIFEST).exists()
    assert not list(output.rglob("*.tmp"))
    assert [name for name in parts if not (output / name).exists()] == []
    ballast.unlink()
    ended = conftest.harvest("run", path)
    assert ended.returncode == ExitCode.TOO_MANY_ERRORS, ended.stderr
    assert conftest.tree(output) == undisturbed


# --- other harvests --------------------------------------------------------------------------


@contextmanager
def replacing(then: Callable[[LocalOutput], None]) -> Iterator[None]:
    """Let the answer to the manifest's write be lost, and something happen before it is missed."""
    replace = LocalOutput.replace

    def without_answer(self: LocalOutput, name: str, data: bytes, version: str | None) -> bool:
        answer = replace(self, name, data, version)
        if name != MANIFEST:
            return answer
        then(self)
        return False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalOutput, "replace", without_answer)
        yield


def test_a_manifest_whose_answer_is_lost(copy: Copy, undisturbed: dict[str, bytes]) -> None:
    config = copy()
    with replacing(lambda _: None):
        run(config)
    assert conftest.tree(Path(config.output.url)) == undisturbed


def test_a_manifest_of_another_harvest(copy: Copy) -> None:
    config = copy()
    with (
        replacing(lambda output: output.write(MANIFEST, b"{}")),
        pytest.raises(OutputBusy, match="another harvest has committed"),
    ):
        run(config)
    assert open_output(config.output).read(MANIFEST) == b"{}"


def test_an_output_that_is_taken_over_meanwhile(copy: Copy) -> None:
    """Before every file the lease is looked at."""
    config = copy()
    writing = LocalOutput.writing

    @contextmanager
    def taken(self: LocalOutput, name: str) -> Iterator[Path]:
        with writing(self, name) as path:
            yield path
        if name == FILES[0]:
            self.write(LEASE, b'{"name": "another"}')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalOutput, "writing", taken)
        # as if every look came so late that the lease may be over
        patch.setattr(lease, "LEASE_SECONDS", 0.0)
        with pytest.raises(OutputBusy, match="has taken over"):
            run(config)
    tree = conftest.tree(Path(config.output.url))
    assert FILES[1] not in tree
    assert MANIFEST not in tree
    # what the other one holds is left alone
    assert tree[LEASE] == b'{"name": "another"}'
