"""Profiles: their files, their union, and all their mistakes at once."""

from pathlib import Path

import pytest

from harvest.config.ready import ready_files
from harvest.errors import ConfigError
from harvest.table.schema import FIXED_COLUMNS, instances_schema
from tests.support.profiles import resolve_attributes

READY = list(ready_files("profiles"))


def test_there_are_ready_profiles() -> None:
    assert {"core", "ct", "mr", "seg", "sm", "sr"} <= set(READY)


@pytest.mark.parametrize("name", READY)
def test_every_ready_profile_resolves_to_columns_of_its_own(name: str) -> None:
    attributes = resolve_attributes([name], [])
    names = [attribute.name for attribute in attributes]
    assert names
    assert len(set(names)) == len(names)
    assert not FIXED_COLUMNS & set(names)
    instances_schema(attributes)


def test_the_union_of_profiles_has_each_column_once() -> None:
    union = [attribute.name for attribute in resolve_attributes(READY, ["PatientID"])]
    assert len(set(union)) == len(union)
    single = {
        attribute.name for name in READY for attribute in resolve_attributes([name], ["PatientID"])
    }
    assert set(union) == single


def test_columns_are_in_the_order_of_first_mention(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("description: mine\ntags: [Rows, PatientID]\n")
    attributes = resolve_attributes([str(path)], ["Columns", "Rows"])
    assert [attribute.name for attribute in attributes] == ["Rows", "PatientID", "Columns"]


def test_tags_alone_are_enough() -> None:
    (attribute,) = resolve_attributes([], ["(0043,GEMS_PARM_01,39)"])
    assert attribute.path == "(0043,GEMS_PARM_01,39)"


def test_tags_join_a_sequence_of_a_profile() -> None:
    attributes = resolve_attributes(
        ["core"], ["SourceImageSequence.PurposeOfReferenceCodeSequence.CodeValue"]
    )
    (sequence,) = (each for each in attributes if each.name == "SourceImageSequence")
    assert "PurposeOfReferenceCodeSequence" in [member.name for member in sequence.members]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("tags: [Rowz]\n")
    with pytest.raises(ConfigError) as caught:
        resolve_attributes([str(path), "cor"], ["PatientId", "PixelData"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    text = str(caught.value)
    assert "profile 'cor' is neither a ready one nor a file; did you mean core?" in text
    assert "core" in text
    assert f"profile {path}: 'Rowz' is in no dictionary; did you mean Rows?" in text
    assert "read.tags: 'PatientId' is in no dictionary; did you mean PatientID?" in text
    assert "read.tags: 'PixelData' holds binary data" in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no list of tags"),
        (b"- Rows\n", "no list of tags"),
        (b"tags: Rows\n", "no list of tags"),
        (b"tags: [1]\n", "no list of tags"),
        (b"tags:\n", "no list of tags"),
        (b"tags: [\n", "cannot be read"),
        (b"tags: [\xff\xfe\xfa]\n", "cannot be read"),
        (b"tags: !!python/object/apply:os.getcwd []\n", "cannot be read"),
    ],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason):
        resolve_attributes([str(path)], [])


def test_a_folder_is_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a ready one"):
        resolve_attributes([str(tmp_path)], [])


def test_an_empty_tag_is_a_mistake_and_not_a_crash() -> None:
    with pytest.raises(ConfigError):
        resolve_attributes([], [""])
