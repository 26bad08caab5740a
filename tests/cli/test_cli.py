"""The command line in processes of its own: stdout, stderr, exit codes, signals, and hosts."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from harvest.cli import group
from harvest.errors import ErrorKind, ObjectError
from harvest.pixels.slides import read_region
from tests import conftest
from tests.conftest import HARVEST
from tests.faults.proxy import Gate
from tests.lab import Lab, servers
from tests.support.proxy import refusing_proxy

COMMANDS = ("plan", "run", "status", "query", "index", "columns", "frames", "read", "region")


def write_config(path: Path, **sections: Any) -> Path:
    content = {"cluster": {"workers": 1}, **sections}
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def lab_config(
    lab: Lab,
    folder: Path,
    scheduler: str | None = None,
    where: str = "Modality = 'PT'",
    **more: Any,
) -> Path:
    sql = f"SELECT SeriesInstanceUID FROM index WHERE collection_id = 'lab_generated' AND {where}"
    sections = {
        "cohort": {"sql": sql, "index": str(lab.index)},
        "source": conftest.source_of(lab),
        "output": str(folder / "out"),
        **({"cluster": {"address": scheduler}} if scheduler else {}),
        **more,
    }
    return write_config(folder / "config.yaml", **sections)


@pytest.fixture(scope="module")
def finished(
    lab: Lab, scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished output, and how its run ended."""
    folder = tmp_path_factory.mktemp("finished")
    ended = conftest.harvest("run", lab_config(lab, folder, scheduler), "--json")
    return folder / "out", ended


# --- help and imports ------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(command: str) -> None:
    ended = conftest.harvest(command, "--help")
    assert ended.returncode == 0
    assert f"  harvest {command} " in ended.stdout
    assert "Example" in ended.stdout
    assert "--json" in ended.stdout
    assert ended.stderr == ""


def test_help_lists_the_commands_and_exit_codes() -> None:
    ended = conftest.harvest("--help")
    assert ended.returncode == 0
    for word in (*COMMANDS, "75", "70"):
        assert word in ended.stdout
    assert conftest.harvest("-h").stdout == ended.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['harvest', '--help']\n"
        "from harvest.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'distributed', 'dask', 'pydicom', 'pyarrow', 'duckdb', 'pandas', 'numpy',\n"
        "         'boto3', 'google.cloud.storage', 'obstore', 'idc_index', 'pydantic'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "heavy: []" in ended.stdout


