"""Files that commands write for their users: local, whole, and never into a harvest."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import OutputError
from ..urls import parse_url
from . import MANIFEST, PLAN, LocalOutput, Output
from .faults import explained


def local_file(destination: str | Path) -> Path:
    """Check where a file is to be written.

    Raises
    ------
    OutputError
        It is no file of this machine, or would be part of a harvest.
    """
    try:
        url = parse_url(str(destination))
    except ValueError as error:
        raise OutputError(f"{error}: name a local file") from None
    if url.scheme != "file":
        raise OutputError(
            f"{destination} is in a bucket, and this is written to a local file: "
            "name one, and copy it there"
        )
    file = Path(url.key)
    if url.key.endswith("/") or file.is_dir():
        raise OutputError(f"{destination} is a folder: name a file in it")
    folder = file.parent.resolve()
    for around in (folder, *folder.parents):
        if _is_harvest(around):
            raise OutputError(
                f"{destination} is part of the harvest in {around}: name a file outside it"
            )
    return file


def _is_harvest(folder: Path) -> bool:
    """Tell whether a folder holds a finished harvest, or one that was begun."""
    finished = os.path.isfile(folder / MANIFEST) and os.path.isdir(folder / "instances")
    return finished or os.path.isdir(folder / PLAN)


def local_files(folder: str | Path, names: Iterable[str]) -> list[Path]:
    """Check where the tables of a folder are to be written; raises as `local_file`."""
    return [local_file(f"{folder}/{name}.parquet") for name in names]


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Yield a path beside a file; what is written there becomes the file when the block ends.

    Raises
    ------
    OutputError
        The file system refuses a file there. What fails inside the block is the caller's.
    """
    with _explained(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(prefix=".harvest-", dir=file.parent)
    with beside as folder:
        # not by its own name: nothing unfinished is called .parquet
        unfinished = Path(folder) / "unfinished"
        yield unfinished
        with _explained(file):
            os.replace(unfinished, file)


@contextmanager
def written_beside(file: Path) -> Iterator[tuple[Output, str]]:
    """Yield an output, and the name in it that becomes the file when the block ends.

    Raises
    ------
    OutputError
        The file system refuses it, also inside the block.
    """
    with written_whole(file) as unfinished:
        yield _Beside(unfinished.parent, file), unfinished.name


def write_whole(file: Path, data: bytes) -> None:
    """Write a file; raises `OutputError`."""
    with written_beside(file) as (output, name):
        output.write(name, data)


class _Beside(LocalOutput):
    """A folder beside a file: what is refused there is told of the file."""

    def __init__(self, folder: Path, file: Path) -> None:
        super().__init__(folder)
        self._file = file

    def _explained(self, verb: str) -> AbstractContextManager[None]:
        return _explained(self._file, verb)


@contextmanager
def _explained(file: Path, verb: str = "written") -> Iterator[None]:
    try:
        with explained(str(file), verb, "name another file"):
            yield
    except FileNotFoundError as error:  # of a folder in which nothing can be, such as /proc
        text = f"{file} cannot be {verb} ({error.strerror}): name another file"
        raise OutputError(text) from None
