"""The wheel and the sdist hold what a stranger needs, and nothing else."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import packaging

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[set[str], set[str]]:
    """Names of the files in the sdist and in the wheel that is built from it."""
    sdist, wheel = packaging.build(tmp_path_factory.mktemp("dist"))
    with tarfile.open(sdist) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    with zipfile.ZipFile(wheel) as packed_wheel:
        return names, set(packed_wheel.namelist())


def tracked(folder: str, pattern: str) -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob(pattern)}


def test_the_wheel_has_all_code_and_all_ready_files(built: tuple[set[str], set[str]]) -> None:
    _, wheel = built
    needed = tracked("harvest", "*.py") | tracked("harvest", "*.html") | {"harvest/py.typed"}
    for kind in ("profiles", "rules"):
        needed |= {f"harvest/{name}" for name in tracked(f"configs/{kind}", "*.yaml")}
    assert needed <= wheel
    others = {name for name in wheel - needed if not name.startswith("harvest-")}
    assert {Path(name).suffix for name in others} <= {".css", ".js", ".jinja", ".svg"}


def test_the_wheel_has_licence_and_command(built: tuple[set[str], set[str]]) -> None:
    _, wheel = built
    told = {name.partition(".dist-info/")[2] for name in wheel if ".dist-info/" in name}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= told


def test_the_sdist_can_be_tested(built: tuple[set[str], set[str]]) -> None:
    sdist, _ = built
    assert {"README.md", "CHANGELOG.md", "LICENSE", "Makefile", "requirements.lock"} <= sdist
    assert tracked("tests", "*.py") <= sdist
