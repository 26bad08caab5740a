"""Harvests as Slurm jobs: whatever happens to jobs and nodes, the tables are the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
import yaml

from harvest.config import Config, load_config
from harvest.driver.cluster import open_cluster
from harvest.driver.runner import run
from tests import conftest
from tests.lab import Lab
from tests.slurm import daemons
from tests.slurm.daemons import Slurm, wait_for
from tests.support.clusters import SOON

ROOT = Path(__file__).parents[2]
SBATCH = ROOT / "configs" / "slurm" / "harvest.sbatch"
CLUSTER = ROOT / "configs" / "slurm" / "cluster.yaml"
NOT_COMPARED = ("requests", "bytes_read", "error_detail")
OBJECTS = 600
LONG = 120.0

pytestmark = pytest.mark.skipif(daemons.missing() is not None, reason=str(daemons.missing()))


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with daemons.slurm(tmp_path_factory.mktemp("slurm") / "slurm") as started:
        # a job finds this checkout, and the programs of this environment
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        started.env.update(PATH=path, PYTHONPATH=str(ROOT), HARVEST_HOME=str(ROOT))
        started.env.update(HARVEST_INTERFACE="lo", PYTHONUNBUFFERED="1")
        yield started


def content_of(lab: Lab, folder: Path, rate: float | None = None) -> dict[str, Any]:
    sql = f"{conftest.SQL_GENERATED} AND Modality IN ('CT', 'PT')"
    return {
        "cohort": {"sql": sql, "index": str(lab.index), "sample": OBJECTS},
        "source": conftest.source_of(lab),
        "output": str(folder / "out"),
        "limits": {"requests_per_second": rate, "partition_rows": 20},
    }


def write_config(lab: Lab, folder: Path, rate: float | None = None) -> Path:
    """Write a config without a cluster, slow enough to be disturbed."""
    folder.mkdir(exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content_of(lab, folder, rate)))
    return path


def rows(output: Path) -> list[dict[str, Any]]:
    found = conftest.instances(output)
    return [{k: v for k, v in row.items() if k not in NOT_COMPARED} for row in found]


@pytest.fixture(scope="module")
def undisturbed(
    lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    content = {**content_of(lab, folder), "cluster": {"address": scheduler}}
    assert run(Config.model_validate(content)).exit_code == 0
    return rows(folder / "out")


def parts(folder: Path) -> int:
    return len(list((folder / "out" / "_harvest" / "parts").glob("*/*.arrow")))


def submit(slurm: Slurm, folder: Path, *options: str) -> int:
    words = ("--cpus-per-task=1", "--mem-per-cpu=2G", "--time=10", f"--output={folder}/log")
    return slurm.submit(*words, *options, str(SBATCH), "config.yaml", cwd=folder)


def ended(slurm: Slurm, number: int, folder: Path) -> None:
    """Wait until a job has completed; one that was queued again need not wait two minutes.

    These are for its processes to end on all nodes: where that is seen, it may begin.
    """

    def completed() -> bool:
        job = slurm.job(number)
        if job.state == "PENDING" and job.restarts and not slurm.leftovers(number):
            slurm.call("scontrol", "update", f"JobId={number}", "StartTime=now")
        assert job.state not in ("FAILED", "CANCELLED", "TIMEOUT"), (folder / "log").read_text()
        return job.state == "COMPLETED"

    wait_for(completed, 180)
    # a folder of certificates is not left to the next user
    wait_for(lambda: not list(folder.glob(".harvest-job-*")))


def status_of(folder: Path) -> dict[str, Any]:
    printed = conftest.harvest("status", folder / "out", "--json").stdout
    found: dict[str, Any] = json.loads(printed)
    return found


# --- one allocation --------------------------------------------------------------------------


def test_a_batch_job(
    slurm: Slurm, lab: Lab, tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    write_config(lab, tmp_path, rate=60)
    number = submit(slurm, tmp_path)
    ended(slurm, number, tmp_path)
    assert rows(tmp_path / "out") == undisturbed
    found = status_of(tmp_path)
    assert found["state"] == "complete"
    assert found["run"]["most_workers"] == 2
    assert slurm.job(number).restarts == 0


def test_a_node_that_fails(
    slurm: Slurm, lab: Lab, tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    write_config(lab, tmp_path, rate=60)
    number = submit(slurm, tmp_path)
    wait_for(lambda: parts(tmp_path) > 3)
    slurm.down("n1")
    try:
        wait_for(lambda: slurm.job(number).restarts == 1)
        assert not (tmp_path / "out" / "manifest.json").exists()
        before = parts(tmp_path)
        assert before > 3
    finally:
        slurm.up("n1")
    ended(slurm, number, tmp_path)
    assert rows(tmp_path / "out") == undisturbed
    assert status_of(tmp_path)["run"]["runs"] >= 2


def test_a_wall_time_that_is_too_short(
    slurm: Slurm, lab: Lab, tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    """The driver is told before, ends in order, and goes on when the job is queued again."""
    write_config(lab, tmp_path, rate=10)
    number = submit(slurm, tmp_path, "--time=1", "--signal=B:TERM@15")
    wait_for(lambda: slurm.job(number).restarts == 1, 150)
    said = (tmp_path / "log").read_text()
    assert "interrupted; run the same command again" in said
    assert "DUE TO TIME LIMIT" not in said
    begun = parts(tmp_path)
    assert begun > 0
    # the rest, as fast as it can
    write_config(lab, tmp_path)
    ended(slurm, number, tmp_path)
    assert rows(tmp_path / "out") == undisturbed


# --- workers as jobs -------------------------------------------------------------------------


def cluster_file(tmp_path: Path, **scale: int) -> Path:
    """Write the ready cluster file, edited for this machine."""
    certificates = tmp_path / "certificates"
    subprocess.run([ROOT / "configs" / "dask-tls" / "certificates.sh", certificates], check=True)
    content = yaml.safe_load(CLUSTER.read_text())
    options = content["cluster"]["options"]
    options.update(cores=1, processes=1, memory="1500MB", interface="lo")
    options["log_directory"] = options["local_directory"] = str(tmp_path)
    # a lifetime is for hours: here it would end in the middle of the test
    options["worker_extra_args"] = options["worker_extra_args"][:2]
    content["cluster"]["scale"] = scale
    names = {"ca_file": "ca", "cert": "cert", "key": "key"}
    content["cluster"]["tls"] = {
        name: str(certificates / f"{file}.pem") for name, file in names.items()
    }
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_workers_that_are_cancelled_and_a_node_that_fails(
    slurm: Slurm, lab: Lab, tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    config = write_config(lab, tmp_path, rate=20)
    cluster = cluster_file(tmp_path, workers=2)
    words = [*conftest.HARVEST, "run", str(config), "--cluster", str(cluster), "--json"]
    with subprocess.Popen(
        words, env=slurm.env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as driver:
        first = wait_for(lambda: len(found := slurm.running("dask-worker")) == 2 and found)
        # one that has never come would look like one that waits in its queue
        logs = [tmp_path / f"dask-worker-{number}.err" for number in first]
        wait_for(lambda: all(log.is_file() and "Registered to" in log.read_text() for log in logs))
        wait_for(lambda: parts(tmp_path) > 1)
        slurm.call("scancel", str(first[0]))
        wait_for(lambda: len(found := slurm.running("dask-worker")) == 2 and found != first)
        slurm.down("n2")
        try:
            wait_for(lambda: len(slurm.running("dask-worker")) < 2)
        finally:
            slurm.up("n2")
        printed, said = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert json.loads(printed)["errors"] == {}
    assert rows(tmp_path / "out") == undisturbed
    wait_for(lambda: not slurm.running("dask-worker"))


def test_from_none_to_some_to_none(
    slurm: Slurm, tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(number: int) -> int:
        import time

        time.sleep(0.5)
        return number

    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    cluster = cluster_file(tmp_path, minimum=0, maximum=2)
    config = load_config(write_config(lab, tmp_path), cluster).cluster
    with dask.config.set(SOON), open_cluster(config) as opened:
        assert slurm.running("dask-worker") == []
        most = 0
        for _ in opened.unordered(slowly, range(40), longest_seconds=LONG):
            most = max(most, opened.working)
        assert most == 2
        wait_for(lambda: not slurm.running("dask-worker"))
        assert list(opened.unordered(slowly, [7], longest_seconds=LONG)) == [7]
    wait_for(lambda: not slurm.call("squeue", "-h").strip())
