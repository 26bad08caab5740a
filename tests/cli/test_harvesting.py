"""The commands that harvest: results, progress, signals, hosts, and private buckets."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import conftest
from tests.conftest import HARVEST
from tests.faults.proxy import Gate
from tests.lab import Lab, servers
from tests.support.commands import PUBLIC, lab_config, public_environment, write_config
from tests.support.proxy import refusing_proxy
from tests.support.waiting import wait_until


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
        wait_until(lambda: process.poll() is not None or any(parts.rglob("*.arrow")))
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


# --- hosts -----------------------------------------------------------------------------------


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
