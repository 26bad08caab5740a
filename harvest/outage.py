"""Objects that do not answer, or a store that does not: who can tell, and what it means."""

from __future__ import annotations

from typing import Final

from .config import SourceConfig
from .errors import ErrorKind, ObjectError, StoreUnavailable
from .patience import Patience
from .rows import Row
from .store import open_store
from .store.urls import parse_url

OUTAGE_OBJECTS: Final = 32
"""After so many objects without an answer in a row the store itself is asked."""


class Outage:
    """Tells objects that do not answer from a store that does not.

    After many silent objects in a row, and at the end of a partition that has any, the store is
    asked for a listing. If it does not answer either, the run ends and no row is written. If it
    does, whatever it says, it may have been away for a while, and its silent objects deserve
    another reading.

    Parameters
    ----------
    source
        Where the objects lie.
    retries
        Tries again before the store counts as away.
    seconds
        Longest time to wait for it.
    """

    def __init__(self, source: SourceConfig, retries: int, seconds: float) -> None:
        self._source = source
        self._retries = retries
        self._seconds = seconds
        self._in_a_row = 0
        self._asked_about = ""
        self._silent: list[int] = []

    def seen(self, number: int, row: Row) -> None:
        """Take note of a row.

        Raises
        ------
        StoreUnavailable
            It is one silent object too many, and the store does not answer.
        """
        if row.get("error") not in (ErrorKind.UNAVAILABLE, ErrorKind.TOO_SLOW):
            self._in_a_row = 0
            return
        self._asked_about = row["url"]
        self._silent.append(number)
        self._in_a_row += 1
        if self._in_a_row % OUTAGE_OBJECTS == 0:
            self._ask()

    def end(self) -> list[int]:
        """Return the numbers of the silent rows; if there are any, ask the store, as `seen`."""
        silent, self._silent = self._silent, []
        if silent:
            self._ask()
        return silent

    def _ask(self) -> None:
        url = parse_url(self._asked_about)
        folder = url.key.rpartition("/")[0] + "/"
        store = open_store(url, self._source, self._seconds)
        patience = Patience(self._retries, self._seconds)
        try:
            patience.call(lambda: next(store.list(folder), None))
        except ObjectError as error:
            if error.kind in (ErrorKind.UNAVAILABLE, ErrorKind.TOO_SLOW):
                raise StoreUnavailable(
                    f"the store does not answer ({error.detail}): check the network and "
                    "source.endpoint, then run the same command again"
                ) from None
