"""One state of one object: pinned by its first answer, counted, and asked for again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harvest.errors import ErrorKind, ObjectError
from harvest.store.fetch import Fetch, Traffic
from harvest.store.patience import Patience, RateLimit
from harvest.store.protocol import EmptyObject, Listed, Ranged, Version
from tests.support.stores import raised

CONTENT = bytes(range(100))


class Store:
    """Keeps what is asked for, and gives the answers of a script before the right ones."""

    def __init__(self, *script: Exception | Ranged) -> None:
        self.script = list(script)
        self.asked: list[tuple[int, int, Version | None]] = []

    def get(self, key: str, start: int, stop: int, version: Version | None) -> Ranged:
        self.asked.append((start, stop, version))
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return ranged(CONTENT[start:stop])

    def list(self, prefix: str, after: str | None = None) -> Iterator[list[Listed]]:
        raise NotImplementedError


def ranged(data: bytes, size: int = len(CONTENT), etag: str = '"one"') -> Ranged:
    return Ranged(data, size, Version(etag))


def fetch(
    store: Store,
    traffic: Traffic | None = None,
    *,
    etag: str | None = None,
    size: int | None = None,
    version: Version | None = None,
) -> Fetch:
    patience = Patience(2, 60)
    limit = RateLimit(None)
    return Fetch(store, "key", etag, size, patience, limit, traffic or Traffic(), 10, version)


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def test_the_first_answer_pins_the_state() -> None:
    store, traffic = Store(), Traffic()
    read = fetch(store, traffic)
    assert (read.first, read.size, read.version) == (CONTENT[:10], 100, Version('"one"'))
    assert read.get(20, 25) == CONTENT[20:25]
    assert store.asked == [(0, 10, None), (20, 25, Version('"one"'))]
    assert traffic == Traffic(size=100, etag="one", bytes_read=15, requests=2)


def test_a_known_state_is_not_asked_for() -> None:
    store, traffic = Store(), Traffic()
    read = fetch(store, traffic, size=100, version=Version('"one"'))
    assert (read.first, read.size, store.asked) == (b"", 100, [])
    assert read.get(1, 3) == CONTENT[1:3]
    assert store.asked == [(1, 3, Version('"one"'))]
    assert (traffic.bytes_read, traffic.requests) == (2, 1)


def test_retries_are_counted_and_their_bytes_are_not() -> None:
    fault = ObjectError(ErrorKind.UNAVAILABLE, "503")
    traffic = Traffic()
    assert fetch(Store(fault, fault), traffic).first == CONTENT[:10]
    assert (traffic.bytes_read, traffic.requests) == (10, 3)
    assert raised(lambda: fetch(Store(fault, fault, fault))).kind == ErrorKind.UNAVAILABLE


def test_an_object_without_bytes() -> None:
    assert raised(lambda: fetch(Store(EmptyObject()))).kind == ErrorKind.NOT_DICOM


@pytest.mark.parametrize(("etag", "calls"), [("listed", 2), ("other", 1), (None, 1)])
def test_one_state_has_one_size(etag: str | None, calls: int) -> None:
    """An answer of the state that was listed, and of another size, is not believed."""
    lying = ranged(b"0123456789", size=50, etag='"listed"')
    store = Store(lying)
    fetch(store, etag=etag, size=100)
    assert len(store.asked) == calls


def test_one_size_of_later_answers() -> None:
    store = Store(ranged(CONTENT[:10]), ranged(b"xy", size=99))
    assert fetch(store).get(20, 22) == CONTENT[20:22]
    assert len(store.asked) == 3
