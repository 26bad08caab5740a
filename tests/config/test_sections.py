"""The sections of a config: defaults, and what each refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from harvest.config import OutputConfig, output_config, parse_config
from tests.support.configs import LEAST, mistakes


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
