"""What is told while the work goes on: a bar on a terminal, lines of JSON to a log collector."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final

from ..worker.partition import PartitionRead
from .meter import Meter

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS: Final = 10.0
"""Between two lines of a log."""


class Progress:
    """Is told what a run does, and says nothing; who derives from it says what it wants to."""

    def message(self, text: str) -> None:
        """A step begins."""

    def begin(self, rows: int, done: int) -> None:
        """Reading begins; `done` of the plan's `rows` were read by an earlier run."""

    def workers(self, count: int) -> None:
        """So many partitions are read at once now: threads of workers that take tasks."""

    def partition(self, part: PartitionRead) -> None:
        """A partition was read."""

    def end(self) -> None:
        """Reading ends, for good or ill."""


class Passing(Progress):
    """Passes everything on.

    Parameters
    ----------
    progress
        Is told what happens.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def message(self, text: str) -> None:
        """Pass it on."""
        self._progress.message(text)

    def begin(self, rows: int, done: int) -> None:
        """Pass it on."""
        self._progress.begin(rows, done)

    def workers(self, count: int) -> None:
        """Pass it on."""
        self._progress.workers(count)

    def partition(self, part: PartitionRead) -> None:
        """Pass it on."""
        self._progress.partition(part)

    def end(self) -> None:
        """Pass it on."""
        self._progress.end()


class Heeding(Passing):
    """Passes everything on, and looks up between partitions.

    Parameters
    ----------
    progress
        Is told what happens.
    look
        Called after each partition; may raise to end the run.
    """

    def __init__(self, progress: Progress, look: Callable[[], None]) -> None:
        super().__init__(progress)
        self._look = look

    def message(self, text: str) -> None:
        """Pass it on, and look up."""
        super().message(text)
        self._look()

    def partition(self, part: PartitionRead) -> None:
        """Pass it on, and look up."""
        super().partition(part)
        self._look()


class Bar(Progress):
    """A progress bar on stderr: instances a second, bytes, errors, time left."""

    def __init__(self) -> None:
        # imported here: a run in a batch system draws nothing
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[read]} read"),
            TextColumn("{task.fields[errors]} errors"),
            TextColumn("{task.fields[workers]} workers"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._meter = Meter(0, 0)

    def message(self, text: str) -> None:
        """Print the step that begins."""
        self._console.print(f"{text} ...", style="dim")

    def begin(self, rows: int, done: int) -> None:
        """Draw the bar."""
        self._meter = Meter(rows, done)
        self._bars.start()
        self._task = self._bars.add_task(
            "reading headers", total=rows, completed=done, rate="", read="0 B", errors=0, workers=0
        )

    def workers(self, count: int) -> None:
        """Show how many there are."""
        assert self._task is not None
        self._bars.update(self._task, workers=count)

    def partition(self, part: PartitionRead) -> None:
        """Move the bar on."""
        from ..show import size_text

        assert self._task is not None
        self._meter.add(part)
        totals = self._meter.totals
        speed = self._bars.tasks[0].speed
        self._bars.update(
            self._task,
            advance=part.rows,
            rate=f"{speed:,.0f}/s" if speed else "",
            read=size_text(totals.bytes_read),
            errors=sum(totals.errors.values()),
        )

    def end(self) -> None:
        """Leave the bar as it is."""
        self._bars.stop()


class Lines(Progress):
    """One JSON object a line: what is done, left and wrong, now and then; ``event`` names the kind.

    Parameters
    ----------
    file
        Such as stderr.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._meter = Meter(0, 0)
        self._workers = 0
        self._written = 0.0

    def message(self, text: str) -> None:
        """Write the step that begins."""
        self._write("step", text=text)

    def begin(self, rows: int, done: int) -> None:
        """Write how much is to be read."""
        self._meter = Meter(rows, done)
        self._write_meter("begin")

    def workers(self, count: int) -> None:
        """Remember it for the next line."""
        self._workers = count

    def partition(self, part: PartitionRead) -> None:
        """Write how far it is, unless that was just done."""
        self._meter.add(part)
        if time.monotonic() - self._written > LINE_SECONDS:
            self._write_meter("progress")

    def end(self) -> None:
        """Write how far it came."""
        self._write_meter("end")

    def _write_meter(self, event: str) -> None:
        self._written = time.monotonic()
        meter, totals = self._meter, self._meter.totals
        self._write(
            event,
            rows=meter.rows,
            done=meter.done,
            errors=totals.errors,
            requests=totals.requests,
            retries=totals.retries,
            bytes_read=totals.bytes_read,
            workers=self._workers,
            rate=_rounded(meter.rate),
            seconds_left=_rounded(meter.seconds_left),
        )

    def _write(self, event: str, **content: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **content}, ensure_ascii=False)
        self._file.write(f"{line}\n")
        self._file.flush()


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 1)
