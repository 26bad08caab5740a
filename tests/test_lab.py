"""Tests of the lab itself: what it promises to the other tests."""

import struct
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import boto3
import idc_index_data
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
import yaml
from botocore import UNSIGNED
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from pydicom.uid import UID

from tests.lab import Lab, Server, lab, servers
from tests.lab.__main__ import write_state
from tests.lab.files import (
    BROKEN_COLLECTION,
    GCS_BUCKETS,
    STUB_COLLECTION,
    VARIANT_COLLECTION,
    Instance,
    Series,
    collect,
    corpus_from_environment,
    sources,
)
from tests.lab.generate import generate
from tests.lab.variants import free_uid, write_variant

ITEM: Final = b"\xfe\xff\x00\xe0"
PIXEL_DATA: Final = b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff\xff\xff"
"""Tag, VR and undefined length of encapsulated pixel data."""
SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab"), corpus=corpus_from_environment()) as started:
        yield started


@pytest.fixture(scope="module")
def rows(running: Lab) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = pq.read_table(running.index).to_pylist()
    return read


def client(server: Server, **options: Any) -> BaseClient:
    config = Config(s3={"addressing_style": "path"}, **options)
    region = servers.S3_REGION
    made: BaseClient = boto3.client(
        "s3", endpoint_url=server.endpoint, region_name=region, config=config
    )
    return made


def listed_on_s3(running: Lab, bucket: str) -> dict[str, int]:
    opened: Any = client(running.s3, signature_version=UNSIGNED)
    pages = opened.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    found = {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}
    opened.close()
    return found


def listed_on_gcs(running: Lab, bucket: str) -> dict[str, int]:
    store = servers.public_gcs_store(running.gcs, GCS_BUCKETS[bucket])
    return {each["path"]: each["size"] for page in store.list() for each in page}


def read_from_s3(running: Lab, series: Series, instance: Instance) -> bytes:
    store = servers.public_s3_store(running.s3, series.aws_bucket)
    return bytes(store.get(series.key(instance)).bytes())


def generated(running: Lab, description: str) -> Series:
    (found,) = (
        each
        for each in running.series
        if each.collection_id == "lab_generated"
        and each.attributes["SeriesDescription"] == description
    )
    return found


def of_collection(running: Lab, collection: str) -> list[Series]:
    return [each for each in running.series if each.collection_id == collection]


def test_index_has_the_columns_of_idcs(running: Lab) -> None:
    def columns(path: Path) -> list[tuple[str, pa.DataType]]:
        return [(field.name, field.type) for field in pq.read_schema(path)]

    packaged = idc_index_data.IDC_INDEX_PARQUET_FILEPATH
    assert packaged is not None
    assert columns(running.index) == columns(packaged)


def test_index_names_every_series_once(running: Lab, rows: list[dict[str, Any]]) -> None:
    for column in ("SeriesInstanceUID", "crdc_series_uuid"):
        assert len({row[column] for row in rows}) == len(rows) == len(running.series)
    assert {row["aws_bucket"] for row in rows} == set(GCS_BUCKETS)


@pytest.mark.parametrize("bucket", GCS_BUCKETS)
@pytest.mark.parametrize("listed", [listed_on_s3, listed_on_gcs])
def test_listing_equals_the_index(
    running: Lab,
    rows: list[dict[str, Any]],
    bucket: str,
    listed: Callable[[Lab, str], dict[str, int]],
) -> None:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for key, size in listed(running, bucket).items():
        series, _, name = key.partition("/")
        assert str(uuid.UUID(name.removesuffix(".dcm"))) + ".dcm" == name
        counts[series] += 1
        sizes[series] += size
    wanted = {row["crdc_series_uuid"]: row for row in rows if row["aws_bucket"] == bucket}
    assert counts == {series: row["instanceCount"] for series, row in wanted.items()}
    assert {series: size / 1e6 for series, size in sizes.items()} == {
        series: row["series_size_MB"] for series, row in wanted.items()
    }


def test_objects_have_the_bytes_of_their_files(running: Lab) -> None:
    first_of = {series.collection_id: series for series in reversed(running.series)}
    for series in first_of.values():
        instance = series.instances[0]
        content = instance.path.read_bytes()
        gcs = servers.public_gcs_store(running.gcs, series.gcs_bucket)
        assert read_from_s3(running, series, instance) == content
        assert bytes(gcs.get(series.key(instance)).bytes()) == content


