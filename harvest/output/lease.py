"""The lease of an output: of two harvests that write the same one, one goes on.

The holder renews a small file again and again, each time on the condition that nobody else has
written it. Who comes later watches the file: no clocks are compared, a lease is over when it did
not change for `LEASE_SECONDS` of the watcher's own time. A holder that finds another name in the
file, or could not renew it in time, writes nothing more.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from ..errors import HarvestError, OutputBusy
from . import WORK, Output

LEASE: Final = f"{WORK}/lease.json"
LEASE_SECONDS: Final = 60.0
RENEWAL_SECONDS: Final = 15.0
WATCH_SECONDS: Final = 1.0
_LAST_PROCESS: Final = 2**31 - 1
"""The highest number that a process can have."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who holds a lease, as its file says."""

    name: str
    host: str
    boot: str
    process: int
    renewals: int = 0

    def is_dead(self) -> bool:
        """Tell whether it was a process of this machine that is gone; elsewhere nobody knows."""
        if (self.host, self.boot) != (socket.gethostname(), _boot()):
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Lease:
    """The right to write an output; see `hold`."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._holder = _Holder(uuid4().hex, socket.gethostname(), _boot(), os.getpid())
        self._renewed = 0.0
        self._lost = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, name="harvest-lease", daemon=True)

    def check(self) -> None:
        """Make sure that the output is still ours; called before every write that matters.

        It costs nothing while the last renewal is so recent that nobody can have given us up.

        Raises
        ------
        OutputBusy
            Another harvest has taken it over.
        """
        recent = _now() - self._renewed < LEASE_SECONDS / 2
        if self._lost or not (recent or self._renew()):
            raise OutputBusy(
                f"another harvest has taken over the output {self._output.location}: "
                "let it finish, or end it and run the same command again"
            )

    def _renew(self) -> bool:
        with self._lock:
            if self._lost:
                return False
            # what is there may be of an earlier renewal, whose answer was lost
            found = _read(self._output)
            ours = found is not None and found[0].name == self._holder.name
            self._lost = not ours or not self._write(found and found[1])
            return not self._lost

    def _write(self, version: str | None) -> bool:
        """Write the file if it is still in a state; tell whether it is ours now."""
        renewals = self._holder.renewals + 1
        self._holder = _Holder(**{**asdict(self._holder), "renewals": renewals})
        content = json.dumps(asdict(self._holder)).encode()
        # others count from when it was written, at the earliest
        begun = _now()
        self._output.replace(LEASE, content, version)
        # the answer to a write may be lost, and its repetition refused: what is there counts
        found = self._output.versioned(LEASE)
        if found is None or found[0] != content:
            return False
        self._renewed = begun
        return True

    def take(self, message: Callable[[str], None]) -> None:
        """Take the lease when nobody holds it, or its holder shows no life, and keep it.

        Parameters
        ----------
        message
            Is told what is waited for.

        Raises
        ------
        OutputBusy
            Its holder is alive.
        """
        watched: _Holder | None = None
        since = _now()
        while True:
            found = _read(self._output)
            holder, version = found or (None, None)
            waited = _now() - since > LEASE_SECONDS
            if holder is None or holder.is_dead() or (waited and holder == watched):
                if self._write(version):
                    self._keeper.start()
                    return
                time.sleep(WATCH_SECONDS)
                continue
            if watched is None:
                message(f"the output is held by process {holder.process} on {holder.host}: waiting")
                watched, since = holder, _now()
            if holder != watched:
                raise OutputBusy(
                    f"process {holder.process} on {holder.host} is harvesting into "
                    f"{self._output.location}: let it finish, or end it, then run the same "
                    "command again"
                )
            time.sleep(WATCH_SECONDS)

    def _keep(self) -> None:
        """Renew until the end; what cannot be renewed is noticed by `check`."""
        while not self._ended.wait(RENEWAL_SECONDS):
            # the output may answer, or have room, again before the lease is over
            with suppress(HarvestError):
                if not self._renew():
                    return
        with suppress(HarvestError):
            if self._renew():
                self._output.remove(LEASE)

    def release(self) -> None:
        """Give the lease up, if it is still ours; one that cannot be given up ends by itself."""
        self._ended.set()
        # not for ever: a store that hangs must not keep a batch system's signal waiting
        self._keeper.join(RENEWAL_SECONDS)


@contextmanager
def hold(output: Output, message: Callable[[str], None]) -> Iterator[Lease]:
    """Hold the lease of an output.

    Parameters
    ----------
    output
        That is going to be written.
    message
        Is told what is waited for.

    Raises
    ------
    OutputBusy
        Another harvest holds it, and is alive.
    """
    if not output.honours_conditions():
        message(
            f"{output.location} does not honour conditional writes: see to it that no other "
            "harvest writes it at the same time"
        )
    lease = Lease(output)
    lease.take(message)
    try:
        yield lease
    finally:
        lease.release()


def _read(output: Output) -> tuple[_Holder, str] | None:
    found = output.versioned(LEASE)
    return (_parse(found[0]), found[1]) if found else None


def _parse(content: bytes) -> _Holder:
    """Tell whose a lease is; one that this harvest cannot read is held until it stays the same."""
    try:
        holder = _Holder(**json.loads(content))
        if not (isinstance(holder.process, int) and 0 < holder.process <= _LAST_PROCESS):
            raise ValueError
        return holder
    except (ValueError, TypeError):
        digest = hashlib.sha256(content).hexdigest()
        return _Holder(digest, host="a host that is not known", boot="", process=0)


def _now() -> float:
    """Return seconds that go on while this machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _boot() -> str:
    """Name where process numbers hold: this start of this machine, or of this container."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if not boot.exists():
        return ""
    return f"{boot.read_text().strip()} {namespace.readlink()}"
