"""``python -m tests.bench.regions``: a region of a slide, its metadata, and finding its frames."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Final

from harvest.show import print_pairs, print_table, size_text
from tests.bench import peers
from tests.bench.regions.measure import Case, Measured, Results, measure, typical

FILE: Final = Path(__file__).with_name("results.json")
PLOT: Final = Path(__file__).with_name("plot.py")
ACROSS: Final = 100
TITLES: Final = {
    "smart_open": "smart_open + highdicom",
    "gcs_blob": "google-cloud-storage blob + highdicom",
    "s3fs": "s3fs + highdicom",
    "wsidicom": "wsidicom over s3fs",
    "harvest_open": "harvest.open + highdicom",
    "harvest_region": "harvest.read_region",
    "floor": "the tiles' ranges alone, obstore",
}


def main() -> None:
    """Measure, save and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.regions", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--across", type=int, default=ACROSS, help="tiles of a row of the slide")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--save", type=Path, help=f"where to; {FILE.name} if all was measured")
    options = parser.parse_args()
    found = measure(options.across, options.rounds)
    content = found.to_json()
    target = options.save or (FILE if options.across == ACROSS else None)
    if target is not None:
        target.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        picture = target.with_suffix(".svg")
        subprocess.run([peers.python(), str(PLOT), str(target), str(picture)], check=True)
    if options.json:
        print(json.dumps(content, indent=1))
    else:
        show(found)


def show(found: Results) -> None:
    """Print what was measured."""
    print_pairs(
        {
            "slide": f"{found.across**2:,} tiles of 256 x 256 pixels in JPEG",
            "region": f"512 x 512 pixels, 9 tiles of {size_text(found.tile_bytes)} in 3 rows",
            "frame index": f"{found.index_bytes_per_frame:.1f} bytes per frame",
        }
    )
    columns = ["way", "store", "file", "requests to open", "bytes", "s"]
    print_table(
        [*columns, "requests for the region", "bytes", "s", "bytes / tiles' bytes"],
        [_row(case, each, found.tile_bytes) for case, each in found.cases if not case.metadata],
    )
    print_table(
        ["metadata only", *columns[1:]],
        [_row(case, each, 0)[:6] for case, each in found.cases if case.metadata],
    )
    print_table(
        ["finding frames", "told by", "requests", "bytes", "of the file"],
        [
            (name, each.source, each.requests, f"{each.bytes:,}", f"{each.bytes / each.size:.3%}")
            for name, each in found.located.items()
        ],
    )


def _row(case: Case, found: Measured, tile_bytes: int) -> list[str]:
    title = TITLES[case.way] + (", index" if case.indexed and case.ours else "")
    named = [title, case.cloud, case.table]
    if found.failure is not None:
        return [*named, found.failure, *[""] * 6]
    opening = typical(found.opening)
    cells = [f"{opening.requests:,}", size_text(opening.bytes), f"{opening.seconds:.2f}"]
    if not found.region:
        return [*named, *cells]
    region = typical(found.region)
    cells += [f"{region.requests:,}", size_text(region.bytes), f"{region.seconds:.2f}"]
    return [*named, *cells, f"{region.bytes / tile_bytes:.2f}"]


if __name__ == "__main__":
    main()
