"""Data sets as BigQuery has them: repeated attributes are arrays, DS and IS are text."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VM, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from tests.reference.bigquery import at, safe_float, safe_integer

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
MR: Final = "1.2.840.10008.5.1.4.1.1.4"
PT: Final = "1.2.840.10008.5.1.4.1.1.128"
SEGMENTATIONS: Final = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
RTSTRUCT: Final = "1.2.840.10008.5.1.4.1.1.481.3"
ANN: Final = "1.2.840.10008.5.1.4.1.1.91.1"


class Header:
    """Attributes of a data set, or of an item of a sequence.

    Parameters
    ----------
    dataset
        As pydicom read it, its elements not touched yet.
    as_written
        Whether DS and IS have the text of the file; otherwise they went through a number, as in
        a table whose columns are numbers, and have that number's shortest text.
    """

    def __init__(self, dataset: Dataset, *, as_written: bool) -> None:
        self._dataset = dataset
        self._as_written = as_written

    def array(self, keyword: str) -> list[Any]:
        """Return the values of a repeated attribute; DS and IS are text."""
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        if tag not in self._dataset:
            return []
        if dictionary_VR(tag) in ("DS", "IS"):
            return self._number_texts(tag)
        value = self._dataset[tag].value
        values = list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]
        empty = all(part is None or part == "" for part in values)
        return [] if empty else [str(v) if isinstance(v, str) else v for v in values]

    def value(self, keyword: str) -> Any:
        """Return the value of a scalar attribute."""
        values = self.array(keyword)
        return values[0] if len(values) == 1 and values[0] != "" else None

    def items(self, keyword: str) -> list[Header]:
        """Return the items of a sequence."""
        value = self._dataset.get(keyword)
        return [Header(item, as_written=self._as_written) for item in value or ()]

    def first(self, *keywords: str) -> Header:
        """Return the first item of a sequence in the first item of another; else an empty one."""
        found = self
        for keyword in keywords:
            found = next(iter(found.items(keyword)), EMPTY)
        return found

    def float_at(self, keyword: str, index: int = 0) -> float | None:
        """Return SAFE_CAST(keyword[SAFE_OFFSET(index)] AS FLOAT64)."""
        return safe_float(at(self.array(keyword), index))

    def integer(self, keyword: str) -> int | None:
        """Return SAFE_CAST(keyword AS INT64)."""
        return safe_integer(self.value(keyword))

    def _number_texts(self, tag: int) -> list[str]:
        # `keep_deferred`, or pydicom would convert an empty element
        found: Any = self._dataset.get_item(tag, keep_deferred=True)
        if not isinstance(found, RawDataElement):
            raise AssertionError(f"{found.keyword} was touched before: its text is lost")
        texts = [part.strip() for part in (found.value or b"").decode("latin-1").split("\\")]
        texts = [text.rstrip("\0 ") for text in texts]
        if not any(texts):
            return []
        if self._as_written:
            return texts
        several = dictionary_VM(tag) != "1"
        try:
            numbers = [shortest(text, dictionary_VR(tag)) if text else "" for text in texts]
        except (ValueError, InvalidOperation):
            # one value that does not fit, and the column is null
            return []
        return numbers if several or len(numbers) == 1 else []


EMPTY: Final = Header(Dataset(), as_written=True)


@dataclass(frozen=True)
class Instance:
    """A row of dicom_all."""

    header: Header
    transfer_syntax: str | None
    size: int
    """Bytes of the file."""
    collection_id: str | None
    crdc_instance_uuid: str | None

    @property
    def series(self) -> str:
        """SeriesInstanceUID."""
        return str(self.header.value("SeriesInstanceUID"))


def read_instance(
    path: Path,
    *,
    as_written: bool,
    collection_id: str | None = None,
    crdc_instance_uuid: str | None = None,
) -> Instance | None:
    """Read a file; None if it has no SeriesInstanceUID, which every row of dicom_all has."""
    with lenient():
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        header = Header(dataset, as_written=as_written)
        if header.value("SeriesInstanceUID") is None:
            return None
        syntax = dataset.file_meta.get("TransferSyntaxUID")
    size = path.stat().st_size
    return Instance(header, str(syntax) or None, size, collection_id, crdc_instance_uuid)


@contextlib.contextmanager
def lenient() -> Iterator[None]:
    """Take values as they are: some are wrong on purpose."""
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.reading_validation_mode = before


def shortest(text: str, vr: str) -> str:
    """Return the shortest text of the number that a DS or IS is."""
    number = Decimal(text)
    if "_" in text or not number.is_finite() or (vr == "IS" and number != int(number)):
        raise ValueError
    if vr == "IS":
        return str(int(number))
    value = float(text)
    return str(int(value)) if value.is_integer() else repr(value)
