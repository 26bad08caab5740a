"""The commands of audits."""

from __future__ import annotations

import json
from pathlib import Path

from harvest.config import output_config
from tests.conftest import harvest, write_dicom
from tests.support.audits import snapshots
from tests.support.snapshots import instance, made_output


def test_diff(tmp_path: Path) -> None:
    old = made_output(tmp_path / "old", [instance(1), instance(2)])
    new = made_output(tmp_path / "new", [instance(1, PatientID="[bold]P2"), instance(3)])
    done = harvest("diff", old, new, "--dest", tmp_path / "tables")
    assert done.returncode == 0, done.stderr
    assert "[bold]P2" in done.stdout
    assert {path.stem for path in (tmp_path / "tables").iterdir()} == {
        "series",
        "instances",
        "attributes",
        "columns",
        "offset_tables",
    }
    done = harvest("diff", old, new, "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert told["instances"] == {
        "added": 1,
        "removed": 1,
        "revised": 0,
        "changed": 1,
        "moved": 0,
        "unchanged": 0,
    }
    missing = harvest("diff", old, tmp_path / "nothing")
    assert missing.returncode == 1
    assert "holds no finished harvest" in missing.stderr


def test_audit(tmp_path: Path, scheduler: str) -> None:
    folder = tmp_path / "data"
    for number in range(3):
        write_dicom(folder / f"{number}.dcm", "1.2.5", instance=str(number + 1))
    file = tmp_path / "audit.yaml"
    file.write_text(
        f"cohort: {{prefix: {folder}/}}\noutput: {tmp_path}/audits\n"
        f"cluster: {{address: '{scheduler}'}}\n"
        "audit:\n  rules:\n    - name: none_at_all\n      severity: error\n"
        "      description: x\n      sql: SELECT url FROM instances\n"
    )
    done = harvest("audit", file)
    assert done.returncode == 2, done.stderr
    assert "none_at_all" in done.stdout
    assert "this is the first snapshot" in done.stdout
    done = harvest("audit", file, "--json")
    assert done.returncode == 2
    content = json.loads(done.stdout)
    assert (content["carried"], content["rules"][0]["rows"]) == (3, 3)
    assert output_config(content["location"]).url == str(snapshots(tmp_path / "audits")[1])
