"""Runs the ways of `tests.bench.ways` in the benchmark's own environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.sets import Target

ENVIRONMENT: Final = Path(__file__).parents[2] / ".venv-bench"
WAYS: Final = Path(__file__).with_name("ways.py")


class Failed(RuntimeError):
    """A way failed, or did not find what it should."""


@dataclass(frozen=True)
class Peer:
    """What one way cost."""

    objects: int
    cpu: float
    """Seconds, after imports and the first object; children included."""
    wall: float
    """Seconds, likewise."""
    found: list[str]
    """SOPInstanceUIDs in the order of reading; of the floor the keys."""


def python() -> str:
    """Return the environment's Python, or this one if it was not made."""
    made = ENVIRONMENT / "bin" / "python"
    return str(made) if made.exists() else sys.executable


def read(
    way: str,
    targets: Sequence[Target],
    endpoint: str,
    *,
    threads: int = 16,
    cold: bool = False,
    insecure: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Peer:
    """Read objects in a child process.

    Parameters
    ----------
    way
        Name in `tests.bench.ways.WAYS`.
    targets
        What to read.
    endpoint
        The server.
    threads
        Where the way has threads.
    cold
        Read nothing before it counts, so that all requests are those for the objects.
    insecure
        Do not check the certificate.
    environment
        More variables.

    Raises
    ------
    Failed
        It failed, or did not find what it should.
    """
    command = [python(), str(WAYS), way, "--endpoint", endpoint, "--threads", str(threads)]
    command += ["--cold"] * cold + ["--insecure"] * insecure
    done = subprocess.run(
        command,
        input=json.dumps(targets),
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        raise Failed(f"exit code {done.returncode}, {reason[:200]}")
    told = json.loads(done.stdout.splitlines()[-1])
    found = [name for name in told["found"] if name]
    if len(found) != len(targets):
        raise Failed(f"found {len(found)} of {len(targets)} objects")
    return Peer(told["objects"], told["cpu"], told["wall"], found)
