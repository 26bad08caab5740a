"""IDC's own queries, and what they read."""

from __future__ import annotations

from harvest.views.index_sql import attributes_of_indices, index_queries
from harvest.views.uses import Use


def test_idcs_own_queries() -> None:
    names = {"ct_index", "mr_index", "pt_index", "seg_index", "sm_index", "sm_instance_index"}
    names |= {"rtstruct_index", "contrast_index", "volume_geometry_index", "ann_index"}
    assert set(index_queries()) >= names | {"ann_group_index"}
    uses = attributes_of_indices()

    def use(path: str) -> Use:
        first, *rest = path.split(".")
        node = uses[first]
        for name in rest:
            node = node.members[name]
        return node

    # the dictionary's VM is 1, 1-n, 1-n, 1 and 3
    assert use("SegmentSequence.SegmentAlgorithmName").repeated is True
    assert use("ContrastBolusIngredient").repeated is False
    assert use("ScanOptions").repeated is True
    assert use("FilterType").repeated is False
    assert use("ImagePositionPatient").repeated is True
    assert use("SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing").repeated is True
    # nothing is both
    nodes = [path[-1] for each in uses.values() for path in each.paths()]
    assert len(nodes) > 100
    assert [node.name for node in nodes if node.as_list and node.as_value] == []
