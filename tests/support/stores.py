"""What is asked of every store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harvest.errors import ObjectError
from harvest.store.protocol import Listed, ObjectStore


def raised(call: Callable[[], Any]) -> ObjectError:
    with pytest.raises(ObjectError) as found:
        call()
    return found.value


def listed(store: ObjectStore, prefix: str, after: str | None = None) -> list[Listed]:
    return [entry for page in store.list(prefix, after) for entry in page]


def write(path: Path, content: bytes = b"content") -> Path:
    path.write_bytes(content)
    return path
