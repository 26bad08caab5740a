"""Index tables: bundled, cached, or fetched."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.cohort import idc_index
from harvest.errors import CohortError


def test_tables_have_the_names_of_idc_index() -> None:
    names = idc_index.known_tables()
    assert {"index", "prior_versions_index", "collections_index", "seg_index"} <= set(names)
    assert "idc_index" not in names


def test_bundled_tables_need_no_network() -> None:
    tables = ["index", "prior_versions_index", "collections_index", "analysis_results_index"]
    found = idc_index.table_files(tables, fetch=False)
    assert list(found) == tables
    assert all(path.read_bytes()[:4] == b"PAR1" for path in found.values())


def test_what_is_neither_bundled_nor_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idc_index, "_cache_folder", lambda: tmp_path)
    with pytest.raises(CohortError, match=r"ct_index .* without --dry-run"):
        idc_index.table_files(["ct_index"], fetch=False)
    (tmp_path / "ct_index.parquet").write_bytes(b"cached")
    found = idc_index.table_files(["ct_index"], fetch=True)
    assert found == {"ct_index": tmp_path / "ct_index.parquet"}


def test_release() -> None:
    release = idc_index.installed_release()
    idc_index.check_release(None)
    idc_index.check_release(release)
    with pytest.raises(CohortError, match="install idc-index-data 3"):
        idc_index.check_release(3)
