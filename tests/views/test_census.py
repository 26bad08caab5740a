"""The census of offset tables: counts equal to DuckDB's, and a picture."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from harvest.cli import main
from harvest.config import OutputConfig
from harvest.driver.runner import run
from harvest.errors import ExitCode, HarvestError
from harvest.views.census import MOST_GROUPS, OTHERS, Count, census, title_of, write_census
from tests import conftest
from tests.lab import Lab


@pytest.fixture(scope="module")
def output(lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> OutputConfig:
    config = conftest.config_of(
        tmp_path_factory.mktemp("census") / "out",
        {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(lab.index)},
        conftest.source_of(lab),
        scheduler=scheduler,
        limits={"max_error_rate": 1},
    )
    run(config)
    return config.output


def test_counts_are_those_of_the_table(output: OutputConfig) -> None:
    rows = [row for row in conftest.instances(Path(output.url)) if row["status"] == "ok"]
    with_pixels = [row for row in rows if row["offset_table"] != "no_pixel_data"]
    for by in ("collection_id", "Modality"):
        found = census(output, by)
        assert sum(each.objects for each in found) == len(with_pixels)
        assert sum(each.bytes for each in found) == sum(row["size"] for row in with_pixels)
        frames = sum(row["NumberOfFrames"] or 1 for row in with_pixels)
        assert sum(each.frames for each in found) == frames
    slides = {
        each.offset_table: each.objects for each in census(output, "Modality") if each.group == "SM"
    }
    assert {"basic", "empty", "extended", "native"} <= set(slides)


def test_the_command(output: OutputConfig, tmp_path: Path) -> None:
    file = tmp_path / "census.png"
    ended = CliRunner().invoke(main, ["census", output.url, "--dest", str(file), "--json"])
    assert ended.exit_code == ExitCode.COMPLETE, ended.output
    assert {row["group"] for row in json.loads(ended.stdout)} >= {"lab_generated", "lab_pydicom"}
    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.size[0] > 1500
    table = CliRunner().invoke(main, ["census", output.url, "--by", "Modality"])
    assert "extended" in table.stdout


def counts(groups: int) -> list[Count]:
    kinds = ("extended", "basic", "empty", "native", "both", "deflated")
    return [
        Count(f"group_{number:03d}", kind, kind == "both", number + 1, 10**9 * (number + 1), 100)
        for number in range(groups)
        for kind in kinds
    ]


@pytest.mark.parametrize("groups", [1, MOST_GROUPS, 150])
def test_a_picture_of_many_groups(groups: int, tmp_path: Path) -> None:
    file = tmp_path / "census.png"
    found = counts(groups)
    write_census(found, file, title_of(found, "out"))
    with Image.open(file) as picture:
        # no taller than a page, however many there are
        assert 300 < picture.size[1] < 2600


def test_those_that_are_too_many_are_drawn_together() -> None:
    from harvest.views.census import _merged

    merged = _merged(counts(150))
    assert len({each.group for each in merged}) == MOST_GROUPS
    assert merged[-1].group == OTHERS
    assert sum(each.objects for each in merged) == sum(each.objects for each in counts(150))


def test_what_cannot_be_drawn(
    output: OutputConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarvestError, match="nothing to draw"):
        write_census([], tmp_path / "census.png", "")
    folder = conftest.write_dicom(tmp_path / "in" / "1.dcm", "1.2").parent
    config = conftest.config_of(
        tmp_path / "out", {"prefix": f"{folder}/"}, read={"profile": [], "tags": ["Rows"]}
    )
    run(config)
    assert [each.group for each in census(config.output)] == [""]
    with pytest.raises(HarvestError, match="no column Modality"):
        census(config.output, "Modality")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(HarvestError, match=r"pip install 'harvest\[plot\]'"):
        write_census(counts(1), tmp_path / "census.png", "")