def test_version() -> None:
    from harvest import __version__

    assert __version__ in conftest.harvest("--version").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("harvest-everything",),
        ("run",),
        ("run", "a", "b"),
        ("query", "out"),
        ("run", "--no"),
        ("columns", "out", "--dest", "a.parquet"),
        ("columns", "out", "--tags", "StudyID"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    ended = conftest.harvest(*arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "Usage" in ended.stderr
    assert "Traceback" not in ended.stderr


# --- results ---------------------------------------------------------------------------------


def test_run_prints_one_json_document(
    lab: Lab, finished: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    output, ended = finished
    assert ended.returncode == 0
    assert conftest.messages(ended) == ""
    found = json.loads(ended.stdout)
    assert found["rows"] == found["ok"] == 6
    assert found["output"] == str(output)
    assert found["errors"] == {}
    assert found["requests"] == 6
    assert found["exit_code"] == 0


def test_a_second_run_prints_the_same(
    lab: Lab, finished: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    again = conftest.harvest("run", finished[0].parent / "config.yaml", "--json")
    assert (again.returncode, again.stdout, again.stderr) == (0, finished[1].stdout, "")


def test_index(finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    dest = tmp_path / "indices"
    ended = conftest.harvest("index", finished[0], "pt_index", "ct_index", "--dest", dest, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert [(each["name"], each["rows"]) for each in found] == [("pt_index", 1), ("ct_index", 0)]
    assert "KVP" in found[1]["not_harvested"]
    assert [each["path"] for each in found] == [
        str(dest / f"{name}.parquet") for name in ("pt_index", "ct_index")
    ]
    assert sorted(path.name for path in dest.iterdir()) == ["ct_index.parquet", "pt_index.parquet"]
    as_text = conftest.harvest("index", finished[0], "pt_index", "--dest", dest)
    assert as_text.returncode == 0
    assert "pt_index" in as_text.stdout
    assert "DecayCorrection" in as_text.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the indices, or say --all"),
        (("ct_index", "--all"), "name the indices, or say --all"),
        (("ct_inde",), "did you mean ct_index"),
        (("idc_index",), "needs more than headers"),
    ],
)
def test_index_used_wrongly(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    dest = tmp_path / "indices"
    ended = conftest.harvest("index", finished[0], *arguments, "--dest", dest)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert message in ended.stderr
    assert not dest.exists()


def test_text_results(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    output, _ = finished
    for arguments, expected in (
        (("run", output.parent / "config.yaml"), "instances"),
        (("plan", output.parent / "config.yaml"), "partitions"),
        (("plan", output.parent / "config.yaml", "--dry-run"), "expected time"),
        (("status", output), "complete"),
        (("query", output, "SELECT count(*) FROM instances"), "count_star()"),
    ):
        ended = conftest.harvest(*arguments)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert expected in ended.stdout


def test_plan_as_json(lab: Lab, tmp_path: Path) -> None:
    ended = conftest.harvest("plan", lab_config(lab, tmp_path), "--json")
    assert (ended.returncode, conftest.messages(ended)) == (0, "")
    found = json.loads(ended.stdout)
    assert (found["rows"], found["series"], found["missing"], found["surplus"]) == (6, 1, 0, 0)
    assert re.fullmatch("[0-9a-f]{64}", found["identity"])
    again = conftest.harvest("plan", tmp_path / "config.yaml", "--json")
    assert json.loads(again.stdout) == found
    status = json.loads(conftest.harvest("status", tmp_path / "out", "--json").stdout)
    assert (status["state"], status["rows"], status["done"]) == ("planned", 6, 0)


def test_status_as_json(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    ended = conftest.harvest("status", finished[0], "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert (found["state"], found["rows"], found["ok"], found["errors"]) == ("complete", 6, 6, {})


def test_query_as_json(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    sql = (
        "SELECT Modality, count(*) AS n, DATE '2020-01-02' AS d, [1, NULL] AS l, "
        "'\\xAA'::BLOB AS b, 'nan'::DOUBLE AS f FROM instances GROUP BY ALL"
    )
    ended = conftest.harvest("query", finished[0], sql, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    (row,) = json.loads(ended.stdout, parse_constant=refuse)
    assert (row["Modality"], row["n"], row["d"], row["l"]) == ("PT", 6, "2020-01-02", [1, None])


def test_read_as_json_and_as_text(lab: Lab) -> None:
    series = conftest.series_of(lab, "SM basic offset table")
    url = f"s3://{series.aws_bucket}/{series.key(series.instances[0])}"
    ended = conftest.harvest("read", url, "--endpoint", lab.s3.endpoint, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = json.loads(ended.stdout)
    assert found["url"] == url
    assert found["size"] == series.instances[0].size
    text = conftest.harvest("read", url, "--endpoint", lab.s3.endpoint)
    assert (text.returncode, text.stderr) == (0, "")
    assert "(0020,000E) UI SeriesInstanceUID" in text.stdout


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_read_of_what_is_not_there(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = conftest.harvest("read", tmp_path / "none.dcm", *arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith("harvest: not_found")


def test_read_of_a_bucket_that_has_no_such_object(lab: Lab) -> None:
    ended = conftest.harvest("read", "s3://idc-open-data/none", "--endpoint", lab.s3.endpoint)
    assert ended.returncode == 1
    assert ended.stderr.startswith("harvest: not_found")


def test_read_without_network() -> None:
    endpoint = f"http://127.0.0.1:{servers.free_port()}"
    ended = conftest.harvest("read", "s3://bucket/x", "--endpoint", endpoint)
    assert ended.returncode == 75
    assert ended.stderr.startswith("harvest: unavailable")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("read", "ftp://host/x"), "no s3://"),
        (("read", "s3://b/k", "--endpoint", "http://example.org"), "plain http"),
        (("read", "s3://b/k", "--endpoint", "http://169.254.169.254"), "link-local"),
        (("read", "s3://b/k", "--endpoint", "https://me:pw@host"), "credentials"),
        (("run", "no-such-config.yaml"), "no-such-config.yaml cannot be read"),
        (("status", "no-such-folder"), "no harvest"),
        (("query", "no-such-folder", "SELECT 1"), "no finished harvest"),
        (("columns", "out", "--tags", "Foo", "--dest", "a"), "--tags: 'Foo' is in no dictionary"),
        (("columns", "out", "--profile", "none", "--dest", "a"), "--profile 'none' is neither"),
        (
            ("columns", "out", "--profile", "all", "--skip", "Foo", "--dest", "a"),
            "--skip: 'Foo' is in no dictionary",
        ),
        (("columns", "out", "--tags", "StudyID", "--dest", "s3://b/a"), "is in a bucket"),
        (("columns", "no-such-folder", "--tags", "StudyID", "--dest", "a"), "no finished harvest"),
    ],
)
def test_mistakes_are_one_message(arguments: tuple[str, ...], message: str) -> None:
    ended = conftest.harvest(*arguments)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert message in ended.stderr
    assert ended.stderr.startswith("harvest: ")
    assert ended.stderr.count("\n") == 1
    assert "pw" not in ended.stderr


def test_a_query_that_fails(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for flag in ((), ("--json",)):
        ended = conftest.harvest("query", finished[0], "SELECT nothing FROM instances", *flag)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("harvest: the query fails")
        assert "Traceback" not in ended.stderr


def test_too_many_errors(lab: Lab, scheduler: str, tmp_path: Path) -> None:
    for number in range(3):
        conftest.write_dicom(tmp_path / "in" / f"{number}.dcm", "1.2.3")
    (tmp_path / "in" / "x.txt").write_text("x")
    config = write_config(
        tmp_path / "config.yaml",
        cohort={"prefix": str(tmp_path / "in")},
        output=str(tmp_path / "out"),
        cluster={"address": scheduler},
    )
    ended = conftest.harvest("run", config, "--json")
    assert ended.returncode == 2
    assert "1 of 4 objects could not be read, more than limits.max_error_rate 0 " in ended.stderr
    assert json.loads(ended.stdout)["errors"] == {"not_dicom": 1}
    assert conftest.harvest("run", config).returncode == 2
    assert (tmp_path / "out" / "manifest.json").exists()


def test_a_config_with_mistakes(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("cohort:\n  sqll: SELECT 1\noutput: out\nreed: {}\n")
    for command in ("plan", "run"):
        ended = conftest.harvest(command, config, "--json")
        assert (ended.returncode, ended.stdout) == (1, "")
        assert "line 2: cohort.sqll" in ended.stderr
        assert "did you mean sql?" in ended.stderr
        assert "line 4: reed" in ended.stderr


def test_a_pipe_that_closes_early(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    sql = "SELECT range FROM range(200000)"
    command = [*HARVEST, "query", str(finished[0]), sql, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


# --- progress --------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_lines_of_json(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    told = [json.loads(line) for line in finished[1].stderr.splitlines()]
    assert [each["event"] for each in told] == ["step", "step", "begin", "end", "step"]
    assert (told[2]["rows"], told[2]["done"], told[3]["done"]) == (6, 0, 6)
    assert told[3]["requests"] == 6
    assert "secret" not in finished[1].stderr.lower()


def test_a_finished_harvest_tells_what_it_took(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    ended = conftest.harvest("status", finished[0])
    for text in ("requests", "6, 0 of them again", "wall time", "slowest partitions", "USD"):
        assert text in ended.stdout


def test_dasks_own_report(lab: Lab, scheduler: str, tmp_path: Path) -> None:
    config = lab_config(lab, tmp_path, scheduler)
    inside = tmp_path / "out" / "report.html"
    file = tmp_path / "report.html"
    ended = conftest.harvest("run", config, "--json", "--performance-report", file)
    assert (ended.returncode, conftest.messages(ended)) == (0, "")
    assert "Dask Performance Report" in file.read_text()
    refused = conftest.harvest("run", config, "--performance-report", inside)
    assert refused.returncode == 1
    assert "is part of the harvest" in refused.stderr


def test_progress_is_drawn_on_a_terminal_and_never_on_stdout(
    lab: Lab, scheduler: str, tmp_path: Path
) -> None:
    config = lab_config(lab, tmp_path, scheduler)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*HARVEST, "run", str(config), "--json"], stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        drawn = b"".join(read_terminal(ours))
        assert process.stdout is not None
        printed = process.stdout.read()
        assert process.wait(60) == 0
    assert json.loads(printed)["rows"] == 6
    assert b"reading headers" in drawn
    assert b"listing the cohort" in drawn
    assert b"0 errors" in drawn


def read_terminal(descriptor: int) -> Iterator[bytes]:
    try:
        while chunk := os.read(descriptor, 4096):
            yield chunk
    except OSError:  # how Linux says that nobody holds the other end
        pass
    finally:
        os.close(descriptor)


# --- signals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_goes_on(
    lab: Lab, tmp_path: Path, s3_gate: Gate, number: signal.Signals
) -> None:
    config = lab_config(
        lab,
        tmp_path,
        where="Modality IN ('CT', 'PT')",
        source={"endpoint": s3_gate.url},
        limits={"requests_per_second": 300},
    )
    with subprocess.Popen(
        [*HARVEST, "run", str(config), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        parts = tmp_path / "out" / "_harvest" / "parts"
        deadline = time.monotonic() + 60
        while not (parts.is_dir() and any(parts.rglob("*.arrow"))):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        printed, said = process.communicate(timeout=30)
    assert process.returncode == 75
    assert printed == b""
    assert b"run the same command again" in said
    assert b"Traceback" not in said
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert not list((tmp_path / "out").rglob("*.parquet"))
    content = json.loads(config.read_text())
    content["limits"] = {}
    config.write_text(json.dumps(content))
    listings = len(s3_gate.of("list-type"))
    ended = conftest.harvest("run", config, "--json")
    assert (ended.returncode, conftest.messages(ended)) == (0, "")
    assert json.loads(ended.stdout)["rows"] == 1230
    assert len(s3_gate.of("list-type")) == listings


def test_what_duckdb_makes_of_an_interruption_is_no_bug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted() -> None:
        raise RuntimeError("Query interrupted")

    with pytest.raises(SystemExit) as ended:
        group.reporting(interrupted)()
    assert ended.value.code == 75
    assert "run the same command again" in capsys.readouterr().err


def test_a_bug_says_where_it_is_and_nothing_of_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise KeyError("SECRET-PATIENT")

    def kept() -> None:
        raise ObjectError(ErrorKind.INTERNAL, "KeyError at converter.py:1")

    for function, place in ((broken, r"group\.py:\d+"), (kept, r"converter\.py:1")):
        with pytest.raises(SystemExit) as ended:
            group.reporting(function)()
        assert ended.value.code == 70
        told = capsys.readouterr().err
        assert re.search(rf"a bug: KeyError at {place}; please report it", told)
        assert "SECRET" not in told


def test_wrong_use_that_a_command_finds_is_no_bug() -> None:
    def wrong() -> None:
        raise click.UsageError("name one of them")

    with pytest.raises(click.UsageError, match="name one of them"):
        group.reporting(wrong)()


# --- hosts -----------------------------------------------------------------------------------

PUBLIC = {
    "aws": "idc-open-data.s3.us-east-1.amazonaws.com:443",
    "gcs": "storage.googleapis.com:443",
}


def public_environment(proxy: str, tmp_path: Path) -> dict[str, str]:
    """An environment with credentials that must not be sent, and every way out through a proxy."""
    secrets = {
        "AWS_ACCESS_KEY_ID": "the-users-key",
        "AWS_SECRET_ACCESS_KEY": "the-users-secret",
        "AWS_SESSION_TOKEN": "the-users-token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "GOOGLE_CLOUD_PROJECT": "the-users-project",
        "HOME": str(tmp_path),
    }
    proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), proxy)
    env = conftest.environment(**secrets, **proxies)
    return {name: value for name, value in env.items() if name not in ("NO_PROXY", "no_proxy")}


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_without_an_endpoint_the_public_hosts_are_asked(
    lab: Lab, tmp_path: Path, cloud: str, transport: str
) -> None:
    config = lab_config(lab, tmp_path, source={"cloud": cloud, "transport": transport})
    with refusing_proxy() as proxy:
        ended = conftest.harvest("plan", config, env=public_environment(proxy.url, tmp_path))
    assert ended.returncode == 75
    assert ended.stdout == ""
    assert "does not answer" in ended.stderr
    assert "run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "the-users" not in ended.stderr
    assert all(head.startswith("CONNECT ") for head in proxy.requests)
    hosts = {host.replace("s3.amazonaws", "s3.us-east-1.amazonaws") for host in proxy.hosts}
    assert hosts == {PUBLIC[cloud]}
    assert "the-users" not in "".join(proxy.requests)
    assert "authorization" not in "".join(proxy.requests).lower()
    assert conftest.tree(tmp_path / "out") == {}


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_read_asks_the_public_hosts(tmp_path: Path, scheme: str, transport: str) -> None:
    with refusing_proxy() as proxy:
        ended = conftest.harvest(
            "read",
            f"{scheme}://idc-open-data/x/y.dcm",
            "--transport",
            transport,
            env=public_environment(proxy.url, tmp_path),
        )
    assert ended.returncode == 75
    assert ended.stderr.startswith("harvest: unavailable")
    hosts = {host.replace("s3.amazonaws", "s3.us-east-1.amazonaws") for host in proxy.hosts}
    assert hosts == {PUBLIC["aws" if scheme == "s3" else "gcs"]}
    assert "the-users" not in "".join(proxy.requests)


def test_dry_run_needs_no_network(lab: Lab, tmp_path: Path) -> None:
    for name, cohort in (
        ("lab", {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(lab.index)}),
        (
            "packaged",
            {"sql": "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'lung_phantom'"},
        ),
    ):
        config = write_config(
            tmp_path / f"{name}.yaml", cohort=cohort, output=str(tmp_path / "out")
        )
        with refusing_proxy() as proxy:
            env = public_environment(proxy.url, tmp_path)
            ended = conftest.harvest("plan", config, "--dry-run", "--json", env=env)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert proxy.requests == []
        found = json.loads(ended.stdout)
        assert found["series"] > 0
        assert found["instances"] >= found["series"]
        assert found["read_requests"] >= found["instances"]
    assert found["instances"] == 345
    assert not (tmp_path / "out").exists()


def test_a_plan_says_how_much_scans_may_read(lab: Lab, tmp_path: Path) -> None:
    cohort = {"sql": conftest.SQL_GENERATED, "index": str(lab.index)}
    sections = {
        "cohort": cohort,
        "source": conftest.source_of(lab),
        "output": str(tmp_path / "out"),
    }
    config = write_config(tmp_path / "scan.yaml", **sections, read={"frames": "scan"})
    estimate = json.loads(conftest.harvest("plan", config, "--dry-run", "--json").stdout)
    assert 10**6 < estimate["scan_bytes"] < estimate["object_bytes"]
    assert "scans" in conftest.harvest("plan", config, "--dry-run").stdout
    assert "scans" in conftest.harvest("plan", config).stdout
    plain = write_config(tmp_path / "plain.yaml", **{**sections, "output": str(tmp_path / "other")})
    assert "scans" not in conftest.harvest("plan", plain, "--dry-run").stdout
    assert "scans" not in conftest.harvest("plan", plain).stdout


def test_dry_run_refuses_an_index_table_that_is_not_cached(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "config.yaml",
        cohort={"sql": "SELECT SeriesInstanceUID FROM seg_index"},
        output=str(tmp_path / "out"),
    )
    with refusing_proxy() as proxy:
        env = {**public_environment(proxy.url, tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
        ended = conftest.harvest("plan", config, "--dry-run", env=env)
    assert ended.returncode == 1
    assert "seg_index" in ended.stderr
    assert proxy.requests == []


def test_an_index_table_that_cannot_be_fetched(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "config.yaml",
        cohort={"sql": "SELECT SeriesInstanceUID FROM seg_index"},
        output=str(tmp_path / "out"),
    )
    with refusing_proxy() as proxy:
        env = {**public_environment(proxy.url, tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
        ended = conftest.harvest("plan", config, env=env)
    assert ended.returncode in (1, 75)
    # idc-index logs what it does
    assert ended.stderr.splitlines()[-1].startswith("harvest: the index table seg_index could not")
    assert "Traceback" not in ended.stderr
    assert proxy.requests
    assert not (tmp_path / "out").exists()


# --- private buckets -------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_a_private_bucket_with_the_environments_credentials(
    lab: Lab, tmp_path: Path, transport: str
) -> None:
    source = conftest.source_of(lab, transport=transport, anonymous=False)
    config = write_config(
        tmp_path / "config.yaml",
        cohort={"prefix": f"s3://{servers.PRIVATE_BUCKET}/"},
        source=source,
        output=str(tmp_path / "out"),
    )
    denied = conftest.harvest(
        "plan", config, env=conftest.environment(AWS_EC2_METADATA_DISABLED="true")
    )
    assert denied.returncode == 1
    assert re.search("denies|no AWS credentials", denied.stderr)
    secrets = {
        "AWS_ACCESS_KEY_ID": servers.S3_ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": servers.S3_SECRET_KEY,
    }
    ended = conftest.harvest("run", config, "--json", env=conftest.environment(**secrets))
    assert (ended.returncode, conftest.messages(ended)) == (0, "")
    assert json.loads(ended.stdout)["ok"] == 24
    written = b"".join(conftest.tree(tmp_path / "out").values())
    for secret in secrets.values():
        assert secret.encode() not in written
        assert secret not in ended.stdout + ended.stderr


# --- region ----------------------------------------------------------------------------------


def test_a_region_becomes_a_picture(lab: Lab, tmp_path: Path) -> None:
    series = conftest.series_of(lab, "SM extended offset table")
    url = f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/"
    picture = tmp_path / "patch.png"
    place = ("100", "200", "300", "150", "--level", "1", "--dest", picture)
    ended = conftest.harvest("region", url, *place, "--endpoint", lab.s3.endpoint, "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert (found["width"], found["height"], found["level_width"]) == (300, 150, 813)
    assert found["requests"] > 4
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    expected = read_region(url, 100, 200, 300, 150, level=1, endpoint=lab.s3.endpoint)
    assert np.array_equal(pixels, expected)
    shown = conftest.harvest("region", url, *place, "--endpoint", lab.s3.endpoint)
    assert "300 x 150 pixels" in shown.stdout
    assert "request(s)" in shown.stdout


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (("9000", "0", "5", "5"), "does not lie inside the matrix of 3254 x 3254 pixels"),
        (("-5", "0", "5", "5"), "begins at (0, 0)"),
        (("0", "-3", "5", "5"), "5 x 5 pixels at (0, -3) does not lie inside"),
        (("0", "0", "5", "5", "--level", "7"), "there is no level 7"),
        (("0", "0", "5", "5", "--optical-path", "x"), "there is no optical path 'x'"),
        (("0", "0", "5", "5", "--region", "x", "--endpoint", "nonsense"), "endpoint"),
    ],
)
def test_a_wrong_region_is_told(lab: Lab, tmp_path: Path, more: tuple[str, ...], text: str) -> None:
    series = conftest.series_of(lab, "SM basic offset table")
    url = f"s3://{series.aws_bucket}/{series.crdc_series_uuid}/"
    ended = conftest.harvest(
        "region", url, "--dest", tmp_path / "p.png", "--endpoint", lab.s3.endpoint, *more
    )
    assert ended.returncode == 1
    assert text in ended.stderr
    assert not list(tmp_path.iterdir())
