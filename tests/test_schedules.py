"""Ready schedules: each is what its scheduler reads, and runs a command that there is."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from harvest.cli import main
from harvest.config import load_config, parse_config
from harvest.errors import ExitCode

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "configs" / "schedules"
FINAL = {ExitCode.WRONG_USE, ExitCode.TOO_MANY_ERRORS, ExitCode.BUG}
_FIELD = r"(?:\*|\d+)(?:-\d+)?(?:/\d+)?(?:,\d+(?:-\d+)?)*"
CRON = re.compile(rf"((?:{_FIELD} +){{4}}{_FIELD}) +(.*)")
RANGES = (range(60), range(24), range(1, 32), range(1, 13), range(8))


def check_times(expression: str) -> None:
    for field, allowed in zip(expression.split(), RANGES, strict=True):
        assert all(int(number) in allowed for number in re.findall(r"\d+", field)), expression


def check_command(text: str) -> None:
    """Parse a harvest command as the command line would, and read its config."""
    words = shlex.split(text)
    assert Path(words[0]).name == "harvest"
    command = main.get_command(click.Context(main), words[1])
    assert command is not None
    context = command.make_context(words[1], list(words[2:]), resilient_parsing=False)
    config = load_config(ROOT / str(context.params["config"]))
    assert config.audit is not None


def harvest_commands(script: str) -> list[str]:
    return re.findall(r"\S*\bharvest audit [^\s;|]+", script)


def check_script(script: str, tmp_path: Path) -> None:
    """Have bash read a script, and run it with a harvest that ends with 75 and then with 2."""
    for command in harvest_commands(script):
        check_command(command)
        script = script.replace(command, f"{tmp_path}/harvest audit")
    calls = tmp_path / "calls"
    fake = tmp_path / "harvest"
    fake.write_text(
        f'#!/bin/sh\necho >>"{calls}"\n[ $(wc -l <"{calls}") -eq 1 ] && exit 75\nexit 2\n'
    )
    fake.chmod(0o755)
    script = script.replace("sleep $pause", ":").replace('cd "$HARVEST"', ":")
    done = subprocess.run(["bash", "-c", script], check=False, timeout=20)
    assert done.returncode == 2
    assert calls.read_text().count("\n") == 2


def cron_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line and not line.startswith("#") and not re.match(r"\w+=", line):
            found = CRON.fullmatch(line)
            assert found is not None, line
            yield found[1], found[2]


def test_every_schedule_is_tested() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "crontab",
        "github-actions.yaml",
        "harvest-audit.service",
        "harvest-audit.timer",
        "kubernetes.yaml",
        "scrontab",
    ]


@pytest.mark.parametrize("name", ["crontab", "scrontab"])
def test_cron(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    ((times, command),) = cron_lines(text)
    check_times(times)
    assert "%" not in command  # cron makes a newline of it
    assert harvest_commands(command)
    check_script(command, tmp_path)


def test_scrontab_options_stand_before_their_line() -> None:
    lines = (FOLDER / "scrontab").read_text(encoding="utf-8").splitlines()
    options = [line for line in lines if line.startswith("#SCRON")]
    assert lines[-len(options) - 1 : -1] == options
    assert all(re.fullmatch(r"#SCRON --[a-z-]+=\S+", line) for line in options)


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((FOLDER / name).read_text(encoding="utf-8"))
    return parser


def test_systemd() -> None:
    service, timer = unit("harvest-audit.service"), unit("harvest-audit.timer")
    check_command(service["Service"]["ExecStart"])
    assert service["Service"]["Type"] == "oneshot"
    assert int(service["Service"]["RestartForceExitStatus"]) == ExitCode.RUN_AGAIN
    prevented = {int(code) for code in service["Service"]["RestartPreventExitStatus"].split()}
    assert prevented == FINAL
    assert re.fullmatch(
        r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \*-\*-\* \d\d:\d\d:\d\d UTC", timer["Timer"]["OnCalendar"]
    )
    assert timer["Install"]["WantedBy"] == "timers.target"


def test_kubernetes() -> None:
    documents: dict[str, Any] = {
        document["kind"]: document
        for document in yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text(encoding="utf-8"))
    }
    text = documents["ConfigMap"]["data"]["audit.yaml"]
    config = parse_config(text)
    assert config.audit is not None
    spec = documents["CronJob"]["spec"]
    check_times(spec["schedule"])
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    (failing, _) = job["podFailurePolicy"]["rules"]
    assert set(failing["onExitCodes"]["values"]) == FINAL
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # a pod failure policy asks for it
    (container,) = pod["containers"]
    assert container["name"] == failing["onExitCodes"]["containerName"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert config.output.url.startswith(f"{mounts['audits']}/")
    name, command, path = container["command"]
    assert (name, path) == ("harvest", f"{mounts['config']}/audit.yaml")
    assert command in main.commands
    claims = [
        v["persistentVolumeClaim"]["claimName"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert claims == [documents["PersistentVolumeClaim"]["metadata"]["name"]]


def test_github_actions(tmp_path: Path) -> None:
    # YAML 1.1 reads the key `on` as true
    workflow = yaml.safe_load((FOLDER / "github-actions.yaml").read_text(encoding="utf-8"))
    check_times(workflow[True]["schedule"][0]["cron"])
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is False
    (job,) = workflow["jobs"].values()
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    (script,) = [script for script in scripts if harvest_commands(script)]
    check_script(script, tmp_path)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", s["uses"]) for s in job["steps"] if "uses" in s)
    output = load_config(ROOT / "configs" / "audit.yaml").output.url
    cached = next(
        s["with"]["path"] for s in job["steps"] if s.get("uses", "").startswith("actions/cache")
    )
    assert output.startswith(f"{cached}/")
