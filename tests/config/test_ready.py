"""Ready files are found by name, own ones by path; what is wrong is told with what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from harvest.config.ready import Kind, read_named, ready_files

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["profiles", "rules"])
def test_ready_files_are_those_of_the_checkout(kind: Kind) -> None:
    names = sorted(path.stem for path in (ROOT / "configs" / kind).glob("*.yaml"))
    assert list(ready_files(kind)) == names


def test_a_ready_file_is_read_by_its_name() -> None:
    path, content = read_named("profiles", "core")
    assert path == ready_files("profiles")["core"]
    assert "Modality" in content["tags"]


def test_an_own_file_is_read_by_its_path(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("tags: [PatientName]")
    assert read_named("profiles", str(own)) == (own, {"tags": ["PatientName"]})


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (
            "profiles",
            "coer",
            "profile 'coer' is neither a ready one nor a file; did you mean core?",
        ),
        ("rules", "xyz", "rule set 'xyz' is neither a ready one nor a file; ready are "),
    ],
)
def test_a_name_without_a_file_is_refused(kind: Kind, name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("?", r"\?")):
        read_named(kind, name)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"tags: [a\n"])
def test_a_file_that_is_no_yaml_is_refused(content: bytes, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_bytes(content)
    with pytest.raises(ValueError, match=r"profile .*own\.yaml cannot be read: \w+Error"):
        read_named("profiles", str(own))
