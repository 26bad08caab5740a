"""Has this file an offset table? Without downloading its pixels.

python configs/examples/offset_table.py
python configs/examples/offset_table.py s3://bucket/a.dcm s3://bucket/b.dcm
"""

from __future__ import annotations

import pydicom
from compared import SLIDE, Comparison, mistakes_told, opened_by_page
from pydicom.encaps import parse_basic_offsets

import harvest


def main() -> None:
    """Ask pydicom, who needs the whole file, and harvest."""
    compared = Comparison(__doc__, [f"s3://{SLIDE}"])
    kinds, same = {}, True
    for url in compared.urls:
        with compared.page("is there an offset table?", "pydicom, the whole file"):
            dataset = pydicom.dcmread(opened_by_page(url, compared.endpoint))
            encapsulated = dataset.file_meta.TransferSyntaxUID.is_encapsulated
            has_table = "ExtendedOffsetTable" in dataset or (
                encapsulated and bool(parse_basic_offsets(dataset.PixelData))
            )
        with compared.harvest("is there an offset table?", "harvest.read") as cost:
            report = harvest.read(url, endpoint=compared.endpoint)
            cost.requests, cost.bytes = report.requests, report.bytes_read
        kinds[url] = str(report.pixels.offset_table)
        same &= has_table == (kinds[url] in ("basic", "extended", "both"))
    compared.show(offset_tables=kinds, same=same)


if __name__ == "__main__":
    with mistakes_told():
        main()
