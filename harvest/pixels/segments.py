"""Segments of a segmentation: their pixels, and no byte of the others'.

PS3.3 section A.51 puts each segment of a BINARY or FRACTIONAL segmentation into frames of its own;
a LABELMAP has all segments in every frame, which tells for each pixel the number of its segment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np

from ..errors import ErrorKind, HarvestError, ObjectError
from ..objects.frame_reader import FrameReader
from ..objects.frame_table import Index
from ..objects.single_frames import open_frames
from .functional_groups import Values, each_frame, first_of, of_frames

_SEGMENT: Final = "SegmentIdentificationSequence.ReferencedSegmentNumber"
_POSITION: Final = "PlanePositionSequence.ImagePositionPatient"
_SOURCES: Final = "DerivationImageSequence"
_SOURCE_UID: Final = f"{_SOURCES}.SourceImageSequence.ReferencedSOPInstanceUID"
_TYPE: Final = "SegmentedPropertyTypeCodeSequence"
_CODE_VALUES: Final = ("CodeValue", "LongCodeValue", "URNCodeValue")

SEGMENT_ATTRIBUTES: Final = (
    "DimensionOrganizationType",
    "MaximumFractionalValue",
    "SegmentationType",
    "SegmentSequence.SegmentNumber",
    "SegmentSequence.SegmentLabel",
    *(
        f"SegmentSequence.{_TYPE}.{each}"
        for each in (*_CODE_VALUES, "CodingSchemeDesignator", "CodeMeaning")
    ),
    *chain.from_iterable(map(of_frames, (_SEGMENT, _POSITION, _SOURCE_UID))),
)
"""What `read_segments` reads of a header, as a profile names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment of a segmentation, with its pixels."""

    number: int
    """Segment Number."""
    label: str | None
    """Segment Label."""
    property_type: str | None
    """What is segmented: scheme and code, such as ``SCT:10200004``."""
    property_meaning: str | None
    """The same for people, such as ``Liver``."""
    segmentation_type: str
    """``BINARY``, ``FRACTIONAL`` or ``LABELMAP``."""
    maximum_fractional_value: int | None
    """FRACTIONAL: what stands for 1 in `pixels`."""
    frames: tuple[int, ...]
    """Numbers of its frames, from 1; of a LABELMAP all of them."""
    pixels: np.ndarray[Any, Any]
    """(frames, rows, columns) of uint8: 0 and 1, or fractions as they are stored."""
    positions: np.ndarray[Any, np.dtype[np.float64]] | None
    """(frames, 3): Image Position (Patient) of each frame in mm, NaN where a frame has none; None
    where none has."""
    source_instances: tuple[tuple[str, ...], ...]
    """SOP Instance UIDs of the images that each frame was made of, as far as it names them."""


@dataclass(frozen=True, slots=True)
class SegmentDescription:
    """What the Segment Sequence tells of a segment (PS3.3 section C.8.20.4)."""

    number: int
    """Segment Number."""
    label: str | None
    """Segment Label."""
    scheme: str | None
    """Of the segmented property type, such as ``SCT``."""
    code: str | None
    """Of the segmented property type, such as ``10200004``."""
    meaning: str | None
    """Of the segmented property type, such as ``Liver``."""

    @property
    def property_type(self) -> str | None:
        """Scheme and code, such as ``SCT:10200004``."""
        return f"{self.scheme}:{self.code}" if self.code else None

    @property
    def names(self) -> set[str]:
        """What it may be asked for by."""
        texts = (self.code, self.property_type, self.meaning)
        return {text.casefold() for text in texts if text}

    def __str__(self) -> str:
        return f"{self.number} ({', '.join(filter(None, (self.property_type, self.meaning)))})"


class Segmentation:
    """A segmentation, opened once: what segments it has, and their pixels.

    Parameters
    ----------
    reader
        Of the object; it has read `SEGMENT_ATTRIBUTES`.

    Raises
    ------
    ObjectError
        ``unsupported``: it has no segments.
    """

    def __init__(self, reader: FrameReader) -> None:
        self._reader = reader
        self.segments: tuple[SegmentDescription, ...] = _described(reader.values)
        """All that there are."""

    @property
    def requests(self) -> int:
        """HTTP requests so far, retries included."""
        return self._reader.file.requests

    @property
    def bytes_read(self) -> int:
        """Body bytes of the answers so far."""
        return self._reader.file.bytes_read

    def read(self, segments: int | str | Sequence[int | str]) -> list[Segment]:
        """Read some segments, and none of the others' pixels; see `read_segments`."""
        asked = [segments] if isinstance(segments, (int, str)) else segments
        chosen = {each.number: each for text in asked for each in _matching(self.segments, text)}
        if self._reader.values.get("SegmentationType") == "LABELMAP":
            return _labelled(self._reader, list(chosen.values()))
        return _own_frames(self._reader, list(chosen.values()), len(self.segments))


def open_segmentation(url: str, *, index: Index | None = None, **source: Any) -> Segmentation:
    """Open a segmentation, to see which segments it has and to read some; as `read_segments`."""
    return Segmentation(open_frames(url, index, SEGMENT_ATTRIBUTES, **source))


