"""One object: its header, where its pixels are, and its offset table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ..config import source_of
from ..dicom.converter import root_encoding
from ..dicom.dictionary import keyword_of
from ..dicom.elements import DataSet, Element
from ..dicom.offsets import Pixels
from ..dicom.tags import Attribute, Wanted, tag_text
from ..dicom.values import Encoding, Unfit, convert
from ..dicom.vrs import BINARY_VRS, dictionary_vr
from ..store.fetch import Traffic
from ..store.patience import RateLimit
from ..table.rows import Planned
from ..urls import parse_url
from ..worker.object_reader import ObjectReader
from ..worker.reading import read_alone
from .frame_reader import READER_LIMITS

SHOWN_VALUE_BYTES: Final = 1024
"""Longest value that is shown."""


@dataclass(frozen=True, slots=True)
class ElementReport:
    """One data element, for people."""

    tag: str
    """``(GGGG,EEEE)``."""
    name: str
    """Keyword, or the tag where there is none."""
    vr: str
    value: Any
    """A list of values; None if empty, not converted, or a sequence."""
    length: int
    """Bytes of the value, 4294967295 if undefined."""
    items: tuple[tuple[ElementReport, ...], ...] | None = None
    """Of a sequence."""
    problem: str | None = None
    """Why the value is not shown; ``binary`` where nobody could read it."""


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What `read` found."""

    url: str
    size: int
    etag: str | None
    transfer_syntax: str | None
    header_bytes: int
    pixels: Pixels
    requests: int
    bytes_read: int
    elements: tuple[ElementReport, ...]


def read(url: str, **source: Any) -> ObjectReport:
    """Read the header of one object by range, without its pixels.

    Parameters
    ----------
    url
        ``s3://bucket/key``, ``gs://bucket/key``, or a local file.
    **source
        Keys of the config's ``source:`` section, such as ``endpoint``.

    Returns
    -------
    ObjectReport
        Every element of the header; values over 1 KiB are left out.

    Raises
    ------
    ObjectError
        What is wrong with the object.
    WrongArgument
        The URL or a key of `source` is wrong.

    See Also
    --------
    open : The object as a file, for pydicom and highdicom.
    run : The headers of a whole cohort, as tables.
    """
    parsed = parse_url(url)
    settings = source_of(parsed, source)
    reader = ObjectReader(
        settings,
        Wanted(everything=True),
        READER_LIMITS,
        retries=3,
        object_seconds=120,
        rate=RateLimit(None),
    )
    traffic = Traffic()
    found = read_alone(reader, Planned(str(parsed), None, None), traffic).result()
    assert traffic.size is not None
    return ObjectReport(
        url=str(parsed),
        size=traffic.size,
        etag=traffic.etag,
        transfer_syntax=found.own.transfer_syntax,
        header_bytes=found.header_bytes,
        pixels=found.pixels,
        requests=traffic.requests,
        bytes_read=traffic.bytes_read,
        elements=_reports(found.own.dataset, root_encoding(found.own)),
    )


def _reports(dataset: DataSet, encoding: Encoding) -> tuple[ElementReport, ...]:
    return tuple(_report(element, encoding) for element in dataset.values())


def _report(element: Element, encoding: Encoding) -> ElementReport:
    tag = element.tag
    attribute = _attribute(element)
    items = value = problem = None
    if element.items is not None:
        items = tuple(_reports(item, encoding.inside(item)) for item in element.items)
    elif attribute.vr in BINARY_VRS:
        problem = "binary"
    else:
        short = element.length <= SHOWN_VALUE_BYTES
        try:
            value = convert(element if short else element._replace(value=None), attribute, encoding)
        except Unfit as unfit:
            problem = str(unfit.problem)
    return ElementReport(
        tag=tag_text(tag),
        name=keyword_of(tag),
        vr=attribute.vr,
        value=value,
        length=element.length,
        items=items,
        problem=problem,
    )


def _attribute(element: Element) -> Attribute:
    """Take the type from the file, or from the dictionary where the file has none."""
    vr = element.vr
    if vr in (None, "UN"):
        vr = dictionary_vr(element.tag)
    return Attribute(element.tag, "", "", vr or "UN", "1-n", "")
