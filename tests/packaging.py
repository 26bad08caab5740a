"""``python -m tests.packaging`` (``make package``): the package as strangers get it.

Builds the sdist, and the wheel from it; installs the wheel into an empty environment of each
Python that is named; and tells how large it is and how long its first answers take there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.support.build import image as ct_image

ROOT: Final = Path(__file__).parents[1]
EXTRAS: Final = ("frames", "plot", "report", "slurm", "kubernetes")
"""Extras whose weight is told, each beside the others."""
_HEAVY: Final = ("dask", "distributed", "duckdb", "boto3", "google.cloud.storage", "idc_index")
_READ: Final = f"""
import sys
from harvest.cli import main
sys.argv[0] = "harvest"
try:
    main()
finally:
    heavy = {_HEAVY!r}
    print("imported:", *(name for name in heavy if name in sys.modules), file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What one environment tells."""

    python: str
    package_bytes: int
    """Of ``harvest`` alone, as installed."""
    environment_bytes: int
    """Of all that was installed with it."""
    help_seconds: float
    read_seconds: float
    imported_by_read: list[str]
    """Heavy libraries that reading one local file has imported."""


def build(folder: Path) -> tuple[Path, Path]:
    """Build the sdist, unpack it, and build the wheel from that; return both."""
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder), cwd=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=source)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def tried(python: str, wheel: Path, folder: Path) -> Found:
    """Install the wheel with its dependencies for a Python, and read a file with it."""
    _run(python, "-m", "venv", str(folder))
    empty = _bytes(folder)
    own = str(folder / "bin" / "python")
    _run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    (package,) = folder.glob("lib/python*/site-packages/harvest")
    file = folder / "image.dcm"
    file.write_bytes(ct_image())
    read = _run(own, "-c", _READ, "read", str(file), "--json")
    assert json.loads(read.stdout)["elements"]
    command = str(folder / "bin" / "harvest")
    return Found(
        python=_run(own, "-c", "import sys; print(sys.version.split()[0])").stdout.strip(),
        package_bytes=_bytes(package),
        environment_bytes=_bytes(folder) - empty,
        help_seconds=_seconds(command, "--help"),
        read_seconds=_seconds(command, "read", str(file)),
        imported_by_read=read.stderr.partition("imported:")[2].split(),
    )


def extra_bytes(python: str, wheel: Path, folder: Path) -> dict[str, int]:
    """Tell what each extra adds to an environment that has the package."""
    own = str(folder / "bin" / "python")
    _run(python, "-m", "venv", str(folder))
    found = {}
    before = _bytes(folder)
    for extra in ("", *EXTRAS):
        wanted = f"{wheel}[{extra}]" if extra else str(wheel)
        _run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted)
        after = _bytes(folder)
        if extra:
            found[extra] = after - before
        before = after
    return found


def _seconds(*command: str) -> float:
    """Time a command: the median of five, after one that warms the caches."""
    times = []
    for _ in range(6):
        began = time.monotonic()
        _run(*command)
        times.append(time.monotonic() - began)
    return round(statistics.median(times[1:]), 3)


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if not file.is_symlink())


def _run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
    return ended


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, install and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pythons", nargs="+", default=[sys.executable])
    parser.add_argument("--extras", action="store_true", help="tell the weight of each, too")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as folder:
        _, wheel = build(Path(folder))
        print(f"{wheel.name}: {wheel.stat().st_size / 1e3:,.0f} kB")
        for number, python in enumerate(options.pythons):
            found = tried(python, wheel, Path(folder) / f"python{number}")
            print(
                f"Python {found.python}: harvest {found.package_bytes / 1e6:.1f} MB, with all "
                f"that it needs {found.environment_bytes / 1e6:,.0f} MB; harvest --help "
                f"{found.help_seconds} s, harvest read {found.read_seconds} s, which imported "
                f"{', '.join(found.imported_by_read) or 'nothing heavy'}"
            )
        if options.extras:
            for extra, size in extra_bytes(options.pythons[0], wheel, Path(folder) / "x").items():
                print(f"[{extra}]: {size / 1e6:,.0f} MB more")


if __name__ == "__main__":
    main()