def read_segments(
    url: str,
    segments: int | str | Sequence[int | str],
    *,
    index: Index | None = None,
    **source: Any,
) -> list[Segment]:
    """Read some segments of a segmentation, and none of the others' pixels.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file.
    segments
        One or several: a Segment Number, or a text, which is compared with the segmented property
        types without regard to case: a code such as ``10200004``, with its scheme such as
        ``SCT:10200004``, or a meaning such as ``Liver``. All segments of that type are meant.
    index
        A frame index, as in `read_frames`; without one the object's own offset table is read, and
        where it has none its items are walked over.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Returns
    -------
    list of Segment
        In the order of `segments`, each once.

    Raises
    ------
    HarvestError
        There is no such segment; the text says which there are. Or no decoder is installed; or
        the index cannot be read, or does not know the object.
    ObjectError
        What is wrong with the object; ``unsupported`` where it is no segmentation.
    WrongArgument
        The URL or a key of `source` is wrong.

    See Also
    --------
    open_segmentation : To see first which segments there are.
    dask_array : All frames of a segmentation, whatever is in them.
    """
    return open_segmentation(url, index=index, **source).read(segments)


def _described(values: Values) -> tuple[SegmentDescription, ...]:
    items = values.get("SegmentSequence") or []
    found = tuple(_describe(item) for item in items if item.get("SegmentNumber") is not None)
    if not found:
        raise ObjectError(ErrorKind.UNSUPPORTED, "it has no segments: it is no segmentation")
    return found


def _describe(item: Values) -> SegmentDescription:
    codes = (first_of(item, f"{_TYPE}.{keyword}") for keyword in _CODE_VALUES)
    return SegmentDescription(
        number=item["SegmentNumber"],
        label=item.get("SegmentLabel"),
        scheme=first_of(item, f"{_TYPE}.CodingSchemeDesignator"),
        code=next((code for code in codes if code), None),
        meaning=first_of(item, f"{_TYPE}.CodeMeaning"),
    )


def _matching(
    described: Sequence[SegmentDescription], asked: int | str
) -> list[SegmentDescription]:
    if isinstance(asked, str):
        found = [each for each in described if asked.casefold() in each.names]
    else:
        found = [each for each in described if each.number == asked]
    if not found:
        there = ", ".join(map(str, described))
        raise HarvestError(f"there is no segment {asked!r}: choose among {there}")
    return found


def _labelled(reader: FrameReader, chosen: Sequence[SegmentDescription]) -> list[Segment]:
    """Read all frames of a label map, and tell the segments apart."""
    numbers = range(1, reader.ranges.frames + 1)
    labels = np.stack(reader.frames(numbers))
    return [
        _segment(reader, each, tuple(numbers), (labels == each.number).astype(np.uint8))
        for each in chosen
    ]


def _own_frames(
    reader: FrameReader, chosen: Sequence[SegmentDescription], segments: int
) -> list[Segment]:
    """Read the frames of some segments, neighbours together whichever segment they are of."""
    of = _segment_of_frames(reader.values, reader.ranges.frames, segments)
    frames: dict[int, list[int]] = {each.number: [] for each in chosen}
    for frame, number in enumerate(of, start=1):
        if number in frames:
            frames[number].append(frame)
    decoder = reader.decoder
    stacks = {
        number: np.empty((len(own), *decoder.shape), decoder.dtype)
        for number, own in frames.items()
    }
    wanted = sorted(_places(frames))
    pixels = reader.decoded([frame for frame, _, _ in wanted])
    for (_, number, at), frame_pixels in zip(wanted, pixels, strict=True):
        stacks[number][at] = frame_pixels
    return [
        _segment(reader, each, tuple(frames[each.number]), stacks[each.number]) for each in chosen
    ]


def _places(frames: dict[int, list[int]]) -> Iterator[tuple[int, int, int]]:
    for number, own in frames.items():
        for at, frame in enumerate(own):
            yield frame, number, at


def _segment_of_frames(values: Values, frames: int, segments: int) -> list[int | None]:
    """Return the number of each frame's segment."""
    if values.get("DimensionOrganizationType") == "TILED_FULL":
        return _tiled_full(values, frames, segments)
    named = each_frame(values, frames, _SEGMENT)
    if segments == 1:
        (only,) = (item["SegmentNumber"] for item in values["SegmentSequence"])
        named = [[only] if each is None else each for each in named]
    if None in named:
        raise ObjectError(ErrorKind.MALFORMED, "a frame does not tell its segment")
    return [each[0] if isinstance(each, list) else each for each in named]


def _tiled_full(values: Values, frames: int, segments: int) -> list[int | None]:
    """Tell segments by the order of frames: all tiles of one, then all of the next.

    PS3.3 section C.7.6.17.3.
    """
    if frames % segments:
        raise ObjectError(
            ErrorKind.MALFORMED, f"{frames} frames are no whole number for each of {segments}"
        )
    numbers = [item.get("SegmentNumber") for item in values["SegmentSequence"]]
    return [number for number in numbers for _ in range(frames // segments)]


def _segment(
    reader: FrameReader,
    described: SegmentDescription,
    frames: tuple[int, ...],
    pixels: np.ndarray[Any, Any],
) -> Segment:
    values, count = reader.values, reader.ranges.frames
    positions = each_frame(values, count, _POSITION)
    sources = each_frame(values, count, _SOURCES)
    return Segment(
        number=described.number,
        label=described.label,
        property_type=described.property_type,
        property_meaning=described.meaning,
        segmentation_type=str(values.get("SegmentationType")),
        maximum_fractional_value=values.get("MaximumFractionalValue"),
        frames=frames,
        pixels=pixels,
        positions=_positions([positions[frame - 1] for frame in frames]),
        source_instances=tuple(_source_uids(sources[frame - 1]) for frame in frames),
    )


def _positions(found: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    if not any(found):
        return None
    unknown = [np.nan] * 3
    return np.array([each if each and len(each) == 3 else unknown for each in found], np.float64)


def _source_uids(derivations: Sequence[Values] | None) -> tuple[str, ...]:
    return tuple(
        image["ReferencedSOPInstanceUID"]
        for derivation in derivations or ()
        for image in derivation.get("SourceImageSequence") or ()
        if image.get("ReferencedSOPInstanceUID")
    )
