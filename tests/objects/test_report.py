"""One object, read by itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pydicom
import pytest

import harvest
from harvest.errors import ErrorKind, ObjectError
from harvest.objects.report import ElementReport
from tests import conftest
from tests.faults.proxy import Gate
from tests.lab import Lab


def by_name(elements: tuple[ElementReport, ...]) -> dict[str, ElementReport]:
    return {element.name: element for element in elements}


@pytest.mark.parametrize(
    ("description", "kind", "frames"),
    [
        ("CT axial", "native", None),
        ("SM basic offset table", "basic", 2000),
        ("SM extended offset table", "extended", 2000),
        ("SM empty offset table", "empty", 0),
        ("SR measurements", "no_pixel_data", None),
    ],
)
@pytest.mark.parametrize("transport", ["obstore", "sdk"])
@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_read(
    lab: Lab, description: str, kind: str, frames: int | None, cloud: str, transport: str
) -> None:
    series = conftest.series_of(lab, description)
    instance = max(series.instances, key=lambda each: each.size)
    scheme, bucket = ("s3", series.aws_bucket) if cloud == "aws" else ("gs", series.gcs_bucket)
    source = conftest.source_of(lab, cloud, transport=transport)
    del source["cloud"]  # the URL tells
    report = harvest.read(f"{scheme}://{bucket}/{series.key(instance)}", **source)
    assert report.size == instance.size
    assert str(report.pixels.offset_table) == kind
    if frames:
        assert (report.pixels.frames or 0) >= frames
    assert report.bytes_read <= instance.size
    assert report.requests <= 4
    dataset = pydicom.dcmread(instance.path, stop_before_pixels=True)
    found = by_name(report.elements)
    assert found["SeriesInstanceUID"].value == [series.series_instance_uid]
    assert report.transfer_syntax == dataset.file_meta.TransferSyntaxUID
    # group 7FE0 is the pixel area, and told of in its own words
    public = [each for each in dataset if each.keyword and each.tag.group != 0x7FE0]
    names = {element.keyword for element in public}
    assert names <= set(found)
    sequences = [element.keyword for element in public if element.VR == "SQ" and element.value]
    for keyword in sequences:
        items = found[keyword].items
        assert items is not None
        assert len(items) == len(dataset[keyword].value)
    json.dumps(dataclasses.asdict(report), default=str)


def test_requests_are_those_on_the_wire(lab: Lab, s3_gate: Gate) -> None:
    series = conftest.series_of(lab, "RTSTRUCT organs")
    (instance,) = series.instances
    url = f"s3://{series.aws_bucket}/{series.key(instance)}"
    report = harvest.read(url, endpoint=s3_gate.url)
    assert report.requests == len(s3_gate.seen)
    assert report.bytes_read == sum(seen.body_bytes for seen in s3_gate.seen)


def test_a_local_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = conftest.write_dicom(tmp_path / "a b.dcm", "1.2.3")
    monkeypatch.chdir(tmp_path)
    reports: list[Any] = [
        harvest.read(name) for name in ("a b.dcm", str(path), f"file://{tmp_path}/a%20b.dcm")
    ]
    assert {report.url for report in reports} == {f"file://{tmp_path}/a%20b.dcm"}
    assert by_name(reports[0].elements)["PatientID"].value == ["SECRET-PATIENT"]
    assert dataclasses.is_dataclass(reports[0])


def test_errors(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("not DICOM")
    (tmp_path / "empty").touch()
    for name, kind in (
        ("x", ErrorKind.NOT_DICOM),
        ("empty", ErrorKind.NOT_DICOM),
        ("none", ErrorKind.NOT_FOUND),
    ):
        with pytest.raises(ObjectError) as found:
            harvest.read(str(tmp_path / name))
        assert found.value.kind == kind
    with pytest.raises(ValueError, match="no s3://"):
        harvest.read("ftp://x/y")
    with pytest.raises(ValueError, match="plain http"):
        harvest.read("s3://b/k", endpoint="http://example.org")
    with pytest.raises(ValueError, match="endpointt"):
        harvest.read("s3://b/k", endpointt="x")


def test_a_header_may_be_as_long_as_for_its_frames(tmp_path: Path) -> None:
    """All that read single objects read the same ones."""
    path = conftest.write_dicom(tmp_path / "image.dcm", "2.25.1")
    image = pydicom.dcmread(path)
    block = image.private_block(0x0009, "TEST", create=True)
    for number in range(220):
        block.add_new(number, "UN", bytes(60_000))
    for group in range(0x0011, 0x0021, 2):
        block = image.private_block(group, "TEST", create=True)
        for number in range(220):
            block.add_new(number, "UN", bytes(60_000))
    image.save_as(path)
    report = harvest.read(str(path))
    assert report.header_bytes > 2**26
    assert by_name(report.elements)["Modality"].value == ["CT"]
    assert len(harvest.read_frames(str(path), [1])) == 1
