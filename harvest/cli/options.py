"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce, wraps
from pathlib import Path
from typing import Any, Final

import click

from ..errors import HarvestError

Command = Callable[..., Any]

json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
cluster_option: Final = click.option(
    "--cluster", type=click.Path(), metavar="FILE", help="A file whose section cluster: is taken."
)
_BUCKET: Final = (
    click.option("--endpoint", help="An S3-compatible server or GCS emulator."),
    click.option("--region", help="Region of an S3 bucket."),
    click.option("--allow-http", is_flag=True, help="Allow plain http outside loopback."),
)
_SOURCE: Final = (
    click.option("--transport", type=click.Choice(["obstore", "sdk"]), default="obstore"),
    click.option("--credentials", is_flag=True, help="Send the environment's credentials."),
)


def output_options(function: Command) -> Command:
    """Add what tells where an output's bucket is; a command gets it as `bucket`.

    These are the keys that `harvest.config.output_config` takes.
    """

    @wraps(function)
    def command(
        *args: Any, endpoint: str | None, region: str | None, allow_http: bool, **kwargs: Any
    ) -> Any:
        bucket = {"endpoint": endpoint, "region": region, "allow_http": allow_http}
        return function(*args, bucket=bucket, **kwargs)

    return _with(command, _BUCKET)


def source_options(function: Command) -> Command:
    """Add what tells how a single object is reached; a command gets it as `source`.

    These are keys of the config's ``source:`` section.
    """

    @wraps(function)
    def command(
        *args: Any, bucket: dict[str, Any], transport: str, credentials: bool, **kwargs: Any
    ) -> Any:
        source = {**bucket, "transport": transport, "anonymous": not credentials}
        return function(*args, source=source, **kwargs)

    return output_options(_with(command, _SOURCE))


def _with(function: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    # the last one that is applied comes first in the help
    return reduce(lambda made, option: option(made), reversed(options), function)


def png_file(dest: str) -> Path:
    """Check where a picture is to be written; raises `HarvestError`."""
    from ..output.destination import local_file

    if not dest.casefold().endswith(".png"):
        raise HarvestError(f"{dest} is to be a PNG file: name one that ends with .png")
    return local_file(dest)
