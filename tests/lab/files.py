"""The lab's files, grouped into series as they would lie in IDC's buckets."""

import contextlib
import csv
import importlib.util
import os
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SegmentationStorage,
)

from tests.lab.dicom import uid
from tests.lab.generate import BROKEN
from tests.lab.variants import free_uid, write_variant

GCS_BUCKETS: Final = {
    "idc-open-data": "idc-open-data",
    "idc-open-data-two": "idc-open-idc1",
    "idc-open-data-cr": "idc-open-cr",
}
"""IDC's name of a bucket on AWS, and the name of the bucket with the same keys on GCS."""

BROKEN_COLLECTION: Final = "lab_broken"
"""Collection of the objects that no DICOM reader accepts."""

STUB_COLLECTION: Final = "lab_stubs"
"""Collection of the images that end before their pixels, as if they had been cut."""

VARIANT_COLLECTION: Final = "lab_variants"
"""Collection of the further encodings of an image, each a series of its own."""

CORPUS_VARIABLE: Final = "HARVEST_CORPUS"
"""Environment variable naming a folder of further files, listed in its ``manifest.csv``."""

_NAMESPACE: Final = uuid.UUID("6f0c2b0a-6d1c-5f0e-9b1e-2f2d5c7e4a10")

# Attributes of one value per series, under the names that both DICOM and IDC's index use.
_SINGLE: Final = (
    "PatientID",
    "StudyInstanceUID",
    "PatientAge",
    "PatientSex",
    "StudyDate",
    "StudyDescription",
    "BodyPartExamined",
    "Modality",
    "SOPClassUID",
    "Manufacturer",
    "ManufacturerModelName",
    "SeriesDate",
    "SeriesDescription",
    "SeriesNumber",
)
# Attributes whose distinct values the index joins by commas.
_JOINED: Final = ("PhotometricInterpretation", "PixelRepresentation")
_WANTED: Final = ("SpecificCharacterSet", "SeriesInstanceUID", "SOPInstanceUID", *_SINGLE, *_JOINED)
_WANTED_TAGS: Final[list[BaseTag | int]] = [BaseTag(tag_for_keyword(name) or 0) for name in _WANTED]
_ROWS: Final = 0x0028_0010
_LAST_IMAGE_GROUP: Final = 0x0028
_PIXEL_GROUP: Final = 0x7FE0
# Files that lie beside the packaged DICOM and would never be taken for it.
_NOT_DICOM: Final = frozenset({".csv", ".dump", ".icc", ".json", ".md", ".py", ".pyc", ".txt"})


@dataclass(frozen=True)
class Instance:
    """One object of a bucket."""

    path: Path
    """File with the object's bytes."""
    sop_instance_uid: str
    """As in its header; made up if it has none."""
    crdc_instance_uuid: str
    """IDC's name for this version of the instance."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Series:
    """One row of the index and the objects it stands for."""

    series_instance_uid: str
    """As in the headers; made up in `BROKEN_COLLECTION`."""
    crdc_series_uuid: str
    """IDC's name for this version of the series, the folder of its keys."""
    collection_id: str
    """Collection within the lab."""
    analysis_result_id: str | None
    """Set where the series derives from others."""
    attributes: Mapping[str, str | None]
    """Header attributes of the index, with several values joined by commas where IDC does so."""
    instances: tuple[Instance, ...]
    """Objects in the order of their paths."""

    @property
    def aws_bucket(self) -> str:
        """Bucket on AWS: most series in the first, as in IDC."""
        names = tuple(GCS_BUCKETS)
        return names[{0: 1, 1: 2}.get(uuid.UUID(self.crdc_series_uuid).int % 10, 0)]

    @property
    def gcs_bucket(self) -> str:
        """Bucket on GCS."""
        return GCS_BUCKETS[self.aws_bucket]

    def key(self, instance: Instance) -> str:
        """Return the key of an instance, the same on both clouds."""
        return f"{self.crdc_series_uuid}/{instance.crdc_instance_uuid}.dcm"


class Source(NamedTuple):
    """A set of files that make up a collection."""

    collection_id: str
    """Collection of the readable ones."""
    paths: Sequence[Path]
    """Files in a fixed order."""


class _Header(NamedTuple):
    path: Path
    collection_id: str
    series: str
    sop: str
    # Where the value of the SeriesInstanceUID begins; None in a deflated data set.
    series_at: int | None
    values: Mapping[str, str | None]


