"""A batch system of processes on this machine, and the cluster class that submits to it.

``python -m tests.support.queue_cluster submit SCRIPT`` starts a job and prints its number, as
sbatch does; ``cancel NUMBER`` ends it. Nobody starts a job again that has died.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any

from dask_jobqueue.core import Job, JobQueueCluster


class QueueJob(Job):
    """A job of the batch system in this module."""

    submit_command: Any = f"{sys.executable} -m {__name__} submit"
    cancel_command: Any = f"{sys.executable} -m {__name__} cancel"
    config_name = "local"

    def __init__(self, *args: Any, **options: Any) -> None:
        options = {"shebang": "#!/bin/sh", **options}
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self.job_header = ""


class QueueCluster(JobQueueCluster):
    """Workers as jobs of the batch system in this module."""

    job_cls = QueueJob


def _submit(script: str) -> None:
    with open(script, encoding="utf-8") as file:
        text = file.read()
    if "REFUSED" in text:
        sys.exit("submit: error: the queue is closed")
    job = subprocess.Popen(
        ["/bin/sh", "-c", text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    print(f"Submitted job {job.pid}")


def _cancel(number: str) -> None:
    with suppress(ProcessLookupError):
        os.killpg(int(number), signal.SIGKILL)


if __name__ == "__main__":
    {"submit": _submit, "cancel": _cancel}[sys.argv[1]](sys.argv[2])
