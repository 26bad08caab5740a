"""Items that are joined into a frame."""

from __future__ import annotations

import pytest

from harvest.errors import ErrorKind, ObjectError
from harvest.frames import join_fragments
from tests.support.build import LITTLE, UNDEFINED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xfe\xff\x00\xe0",
        LITTLE.item(b"ab")[:-1],
        LITTLE.item(b"ab") + b"\0",
        LITTLE.item(b"ab") + LITTLE.sequence_end,
        LITTLE.item(b"ab", length=UNDEFINED),
        b"\0" * 16,
    ],
)
def test_only_whole_items_are_a_frame(data: bytes) -> None:
    with pytest.raises(ObjectError, match="whole items") as caught:
        join_fragments(data)
    assert caught.value.kind == ErrorKind.MALFORMED


def test_fragments_are_joined() -> None:
    data = LITTLE.item(b"ab") + LITTLE.item(b"") + LITTLE.item(b"cd")
    assert join_fragments(data) == b"abcd"
