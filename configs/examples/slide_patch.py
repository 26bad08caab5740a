"""A patch of a whole slide image, without reading the slide.

python configs/examples/slide_patch.py
python configs/examples/slide_patch.py s3://bucket/key.dcm --region 12000 8000 512 512
"""

from __future__ import annotations

import highdicom
import numpy as np
from compared import SLIDE, Comparison, mistakes_told, opened_by_page

import harvest


def main() -> None:
    """Read the same patch by highdicom and by harvest."""
    region = {"type": int, "nargs": 4, "default": (10_000, 10_000, 512, 512)}
    names = {"metavar": ("X", "Y", "WIDTH", "HEIGHT"), "help": "in pixels, from 0"}
    compared = Comparison(__doc__, [f"gs://{SLIDE}"], region={**region, **names})
    (url,) = compared.urls
    x, y, width, height = compared.options.region
    with compared.harvest("a patch", "harvest.open_slide, region") as cost:
        slide = harvest.open_slide(url, endpoint=compared.endpoint)
        by_harvest = slide.region(x, y, width, height)
        cost.requests, cost.bytes = slide.requests, slide.bytes_read
    with compared.page("a patch", "highdicom, lazily"):
        image = highdicom.imread(opened_by_page(url, compared.endpoint), lazy_frame_retrieval=True)
        by_page = image.get_total_pixel_matrix(
            row_start=y + 1,
            row_end=y + height + 1,
            column_start=x + 1,
            column_end=x + width + 1,
            dtype=np.uint8,
            apply_icc_profile=False,
        )
    compared.show(
        slide=" x ".join(map(str, slide.shape)), same=bool(np.array_equal(by_page, by_harvest))
    )


if __name__ == "__main__":
    with mistakes_told():
        main()
