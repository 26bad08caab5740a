"""What only files have: links, pipes, and growth."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harvest.config import SourceConfig
from harvest.errors import ErrorKind, ObjectError
from harvest.store import open_store
from harvest.store.with_files import FileStore
from harvest.urls import parse_url
from tests.support.stores import listed, raised, write


def test_a_folder_is_no_object(tmp_path: Path) -> None:
    store = open_store(parse_url(str(tmp_path)), SourceConfig())
    assert raised(lambda: store.get(str(tmp_path), 0, 10, None)).kind == ErrorKind.NOT_FOUND
    below = str(write(tmp_path / "a") / "b")
    assert raised(lambda: store.get(below, 0, 10, None)).kind == ErrorKind.NOT_FOUND


def test_files_list_links_and_no_folders(tmp_path: Path) -> None:
    write(tmp_path / "one")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(tmp_path / "one")
    (tmp_path / "empty").mkdir()
    store = open_store(parse_url(str(tmp_path)), SourceConfig())
    assert [entry.key for entry in listed(store, str(tmp_path))] == [
        # its row will say what is wrong with it
        str(tmp_path / "dangling"),
        str(tmp_path / "link"),
        str(tmp_path / "one"),
    ]
    assert [entry.key for entry in listed(store, str(tmp_path / "one"))] == [str(tmp_path / "one")]


def test_a_file_may_grow_only_between_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "one")
    store = open_store(parse_url(str(path)), SourceConfig())
    version = store.get(str(path), 0, 2, None).version
    with path.open("ab") as file:
        file.write(b"more")
    assert raised(lambda: store.get(str(path), 2, 4, version)).kind == ErrorKind.CHANGED


def test_a_pipe_is_no_object(tmp_path: Path) -> None:
    """Nobody would ever write into it: the reader must not wait."""
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(ObjectError, match="no regular file"):
        FileStore().get(str(tmp_path / "pipe.dcm"), 0, 10, None)