def test_private_bucket_refuses_unsigned_requests(running: Lab) -> None:
    series = generated(running, "CT axial")
    key = series.key(series.instances[0])
    unsigned: Any = client(running.s3, signature_version=UNSIGNED)
    requests: tuple[Callable[[], object], ...] = (
        lambda: unsigned.list_objects_v2(Bucket=servers.PRIVATE_BUCKET),
        lambda: unsigned.get_object(Bucket=servers.PRIVATE_BUCKET, Key=key),
        lambda: unsigned.head_object(Bucket=servers.PRIVATE_BUCKET, Key=key),
        lambda: unsigned.put_object(Bucket=series.aws_bucket, Key="new", Body=b""),
    )
    for request in requests:
        with pytest.raises(ClientError) as refused:
            request()
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    unsigned.close()
    admin = servers.admin_s3_store(running.s3, servers.PRIVATE_BUCKET)
    assert sum(len(page) for page in admin.list()) == len(series.instances)


@pytest.mark.parametrize(
    ("description", "modality", "least"),
    [("CT axial", "CT", 20), ("MR oblique", "MR", 20), ("CT many", "CT", 1000)],
)
def test_generated_series(running: Lab, description: str, modality: str, least: int) -> None:
    series = generated(running, description)
    assert series.attributes["Modality"] == modality
    assert len(series.instances) >= least
    places = []
    for instance in series.instances:
        header = pydicom.dcmread(instance.path, stop_before_pixels=True)
        assert header.SOPInstanceUID == instance.sop_instance_uid
        assert header.SeriesInstanceUID == series.series_instance_uid
        places.append(tuple(header.ImagePositionPatient))
    assert len(set(places)) == len(series.instances)


