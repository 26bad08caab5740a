"""The README's commands and Python run, line by line, in a folder where its names are lab data."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pytest
import yaml

from harvest.config import Config
from tests import conftest, test_examples
from tests.conftest import HARVEST
from tests.lab import Lab
from tests.support.segmentations import images_in, masks, segmentation
from tests.support.tiled import COLUMNS, ROWS, cut, frame_index, picture, write_slide

ROOT: Final = Path(__file__).parents[1]
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
LEFT_OUT: Final = {
    "make demo": "starts a lab of its own and installs everything",
    "source .venv/bin/activate": "is the shell's",
    **{
        f"python configs/examples/{line}": "tests/test_examples.py runs it on the lab"
        for line in (
            "metadata.py",
            "slide_patch.py --region 12000 8000 512 512",
            "segments.py --segments liver spleen",
            "offset_table.py",
        )
    },
}
"""Lines of the README that do not run here, and why."""


class Block(NamedTuple):
    """A block of the README that is to be run."""

    language: str
    text: str


def blocks() -> list[Block]:
    found = re.findall(r"^```(bash|python)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [Block(*each) for each in found]


def commands() -> list[str]:
    return [line for block in blocks() if block.language == "bash" for line in _lines(block)]


def _lines(block: Block) -> list[str]:
    """Return the commands of a block, each on one line."""
    return block.text.replace("\\\n", " ").splitlines()


@dataclass(frozen=True)
class World:
    """A folder in which the README's names mean data of the lab."""

    folder: Path
    placeholders: dict[str, str]
    """What stands in the README's Python for the reader's own data, and what is put there."""
    slide: str
    """URL of a slide of the lab."""

    def command(self, line: str) -> None:
        """Run a command line of harvest."""
        name, *arguments = shlex.split(line)
        assert name == "harvest", f"{line!r} is neither run nor left out"
        ended = self._run([*HARVEST, *arguments])
        # an audit may find what breaks a rule
        assert ended.returncode in ((0, 2) if arguments[0] == "audit" else (0,)), ended.stderr
        assert ended.stdout

    def python(self, text: str) -> None:
        """Run a Python block as a script; one that harvests begins at the beginning."""
        if "harvest.run(" in text:
            shutil.rmtree(self.folder / "out")
        script = self.folder / "script.py"
        script.write_text(self._put_in(text), encoding="utf-8")
        ended = self._run([sys.executable, script.name])
        assert ended.returncode == 0, ended.stderr

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=300
        )

    def _put_in(self, text: str) -> str:
        for placeholder, meant in self.placeholders.items():
            text = text.replace(placeholder, meant)
        found = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
        known = (self.slide, "http://127.0.0.1:")
        urls = [each for each in found if isinstance(each, str) and "://" in each]
        assert not [each for each in urls if not each.startswith(known)], "unknown URLs"
        numbers = [each for each in found if isinstance(each, int)]
        assert not [each for each in numbers if each > max(ROWS, COLUMNS)], "no slide is so large"
        return text


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    _write_index(lab, folder / "index.parquet")
    (folder / "configs" / "slurm").mkdir(parents=True)
    for name in sorted(
        set(re.findall(r"configs/(\w+)\.yaml", "".join(each.text for each in blocks())))
    ):
        _write_config(lab, folder, f"configs/{name}.yaml")
    # tests/slurm harvests by the real one
    (folder / "configs" / "slurm" / "cluster.yaml").write_text("cluster: {workers: 2}\n")
    conftest.write_dicom(folder / "image.dcm", "1.2.3.4")
    (folder / "series").mkdir()
    for level, shape in enumerate([(ROWS, COLUMNS), (ROWS // 2, COLUMNS // 2)]):
        tiles = cut(picture(*shape))
        path = folder / "series" / f"{level}.dcm"
        write_slide(path, tiles, table="extended", shape=shape, level=level)
    slide_level = write_slide(folder / "level.dcm", cut(picture()), table="empty")
    frame_index(slide_level, folder / "frames.parquet")
    images = images_in(folder / "ct")
    segmentation(folder / "seg.dcm", images, "BINARY", masks())
    series = conftest.series_of(lab, "SM basic offset table")
    largest = max(series.instances, key=lambda each: each.size)
    slide = f"s3://{series.aws_bucket}/{series.key(largest)}"
    endpoint = f'endpoint="{lab.s3.endpoint}"'
    return World(
        folder,
        {
            '"s3://bucket/key.dcm"': f'"{slide}", {endpoint}',
            '"s3://bucket/slide.dcm"': f'"{slide}"',
            'index="out/slides"': f'index="out/slides", {endpoint}',
            'index="s3://mine/slides"': f'index="out/slides", {endpoint}',
            '"s3://bucket/series/", 12_000, 8_000, 512, 512': '"series/", 20, 10, 64, 50',
            '"s3://bucket/seg.dcm"': '"seg.dcm"',
            '"s3://bucket/level.dcm"': '"level.dcm"',
            "[8_000:8_512, 12_000:12_512]": "[10:60, 20:84]",
        },
        slide,
    )


def _write_index(lab: Lab, path: Path) -> None:
    """Write the lab's index, but that a CT of the lab is the collection that the README reads."""
    phantom = conftest.series_of(lab, "CT many").series_instance_uid
    with duckdb.connect() as connection:
        connection.execute(
            f"""
            COPY (
                SELECT * REPLACE (CASE WHEN SeriesInstanceUID = '{phantom}' THEN 'lung_phantom'
                                  ELSE collection_id END AS collection_id)
                FROM '{lab.index}' WHERE collection_id NOT IN ('lab_broken', 'lab_stubs')
            ) TO '{path}' (FORMAT parquet)
            """
        )


def _write_config(lab: Lab, folder: Path, name: str) -> None:
    """Copy a ready config; say where its index is, and its store."""
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    content["cohort"]["index"] = str(folder / "index.parquet")
    content.setdefault("source", {})["endpoint"] = lab.s3.endpoint
    Config.model_validate(content)
    (folder / name).write_text(yaml.safe_dump(content))


def test_there_are_no_other_kinds_of_blocks() -> None:
    # sql: tests/test_cookbook.py and tests/test_readme.py; yaml: tests/test_readme.py
    languages = re.findall(r"^ *```(.+)$", README, re.MULTILINE)
    assert set(languages) == {"bash", "python", "sql", "yaml", "text"}


def test_what_is_left_out_has_a_reason() -> None:
    left_out = {line for line in commands() if not line.startswith("harvest ")}
    assert left_out == set(LEFT_OUT)
    for line in left_out:
        if script := re.match(r"python configs/examples/(\w+)\.py", line):
            assert hasattr(test_examples, f"test_{script[1]}"), line


def test_every_placeholder_stands_in_the_readme(world: World) -> None:
    shown = "".join(each.text for each in blocks() if each.language == "python")
    assert [each for each in world.placeholders if each not in shown] == []


def test_from_the_top_to_the_end(world: World) -> None:
    """One test: what stands further down reads what was written further up."""
    for block in blocks():
        if block.language == "python":
            world.python(block.text)
            continue
        for line in _lines(block):
            if line not in LEFT_OUT:
                world.command(line)
