"""Ranges of one state of one object: pinned, counted, and asked for again where that may help."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ErrorKind, ObjectError
from .faults import unavailable
from .patience import Patience, RateLimit
from .protocol import EmptyObject, Ranged, Readable, Version, unquoted


@dataclass(slots=True)
class Traffic:
    """What reading one object took."""

    size: int | None = None
    """Bytes of the object, by the first answer."""
    etag: str | None = None
    """Of the first answer, unquoted."""
    bytes_read: int = 0
    """Body bytes of the answers."""
    requests: int = 0
    """HTTP requests, retries included."""


class Fetch:
    """Reads one object; begins with a request for its first bytes, which pins its state.

    Where the state is known, from another process that has read it, nothing is requested before it
    is asked for.

    Parameters
    ----------
    store, key
        Where it is.
    etag, size
        By a listing; None where nothing was listed.
    patience
        When to give up.
    rate
        Limit on requests.
    traffic
        Is added to.
    length
        Of the first bytes.
    version
        The state of the object to read, whose `size` is known then.

    Raises
    ------
    ObjectError
        It cannot be read; ``not_dicom`` where it has no bytes.
    """

    def __init__(
        self,
        store: Readable,
        key: str,
        etag: str | None,
        size: int | None,
        patience: Patience,
        rate: RateLimit,
        traffic: Traffic,
        length: int,
        version: Version | None = None,
    ) -> None:
        self._store = store
        self._key = key
        self._etag, self._size = etag, size
        self._rate = rate
        self.patience = patience
        self.traffic = traffic
        self.version = version
        if version is not None:
            assert size is not None
            self.size, self.first = size, b""
            return
        try:
            answer = self._get(0, length, patience)
        except EmptyObject:
            raise ObjectError(ErrorKind.NOT_DICOM, "the object has no bytes") from None
        self.version = answer.version
        self.size = traffic.size = self._size = answer.size
        traffic.etag = self._etag = unquoted(answer.version.etag)
        self.first = answer.data

    def get(self, start: int, stop: int, patience: Patience | None = None) -> bytes:
        """Read bytes `start` to `stop` of the same state of the object; raises `ObjectError`.

        Many threads may read, each with a patience of its own.
        """
        return self._get(start, stop, patience or self.patience).data

    def _get(self, start: int, stop: int, patience: Patience) -> Ranged:
        def request() -> Ranged:
            patience.excuse(self._rate.wait())
            self.traffic.requests += 1
            found = self._store.get(self._key, start, stop, self.version)
            self._check_size(found)
            return found

        answer = patience.call(request)
        self.traffic.bytes_read += len(answer.data)
        return answer

    def _check_size(self, answer: Ranged) -> None:
        """Check that one state of the object has one size."""
        same = self.version is not None or (
            self._etag is not None and self._etag == unquoted(answer.version.etag)
        )
        if same and self._size is not None and self._size != answer.size:
            raise unavailable("the answer tells another size of the same object")
