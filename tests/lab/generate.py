"""Generate the DICOM that no packaged file covers, once, into a cache folder."""

import hashlib
import logging
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path

from tests.lab import derived, images, slides

BROKEN = "broken"
"""Subfolder of files that are not DICOM although their names say so."""


def generate(cache: Path) -> Path:
    """Write the generated files unless they are there already.

    Parameters
    ----------
    cache
        Folder to keep them in. A subfolder is named by the generators' source and the libraries'
        versions, so that a change of either makes new files.

    Returns
    -------
    Path
        Folder with one subfolder per series, and `BROKEN`.
    """
    target = cache / f"generated-{_fingerprint()}"
    if target.is_dir():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
    try:
        _write_all(partial)
        # Only a complete folder gets the name; a second process may have been faster.
        if not target.is_dir():
            partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _write_all(folder: Path) -> None:
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # The libraries warn of their own deprecations, which must not fail a strict test run.
        warnings.simplefilter("ignore")
        ct = images.write_ct(folder / "ct")
        images.write_mr(folder / "mr")
        images.write_pt(folder / "pt")
        _ensure(folder / "many")
        images.write_many(folder / "many")
        slide = slides.write_slides(folder / "sm")
        derived.write_segmentation(folder / "seg", ct)
        derived.write_structures(folder / "rtstruct", ct)
        derived.write_report(folder / "sr", ct)
        derived.write_annotations(folder / "ann", slide)
    _write_broken(_ensure(folder / BROKEN), folder / "ct" / "ct_001.dcm")


def _write_broken(folder: Path, sample: Path) -> None:
    """Write what a bucket may hold in place of DICOM."""
    whole = sample.read_bytes()
    contents = {
        "empty": b"",
        "page": b"<!DOCTYPE html><html><body>503 Slow Down</body></html>\n" * 20,
        "preamble_only": whole[:132],
        "cut_in_meta": whole[:200],
        "zeros": bytes(4096),
    }
    for name, content in contents.items():
        (folder / f"{name}.dcm").write_bytes(content)


def _ensure(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fingerprint() -> str:
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for module in ("derived", "dicom", "generate", "images", "slides"):
        digest.update((folder / f"{module}.py").read_bytes())
    for library in ("pydicom", "highdicom", "numpy", "pillow"):
        digest.update(version(library).encode())
    return digest.hexdigest()[:12]
