"""The result's numbers as table nodes: values, units, provenance, files. Real MRML nodes, no stand-ins."""

import numpy as np
import pytest
from conftest import SHAPE, make_result, slicer, vtk

from ICHWeakSegSlicer.placing import nodesOf
from ICHWeakSegSlicer.segmentations import createSegmentationNode
from ICHWeakSegSlicer.tables import createTableNode, linkTable, tableOf, writeSliceTable, writeTable

pytestmark = pytest.mark.usefixtures("no_slicer_errors")

COLUMNS = ["Segment", "Volume (mL)", "Lesions", "Slices", "Mean HU"]


def columns(node) -> dict[str, list]:
    """Column name to its values, as numbers where the column is numeric."""
    found = {}
    for n in range(node.GetNumberOfColumns()):
        array = node.GetTable().GetColumn(n)
        found[node.GetColumnName(n)] = [array.GetValue(row) for row in range(array.GetNumberOfValues())]
    return found


def written(loaded, masks=None):
    node = createTableNode(loaded.node)
    writeTable(node, make_result(loaded, masks))
    return node


def test_one_segment_is_one_row(load_ct):
    loaded = load_ct("sheared")
    table = columns(written(loaded))
    assert list(table) == COLUMNS
    assert table["Segment"] == ["Intracranial hemorrhage"]
    assert table["Volume (mL)"] == [pytest.approx(loaded.world.volume_ml(loaded.blood))]
    assert table["Lesions"] == [1]
    assert table["Slices"] == [int(loaded.blood.any((1, 2)).sum())]
    assert table["Mean HU"] == [pytest.approx(loaded.hu[loaded.blood].mean())]


def test_several_segments_get_a_total(load_ct):
    loaded = load_ct()
    low, high = loaded.blood.copy(), loaded.blood.copy()
    middle = int(np.median(np.nonzero(loaded.blood)[0]))
    low[middle:], high[:middle] = False, False
    table = columns(written(loaded, {"EDH": np.zeros(SHAPE, bool), "IPH": low, "SDH": high}))
    assert table["Segment"] == ["EDH", "IPH", "SDH", "total"]
    volumes = table["Volume (mL)"]
    assert volumes[0] == 0
    assert sum(volumes[:3]) == pytest.approx(volumes[3])
    # The halves touch: together they are one lesion.
    assert table["Lesions"] == [0, 1, 1, 1]
    assert np.isnan(table["Mean HU"][0])
    assert np.isfinite(table["Mean HU"][1:]).all()


def test_numbers_are_numbers_with_units_and_descriptions(load_ct):
    node = written(load_ct())
    types = [node.GetTable().GetColumn(n).GetClassName() for n in range(5)]
    assert [kind.removeprefix("vtk") for kind in types] == [
        "StringArray",
        "DoubleArray",
        "IntArray",
        "IntArray",
        "DoubleArray",
    ]
    assert node.GetColumnUnitLabel("Volume (mL)") == "mL"
    assert node.GetColumnUnitLabel("Mean HU") == "HU"
    for name in COLUMNS:
        assert node.GetColumnDescription(name).endswith(".")
    assert node.GetName() == "Head CT hemorrhage table"
    assert node.GetLocked()


def test_a_second_result_takes_the_place_of_the_first(load_ct):
    loaded = load_ct()
    node = written(loaded, {"IPH": loaded.blood, "SDH": loaded.blood})
    writeTable(node, make_result(loaded, model="other"))
    assert columns(node)["Segment"] == ["Intracranial hemorrhage"]
    assert node.GetNumberOfColumns() == 5
    assert node.GetAttribute("ICHWeakSeg.model") == "other"


def test_provenance_and_place(scene, load_ct):
    loaded = load_ct()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(loaded.node), study)
    node = written(loaded)
    assert node.GetAttribute("ICHWeakSeg.kind") == "table"
    assert node.GetAttribute("ICHWeakSeg.sha256") == "ab" * 32
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study


def test_link_is_found_again(load_ct):
    loaded = load_ct()
    segmentation = createSegmentationNode(loaded.node)
    assert tableOf(segmentation) is None
    node = written(loaded)
    linkTable(segmentation, node)
    assert tableOf(segmentation) is node


def test_slice_table_has_a_row_for_each_slice(load_ct):
    loaded = load_ct()
    node = createTableNode(loaded.node)
    writeSliceTable(node, make_result(loaded))
    table = columns(node)
    assert list(table) == ["Slice", "Probability", "Positive", "any"]
    assert table["Slice"] == list(range(SHAPE[0]))
    positive = loaded.blood.any((1, 2))
    assert table["Positive"] == positive.astype(int).tolist()
    np.testing.assert_allclose(table["Probability"], np.where(positive, 0.9, 0.1))
    assert node.GetAttribute("ICHWeakSeg.kind") == "slices"


def test_a_saved_scene_brings_numbers_and_link_back(make_scene, load_ct, tmp_path):
    loaded = load_ct()
    node = written(loaded, {"EDH": np.zeros(SHAPE, bool), "IPH": loaded.blood})
    linkTable(createSegmentationNode(loaded.node), node)
    path = str(tmp_path / "scene.mrb")
    assert node.GetScene().WriteToMRB(path)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    again = tableOf(nodesOf(other, "vtkMRMLSegmentationNode")[0])
    assert again.GetScene() is other
    before, after = columns(node), columns(again)
    assert list(after) == COLUMNS
    assert after["Segment"] == before["Segment"]
    for name in COLUMNS[1:]:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-5)
    assert again.GetColumnUnitLabel("Volume (mL)") == "mL"
    assert again.GetAttribute("ICHWeakSeg.model") == "tiny"
    assert isinstance(again.GetTable().GetColumn(1), vtk.vtkDoubleArray)
