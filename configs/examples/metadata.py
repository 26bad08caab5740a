"""Metadata only, and chosen attributes only, from GCS and from S3.

python configs/examples/metadata.py
python configs/examples/metadata.py s3://bucket/key.dcm gs://bucket/key.dcm
"""

from __future__ import annotations

from io import BytesIO
from urllib.parse import urlsplit

import pydicom
from compared import SLIDE, Comparison, mistakes_told, opened_by_page, s3_client

import harvest

ATTRIBUTES = ["SOPInstanceUID", "PatientID", "Modality", "Rows", "Columns", "NumberOfFrames"]


def main() -> None:
    """Read each object's metadata in all ways."""
    compared = Comparison(__doc__, [f"gs://{SLIDE}", f"s3://{SLIDE}"])
    found = [compare(compared, url) for url in compared.urls]
    compared.show(same=all(found))


def compare(compared: Comparison, url: str) -> bool:
    """Read the metadata of an object; tell whether all ways found the same."""
    where = urlsplit(url).scheme
    with compared.page(f"metadata, {where}", page_name(url)):
        by_page = pydicom.dcmread(opened_by_page(url, compared.endpoint), stop_before_pixels=True)
    with compared.page(f"attributes, {where}", page_name(url)):
        chosen_by_page = pydicom.dcmread(
            opened_by_page(url, compared.endpoint),
            stop_before_pixels=True,
            specific_tags=ATTRIBUTES,
        )
    with compared.harvest(f"metadata, {where}", "harvest.open + pydicom") as cost:
        with harvest.open(url, endpoint=compared.endpoint) as file:
            by_harvest = pydicom.dcmread(file, stop_before_pixels=True)
        cost.requests, cost.bytes = file.requests, file.bytes_read
    with compared.harvest(f"attributes, {where}", "harvest.open + pydicom") as cost:
        with harvest.open(url, endpoint=compared.endpoint) as file:
            chosen = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=ATTRIBUTES)
        cost.requests, cost.bytes = file.requests, file.bytes_read
    if where == "s3":
        whole_object(compared, url)
    return bool(by_page == by_harvest and chosen_by_page == chosen)


def page_name(url: str) -> str:
    """Name the way of the page."""
    return "blob.open + pydicom" if url.startswith("gs:") else "smart_open + pydicom"


def whole_object(compared: Comparison, url: str) -> None:
    """Do what the page recommends on S3 for most files: read the whole object first."""
    bucket, key = urlsplit(url).netloc, urlsplit(url).path.lstrip("/")
    with compared.page("metadata, s3", "boto3, the whole object + pydicom"):
        buffer = BytesIO()
        s3_client(compared.endpoint).download_fileobj(bucket, key, buffer)
        buffer.seek(0)
        pydicom.dcmread(buffer, stop_before_pixels=True)


if __name__ == "__main__":
    with mistakes_told():
        main()