def test_generated_segmentation(running: Lab) -> None:
    series = generated(running, "SEG organs")
    (instance,) = series.instances
    made = pydicom.dcmread(instance.path)
    assert made.Modality == series.attributes["Modality"] == "SEG"
    assert (made.SegmentationType, made.BitsAllocated) == ("BINARY", 1)
    # The bits of all frames follow one another without a gap, padded to an even length.
    packed = -(-made.Rows * made.Columns * made.NumberOfFrames // 8)
    assert len(made.PixelData) == packed + packed % 2
    source = made.ReferencedSeriesSequence[0].SeriesInstanceUID
    assert source == generated(running, "CT axial").series_instance_uid


def base_level(running: Lab, description: str) -> tuple[pydicom.Dataset, bytes]:
    series = generated(running, description)
    largest = max(series.instances, key=lambda each: each.size)
    return pydicom.dcmread(largest.path), read_from_s3(running, series, largest)


def items(content: bytes) -> list[tuple[int, int]]:
    """Walk the items of encapsulated pixel data: where each begins, and its length."""
    position = content.rindex(PIXEL_DATA) + len(PIXEL_DATA)
    found = []
    while (tag := content[position : position + 4]) == ITEM:
        (length,) = struct.unpack_from("<I", content, position + 4)
        found.append((position, length))
        position += 8 + length
    assert tag == SEQUENCE_END
    assert position + 8 == len(content)
    return found


def test_slide_with_basic_offset_table(running: Lab) -> None:
    header, content = base_level(running, "SM basic offset table")
    (table, length), *frames = items(content)
    assert header.NumberOfFrames == len(frames) >= 2000
    offsets = struct.unpack_from(f"<{length // 4}I", content, table + 8)
    assert [table + 8 + length + offset for offset in offsets] == [at for at, _ in frames]
    assert "ExtendedOffsetTable" not in header


def test_slide_with_extended_offset_table(running: Lab) -> None:
    header, content = base_level(running, "SM extended offset table")
    (table, length), *frames = items(content)
    assert header.NumberOfFrames == len(frames) >= 2000
    assert length == 0
    offsets = struct.unpack(f"<{len(frames)}Q", header.ExtendedOffsetTable)
    lengths = struct.unpack(f"<{len(frames)}Q", header.ExtendedOffsetTableLengths)
    assert [table + 8 + offset for offset in offsets] == [at for at, _ in frames]
    # The padding of a frame may count or not (PS3.3 section C.7.6.3.1.8).
    assert all(size - 1 <= said <= size for said, (_, size) in zip(lengths, frames, strict=True))


def test_slide_with_empty_offset_table(running: Lab) -> None:
    header, content = base_level(running, "SM empty offset table")
    (_, length), *frames = items(content)
    assert header.NumberOfFrames == len(frames) >= 2000
    assert length == 0
    assert "ExtendedOffsetTable" not in header


def test_stubs_are_images_without_pixels(running: Lab) -> None:
    stubs = of_collection(running, STUB_COLLECTION)
    assert sum(len(series.instances) for series in stubs) >= 50
    for series in stubs:
        for instance in series.instances:
            header = pydicom.dcmread(instance.path)
            assert "Image Storage" in header.SOPClassUID.name
            assert "Rows" not in header
            assert max(header.keys()) < 0x0029_0000
            assert header.SeriesInstanceUID == series.series_instance_uid


def test_variants_differ_from_their_files_in_one_uid(running: Lab) -> None:
    variants = of_collection(running, VARIANT_COLLECTION)
    syntaxes = Counter(series.attributes["TransferSyntaxUID"] for series in variants)
    big_endian, jpeg_ls, rle = (f"1.2.840.10008.1.2.{part}" for part in ("2", "4.80", "5"))
    assert all(syntaxes[wanted] >= 2 for wanted in (big_endian, jpeg_ls, rle))
    packaged = originals(running)
    for series in variants:
        (instance,) = series.instances
        content = instance.path.read_bytes()
        new = series.series_instance_uid.encode()
        assert content.count(new) == 1
        before, _, after = content.partition(new)
        assert any(
            len(other) == len(content) and other.startswith(before) and other.endswith(after)
            for other in packaged[len(content)]
        )


def originals(running: Lab) -> dict[int, list[bytes]]:
    sizes = {each.instances[0].size for each in of_collection(running, VARIANT_COLLECTION)}
    found: dict[int, list[bytes]] = {size: [] for size in sizes}
    for source in sources(running.directory / "none", corpus_from_environment()):
        for path in source.paths:
            if path.stat().st_size in found:
                found[path.stat().st_size].append(path.read_bytes())
    return found


def test_collecting_again_gives_the_same(running: Lab, tmp_path: Path) -> None:
    # The lab's cache folder: nothing is generated a second time.
    found = sources(generate(running.directory.parent), corpus_from_environment())

    def facts(series: Series) -> tuple[object, ...]:
        instances = [(each.crdc_instance_uuid, each.path.read_bytes()) for each in series.instances]
        return series.series_instance_uid, series.collection_id, series.attributes, instances

    again = collect(found, tmp_path)
    assert [facts(series) for series in again] == [facts(series) for series in running.series]


def test_derived_uids_keep_length_and_root() -> None:
    original = "1.2.826.0.1.3680043.8.498.10"
    first = free_uid(original, "1.2.3", {original})
    assert first is not None
    second = free_uid(original, "1.2.3", {original, first})
    assert second is not None
    assert len({original, first, second}) == 3
    for made in (first, second):
        assert len(made) == len(original)
        assert made.startswith("1.2.826.0.1.36")
        assert UID(made).is_valid
    assert free_uid("1", "1.2.3", {str(digit) for digit in range(10)}) is None


def test_a_variant_is_refused_where_another_value_stands(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"..1.2.3..")
    made = write_variant(source, 2, "1.2.3", "1.2.4", tmp_path / "variants")
    assert made.read_bytes() == b"..1.2.4.."
    for offset, replacement in ((3, "1.2.4"), (2, "1.2.44")):
        with pytest.raises(ValueError, match="cannot replace"):
            write_variant(source, offset, "1.2.3", replacement, tmp_path / "variants")


@pytest.mark.parametrize("cloud", ["aws", "gcs"])
def test_configuration_leaves_out_what_cannot_be_read(
    running: Lab, rows: list[dict[str, Any]], tmp_path: Path, cloud: str
) -> None:
    write_state(tmp_path, running)
    config = yaml.safe_load((tmp_path / f"{cloud}.yaml").read_text(encoding="utf-8"))
    excluded = f"('{BROKEN_COLLECTION}', '{STUB_COLLECTION}')"
    assert config["cohort"] == {
        "sql": f"SELECT SeriesInstanceUID FROM index WHERE collection_id NOT IN {excluded}",
        "index": str(running.index),
    }
    assert config["source"]["cloud"] == cloud
    assert {BROKEN_COLLECTION, STUB_COLLECTION} < {row["collection_id"] for row in rows}