def corpus_from_environment() -> Path | None:
    """Return the folder named by `CORPUS_VARIABLE`, or None if it is not set."""
    named = os.environ.get(CORPUS_VARIABLE)
    return Path(named) if named else None


def sources(generated: Path, corpus: Path | None = None) -> list[Source]:
    """List the lab's files.

    Parameters
    ----------
    generated
        Folder that `tests.lab.generate.generate` returned.
    corpus
        Folder of further files with a ``manifest.csv``, whose column ``path`` lists them.

    Returns
    -------
    list of Source
        Nothing in it comes from the network: pydicom is not asked for files it would download.
    """
    packaged = _files_below(_package("pydicom") / "data" / "test_files")
    packaged += _files_below(_package("data_store") / "data")
    found = [Source("lab_pydicom", packaged), Source("lab_generated", _files_below(generated))]
    if corpus is not None:
        with (corpus / "manifest.csv").open(newline="", encoding="utf-8") as rows:
            listed = sorted(corpus / row["path"] for row in csv.DictReader(rows))
        found.append(Source("lab_corpus", [path for path in listed if path.is_file()]))
    return found


def collect(found: Iterable[Source], folder: Path) -> list[Series]:
    """Group files into series.

    Parameters
    ----------
    found
        Files by collection. Where two collections share a series, the first one owns it.
    folder
        Where to write the patched copies of `VARIANT_COLLECTION`.

    Returns
    -------
    list of Series
        Readable series with each SOPInstanceUID once; the images without pixels in
        `STUB_COLLECTION`; one series per further file of the same SOPInstanceUID in
        `VARIANT_COLLECTION`, unless it is deflated; and one per unreadable file in
        `BROKEN_COLLECTION`. A readable file without a SeriesInstanceUID or a SOPInstanceUID is
        left out, for IDC has none.
    """
    headers: list[_Header] = []
    broken: list[Path] = []
    for source in found:
        for path in source.paths:
            try:
                header = _read(path, source.collection_id)
            except _NotDicom:
                broken.append(path)
                continue
            if header is not None:
                headers.append(header)
    by_series, spare = _grouped(headers)
    made = [_series(list(members.values())) for members in by_series.values()]
    variants = _variants(spare, set(by_series), folder)
    return [*made, *(_series([each]) for each in variants), *_broken_series(broken)]


def _grouped(
    headers: Iterable[_Header],
) -> tuple[Mapping[str, Mapping[str, _Header]], list[_Header]]:
    """Group headers by series and instance; the second list is of those that found no place."""
    by_series: dict[str, dict[str, _Header]] = defaultdict(dict)
    spare: list[_Header] = []
    # Stubs come last, so that none takes the place of a whole file.
    for header in sorted(headers, key=_is_stub):
        members = by_series[header.series]
        owner = next(iter(members.values()), header)
        if header.sop in members or _is_stub(header) != _is_stub(owner):
            spare.append(header)
        else:
            members[header.sop] = header
    return by_series, spare


def _variants(spare: Iterable[_Header], taken: set[str], folder: Path) -> Iterator[_Header]:
    """Give each file a series of its own; one that cannot be patched is left out."""
    for header in spare:
        series = free_uid(header.series, header.sop, taken)
        if series is None or header.series_at is None:
            continue
        taken.add(series)
        path = write_variant(header.path, header.series_at, header.series, series, folder)
        collection = STUB_COLLECTION if _is_stub(header) else VARIANT_COLLECTION
        yield header._replace(path=path, collection_id=collection, series=series)


def _is_stub(header: _Header) -> bool:
    return header.collection_id == STUB_COLLECTION


def _series(headers: Sequence[_Header]) -> Series:
    first = headers[0]
    rows = [header.values for header in headers]
    attributes = {name: _any_value(rows, name) for name in _SINGLE}
    attributes |= {name: _joined(rows, name) for name in (*_JOINED, "TransferSyntaxUID")}
    derived = attributes["SOPClassUID"] == SegmentationStorage and (
        first.collection_id == "lab_generated"
    )
    return Series(
        series_instance_uid=first.series,
        crdc_series_uuid=_uuid(first.series),
        collection_id=first.collection_id,
        analysis_result_id="lab_segmentations" if derived else None,
        attributes=attributes,
        instances=tuple(
            # Test files reuse a SOPInstanceUID in several series; a UUID names one object only.
            Instance(each.path, each.sop, _uuid(each.series, each.sop), each.path.stat().st_size)
            for each in headers
        ),
    )


