"""Value representations: how each is written, and which one an element has.

The file's own counts; where it has none, or UN, pydicom's dictionaries tell (PS3.5 section 6.2.2).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from pydicom import datadict
from pydicom.valuerep import VR

from .elements import EVERYTHING, LUT_DESCRIPTOR, DataSet, Element, Selection, creator_of
from .tags import is_creator

# PS3.5 section 7.1.2: these have two reserved bytes and a length of four bytes
LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
VR_TEXT = {vr.encode(): vr for vr in VR.__members__ if len(vr) == 2}
_KNOWN_VRS = frozenset(VR_TEXT.values())
FRAGMENT_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW"})
_BULK_VRS = FRAGMENT_VRS | {None, "UN"}
BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW"})
"""VRs that never become a column: bulk data, or bytes of unknown meaning."""
NUMBER_FORMATS: Final = {
    "FD": "d",
    "FL": "f",
    "SL": "l",
    "SS": "h",
    "SV": "q",
    "UL": "L",
    "US": "H",
    "UV": "Q",
    # words, where a dictionary entry leaves the choice to the file
    "OW": "H",
}
_AMBIGUOUS: Final = frozenset({"US or SS", "US or OW", "US or SS or OW", "OB or OW"})


def holds_items(tag: int, vr: str | None, nested: Selection | None) -> bool:
    """Tell whether a kept element of defined length is a sequence.

    Parameters
    ----------
    tag
        Of the element, ``0xGGGGEEEE``.
    vr
        As the file writes it; None under implicit VR.
    nested
        What is wanted of its items, None for nothing.
    """
    if vr not in (None, "UN"):
        return vr == "SQ"
    wanted_as_sequence = nested is not None and nested is not EVERYTHING
    return wanted_as_sequence or dictionary_vr(tag) == "SQ"


def is_bulk(tag: int, vr: str | None) -> bool:
    """Tell whether an element holds bytes or numbers without end, or what nobody knows.

    Parameters
    ----------
    tag
        Of the element, ``0xGGGGEEEE``.
    vr
        As the file writes it; None under implicit VR.
    """
    return (dictionary_vr(tag) if vr in (None, "UN") else vr) in _BULK_VRS


@lru_cache(maxsize=16_384)
def dictionary_vr(tag: int) -> str | None:
    """Return the VR of PS3.6, such as ``US or SS``; None where it knows no such tag."""
    try:
        return datadict.dictionary_VR(tag)
    except KeyError:
        return None


def column_vr(found: str | None, dictionary: str, *, signed: bool) -> str:
    """Tell by which VR the values of a column are decoded.

    Of ``US or OW`` a column is a list of numbers; the DICOM JSON Model may have bytes
    (`written_vr`).

    Parameters
    ----------
    found
        As the file writes it; None under implicit VR.
    dictionary
        Of the column.
    signed
        Whether Pixel Representation says that ambiguous pixel values are signed.
    """
    vr = dictionary if found in (None, "UN") else found
    if vr in _AMBIGUOUS:
        return "SS" if signed and "SS" in vr else "US"
    return str(vr)


def written_vr(element: Element, dataset: DataSet, *, signed: bool, little_endian: bool) -> str:
    """Tell an element's VR, by the dictionaries where the file has none (PS3.5 section 6.2.2).

    Parameters
    ----------
    element, dataset
        What is asked for, and the data set that holds it.
    signed
        Whether Pixel Representation says that ambiguous pixel values are signed.
    little_endian
        Byte order of the data set.
    """
    tag, vr = element.tag, element.vr
    if vr is not None and vr != "UN":
        return vr if vr in _KNOWN_VRS else "UN"
    vr = plain_vr(tag)
    if vr is None:
        if tag & 0x10000:
            vr = _private_vr(tag, creator_of(tag, dataset))
        else:
            vr = datadict.dictionary_VR(tag)
    if vr == "US or SS":
        return "SS" if signed else "US"
    if vr == "US or OW" and _lut_has_one_entry(dataset, little_endian=little_endian):
        return "US"
    # the walk knows no sequence of defined length that only the private dictionary knows
    return "UN" if vr == "SQ" and element.items is None else vr if len(vr) == 2 else "OW"


@lru_cache(maxsize=8192)
def plain_vr(tag: int) -> str | None:
    """Return the dictionary's VR of a tag; None where it depends on other elements."""
    group, number = tag >> 16, tag & 0xFFFF
    if group % 2:
        # PS3.5 section 7.8.1: creators, and elements that no creator can own
        return "LO" if is_creator(tag) else "UN" if number < 0x100 else None
    if number == 0:
        return "UL"
    vr = dictionary_vr(tag) or "UN"
    return vr if len(vr) == 2 else None


@lru_cache(maxsize=4096)
def _private_vr(tag: int, creator: bytes) -> str:
    try:
        return datadict.private_dictionary_VR(tag, creator.decode("latin-1"))
    except KeyError:
        return "UN"


def _lut_has_one_entry(dataset: DataSet, *, little_endian: bool) -> bool:
    """Tell whether LUT Data are one number, by their descriptor (PS3.3 section C.11.1.1.1)."""
    descriptor = dataset.get(LUT_DESCRIPTOR)
    entries = b"" if descriptor is None else (descriptor.value or b"")[:2]
    return int.from_bytes(entries, "little" if little_endian else "big") == 1
