"""Keep a lab running beside the shell: ``python -m tests.lab up`` and ``down``."""

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from tests.lab import servers
from tests.lab.configs import lab_config
from tests.lab.files import corpus_from_environment
from tests.lab.laboratory import INDEX, Lab, start_lab, stop_lab

_STATE: Final = "lab.json"
_DIRECTORY: Final = Path(".lab")
_NEXT: Final = """\
The lab is up: {series} series, {objects} objects on each cloud.
  S3   {s3}
  GCS  {gcs}
  index {index}

Next:
  harvest run {directory}/aws.yaml
  harvest query out/lab_aws "SELECT Modality, offset_table, count(*) FROM instances GROUP BY ALL"
  {down}
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit code.

    Parameters
    ----------
    arguments
        Words of the command line; those of the process if None.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command in (("up", up), ("down", down)):
        sub = commands.add_parser(name, help=(command.__doc__ or "").partition("\n")[0])
        sub.add_argument("--dir", type=Path, default=_DIRECTORY, help="the lab's folder")
        sub.set_defaults(command=command)
    options = parser.parse_args(arguments)
    code: int = options.command(options.dir)
    return code


def up(directory: Path) -> int:
    """Start a lab that stays, with a configuration for each cloud."""
    if any(_runs(entry) for entry in _recorded(directory)):
        command = _end_command(directory)
        print(f"a lab runs in {directory} already; end it with `{command}` first", file=sys.stderr)
        return 1
    _clear(directory)
    directory.mkdir(parents=True, exist_ok=True)
    running = start_lab(directory, cache=directory, corpus=corpus_from_environment())
    try:
        write_state(directory, running)
    except BaseException:
        # Nobody could find the servers again without the record of their pids.
        stop_lab(running)
        raise
    text = _NEXT.format(
        series=len(running.series),
        objects=sum(len(series.instances) for series in running.series),
        s3=running.s3.endpoint,
        gcs=running.gcs.endpoint,
        index=directory / INDEX,
        directory=directory,
        down=_end_command(directory),
    )
    print(text, end="")
    return 0


def down(directory: Path) -> int:
    """End the lab that `up` started, and remove its data."""
    recorded = _recorded(directory)
    if not recorded:
        print(f"no lab in {directory}", file=sys.stderr)
        return 1
    for entry in recorded:
        # The number may belong to another process by now.
        if _runs(entry):
            servers.stop(entry["pid"])
    _clear(directory)
    return 0


def write_state(directory: Path, running: Lab) -> None:
    """Write what `down` needs to find the servers, and a configuration for each cloud.

    Parameters
    ----------
    directory
        Folder of the lab.
    running
        Its servers.
    """
    state: dict[str, Any] = {"index": str(running.index)}
    for name, cloud, server in (("s3", "aws", running.s3), ("gcs", "gcs", running.gcs)):
        state[name] = {
            "endpoint": server.endpoint,
            "pid": server.pid,
            "command": servers.command_line(server.pid),
        }
        config = lab_config(running, cloud, Path(f"out/lab_{cloud}"))
        (directory / f"{cloud}.yaml").write_text(config, encoding="utf-8")
    (directory / _STATE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")


def _end_command(directory: Path) -> str:
    if directory == _DIRECTORY:
        return "make lab-down"
    return f"python -m tests.lab down --dir {shlex.quote(str(directory))}"


def _recorded(directory: Path) -> list[dict[str, Any]]:
    try:
        state = json.loads((directory / _STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return [state["s3"], state["gcs"]]


def _runs(entry: dict[str, Any]) -> bool:
    return bool(entry["command"]) and servers.command_line(entry["pid"]) == entry["command"]


def _clear(directory: Path) -> None:
    """Remove what one run left; the generated files stay for the next."""
    for folder in ("seaweedfs", "fake_gcs"):
        shutil.rmtree(directory / folder, ignore_errors=True)
    for name in (_STATE, INDEX, "aws.yaml", "gcs.yaml"):
        (directory / name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
