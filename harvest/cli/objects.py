"""Commands on single objects: read, frames, region."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExitCode
from .group import end_on_signals, main, progress_shown, reporting
from .options import json_option, png_file, source_options

if TYPE_CHECKING:
    from ..objects.report import ElementReport, ObjectReport


@main.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--dest", metavar="FILE", help="Write a frame index, as Parquet.")
@click.option("--no-scan", is_flag=True, help="Believe tables only; never walk over the items.")
@source_options
@json_option
@reporting
def frames(
    urls: tuple[str, ...],
    dest: str | None,
    no_scan: bool,
    source: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Tell where the frames of single objects lie.

    By their offset tables, or by a walk over their items. An object that cannot be read
    says so, and the exit code is 1, or 75 where trying again may help; the others are
    told, and written, nevertheless.

    \b
    Examples:
      harvest frames slide.dcm
      harvest frames s3://idc-open-data/<series uuid>/<instance uuid>.dcm --dest frames.parquet
    """
    from ..objects.frame_table import located, write_frames
    from ..output.destination import local_file
    from ..show import print_table, told

    file = None if dest is None else local_file(dest)
    end_on_signals()
    progress = progress_shown()
    found = []
    for number, url in enumerate(urls, 1):
        progress.message(f"{number} of {len(urls)}: {url}")
        found.append(located(url, scan=not no_scan, **source))
    if file is not None:
        write_frames([each.row for each in found if each.row is not None], file)
    columns = ["object", "frames", "source", "requests", "bytes read", "remark"]
    told(
        found,
        as_json,
        lambda found: print_table(columns, [each.shown() for each in found]),
        lambda found: [each.report() for each in found],
    )
    wrong = [each.error for each in found if each.error is not None]
    if any(kind.retryable for kind in wrong):
        return ExitCode.RUN_AGAIN
    return ExitCode.WRONG_USE if wrong else None


@main.command()
@click.argument("url")
@source_options
@json_option
@reporting
def read(
    url: str,
    source: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Read one object: its header, and where its pixels are.

    \b
    Examples:
      harvest read s3://idc-open-data/<series uuid>/<instance uuid>.dcm
      harvest read image.dcm --json
    """
    from ..objects.report import read as read_object
    from ..show import told

    told(read_object(url, **source), as_json, _print_object)
    return None


def _print_object(report: ObjectReport) -> None:
    from ..show import print_pairs, printable, size_text

    pixels = report.pixels
    for depth, element in _flattened(report.elements):
        value = "\\".join("" if v is None else str(v) for v in element.value or ())
        shown = element.problem and f"<{element.problem}, {element.length} bytes>"
        indent = "  " * depth
        line = f"{element.tag} {element.vr} {element.name}: {shown or value}"
        click.echo(indent + printable(line))
    click.echo()
    print_pairs(
        {
            "url": report.url,
            "size": size_text(report.size),
            "header": size_text(report.header_bytes),
            "transfer syntax": report.transfer_syntax or "none",
            "offset table": str(pixels.offset_table),
            "its entries": "" if pixels.frames is None else f"{pixels.frames:,}",
            "its problem": pixels.problem or "none",
            "pixel data at": "" if pixels.offset is None else f"{pixels.offset:,}",
            "read": f"{size_text(report.bytes_read)} in {report.requests} request(s)",
        }
    )


def _flattened(
    elements: Sequence[ElementReport], depth: int = 0
) -> Iterator[tuple[int, ElementReport]]:
    for element in elements:
        yield depth, element
        for item in element.items or ():
            yield from _flattened(item, depth + 1)


class _OfNumbers(click.Command):
    """A command to which -5 is a number and no option: it can say what is wrong with it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = any(re.fullmatch(r"-\d+", each) for each in args)
        return super().parse_args(ctx, args)


@main.command(cls=_OfNumbers)
@click.argument("url")
@click.argument("x", type=click.IntRange(min=0))
@click.argument("y", type=click.IntRange(min=0))
@click.argument("width", type=click.IntRange(min=1))
@click.argument("height", type=click.IntRange(min=1))
@click.option("--dest", required=True, metavar="FILE", help="The PNG file to write.")
@click.option("--level", default=0, help="Of a series: 0 is the largest.")
@click.option("--optical-path", metavar="ID", help="Which one; the first if not given.")
@click.option("--focal-plane", default=0, help="Which one, from 0, from the slide upwards.")
@click.option("--index", metavar="INDEX", help="A frame index: a file, or the output of a harvest.")
@source_options
@json_option
@reporting
def region(
    url: str,
    x: int,
    y: int,
    width: int,
    height: int,
    dest: str,
    level: int,
    optical_path: str | None,
    focal_plane: int,
    index: str | None,
    source: dict[str, Any],
    as_json: bool,
) -> int | None:
    """Write a part of a slide as PNG.

    It is WIDTH x HEIGHT pixels from column X and row Y on. URL is a level's object, or
    its series with a / at its end.

    \b
    Examples:
      harvest region slide.dcm 12000 8000 512 512 --dest patch.png
      harvest region s3://idc-open-data/<series uuid>/ 300 200 512 512 --level 2 --dest patch.png
    """
    from ..pixels.picture import write_png
    from ..pixels.slides import open_slide
    from ..show import told

    file = png_file(dest)
    began = time.monotonic()
    slide = open_slide(url, level=level, optical_path=optical_path, index=index, **source)
    pixels = slide.region(x, y, width, height, optical_path=optical_path, focal_plane=focal_plane)
    write_png(pixels, file)
    found = {
        "file": str(file),
        "width": width,
        "height": height,
        "level_width": slide.shape[1],
        "level_height": slide.shape[0],
        "requests": slide.requests,
        "bytes_read": slide.bytes_read,
        "seconds": round(time.monotonic() - began, 3),
    }
    told(found, as_json, _print_region)
    return None


def _print_region(found: dict[str, Any]) -> None:
    from ..show import print_pairs, size_text

    print_pairs(
        {
            "picture": f"{found['file']}, {found['width']:,} x {found['height']:,} pixels",
            "of a level of": f"{found['level_width']:,} x {found['level_height']:,} pixels",
            "read": f"{size_text(found['bytes_read'])} in {found['requests']:,} request(s)",
            "took": f"{found['seconds']:.2f} s",
        }
    )
