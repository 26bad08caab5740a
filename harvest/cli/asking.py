"""Commands that ask finished harvests: query, index, columns, census."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError, HarvestError
from .group import end_on_signals, main, progress_shown, reporting
from .options import json_option, output_options, png_file

if TYPE_CHECKING:
    from ..dicom.tags import Wanted
    from ..views.census import Grouping
    from ..views.columns import NewColumns
    from ..views.indices import WrittenIndex


@main.command()
@click.argument("output")
@click.argument("sql")
@output_options
@json_option
@reporting
def query(
    output: str,
    sql: str,
    bucket: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Run SQL with DuckDB on the tables in OUTPUT.

    These are instances, series and frames. The views dicom_all and dicom_metadata
    hold the same in the shape of IDC's BigQuery tables; dicom_attributes tells where
    their values come from.

    \b
    Examples:
      harvest query out/lung_phantom "SELECT offset_table, count(*) FROM instances GROUP BY ALL"
      harvest query out/lung_phantom "DESCRIBE instances"
      harvest query gs://bucket/lung_phantom "SELECT count(*) FROM instances"
    """
    from ..config import output_config
    from ..show import printable, terminal_width, told
    from ..views.queries import query_rows, query_text

    config = output_config(output, **bucket)
    found = query_rows(config, sql) if as_json else query_text(config, sql, terminal_width())
    told(found, as_json, lambda text: click.echo(printable(str(text), keep="\n"), nl=False))
    return None


@main.command()
@click.argument("output")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that a harvest can give.")
@click.option("--dest", required=True, type=click.Path(), help="Folder for the files.")
@output_options
@json_option
@reporting
def index(
    output: str,
    names: tuple[str, ...],
    every: bool,
    dest: str,
    bucket: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Write IDC's index tables of the harvest in OUTPUT.

    By IDC's own SQL, each NAME, such as ct_index, becomes DEST/NAME.parquet with the columns
    that IDC publishes. What an index reads and OUTPUT has no column for counts
    as absent, and is named.

    \b
    Examples:
      harvest index out/lung_phantom ct_index volume_geometry_index --dest out/indices
      harvest index out/lung_phantom --all --dest out/indices --json
    """
    from ..config import output_config
    from ..show import told
    from ..views.indices import index_names, write_indices

    if every == bool(names):
        raise HarvestError(f"name the indices, or say --all: there are {', '.join(index_names())}")
    config = output_config(output, **bucket)
    end_on_signals()
    progress = progress_shown()
    written = write_indices(
        config,
        index_names() if every else names,
        dest,
        lambda name: progress.message(f"building {name}"),
    )
    told(written, as_json, _print_indices)
    return None


def _print_indices(written: list[WrittenIndex]) -> None:
    from ..show import print_table

    print_table(
        ["index", "rows", "file"], [(each.name, f"{each.rows:,}", each.path) for each in written]
    )
    for title, kind in (
        ("not in the harvest's profile", "not_harvested"),
        ("in no file of the harvest", "not_found"),
    ):
        rows = [(each.name, "\n".join(getattr(each, kind))) for each in written]
        if any(paths for _, paths in rows):
            print_table(["index", title], [row for row in rows if row[1]])


@main.command()
@click.argument("output")
@click.option("--tags", multiple=True, metavar="TAG", help="Keyword, Sequence.Keyword or private.")
@click.option("--profile", "profiles", multiple=True, metavar="NAME", help="A profile, or `all`.")
@click.option("--skip", multiple=True, metavar="TAG", help="To leave out where all are wanted.")
@click.option("--dest", required=True, metavar="FILE", help="The Parquet file to write.")
@output_options
@json_option
@reporting
def columns(
    output: str,
    tags: tuple[str, ...],
    profiles: tuple[str, ...],
    skip: tuple[str, ...],
    dest: str,
    bucket: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Make new columns of the headers that OUTPUT has kept.

    Nothing is read again. OUTPUT is a finished harvest with read.header: json. FILE
    gets one row for each row of instances: url, issues and the columns; join it by url.

    \b
    Examples:
      harvest columns out/lung --tags ProtocolName --tags BodyPartThickness --dest protocol.parquet
      harvest columns out/lung --profile ct --dest ct.parquet
      harvest columns out/lung --profile all --skip ReferencedSeriesSequence --dest all.parquet
    """
    from ..config import output_config
    from ..show import told
    from ..views.columns import write_columns

    if not tags and not profiles:
        raise click.UsageError("name --tags or a --profile")
    wanted = _wanted(profiles, tags, skip)
    config = output_config(output, **bucket)
    end_on_signals()
    told(write_columns(config, wanted, dest, progress_shown()), as_json, _print_columns)
    return None


def _print_columns(written: NewColumns) -> None:
    from ..show import print_pairs

    print_pairs(
        {
            "rows": f"{written.rows:,}",
            "columns": f"{len(written.columns):,}",
            "file": written.path,
        }
    )


def _wanted(profiles: tuple[str, ...], tags: tuple[str, ...], skip: tuple[str, ...]) -> Wanted:
    from ..config.profile import resolve

    resolved = resolve(profiles, tags, skip)
    if resolved.mistakes:
        # they name a key of the config's `read:` section, or a profile: here it is an option
        texts = (text.removeprefix("read.") for _, text in resolved.mistakes)
        raise ConfigError("\n".join(f"--{text}" for text in texts))
    return resolved.wanted


@main.command()
@click.argument("output")
@click.option("--by", type=click.Choice(["collection_id", "Modality"]), help="Groups.")
@click.option("--dest", metavar="FILE", help="A PNG file to draw.")
@output_options
@json_option
@reporting
def census(
    output: str,
    by: Grouping | None,
    dest: str | None,
    bucket: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Count which objects in OUTPUT have an offset table.

    Groups are collections where the harvest knows them, modalities otherwise.

    \b
    Examples:
      harvest census out/slides
      harvest census out/slides --by Modality --dest census.png
    """
    from ..config import output_config
    from ..show import print_table, told
    from ..views.census import census as counted
    from ..views.census import shown, title_of, write_census

    file = None if dest is None else png_file(dest)
    found = counted(output_config(output, **bucket), by)
    if file is not None:
        write_census(found, file, title_of(found, output))
    columns = ["group", "offset table", "problem", "objects", "bytes", "frames"]
    told(found, as_json, lambda found: print_table(columns, shown(found)))
    return None
