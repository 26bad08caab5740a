"""A writer of TIFF directories, as free to lie as a test wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack


@dataclass
class Tiff:
    """A writer of TIFF directories, as free to lie as a test wants."""

    order: str = "<"
    big: bool = False
    fields: dict[int, tuple[str, Sequence[int]]] = field(default_factory=dict)
    following: int = 0
    filler: int = 0
    """Bytes between a directory and its numbers: a colour profile, for instance."""

    @property
    def wide(self) -> str:
        return "Q" if self.big else "L"

    def preamble(self, directory: int) -> bytes:
        mark = b"II" if self.order == "<" else b"MM"
        if self.big:
            return mark + pack(f"{self.order}HHHQ", 43, 8, 0, directory)
        return (mark + pack(f"{self.order}HL", 42, directory)).ljust(16, b"\0")

    def directory(self, base: int) -> bytes:
        """Encode it for a place in the file, the numbers behind it."""
        kinds = {"H": 3, "L": 4, "Q": 16}
        count = pack(self.order + ("Q" if self.big else "H"), len(self.fields))
        room = 8 if self.big else 4
        size = len(count) + len(self.fields) * (20 if self.big else 12) + room
        behind = base + size + self.filler
        entries, numbers = b"", b""
        for tag, (code, values) in sorted(self.fields.items()):
            data = pack(f"{self.order}{len(values)}{code}", *values)
            entries += pack(f"{self.order}HH{self.wide}", tag, kinds[code], len(values))
            if len(data) <= room:
                entries += data.ljust(room, b"\0")
            else:
                entries += pack(self.order + self.wide, behind + len(numbers))
                numbers += data
        following = pack(self.order + self.wide, self.following)
        return count + entries + following + bytes(self.filler) + numbers
