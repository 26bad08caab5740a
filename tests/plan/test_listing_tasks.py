"""Which series are listed together, and at what price."""

from __future__ import annotations

import pyarrow as pa
import pytest

from harvest.cohort.resolve import BucketShare
from harvest.plan.listing_tasks import _kinds, list_requests


def test_kinds_are_what_an_index_tells() -> None:
    batch = pa.table({"collection_id": ["a", None, "c"], "Modality": ["CT", "MR", None]})
    assert _kinds(batch) == ["a CT", None, None]
    assert _kinds(batch.drop_columns(["collection_id"])) == [None] * 3


@pytest.mark.parametrize(
    ("share", "requests"),
    [
        # a prefix each, and further pages
        (BucketShare("a", 10, 10_000, 50, 10**6), 10),
        (BucketShare("a", 10, 10_000, 25_000, 10**6), 10 + 25),
        (BucketShare("a", 5_000, 10_000, 5_000, 10**6), 5_000 + 5),
        # more than half of a large bucket: its 256 shards
        (BucketShare("a", 5_001, 10_000, 5_001, 10**6), 256 + 1_000),
        (BucketShare("a", 9_999, 9_999, 10**6, 10**6), 9_999 + 1_000),
    ],
)
def test_a_bucket_is_listed_through_where_that_costs_less(
    share: BucketShare, requests: int
) -> None:
    assert list_requests([share]) == requests
    assert list_requests([share, share]) == 2 * requests
