"""What queries read, and what of it are lists."""

from __future__ import annotations

import pytest

from harvest.views.attribute_use import attribute_uses
from harvest.views.bigquery import parse
from harvest.views.index_sql import attributes_of_indices, index_queries
from harvest.views.uses import Use

FROM = "FROM `p.d.dicom_all`"


def found(sql: str, **repeated: bool) -> dict[str, bool | None]:
    """Return whether each attribute that is read is a list, by its path."""
    uses = attribute_uses(parse(sql), repeated)
    paths = (path for use in uses.values() for path in use.paths())
    return {".".join(use.name for use in path): path[-1].repeated for path in paths}


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (f"SELECT ImageType[SAFE_OFFSET(0)] {FROM}", {"ImageType": True}),
        (f"SELECT ARRAY_LENGTH(ImageType) {FROM}", {"ImageType": True}),
        (f"SELECT ARRAY_TO_STRING(ImageType, '/') {FROM}", {"ImageType": True}),
        (f"SELECT 1 {FROM}, UNNEST(ImageType) AS t", {"ImageType": True}),
        (f"SELECT 1 {FROM} WHERE 'X' IN UNNEST(ImageType)", {"ImageType": True}),
        (f"SELECT (SELECT MAX(t) FROM UNNEST(ImageType) AS t) {FROM}", {"ImageType": True}),
        (f"SELECT SAFE_CAST(KVP AS FLOAT64) {FROM}", {"KVP": False}),
        (f"SELECT CONCAT(PatientID, ':') {FROM}", {"PatientID": False}),
        (f"SELECT ARRAY_AGG(DISTINCT KVP IGNORE NULLS ORDER BY KVP) {FROM}", {"KVP": False}),
        (f"SELECT 1 {FROM} WHERE modality = 'CT'", {"Modality": False}),
        (
            f"SELECT ANY_VALUE(ImageType) {FROM} GROUP BY PatientID",
            {"ImageType": None, "PatientID": False},
        ),
        (f"SELECT PatientID, collection_id {FROM}", {"PatientID": None, "collection_id": None}),
        # through tables that the query makes
        (
            f"WITH t AS (SELECT ANY_VALUE(ImageType) AS x {FROM}) SELECT x[OFFSET(0)] FROM t",
            {"ImageType": True},
        ),
        (
            f"SELECT t.x FROM (SELECT COALESCE(ImageType, []) AS x {FROM}) AS t "
            "ORDER BY t.x[OFFSET(0)]",
            {"ImageType": True},
        ),
        (
            f"WITH t AS (SELECT STRUCT(ImageType AS x) AS s {FROM}) SELECT s.x[OFFSET(0)] FROM t",
            {"ImageType": True},
        ),
        (
            f"SELECT ImageType AS x {FROM} UNION ALL SELECT ImageType {FROM} ORDER BY 1",
            {"ImageType": None},
        ),
        (f"SELECT PatientID AS x {FROM} ORDER BY x", {"PatientID": False}),
        # inside sequences
        (
            f"SELECT s.TrackingID, s.AnatomicRegionSequence[OFFSET(0)].CodeValue {FROM}, "
            "UNNEST(SegmentSequence) AS s",
            {
                "SegmentSequence.TrackingID": None,
                "SegmentSequence.AnatomicRegionSequence.CodeValue": None,
            },
        ),
        (
            f"SELECT s.SegmentAlgorithmName[SAFE_OFFSET(0)] {FROM}, UNNEST(SegmentSequence) AS s",
            {"SegmentSequence.SegmentAlgorithmName": True},
        ),
        (
            "SELECT p {FROM}, UNNEST(ImageType) AS p WITH OFFSET place WHERE place = 0".replace(
                "{FROM}", FROM
            ),
            {"ImageType": True},
        ),
        # the parts of a name are no attributes
        (f"SELECT PatientName.Alphabetic {FROM}", {"PatientName": None}),
    ],
)
def test_queries(sql: str, expected: dict[str, bool | None]) -> None:
    assert found(sql) == expected


def test_the_outputs_tell() -> None:
    sql = f"WITH t AS (SELECT ANY_VALUE(ScanOptions) AS s, KVP AS k {FROM}) SELECT s, k FROM t"
    assert found(sql) == {"ScanOptions": None, "KVP": None}
    assert found(sql, s=True, k=False) == {"ScanOptions": True, "KVP": False}


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
