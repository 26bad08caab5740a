"""Transfer syntaxes, and what they do to frames."""

from __future__ import annotations

import pytest

from harvest.frames.codecs import Codec, codec_of
from tests.support.frames import DEFLATED_FRAMES


@pytest.mark.parametrize(
    ("uid", "codec"),
    [
        (None, Codec.UNKNOWN),
        ("1.2.840.10008.1.2", Codec.NATIVE),
        ("1.2.840.10008.1.2.1", Codec.NATIVE),
        ("1.2.840.10008.1.2.1.99", Codec.NATIVE),
        ("1.2.840.10008.1.2.1.98", Codec.WHOLE),
        ("1.2.840.10008.1.20", Codec.UNKNOWN),
        ("1.2.840.10008.1.2.4.57", Codec.JPEG),
        ("1.2.840.10008.1.2.4.81", Codec.JPEG),
        ("1.2.840.10008.1.2.4.93", Codec.JPEG_2000),
        ("1.2.840.10008.1.2.4.203", Codec.JPEG_2000),
        ("1.2.840.10008.1.2.4.205", Codec.ELSEWHERE),
        ("1.2.840.10008.1.2.4.112", Codec.JPEG_XL),
        ("1.2.840.10008.1.2.4.108", Codec.STREAM),
        ("1.2.840.10008.1.2.5", Codec.RLE),
        (DEFLATED_FRAMES, Codec.WHOLE),
        ("1.2.840.113619.5.2", Codec.UNKNOWN),
    ],
)
def test_codecs_of_transfer_syntaxes(uid: str | None, codec: Codec) -> None:
    assert codec_of(uid) == codec
