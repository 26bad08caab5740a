"""What a person sees while the work goes on: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .reader import PartitionRead

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress(Protocol):
    """Is told what a run does."""

    def message(self, text: str) -> None:
        """A step begins."""
        ...

    def begin(self, rows: int, done: int) -> None:
        """Reading begins; `done` of the plan's `rows` were read by an earlier run."""
        ...

    def partition(self, part: PartitionRead) -> None:
        """A partition was read."""
        ...

    def end(self) -> None:
        """Reading ends, for good or ill."""
        ...


class Silent:
    """Says nothing."""

    def message(self, text: str) -> None:
        """Say nothing."""

    def begin(self, rows: int, done: int) -> None:
        """Say nothing."""

    def partition(self, part: PartitionRead) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""


class Bar:
    """A progress bar on stderr: instances a second, bytes, errors, time left."""

    def __init__(self) -> None:
        # imported here: a run in a batch system draws nothing
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[read]} read"),
            TextColumn("{task.fields[errors]} errors"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._bytes = 0
        self._errors = 0

    def message(self, text: str) -> None:
        """Print the step that begins."""
        self._console.print(f"{text} ...", style="dim")

    def begin(self, rows: int, done: int) -> None:
        """Draw the bar."""
        self._progress.start()
        self._task = self._progress.add_task(
            "reading headers", total=rows, completed=done, rate="", read="0 B", errors=0
        )

    def partition(self, part: PartitionRead) -> None:
        """Move the bar on."""
        from rich.filesize import decimal

        assert self._task is not None
        self._bytes += part.bytes_read
        self._errors += part.rows - part.ok
        speed = self._progress.tasks[0].speed
        self._progress.update(
            self._task,
            advance=part.rows,
            rate=f"{speed:,.0f}/s" if speed else "",
            read=decimal(self._bytes),
            errors=self._errors,
        )

    def end(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class Heeding:
    """Passes everything on, and looks up between partitions.

    Parameters
    ----------
    progress
        Is told what happens.
    look
        Called after each partition; may raise to end the run.
    """

    def __init__(self, progress: Progress, look: Callable[[], None]) -> None:
        self._progress = progress
        self._look = look

    def message(self, text: str) -> None:
        """Pass it on, and look up."""
        self._progress.message(text)
        self._look()

    def begin(self, rows: int, done: int) -> None:
        """Pass it on."""
        self._progress.begin(rows, done)

    def partition(self, part: PartitionRead) -> None:
        """Pass it on, and look up."""
        self._progress.partition(part)
        self._look()

    def end(self) -> None:
        """Pass it on."""
        self._progress.end()
