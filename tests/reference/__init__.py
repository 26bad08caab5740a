"""IDC's eleven header indices, computed a second time: pydicom and plain Python, no SQL engine.

Written from the SQL that IDC publishes with each index (``idc_index_data.INDEX_METADATA``), by
BigQuery's rules: an absent sequence or repeated attribute is an empty array and no NULL; DS and IS
are text; SAFE_CAST gives NULL where it cannot; CONCAT of a NULL is NULL; a comparison with NULL is
NULL; NULL sorts before everything. Where the SQL leaves the choice (ANY_VALUE), the reference
gives all values that are right, as `AnyOf`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from tests.reference.bigquery import AnyOf as AnyOf
from tests.reference.bigquery import Row as Row
from tests.reference.compare import differences as differences
from tests.reference.compare import sort_key as sort_key
from tests.reference.derived import ann_group_index, ann_index, rtstruct_index, seg_index
from tests.reference.geometry import volume_geometry_index
from tests.reference.header import Instance as Instance
from tests.reference.header import read_instance as read_instance
from tests.reference.images import contrast_index, ct_index, mr_index, pt_index
from tests.reference.series import by_series as by_series
from tests.reference.slides import sm_index, sm_instance_index

INDICES: Final[dict[str, Callable[[Sequence[Instance]], list[Row]]]] = {
    function.__name__: function
    for function in (
        ct_index,
        mr_index,
        pt_index,
        contrast_index,
        volume_geometry_index,
        seg_index,
        rtstruct_index,
        ann_index,
        ann_group_index,
        sm_index,
        sm_instance_index,
    )
}
