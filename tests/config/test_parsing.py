"""Configs as text: every mistake at once, each with its line and what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from harvest.config import Config, load_config, output_config, parse_config
from harvest.errors import ConfigError
from tests.support.configs import CONFIGS, LEAST, mistakes


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_ready_configs_are_right(path: Path) -> None:
    # some name files that a user has yet to write, so only their keys are checked
    assert isinstance(parse_config(path.read_text(encoding="utf-8"), path.name), Config)


def test_every_mistake_at_once_with_its_line() -> None:
    found = mistakes(
        "cohort:\n"
        "  sqll: SELECT 1\n"
        "sourse: {}\n"
        "source:\n"
        "  cloud: azure\n"
        "  anonymous: perhaps\n"
        "read:\n"
        "  frames: scanned\n"
        "limits:\n"
        "  max_error_rate: 2\n"
        "  concurrency: 0\n"
    )
    text = "\n".join(found)
    for expected in (
        "line 2: cohort.sqll is no key of the config; did you mean sql?",
        "line 3: sourse is no key of the config; did you mean source?",
        "line 5: source.cloud: ",
        "line 6: source.anonymous: ",
        "line 8: read.frames: Input should be 'none', 'table' or 'scan'",
        "line 10: limits.max_error_rate: ",
        "line 11: limits.concurrency: ",
        "output is missing",
    ):
        assert expected in text
    lines = [int(line.split()[1].rstrip(":")) for line in found if line.startswith("line")]
    assert lines == sorted(lines)


def test_mistakes_of_a_section_and_of_its_keys_are_both_told() -> None:
    text = "\n".join(mistakes("cohort: {}\nsource: {endpoint: 'http://example.org'}\n"))
    assert "found none" in text
    assert "plain http" in text
    assert "output is missing" in text


def test_an_unknown_key_far_from_any_lists_the_known() -> None:
    (found,) = mistakes(f"{LEAST}cluster: {{zzz: 1}}\n")
    assert "line 3: cluster.zzz" in found
    assert "workers" in found


def test_a_key_given_twice() -> None:
    (found,) = mistakes("cohort: {sql: a}\noutput: one\noutput: two\n")
    assert found == "line 3: output is given twice"


def test_mistakes_of_an_output_are_told_with_the_others() -> None:
    found = mistakes("cohort: {}\noutput: {url: out, regoin: x, region: y}\n")
    assert len(found) == 3
    assert "did you mean region?" in "\n".join(found)
    assert "region is for a bucket" in "\n".join(found)


def test_an_output_named_without_a_config() -> None:
    with pytest.raises(ConfigError, match=r"^output: region is for a bucket, and out is a folder$"):
        output_config("out", region="r")


def test_unknown_tags_and_profiles_are_mistakes_with_their_lines() -> None:
    text = "\n".join(
        mistakes(f"{LEAST}read:\n  profile: cor\n  tags: [PatientWait]\ncluster: {{worker: 1}}\n")
    )
    for expected in ("line 4: ", "line 5: read.tags", "PatientWeight", "line 6:"):
        assert expected in text


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {}']",
        "cohort: !!python/object/apply:os.system ['touch {}']\noutput: out",
        "cohort: {{sql: !!python/name:os.system ''}}\noutput: out",
        "cohort: {{sql: !include /etc/passwd}}\noutput: out",
    ],
)
def test_yaml_runs_nothing(text: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with pytest.raises(ConfigError, match="is no YAML"):
        parse_config(text.format(mark))
    assert not mark.exists()


def test_a_bomb_of_aliases_is_refused_at_once() -> None:
    """Every level names the one below ten times: 400,000 nodes if they are walked one by one."""
    levels = "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * (10 if n < 6 else 4))}]\n" for n in range(1, 7)
    )
    begun = time.process_time()
    with pytest.raises(ConfigError):
        parse_config(f"a0: &a0 x\n{levels}")
    assert time.process_time() - begun < 0.3


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b", "42", "null"])
def test_what_is_no_mapping(text: str) -> None:
    with pytest.raises(ConfigError, match="no mapping"):
        parse_config(text)


@pytest.mark.parametrize(
    "text",
    [
        "cohort: 5\noutput: out",
        "cohort: [sql]\noutput: out",
        "cohort: {sql: 5}\noutput: out",
        "cohort: {sql: [a]}\noutput: out",
        f"{LEAST}read: {{profile: {{a: b}}}}",
        f"{LEAST}read: {{tags: PatientID}}",
        f"{LEAST}limits: {{header_bytes: many}}",
        f"{LEAST}limits: {{max_error_rate: .nan}}",
        f"{LEAST}limits: {{requests_per_second: 0}}",
        f"{LEAST}limits: null",
        f"{LEAST}5: x",
        f"{LEAST}? [a, b]\n: x",
    ],
)
def test_wrong_types_are_mistakes_and_no_crash(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(text)


@pytest.mark.parametrize("text", ["cohort: {sql: 'x", "a: b: c", "\t- x", "a: \x00"])
def test_what_is_no_yaml(text: str) -> None:
    with pytest.raises(ConfigError, match="is no YAML"):
        parse_config(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read: No such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"output: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(str(tmp_path / "latin.yaml"))
    fifo = tmp_path / "good.yaml"
    fifo.write_text(LEAST)
    assert load_config(str(fifo)) == load_config(Path(os.fspath(fifo)))


def test_the_cluster_of_another_file(tmp_path: Path) -> None:
    config, cluster = tmp_path / "config.yaml", tmp_path / "cluster.yaml"
    config.write_text(f"{LEAST}cluster: {{workers: 1}}\n")
    cluster.write_text("cluster: {workers: 3}\n")
    assert load_config(config).cluster.workers == 1
    loaded = load_config(config, cluster)
    assert loaded.cluster.workers == 3
    assert loaded.cohort == load_config(config).cohort


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cluster: {workers: 0}", r"cluster\.yaml has 1 mistake\(s\):\n  line 1: cluster\.workers"),
        ("cluster: {wrokers: 1}", "did you mean workers"),
        ("cohort: {sql: SELECT 1}\ncluster: {}", "line 1: cohort is no key of the config"),
        ("workers: 1", "cluster is missing"),
        ("- 1", r"is no mapping with cluster:"),
    ],
)
def test_mistakes_of_the_clusters_file(tmp_path: Path, text: str, expected: str) -> None:
    config, cluster = tmp_path / "config.yaml", tmp_path / "cluster.yaml"
    config.write_text(LEAST)
    cluster.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load_config(config, cluster)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/cluster.yaml")), ids=str)
def test_the_ready_clusters_are_right(path: Path, tmp_path: Path) -> None:
    """But for the certificates, which a user has yet to make."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in content["cluster"]["tls"]:
        (tmp_path / name).touch()
        content["cluster"]["tls"][name] = str(tmp_path / name)
    (tmp_path / "config.yaml").write_text(LEAST)
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(content))
    assert load_config(tmp_path / "config.yaml", tmp_path / "cluster.yaml").cluster.exposed
