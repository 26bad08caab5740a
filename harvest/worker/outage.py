"""Objects that cannot be had, or a store that cannot: who can tell, and what it means."""

from __future__ import annotations

import threading
from typing import Final

from ..config import SourceConfig
from ..errors import ErrorKind, ObjectError, StoreUnavailable
from ..store import open_store
from ..store.faults import store_unavailable
from ..store.patience import Patience
from ..table.rows import Row
from ..urls import ObjectUrl, parse_url

OUTAGE_OBJECTS: Final = 32
"""After so many objects in a row that cannot be had the store itself is asked."""
_SILENT: Final = frozenset({ErrorKind.UNAVAILABLE, ErrorKind.TOO_SLOW})
_REFUSED: Final = frozenset({ErrorKind.DENIED, ErrorKind.NOT_FOUND})


class Outage:
    """Tells objects that do not answer, or are refused, from a store that is away or closed.

    After many such objects in a row, and at the end of a partition that has any, their bucket is
    asked for a listing. If it does not answer either, or refuses what it allowed when the plan was
    made, the run ends and no row is written. If it answers, it may have been away for a while, and
    its silent objects deserve another reading.

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
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._asked_about: dict[str, tuple[ObjectUrl, bool]] = {}
        self._silent: list[int] = []

    def seen(self, number: int, row: Row) -> None:
        """Take note of a row.

        Raises
        ------
        StoreUnavailable
            It is one such object too many, and its bucket is away or closed.
        """
        error = row.get("error")
        if error not in _SILENT and error not in _REFUSED:
            self._in_a_row = 0
            return
        with self._lock:
            self._count(number, row, error)

    def _count(self, number: int, row: Row, error: str) -> None:
        url = parse_url(row["url"])
        # what a manifest names may be refused, and a folder may go without its disk: only a
        # bucket that was listed once allowed it
        listed = url.scheme != "file" and row["etag"] is not None
        if error in _REFUSED and not listed:
            self._in_a_row = 0
            return
        # one bucket may be away beside another that only has an object that does not answer
        self._asked_about[url.bucket] = url, listed
        if error in _SILENT:
            self._silent.append(number)
        self._in_a_row += 1
        if self._in_a_row % OUTAGE_OBJECTS == 0:
            self._ask()

    def end(self) -> list[int]:
        """Return the numbers of the silent rows; ask the store about the last, as `seen` does."""
        self._ask()
        silent, self._silent = self._silent, []
        return silent

    def _ask(self) -> None:
        for url, listed in self._asked_about.values():
            self._ask_bucket(url, listed)
        self._asked_about = {}

    def _ask_bucket(self, url: ObjectUrl, listed: bool) -> None:
        store = open_store(url, self._source, self._seconds)
        patience = Patience(self._retries, self._seconds)
        try:
            patience.call(lambda: next(store.list(url.folder.key), None))
        except ObjectError as error:
            if error.kind in _SILENT:
                raise store_unavailable(url.folder.place, error, "source.endpoint") from None
            if listed and error.kind in _REFUSED:
                raise StoreUnavailable(
                    f"{url.place} refuses what it allowed when the plan was made "
                    f"({error.detail}): renew the credentials, or restore the bucket, then run "
                    "the same command again"
                ) from None
