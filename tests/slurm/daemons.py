"""A Slurm of its own on loopback: munged, slurmctld and two slurmd, nothing outside a folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests import conftest
from tests.lab import servers

PROGRAMS: Final = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol")
NODES: Final = ("n1", "n2")
SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1

CONFIG: Final = """\
ClusterName=harvest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory,CR_LLN
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2
JobRequeue=0
ReturnToService=2
KillWait=15
OverTimeLimit=0
MailProg=/bin/true
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=2 RealMemory=6000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=2 RealMemory=6000
PartitionName=normal Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Tell what is missing for a Slurm of one's own; None where it can be had."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: slurmctld slurmd slurm-client munge)"
    return None if os.geteuid() == 0 else "slurmd needs root"


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job."""

    number: int
    state: str
    node: str
    restarts: int


@dataclass(frozen=True)
class Slurm:
    """A running Slurm."""

    folder: Path
    env: dict[str, str]
    """For whatever asks it."""

    def call(self, *words: str, cwd: Path | None = None, **env: str) -> str:
        """Run one of Slurm's commands; return what it prints."""
        ended = subprocess.run(
            words, env={**self.env, **env}, cwd=cwd, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, f"{words}: {ended.stderr}"
        return ended.stdout

    def submit(self, *words: str, cwd: Path, **env: str) -> int:
        """Submit a batch job; return its number."""
        return int(self.call("sbatch", "--parsable", *words, cwd=cwd, **env).split(";")[0])

    def job(self, number: int) -> Job:
        """Ask for a job."""
        text = self.call("scontrol", "-o", "show", "job", str(number))
        words = dict(word.partition("=")[::2] for word in text.split())
        return Job(number, words["JobState"], words.get("NodeList", ""), int(words["Restarts"]))

    def running(self, name: str) -> list[int]:
        """Return the numbers of the running jobs of a name."""
        printed = self.call("squeue", "-h", "-t", "RUNNING", "-n", name, "-o", "%A")
        return sorted(map(int, printed.split()))

    def leftovers(self, number: int) -> list[int]:
        """Return the processes of a job that are still there."""
        wanted = {"SLURM_JOB_ID": str(number), "SLURM_CONF": self.env["SLURM_CONF"]}
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if wanted.items() <= process.environ().items():
                    found.append(process.pid)
        return found

    def up(self, node: str) -> None:
        """Bring a node back that was set down; one that answers may come back by itself."""

        def is_up() -> bool:
            state = self.call("sinfo", "-h", "-n", node, "-o", "%T").strip().rstrip("*")
            if state not in ("down", "drained", "draining"):
                return True
            words = ("scontrol", "update", f"NodeName={node}", "State=RESUME")
            subprocess.run(words, env=self.env, capture_output=True, timeout=60)
            return False

        wait_for(is_up)

    def down(self, node: str) -> None:
        """Set a node down, as where its machine has failed."""
        self.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")


def wait_for(condition: Callable[[], object], seconds: float = SECONDS) -> Any:
    """Wait until a condition holds; return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(POLL_SECONDS)
    return found


@contextmanager
def slurm(folder: Path) -> Iterator[Slurm]:
    """Run a Slurm with its files in a folder; its jobs end with it."""
    controller, first, second = servers.free_ports(3)
    (folder / "state").mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            controller=controller,
            first=first,
            second=second,
        )
    )
    made = Slurm(folder, conftest.environment(SLURM_CONF=str(config)))
    try:
        _start(made)
        yield made
    finally:
        _stop(made)


def _start(made: Slurm) -> None:
    names = ("socket", "key-file", "pid-file", "seed-file", "log-file")
    words = [f"--{name}={made.folder}/munge.{name.removesuffix('-file')}" for name in names]
    made.call("munged", "--force", *words)
    made.call("slurmctld", "-f", made.env["SLURM_CONF"])
    for node in NODES:
        made.call("slurmd", "-N", node, "-f", made.env["SLURM_CONF"])
    wait_for(lambda: made.call("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == str(len(NODES)))


def _stop(made: Slurm) -> None:
    """End the jobs, then what was started, by the numbers in its own files."""
    with suppress(AssertionError, subprocess.TimeoutExpired):
        made.call("scancel", "--full", "-u", "root")
        wait_for(lambda: not made.call("squeue", "-h").strip(), 20)
    for name in (*(f"slurmd-{node}" for node in NODES), "slurmctld", "munge"):
        _end(made.folder / f"{name}.pid")


def _end(file: Path) -> None:
    if not file.exists():
        return
    number = int(file.read_text())
    with suppress(ProcessLookupError):
        os.kill(number, signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{number}").exists(), 20)


def logs(made: Slurm) -> str:
    """Return the ends of the daemons' logs, for a test that fails."""
    return json.dumps({file.name: file.read_text()[-800:] for file in made.folder.glob("*.log")})
