"""One object that is being read: its requests and its walks take turns, and it ends as a row."""

from __future__ import annotations

import time
from typing import Final

from ..dicom.asking import Asking
from ..dicom.window import ByteRange
from ..errors import ErrorKind, HarvestError, ObjectError, place_of
from ..store.fetch import Fetch, Traffic
from ..store.patience import Patience
from ..table.rows import Planned, Row, add_frames, add_header, error_row, ok_row
from .object_reader import ObjectReader, ReadObject

RESTARTS: Final = 2
"""How often an object that changes under the reader is begun again."""


class Reading:
    """One object that is being read.

    Parameters
    ----------
    reader
        What it has in common with other objects.
    planned
        The object.
    traffic
        Of an earlier reading, which this one adds to.
    """

    def __init__(
        self, reader: ObjectReader, planned: Planned, traffic: Traffic | None = None
    ) -> None:
        self._reader = reader
        self._planned = planned
        self._traffic = traffic or Traffic()
        self._restarts = 0
        self._patience: Patience | None = None
        self._paused = 0.0
        self._fetch: Fetch | None = None
        self._asking: Asking[ReadObject] | None = None
        """Begun by the first walk, and not by the first request: walks take turns."""
        self._wanted: ByteRange | None = None
        self._data = b""
        self._found: ReadObject | None = None
        self._error: ObjectError | HarvestError | None = None

    def wait(self) -> None:
        """Make the next request; what goes wrong with it is told by `work`."""
        patience = self._go_on()
        try:
            if self._fetch is None:
                self._fetch = self._reader.fetch(self._planned, self._traffic, patience)
            else:
                assert self._wanted is not None
                self._data = self._fetch.get(*self._wanted)
        except Exception as error:
            self._error = _kept(error)
        self._paused = time.monotonic()

    def work(self) -> bool:
        """Walk over what has arrived; tell whether no further request is needed."""
        self._go_on()
        if self._error is None:
            try:
                self._walk()
            except Exception as error:
                self._error = _kept(error)
        changed = isinstance(self._error, ObjectError) and self._error.kind == ErrorKind.CHANGED
        again = changed and self._restarts < RESTARTS
        if again:
            self._restarts += 1
            self._error = None
        done = not again and (self._error is not None or self._found is not None)
        if done or again:
            self._fetch = self._asking = None  # its bytes are no longer needed
        self._paused = time.monotonic()
        return done

    def _walk(self) -> None:
        """Work until the next range is wanted, or all is known."""
        assert self._fetch is not None
        data, self._data = self._data, b""
        try:
            if self._asking is None:
                self._asking = self._reader.reading(self._planned, self._fetch, self._more_time)
                self._wanted = next(self._asking)
            else:
                self._wanted = self._asking.send(data)
        except StopIteration as stop:
            self._found = stop.value

    def _go_on(self) -> Patience:
        """Begin a turn; to wait for it was no fault of the object."""
        if self._patience is None:
            self._patience = self._reader.patience()
        else:
            self._patience.excuse(time.monotonic() - self._paused)
        return self._patience

    def _more_time(self) -> None:
        assert self._fetch is not None
        self._patience = self._fetch.patience = self._reader.patience()

    def row(self) -> Row:
        """Return the object's row, whatever happened to it.

        Raises
        ------
        HarvestError
            Something is wrong with the whole run, such as credentials that are not there.
        """
        error = self._error
        if error is None:
            try:
                return self._ok_row()
            except Exception as found:
                error = _kept(found)
        if isinstance(error, HarvestError):
            raise error
        return error_row(self._planned, self._traffic, error)

    def _ok_row(self) -> Row:
        found = self.result()
        row = ok_row(
            self._planned,
            self._traffic,
            found.header_bytes,
            found.pixels,
            found.values,
            found.changed,
        )
        if found.whole is not None:
            add_header(row, found.whole)
        if found.located is not None:
            add_frames(row, found.located)
        return row

    def result(self) -> ReadObject:
        """Return what was read, or raise what happened instead."""
        if self._error is not None:
            raise self._error
        assert self._found is not None
        return self._found


def read_alone(reader: ObjectReader, planned: Planned, traffic: Traffic | None = None) -> Reading:
    """Read one object without others beside it.

    Parameters
    ----------
    reader
        Of the object.
    planned
        The object.
    traffic
        Is added to.
    """
    reading = Reading(reader, planned, traffic)
    done = False
    while not done:
        reading.wait()
        done = reading.work()
    return reading


def _kept(error: Exception) -> ObjectError | HarvestError:
    """Return what is kept of an exception.

    A bug of ours is one error row and not the night's run. The text of a foreign exception may
    hold a tag value, and the frames that it came from would keep a reading alive.
    """
    if not isinstance(error, (ObjectError, HarvestError)):
        error = ObjectError(ErrorKind.INTERNAL, f"{type(error).__name__} at {place_of(error)}")
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
