"""Single frames of one object, by its URL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .file import open_object
from .frame_reader import FrameReader
from .frame_table import Index, indexed
from .inflated import InflatedFile

if TYPE_CHECKING:
    import numpy as np


def open_frames(
    url: str, index: Index | None = None, wanted: Iterable[str] = (), **source: Any
) -> FrameReader:
    """Open an object to read frames of it, and attributes; its header has been read then.

    Parameters
    ----------
    url, index, **source
        As of `read_frames`, which tells what is raised, too.
    wanted
        Attributes to be read besides, as a profile names them.
    """
    file = open_object(url, **source)
    reader = FrameReader(file, wanted=wanted)
    if reader.description.deflated:
        return FrameReader(InflatedFile(file), wanted=wanted)
    use_index(reader, index)
    return reader


def use_index(reader: FrameReader, index: Index | None) -> None:
    """Let an index tell where frames lie, if there is one; none leads into a deflated object.

    Raises
    ------
    ObjectError
        The object is another than the index saw, or its frames have no place.
    HarvestError
        The index cannot be read, or does not know the object.
    """
    if index is not None and not reader.deflated:
        reader.ranges = indexed(index, reader.file.name, reader.file.size)


def read_frames(
    url: str, numbers: int | Sequence[int], index: Index | None = None, **source: Any
) -> list[np.ndarray[Any, Any]]:
    """Read and decode some frames of an object, each by its own bytes.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file.
    numbers
        Of the frames, or of one, from 1.
    index
        A frame index: a file that ``harvest frames URL --dest FILE`` writes, or the output of a
        harvest with ``read.frames``; see `harvest.frame_table.Index`. Without one the object's own
        offset table is read, and where it has none its items are walked over.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Returns
    -------
    list of numpy.ndarray
        (rows, columns) or (rows, columns, samples), in the order of `numbers`.

    Raises
    ------
    IndexError
        There is no such frame.
    ObjectError
        What is wrong with the object.
    HarvestError
        The index cannot be read, or does not know the object; or no decoder is installed.
    WrongArgument
        The URL or a key of `source` is wrong.

    See Also
    --------
    open : The object as a file, for pydicom and highdicom.
    dask_array : All frames, each read when it is computed.
    read_region, read_segments : What knows where the pixels of frames belong.
    """
    wanted = [numbers] if isinstance(numbers, int) else numbers
    return open_frames(url, index, **source).frames(wanted)