def _broken_series(paths: Iterable[Path]) -> Iterator[Series]:
    seen: set[str] = set()
    for path in paths:
        # Named by the file alone, so that it has the same UIDs wherever the package is installed;
        # several sources hold a file of the same name.
        if path.name in seen:
            continue
        seen.add(path.name)
        claimed, instance = uid("broken series", path.name), uid("broken", path.name)
        attributes = dict.fromkeys((*_SINGLE, *_JOINED)) | {
            "PatientID": "LAB-BROKEN",
            "StudyInstanceUID": str(uid("broken study")),
            "Modality": "CT",
            "SOPClassUID": str(CTImageStorage),
            "TransferSyntaxUID": str(ExplicitVRLittleEndian),
            "SeriesDescription": path.name,
        }
        yield Series(
            series_instance_uid=claimed,
            crdc_series_uuid=_uuid(claimed),
            collection_id=BROKEN_COLLECTION,
            analysis_result_id=None,
            attributes=attributes,
            instances=(Instance(path, instance, _uuid(claimed, instance), path.stat().st_size),),
        )


class _NotDicom(Exception):
    """No reader would take the file for DICOM."""


def _read(path: Path, collection_id: str) -> _Header | None:
    """Read the header of a file; None if it lacks a UID that every object of IDC has."""
    if path.parent.name == BROKEN:
        raise _NotDicom
    with _lenient():
        header, tags = _parse(path)
        values = {name: _text(header, name) for name in _WANTED}
        values["TransferSyntaxUID"] = _text(header.file_meta, "TransferSyntaxUID")
        series, sop = values["SeriesInstanceUID"], values["SOPInstanceUID"]
        if series is None or sop is None:
            return None
        deflated = values["TransferSyntaxUID"] == DeflatedExplicitVRLittleEndian
        return _Header(
            path=path,
            collection_id=STUB_COLLECTION if _lacks_pixels(values, tags) else collection_id,
            series=series,
            sop=sop,
            series_at=None if deflated else header["SeriesInstanceUID"].file_tell,
            values=values,
        )


def _parse(path: Path) -> tuple[FileDataset, list[int]]:
    """Read the wanted elements, and the tags of all elements up to the pixel area."""
    tags: list[int] = []

    def in_pixel_area(tag: int, _vr: str | None, _length: int) -> bool:
        tags.append(tag)
        return tag >> 16 == _PIXEL_GROUP

    with path.open("rb") as opened:
        try:
            # Unlike `dcmread`, this takes a function that sees each element go by.
            header = read_partial(opened, in_pixel_area, specific_tags=_WANTED_TAGS)
        except Exception as error:
            # Whatever pydicom raises on a damaged file, it is damaged.
            raise _NotDicom from error
    return header, tags


def _lacks_pixels(values: Mapping[str, str | None], tags: Sequence[int]) -> bool:
    """Tell an image that ends so early that it cannot be told from one that was cut."""
    is_image = "Image Storage" in UID(values["SOPClassUID"] or "").name
    return is_image and _ROWS not in tags and tags[-1] >> 16 <= _LAST_IMAGE_GROUP


@contextlib.contextmanager
def _lenient() -> Iterator[None]:
    """Read values as they are and without a warning: the files are odd on purpose."""
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = before


def _text(header: Dataset, name: str) -> str | None:
    try:
        value = header.get(name)
    except Exception:
        # One value that pydicom cannot convert must not lose the file.
        return None
    return None if value is None or value == "" else str(value)


def _any_value(rows: Iterable[Mapping[str, str | None]], name: str) -> str | None:
    return next((row[name] for row in rows if row[name] is not None), None)


def _joined(rows: Iterable[Mapping[str, str | None]], name: str) -> str | None:
    distinct = {value for row in rows if (value := row[name]) is not None}
    return ",".join(sorted(distinct)) or None


def _uuid(*uids: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, "/".join(uids)))


def _files_below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix not in _NOT_DICOM and not path.name.startswith("README")
    )


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no package {name}: install the test requirements")
    return Path(found.origin).parent
