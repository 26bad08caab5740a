"""Configs: every mistake at once, each with its line and what to do."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from harvest.config import (
    Config,
    OutputConfig,
    check_endpoint,
    load_config,
    output_config,
    parse_config,
)
from harvest.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
LEAST = "cohort: {sql: SELECT 1}\noutput: out\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        parse_config(text, "c.yaml")
    first, *rest = str(found.value).splitlines()
    assert first == f"c.yaml has {len(rest)} mistake(s):"
    return [line.strip() for line in rest]


def test_defaults() -> None:
    config = parse_config(LEAST)
    assert config.output.url == "out"
    assert config.source.model_dump() == {
        "cloud": "aws",
        "endpoint": None,
        "region": None,
        "allow_http": False,
        "transport": "obstore",
        "anonymous": True,
    }
    assert config.read.profiles == ("core",)
    assert (config.read.header, config.read.frames, config.read.tags) == ("none", "none", [])
    assert config.limits.concurrency == 64
    assert config.limits.max_error_rate == 0
    assert int(config.limits.header_bytes) == 64 * 2**20
    assert config.limits.object_seconds == 120
    assert config.limits.requests_per_second is None


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "found none"),
        ("{sql: SELECT 1, prefix: x}", "found sql and prefix"),
        ("{sql: SELECT 1, manifest: m, prefix: x}", "found sql and manifest and prefix"),
        ("{sql: null}", "found none"),
    ],
)
def test_exactly_one_cohort(text: str, expected: str) -> None:
    (found,) = mistakes(f"output: out\ncohort: {text}\n")
    assert found.startswith("line 2: cohort")
    assert expected in found


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


def output_of(text: str) -> OutputConfig:
    return parse_config(f"cohort: {{sql: SELECT 1}}\noutput: {text}\n").output


@pytest.mark.parametrize(
    "url", ["s3://bucket", "s3://bucket/path", "gs://bucket/a/b/", "file:///a"]
)
def test_outputs(url: str) -> None:
    for output in (output_of(url), output_of(f"{{url: '{url}'}}"), output_config(url)):
        assert output == OutputConfig(url=url)


def test_an_output_behind_an_endpoint() -> None:
    output = output_of("{url: s3://b/p, endpoint: 'http://10.0.0.1:1', region: r, allow_http: yes}")
    assert output == output_config("s3://b/p", "http://10.0.0.1:1", "r", allow_http=True)
    assert (output.endpoint, output.region) == ("http://10.0.0.1:1", "r")


def test_a_copy_with_other_keys_wants_other_columns() -> None:
    read = parse_config(LEAST).read
    core = read.wanted
    assert read.wanted is core
    more = read.model_copy(update={"tags": ["KVP"]})
    assert {a.name for a in more.wanted.attributes} - {a.name for a in core.attributes} == {"KVP"}


@pytest.mark.parametrize("yes", ["1", "'yes'", "'true'", "on"])
def test_whatever_is_yes_to_the_config_allows_http(yes: str) -> None:
    endpoint = f"endpoint: 'http://10.0.0.1:1', allow_http: {yes}"
    config = parse_config(
        f"cohort: {{sql: a}}\noutput: {{url: s3://b/p, {endpoint}}}\nsource: {{{endpoint}}}\n"
    )
    assert config.output.allow_http is config.source.allow_http is True


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("s3://idc-open-data/x", "s3://idc-open-data/x is IDC's own bucket: name a folder, or"),
        ("s3://idc-open-data-two", "IDC's own"),
        ("gs://idc-open-idc1/x", "IDC's own"),
        ("gs://public-datasets-idc/x", "IDC's own"),
        ("{url: s3://idc-open-new/x, endpoint: 'http://127.0.0.1:1'}", "IDC's own"),
        ("s3://", "names no bucket"),
        ("gs:///path", "names no bucket"),
        ("azure://bucket/path", "is no s3://, gs:// or file:// URL"),
        ("https://bucket.s3.amazonaws.com/x", "is no s3://, gs:// or file:// URL"),
        ("'s3://bucket/path?X-Amz-Signature=secret'", "the URL of an output has no query"),
        ("{url: out, endpoint: 'https://s3.example.org'}", "endpoint is for a bucket"),
        ("{url: out, region: eu-west-1}", "region is for a bucket, and out is a folder"),
        ("{url: 'file:///out', allow_http: true}", "allow_http is for a bucket"),
        ("{url: s3://b/p, endpoint: 'http://example.org'}", "plain http outside loopback"),
        ("{url: s3://b/p, endpoint: 'http://169.254.169.254'}", "link-local"),
        ("{url: s3://b/p, endpoint: 'https://me:secret@host'}", "holds credentials"),
        ("{url: s3://b/p, anonymous: true}", "output.anonymous is no key of the config"),
        ("{endpoint: 'https://host'}", "output.url is missing"),
    ],
)
def test_outputs_that_are_refused(output: str, expected: str) -> None:
    (found,) = mistakes(f"cohort: {{sql: SELECT 1}}\noutput: {output}\n")
    assert found.startswith("line 2: output")
    assert expected in found
    assert "secret" not in found


def test_mistakes_of_an_output_are_told_with_the_others() -> None:
    found = mistakes("cohort: {}\noutput: {url: out, regoin: x, region: y}\n")
    assert len(found) == 3
    assert "did you mean region?" in "\n".join(found)
    assert "region is for a bucket" in "\n".join(found)


def test_an_output_named_without_a_config() -> None:
    with pytest.raises(ConfigError, match=r"^output: region is for a bucket, and out is a folder$"):
        output_config("out", region="r")


ALLOWED = [
    "https://s3.example.org",
    "http://127.0.0.1:9000",
    "http://localhost:9000",
    "http://[::1]:9000",
    "https://10.0.0.1",
]
REFUSED = {
    "http://example.org": "plain http",
    "http://10.0.0.1:9000": "plain http",
    "http://0.0.0.0:9000": "plain http",
    "http://127.0.0.1.example.org": "plain http",
    "http://localhost.example.org": "plain http",
    "http://169.254.169.254/latest": "link-local",
    "https://169.254.169.254": "link-local",
    "http://[fe80::1]:80": "link-local",
    "https://metadata.google.internal": "link-local",
    "https://[::ffff:169.254.169.254]": "link-local",
    "ftp://example.org": "no http",
    "example.org:9000": "no http",
    "http://": "no http",
    "": "no http",
}


@pytest.mark.parametrize("endpoint", ALLOWED)
def test_endpoints_that_are_safe(endpoint: str) -> None:
    check_endpoint(endpoint, allow_http=False)
    assert parse_config(f"{LEAST}source: {{endpoint: '{endpoint}'}}\n").source.endpoint == endpoint


@pytest.mark.parametrize("endpoint", REFUSED)
def test_endpoints_that_are_not(endpoint: str) -> None:
    (found,) = mistakes(f"{LEAST}source:\n  endpoint: '{endpoint}'\n")
    assert REFUSED[endpoint] in found


@pytest.mark.parametrize("endpoint", ["http://example.org", "http://169.254.169.254"])
def test_endpoints_that_the_user_means(endpoint: str) -> None:
    check_endpoint(endpoint, allow_http=True)


def test_credentials_in_an_endpoint_are_refused_and_not_repeated() -> None:
    for allow in ("true", "false"):
        (found,) = mistakes(
            f"{LEAST}source: {{endpoint: 'https://me:hunter2@host', allow_http: {allow}}}\n"
        )
        assert "credentials" in found
        assert "hunter2" not in found


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("{address: 'tcp://10.0.0.1:8786'}", "not encrypted"),
        ("{address: 'tcp://scheduler:8786'}", "not encrypted"),
        ("{address: '10.0.0.1:8786'}", "is no tcp://"),
        ("{address: 'http://host'}", "is no tcp://"),
        ("{address: 'tls://host:8786', workers: 2}", "found workers and address"),
        ("{workers: 0}", "greater than 0"),
    ],
)
def test_clusters_that_are_refused(cluster: str, expected: str) -> None:
    (found,) = mistakes(f"{LEAST}cluster: {cluster}\n")
    assert expected in found


@pytest.mark.parametrize(
    "cluster",
    [
        "{address: 'tcp://127.0.0.1:8786'}",
        "{address: 'tcp://localhost:8786'}",
        "{address: 'tcp://10.0.0.1:8786', allow_insecure: true}",
        "{workers: 2}",
    ],
)
def test_clusters_that_are_fine(cluster: str) -> None:
    parse_config(f"{LEAST}cluster: {cluster}\n")


def test_a_tls_cluster_has_its_files(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("ca_file", "cert", "key")}
    text = ", ".join(f"{name}: {path}" for name, path in files.items())
    config = f"{LEAST}cluster: {{address: 'tls://h:1', tls: {{{text}}}}}\n"
    assert len(mistakes(config)) == 3
    for path in files.values():
        path.touch()
    parse_config(config)
    (found,) = mistakes(f"{LEAST}cluster: {{address: 'tls://h:1'}}\n")
    assert "ca_file" in found


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


@pytest.mark.parametrize(("text", "size"), [("64MiB", 2**26), ("1000", 1000), ("1.5kB", 1500)])
def test_sizes(text: str, size: int) -> None:
    config = parse_config(f"{LEAST}limits: {{header_bytes: {text}}}\n")
    assert int(config.limits.header_bytes) == size


def test_a_config_cannot_be_changed() -> None:
    config: Any = parse_config(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        config.output = None
    assert yaml.safe_load(LEAST)["output"] == config.output.url


def test_relative_output_is_kept_as_written() -> None:
    assert parse_config(LEAST.replace("out\n", "'~/out'\n")).output.url == "~/out"


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
