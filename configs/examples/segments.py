"""Chosen segments of a segmentation of many organs, and no byte of the others.

python configs/examples/segments.py --segments liver spleen
python configs/examples/segments.py s3://bucket/seg.dcm --segments 5 SCT:10200004
"""

from __future__ import annotations

import highdicom
from compared import Comparison, first_object, mistakes_told, opened_by_page

import harvest

# some 80 organs of a CT of NLST, by TotalSegmentator; the folder of the series has one object
SEGMENTATION = """
SELECT series_aws_url FROM index
WHERE analysis_result_id = 'totalsegmentator_ct_segmentations' AND collection_id = 'nlst'
  AND SeriesDescription LIKE 'TotalSegmentator%Segmentation'
ORDER BY series_size_MB LIMIT 1 OFFSET 60000
"""


def main() -> None:
    """Read the same segments by highdicom and by harvest, and compare their voxels."""
    names = {"nargs": "+", "default": ["liver", "spleen"], "help": "numbers, codes or meanings"}
    compared = Comparison(__doc__, [], segments=names)
    (url,) = compared.urls or [some_segmentation()]
    url = first_object(url, compared.endpoint)
    wanted = [int(each) if each.isdigit() else each for each in compared.options.segments]
    with compared.harvest("chosen segments", "harvest.open_segmentation, read") as cost:
        segmentation = harvest.open_segmentation(url, endpoint=compared.endpoint)
        found = segmentation.read(wanted)
        cost.requests, cost.bytes = segmentation.requests, segmentation.bytes_read
    numbers = [each.number for each in found]
    with compared.page("chosen segments", "highdicom, lazily"):
        image = highdicom.seg.segread(
            opened_by_page(url, compared.endpoint), lazy_frame_retrieval=True
        )
        volume = image.get_volume(segment_numbers=numbers).array
    voxels = {each.label: int((each.pixels > 0).sum()) for each in found}
    by_page = [int((volume[..., place] > 0).sum()) for place in range(len(numbers))]
    compared.show(voxels=voxels, same=by_page == list(voxels.values()))


def some_segmentation() -> str:
    """Choose a segmentation by SQL over the packaged index of IDC."""
    import duckdb
    import idc_index_data

    with duckdb.connect() as connection:
        connection.read_parquet(str(idc_index_data.IDC_INDEX_PARQUET_FILEPATH)).create_view("index")
        row = connection.execute(SEGMENTATION).fetchone()
    assert row is not None
    return str(row[0]).removesuffix("*")


if __name__ == "__main__":
    with mistakes_told():
        main()
