"""Files that commands write for their users: local, whole, and never into a harvest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import OutputError
from ..urls import parse_url
from . import MANIFEST, PLAN


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


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Yield a path beside a file; what is written there becomes the file when the block ends."""
    with _refusal_told(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(prefix=".harvest-", dir=file.parent)
    with beside as folder:
        # not by its own name: nothing unfinished is called .parquet
        unfinished = Path(folder) / "unfinished"
        yield unfinished
        with _refusal_told(file):
            os.replace(unfinished, file)


@contextmanager
def _refusal_told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        text = f"{file} cannot be written ({error.strerror}): name another file"
        raise OutputError(text) from None
