"""Asking for bytes: generators that yield the ranges they need and are sent exactly these.

Pure: whoever drives them reads as it likes: blocking, in turns with other objects, from a file,
from bytes that are in memory already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from .window import ByteRange, NeedMore, Window

T = TypeVar("T")
Asking = Generator[ByteRange, bytes, T]
"""Yields ranges, is sent their bytes, and returns what was found out."""


class Answering(Generic[T]):
    """An `Asking` that is being answered.

    Parameters
    ----------
    asking
        Not begun yet.
    """

    def __init__(self, asking: Asking[T]) -> None:
        self._asking = asking
        self._found: T | None = None
        self.wanted: ByteRange | None = None
        """What to read next; None when all is known."""
        self._go_on(None)

    @property
    def found(self) -> T:
        """What was found out; nothing may be wanted any more."""
        assert self.wanted is None, "bytes are still wanted"
        assert self._found is not None
        return self._found

    def answer(self, data: bytes) -> None:
        """Send the bytes that are wanted; raises `ValueError` where they are others."""
        self._go_on(data)

    def _go_on(self, data: bytes | None) -> None:
        try:
            # a generator that has not begun is begun by None
            self.wanted = next(self._asking) if data is None else self._asking.send(data)
        except StopIteration as stop:
            self.wanted, self._found = None, stop.value


def answered(asking: Asking[T], read: Callable[[int, int], bytes]) -> T:
    """Answer an `Asking` to its end.

    Parameters
    ----------
    asking
        Not begun yet.
    read
        Returns the bytes between two absolute offsets.
    """
    answering = Answering(asking)
    while answering.wanted is not None:
        answering.answer(read(*answering.wanted))
    return answering.found


def walked(
    walk: Callable[[], T | NeedMore], window: Window, following: Callable[[NeedMore], ByteRange]
) -> Asking[T]:
    """Walk over a window, and again with more bytes in it, until nothing is missing.

    Parameters
    ----------
    walk
        Over the window, from its beginning.
    window
        Gets the bytes that are sent.
    following
        Chooses the range to read for what is missing, such as `Growth.following`.
    """
    while isinstance(found := walk(), NeedMore):
        wanted = following(found)
        window.add(wanted.start, (yield wanted))
    return found
