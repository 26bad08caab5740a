"""Audits of a test: their folder of snapshots."""

from __future__ import annotations

from pathlib import Path


def snapshots(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "_harvest")
