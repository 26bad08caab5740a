"""Data elements of one object, their values still encoded, and which of them to keep."""

from __future__ import annotations

from typing import Final, NamedTuple

from .tags import Attribute, Key, PrivateTag, is_creator

UNDEFINED: Final = 0xFFFFFFFF
"""A length that is not said: the value ends with a delimiter (PS3.5 section 7.1.1)."""

ITEM: Final = 0xFFFEE000
ITEM_HEAD_BYTES: Final = 8
"""Of an item's tag and length (PS3.5 table 7.5-1)."""
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD
DELIMITER_GROUP: Final = 0xFFFE
META_GROUP: Final = 0x0002
PIXEL_GROUP: Final = 0x7FE0

TRANSFER_SYNTAX_UID: Final = 0x00020010
MEDIA_STORAGE_SOP_CLASS_UID: Final = 0x00020002
SPECIFIC_CHARACTER_SET: Final = 0x00080005
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
SERIES_INSTANCE_UID: Final = 0x0020000E
NUMBER_OF_FRAMES: Final = 0x00280008
ROWS: Final = 0x00280010
PIXEL_REPRESENTATION: Final = 0x00280103
LUT_DESCRIPTOR: Final = 0x00283002

CREATOR_BYTES: Final = 256
"""Longest private creator: 64 characters (PS3.5 section 6.2, LO) of up to four bytes."""

# What other elements' meaning depends on; kept at every level whether asked for or not.
_CONTEXT = (SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION)
# What a row says of every object.
_ESSENTIAL = (
    MEDIA_STORAGE_SOP_CLASS_UID,
    TRANSFER_SYNTAX_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SERIES_INSTANCE_UID,
    NUMBER_OF_FRAMES,
    ROWS,
)


class Element(NamedTuple):
    """One data element, its value still encoded."""

    tag: int
    """``0xGGGGEEEE``."""
    vr: str | None
    """As the file writes it; None under implicit VR."""
    offset: int
    """Absolute offset of the value's first byte (in the inflated data set, if deflated)."""
    length: int
    """Bytes of the value, `UNDEFINED` where the file does not say."""
    value: bytes | None
    """None for sequences, and for values longer than the limit or that nobody converts."""
    items: tuple[DataSet, ...] | None = None
    """The items of a sequence."""


DataSet = dict[Key, Element]
"""Elements by tag; private ones that were asked for by creator are found by that name."""


class Selection:
    """Which elements of a data set, and of the items of its sequences, to keep.

    Parameters
    ----------
    attributes
        What is wanted, as a profile gives it.
    everything
        Keep every element, at every depth.
    top
        Whether it is for a whole object and not for an item.
    skipped
        Tags that are not kept nevertheless.
    """

    __slots__ = ("everything", "private", "private_groups", "public", "skipped")

    def __init__(
        self,
        attributes: tuple[Attribute, ...] = (),
        *,
        everything: bool = False,
        top: bool = True,
        skipped: frozenset[int] = frozenset(),
    ) -> None:
        self.everything = everything
        self.skipped = skipped
        self.public: dict[int, Selection | None] = dict.fromkeys(_CONTEXT)
        if top:
            self.public.update(dict.fromkeys(_ESSENTIAL))
        self.private: dict[PrivateTag, Selection | None] = {}
        for attribute in attributes:
            inside = everything or attribute.open
            nested = (
                Selection(attribute.members, everything=inside, top=False)
                if attribute.members or attribute.open
                else None
            )
            if isinstance(attribute.key, PrivateTag):
                self.private[attribute.key] = nested
            else:
                self.public[attribute.key] = nested
        self.private_groups = frozenset(tag.group for tag in self.private)

    def find(self, tag: int, found: DataSet) -> tuple[Key, Selection | None] | None:
        """Tell under which key to keep an element, and what of its items; None to step over it.

        Parameters
        ----------
        tag
            Of the element, ``0xGGGGEEEE``.
        found
            The data set so far, where private creators are looked up.
        """
        rest = EVERYTHING if self.everything else None
        if tag in self.public:
            return tag, self.public[tag] or rest
        private = self._find_private(tag, found) if tag >> 16 in self.private_groups else None
        if private is None and rest is not None and tag not in self.skipped:
            return tag, rest
        return private

    def _find_private(self, tag: int, found: DataSet) -> tuple[Key, Selection | None] | None:
        if is_creator(tag):
            return tag, None
        private = PrivateTag(tag >> 16, creator_of(tag, found).decode("latin-1"), tag & 0xFF)
        if private not in self.private:
            return None
        return private, self.private[private] or (EVERYTHING if self.everything else None)


EVERYTHING: Final = Selection(everything=True, top=False)
"""Of items that nobody has named."""
NOTHING: Final = Selection(top=False)
"""Nothing is kept: not even what tells how other values are encoded."""
NOTHING.public.clear()


def creator_of(tag: int, dataset: DataSet) -> bytes:
    """Return the creator of a private element's block, empty where there is none.

    Spaces at both of its ends mean nothing (PS3.5 table 6.2-1, LO).
    """
    block = tag >> 8 & 0xFF
    element = dataset.get(tag & 0xFFFF0000 | block) if block else None
    # it is looked at for every element of its block
    if element is None or not element.value or element.length > CREATOR_BYTES:
        return b""
    return element.value.strip(b" \0")


def text_of(element: Element | None) -> str:
    """Decode an element of the default repertoire, such as a UID; empty where it is absent."""
    if element is None or element.value is None:
        return ""
    return element.value.decode("latin-1").strip(" \0")
