"""Ports: a scheduler over TLS as the ready scripts start it, and none that others can reach."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from distributed import Client
from distributed.security import Security

from harvest.config import ClusterConfig, load_config
from harvest.driver.cluster import open_cluster
from harvest.driver.runner import run
from harvest.errors import ClusterLost, ExitCode
from tests import conftest
from tests.conftest import SQL_GENERATED
from tests.lab import Lab, servers
from tests.support.clusters import config_of
from tests.support.waiting import LONG, wait_until

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "configs" / "dask-tls"


@dataclass(frozen=True)
class Tls:
    """A scheduler over TLS, and two machines' workers."""

    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]]

    @property
    def files(self) -> dict[str, Path]:
        names = {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        return {name: self.folder / file for name, file in names.items()}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tls]:
    servers.bypass_proxies()
    folder = tmp_path_factory.mktemp("tls") / "certificates"
    subprocess.run([SCRIPTS / "certificates.sh", folder], check=True)
    ports = servers.free_ports(2)
    env = conftest.environment(
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        PYTHONPATH=str(ROOT),
        HARVEST_PORT=str(ports[0]),
        HARVEST_DASHBOARD_PORT=str(ports[1]),
        HARVEST_WORKERS="1",
        TMPDIR=str(folder.parent),
    )
    address = f"tls://{servers.HOST}:{ports[0]}"
    commands: list[list[Path | str]] = [[SCRIPTS / "scheduler.sh", folder]]
    commands += [[SCRIPTS / "workers.sh", folder, address] for _ in range(2)]
    processes = []
    try:
        for number, command in enumerate(commands):
            with (folder.parent / f"log_{number}").open("wb") as log:
                processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
        yield Tls(address, folder, processes)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait()


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def listening(processes: list[psutil.Process]) -> set[str]:
    """Return the addresses that processes and their children listen at."""
    found = set()
    for process in processes:
        for each in family(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                sockets = each.net_connections(kind="inet")
                found |= {s.laddr.ip for s in sockets if s.status == psutil.CONN_LISTEN}
    return found


def cluster_file(tls: Tls, path: Path) -> Path:
    """Write the ready cluster file, edited for this scheduler."""
    content = yaml.safe_load((SCRIPTS / "cluster.yaml").read_text())
    content["cluster"]["address"] = tls.address
    content["cluster"]["tls"] = {name: str(file) for name, file in tls.files.items()}
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_harvest_over_tls(lab: Lab, tls: Tls, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    content = {
        "cohort": {"sql": f"{SQL_GENERATED} AND Modality <> 'CT'", "index": str(lab.index)},
        "source": conftest.source_of(lab),
        "output": str(tmp_path / "out"),
    }
    config.write_text(yaml.safe_dump(content))
    loaded = load_config(config, cluster_file(tls, tmp_path / "cluster.yaml"))
    ended = run(loaded)
    assert ended.exit_code == ExitCode.COMPLETE
    assert ended.rows == ended.ok > 0
    with open_cluster(loaded.cluster) as cluster:
        wait_until(lambda: len(cluster._client.scheduler_info(n_workers=-1)["workers"]) == 2)
        workers = cluster._client.scheduler_info(n_workers=-1)["workers"]
        assert all(address.startswith(f"tls://{servers.HOST}:") for address in workers)
    assert listening([psutil.Process(each.pid) for each in tls.processes]) == {servers.HOST}


def test_nobody_comes_in_without_the_certificate(tls: Tls, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"(?i)timed out|tls|ssl|closed"):
        Client(tls.address.replace("tls:", "tcp:"), timeout=2)  # type: ignore[no-untyped-call]
    other = tmp_path / "other"
    subprocess.run([SCRIPTS / "certificates.sh", other], check=True)
    pems = {"tls_client_cert": str(other / "cert.pem"), "tls_client_key": str(other / "key.pem")}
    security = Security(  # type: ignore[no-untyped-call]
        tls_ca_file=str(tls.folder / "ca.pem"), require_encryption=True, **pems
    )
    with pytest.raises(OSError, match=r"(?i)timed out|tls|ssl|closed"):
        Client(tls.address, security=security, timeout=2)  # type: ignore[no-untyped-call]


def test_a_driver_with_another_certificate(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harvest.driver.clients.CONNECT_SECONDS", 2.0)
    subprocess.run([SCRIPTS / "certificates.sh", tmp_path / "other"], check=True)
    other = Tls(tls.address, tmp_path / "other", [])
    config = ClusterConfig.model_validate({"address": tls.address, "tls": other.files})
    told = r"correct cluster\.address and cluster\.tls"
    with pytest.raises(ClusterLost, match=told), open_cluster(config):
        pass


def test_a_cluster_class_over_tls(tls: Tls, tmp_path: Path) -> None:
    config = config_of({"workers": 1}, tmp_path, tls=tls.files)
    with open_cluster(config) as cluster:
        (worker,) = cluster._client.scheduler_info(n_workers=-1)["workers"]
        assert worker.startswith("tls://")
        assert list(cluster.unordered(abs, [-1], longest_seconds=LONG)) == [1]


@pytest.mark.parametrize(
    "content",
    [
        {"workers": 2},
        {"class": "distributed.LocalCluster", "scale": {"workers": 1}},
    ],
)
def test_all_ports_are_on_loopback(content: dict[str, object]) -> None:
    """Scheduler, dashboard, nannies and workers, whether or not there is anything to see."""
    before = {each.pid for each in family(psutil.Process())}
    with open_cluster(ClusterConfig.model_validate(content)) as cluster:
        list(cluster.unordered(abs, [-1], longest_seconds=LONG))
        ours = [each for each in family(psutil.Process()) if each.pid not in before]
        assert listening([psutil.Process(), *ours]) == {servers.HOST}


def test_a_scheduler_of_a_job_queue_is_on_loopback(tmp_path: Path) -> None:
    with open_cluster(config_of({"workers": 1}, tmp_path)) as cluster:
        pids = cluster._client.run(os.getpid).values()
        assert listening([psutil.Process(), *map(psutil.Process, pids)]) == {servers.HOST}
