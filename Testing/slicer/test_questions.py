"""Measuring again, scores, follow-up and report on real nodes with the real worker process; no network runs."""

import re

import numpy as np
import pytest
from conftest import add_linear_transform, add_volume, make_result, slicer
from phantom_heads import dice
from slicer.util import arrayFromVTKMatrix
from test_lesion_tables import two_boxes
from test_logic import edit, node_ids, one_voxel
from test_segmentations import mask_of
from test_tables import columns

from ICHWeakSegLib import InputError
from ICHWeakSegLib.worker.exchange import Box
from ICHWeakSegSlicer import followups, lesiontables, maps, segmentations
from ICHWeakSegSlicer.bloodmasks import bloodSegments, masksOnVolume
from ICHWeakSegSlicer.placing import ijkToRas


def result_on(loaded, masks=None, **provenance):
    """A segmentation as a run leaves it, of these masks, with its map."""
    result = make_result(loaded, masks, run="r1", map_threshold=0.4, brain_hu=30, **provenance)
    segmentation = segmentations.createSegmentationNode(loaded.node)
    segmentations.writeResult(segmentation, loaded.node, result)
    mapNode = maps.createMapNode(loaded.node, True)
    maps.writeMap(mapNode, loaded.node, result.map)
    mapNode.SetAttribute("ICHWeakSeg.run", "r1")
    maps.keepProbabilities(mapNode, [row["probability"] for row in result.slice_scores])
    maps.linkMap(segmentation, mapNode)
    return segmentation


def painted(loaded, masks, name="painted"):
    """A segmentation of somebody else's, without a reference to a CT."""
    node = loaded.node.GetScene().AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    for title, mask in masks.items():
        segment = slicer.vtkSegment()
        segment.SetName(title)
        box = Box.of(np.asarray(mask, np.uint8))
        segment.AddRepresentation("Binary labelmap", segmentations.labelmapOf(box, ijkToRas(loaded.node)))
        node.GetSegmentation().AddSegment(segment)
    return node


def test_measure_makes_a_table_and_measures_again_after_an_edit(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded, two_boxes(loaded.hu.shape))
    before = node_ids(loaded.node.GetScene())
    table = logic.measure(segmentation)
    assert node_ids(loaded.node.GetScene()) - before == {table.GetID()}
    assert table.GetName() == "Head CT hemorrhage lesions"
    assert columns(table)["Volume (mL)"] == pytest.approx([60 * 0.128, 0.128, 61 * 0.128])
    assert columns(table)["Side"][:2] == ["right", "left"]
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        one_voxel(loaded), segmentation, "hemorrhage", slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MAX
    )
    assert not lesiontables.isUpToDate(table, segmentation)
    assert logic.measure(segmentation) is table
    assert columns(table)["Lesion"] == ["1", "2", "3", "total"]
    assert lesiontables.isUpToDate(table, segmentation)


@pytest.mark.parametrize(("grid", "transform"), [("oblique", None), ("axial", "uneven"), (None, "tilted")])
def test_numbers_are_those_of_the_true_geometry(logic, load_ct, grid, transform):
    loaded = load_ct(grid or "axial", transform)
    segmentation = result_on(loaded)
    table = columns(logic.measure(segmentation))
    assert table["Volume (mL)"][-1] == pytest.approx(loaded.world.volume_ml(loaded.blood), abs=0.001)
    weight = loaded.world.slice_voxel_ml()[np.nonzero(loaded.blood)[0]]
    middle = np.average(loaded.world_ras(loaded.blood), axis=0, weights=weight)
    found = [table[f"Centroid {letter} (mm)"][0] for letter in "RAS"]
    np.testing.assert_allclose(found, middle, atol=0.01)


def test_somebody_elses_segmentation_and_its_ventricles(logic, load_ct):
    loaded = load_ct()
    blood = two_boxes(loaded.hu.shape)
    beside = np.zeros_like(blood)
    beside[9:12, 28:32, 21:23] = True
    node = painted(loaded, {"my bleed": blood, "Ventricles": beside})
    with pytest.raises(InputError, match="does not say which CT"):
        logic.measure(node)
    table = columns(logic.measure(node, loaded.node))
    assert table["Volume (mL)"] == pytest.approx([60 * 0.128, 0.128, 61 * 0.128])
    assert table["Touches ventricles"] == ["yes", "no", ""]
    assert "Subtype" not in table


def test_several_segments_by_their_names_or_chosen(logic, load_ct):
    loaded = load_ct()
    large, small = two_boxes(loaded.hu.shape), two_boxes(loaded.hu.shape)
    large[14:], small[:14] = False, False
    node = painted(loaded, {"iph": large, "other": small})
    table = columns(logic.measure(node, loaded.node))
    assert table["Subtype"] == ["IPH", "other", ""]
    chosen = columns(logic.measure(node, loaded.node, segments=["other"]))
    assert chosen["Volume (mL)"] == pytest.approx([0.128, 0.128])
    with pytest.raises(InputError, match="has no segment nothing"):
        logic.measure(node, loaded.node, segments=["nothing"])


def test_the_users_own_segments_beside_ours_are_not_blood(load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded)
    segmentation.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    assert bloodSegments(segmentation) == ["hemorrhage"]


def test_a_segmentation_elsewhere_in_space_is_brought_onto_the_ct(load_ct, scene):
    loaded = load_ct()
    node = painted(loaded, {"bleed": two_boxes(loaded.hu.shape)})
    # 4 mm to the left is one voxel up the columns' order: R falls with i.
    shift = np.eye(4)
    shift[0, 3] = -4
    node.SetAndObserveTransformNodeID(add_linear_transform(scene, shift).GetID())
    (box,) = masksOnVolume(node, bloodSegments(node), loaded.node).values()
    expected = np.roll(two_boxes(loaded.hu.shape), 1, axis=2)
    np.testing.assert_array_equal(box.within(loaded.hu.shape) != 0, expected)


def test_nothing_to_measure_is_a_sentence(logic, load_ct, scene):
    loaded = load_ct()
    with pytest.raises(InputError, match="choose one"):
        logic.measure(None)
    with pytest.raises(InputError, match="holds no segment"):
        logic.measure(scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty"), loaded.node)
    segmentation = result_on(loaded)
    scene.RemoveNode(loaded.node)
    with pytest.raises(InputError, match="does not say which CT"):
        logic.measure(segmentation)
    assert not logic.busy


def test_a_failure_leaves_the_scene(logic, scene):
    node = add_volume(scene, np.full((6, 20, 20), 40, np.int16), np.diag([9, 9, 20, 1.0]), "Grey")
    blank = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "blank")
    blank.GetSegmentation().AddEmptySegment("a", "a")
    before = node_ids(scene)
    with pytest.raises(InputError):
        logic.measure(blank, node)
    assert node_ids(scene) == before


def test_a_threshold_brings_the_lesions_up_to_date(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded, refine="threshold")
    table = logic.measure(segmentation)
    before = columns(table)["Volume (mL)"][-1]
    logic.setThreshold(segmentation, 0.6)
    after = columns(table)["Volume (mL)"][-1]
    assert 0 < after < before
    assert lesiontables.isUpToDate(table, segmentation)
    assert after == pytest.approx(loaded.world.volume_ml(mask_of(segmentation, "hemorrhage")), abs=0.001)
    job = logic.startThreshold(segmentation, 0.5, measure=False).wait()
    assert job.state == "finished"
    assert not lesiontables.isUpToDate(table, segmentation)


def test_jump_to_a_lesion(logic, load_ct, scene):
    loaded = load_ct("axial", "linear")
    segmentation = result_on(loaded, two_boxes(loaded.hu.shape))
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    view = scene.AddNewNodeByClass("vtkMRMLSliceNode")
    view.SetOrientation("Axial")
    with pytest.raises(InputError, match="not measured"):
        logic.jumpToLesion(segmentation)
    table = logic.measure(segmentation)
    logic.jumpToLesion(segmentation, 2)
    # The voxel (14, 30, 36) at 8 mm a slice, raised by 30 mm by the transform.
    assert arrayFromVTKMatrix(view.GetSliceToRAS())[2, 3] == pytest.approx(8 * 14 - 40 + 30, abs=0.1)
    assert lesiontables.lesionCount(table) == 2
    with pytest.raises(InputError, match="no lesion 3"):
        logic.jumpToLesion(segmentation, 3)


def test_scores_by_hand(logic, load_ct):
    loaded = load_ct()
    segmentation = result_on(loaded)
    volume = loaded.world.volume_ml(loaded.blood)
    assert volume > 30
    found = logic.clinicalScores(
        segmentation, gcs=9, age=81, ivh=True, location="lobar", cognitiveImpairment=False
    )
    ich, func = found.scores
    # GCS 5-12: 1, 30 mL or more: 1, ventricles: 1, not infratentorial: 0, 80 years or more: 1.
    assert ich.total == 4
    assert ich.outcome_percent == 97
    # 30-60 mL: 2, 80 or more: 0, lobar: 2, GCS 9 or more: 2, not impaired: 1.
    assert func.total == 7
    assert func.outcome_percent == 13
    assert "spontaneous intraparenchymal" in ich.applies_to
    assert "all blood" in found.note


def test_scores_take_the_intraparenchymal_blood_and_name_what_is_missing(logic, load_ct):
    loaded = load_ct()
    large, small = two_boxes(loaded.hu.shape), two_boxes(loaded.hu.shape)
    large[14:], small[:14] = False, False
    segmentation = result_on(loaded, {"IPH": large, "IVH": small})
    found = logic.clinicalScores(segmentation, gcs=15)
    given = {part.name: part.given for part in found.scores[0].parts}
    assert given["volume_ml"] == pytest.approx(7.7)
    assert found.scores[0].total is None
    assert set(found.scores[0].missing) == {"age", "ivh", "infratentorial"}
    assert logic.clinicalScores(volumeMl=70, gcs=3).scores[1].lowest == 0
    assert "volume_ml" in logic.clinicalScores(gcs=9).scores[0].missing
    with pytest.raises(InputError, match="3 to 15"):
        logic.clinicalScores(segmentation, gcs=2)


@pytest.fixture
def two_scans(load_ct):
    """The same head twice, the second time turned and moved, with more blood."""
    first, second = load_ct("axial", None, "First"), load_ct("axial", "linear", "Second")
    grown = first.blood.copy()
    # A slice more of the same size: from an exact volume to another.
    k = np.nonzero(first.blood.any((1, 2)))[0]
    grown[k[-1] + 1] = first.blood[k[-1]]
    grown[k[0] - 1] = first.blood[k[len(k) // 2]]
    return first, second, grown


def test_follow_up_of_a_head_that_was_moved(logic, two_scans, scene):
    first, second, grown = two_scans
    before, after = result_on(first), result_on(second, grown)
    table, transform, overlay = logic.followUp(before, after)
    values = {name: column[0] for name, column in columns(table).items()}
    old, new = first.world.volume_ml(first.blood), second.world.volume_ml(grown)
    assert values["Before (mL)"] == pytest.approx(old, abs=0.001)
    assert values["After (mL)"] == pytest.approx(new, abs=0.001)
    assert values["Change (mL)"] == pytest.approx(new - old, abs=0.002)
    assert values["Change (%)"] == pytest.approx(100 * (new - old) / old, abs=0.1)
    assert values["Expansion"] == ("yes" if new - old > 6 or new > 1.33 * old else "no")
    assert values["Registration"] == "good"
    # The transform node moves the earlier CT onto the later one.
    matrix = arrayFromVTKMatrix(transform.GetMatrixTransformToParent())
    for point in ([0, 0, 0, 1], [60, 0, 40, 1], [0, 60, 40, 1], [0, 0, 80, 1]):
        truly = second.world.ijk_to_ras @ np.linalg.inv(first.world.ijk_to_ras) @ point
        assert np.linalg.norm(matrix @ point - truly) < 2.0
    first.node.SetAndObserveTransformNodeID(transform.GetID())
    # The overlay lies on the later CT and is not shown unasked.
    assert not overlay.GetDisplayNode().GetVisibility()
    assert overlay.GetParentTransformNode() is second.node.GetParentTransformNode()
    both, only_after = mask_of(overlay, "both") != 0, mask_of(overlay, "after") != 0
    assert dice(both | only_after, grown) == 1
    assert dice(both, first.blood) > 0.85
    sentence, warnings = followups.sentenceOf(table)
    assert f"{old:.1f} mL before" in sentence
    assert warnings == []
    assert followups.outputsOf(table) == (transform, overlay)


def test_follow_up_written_over_makes_no_nodes(logic, two_scans, scene):
    first, second, grown = two_scans
    before, after = result_on(first), result_on(second, grown)
    outputs = logic.followUp(before, after)
    outputs[2].GetDisplayNode().SetVisibility(True)
    nodes = node_ids(scene)
    names = ("outputTable", "outputTransform", "outputOverlay")
    again = logic.followUp(before, after, **dict(zip(names, outputs, strict=True)))
    assert again == outputs
    assert node_ids(scene) == nodes
    assert outputs[2].GetDisplayNode().GetVisibility()


def test_a_comparison_is_up_to_date_until_a_mask_changes(logic, two_scans, scene, make_scene, tmp_path):
    first, second, grown = two_scans
    before, after = result_on(first), result_on(second, grown)
    table, _, _ = logic.followUp(before, after)
    assert followups.isUpToDate(table)
    # Neither a name nor somebody else's segment was compared.
    after.GetSegmentation().GetSegment("hemorrhage").SetName("Blood")
    after.GetSegmentation().AddEmptySegment("own", "own")
    assert followups.isUpToDate(table)
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    other = make_scene().scene
    assert other.ReadFromMRB(path)
    assert followups.isUpToDate(other.GetFirstNodeByName(table.GetName()))
    edit(after, second)
    assert not followups.isUpToDate(table)
    assert followups.isUpToDate(logic.followUp(before, after, outputTable=table)[0])
    before.GetSegmentation().RemoveSegment("hemorrhage")
    assert not followups.isUpToDate(table)


def test_a_comparison_whose_segmentation_is_gone_is_old(logic, two_scans, scene):
    first, second, grown = two_scans
    before, after = result_on(first), result_on(second, grown)
    table, _, _ = logic.followUp(before, after)
    scene.RemoveNode(after)
    assert not followups.isUpToDate(table)
    # So is one of an earlier version, which kept nothing about its masks.
    table.RemoveAttribute(followups.COMPARED_ATTRIBUTE)
    assert not followups.isUpToDate(table)


def test_an_edit_while_two_are_compared_makes_the_comparison_old(logic, two_scans):
    first, second, grown = two_scans
    before, after = result_on(first), result_on(second, grown)
    job = logic.startFollowUp(before, after)
    logic.poll()
    edit(before, first)
    assert job.wait().state == "finished"
    assert not followups.isUpToDate(job.tableNode)


def test_surfaces_are_measured_and_count_as_they_were(logic, load_ct):
    loaded = load_ct()
    node = painted(loaded, {"bleed": two_boxes(loaded.hu.shape)})
    node.CreateClosedSurfaceRepresentation()
    node.SetSourceRepresentationToClosedSurface()
    node.RemoveBinaryLabelmapRepresentation()
    table = logic.measure(node, loaded.node)
    assert columns(table)["Volume (mL)"][-1] > 0
    assert lesiontables.isUpToDate(table, node)


def test_what_cannot_be_compared_is_a_sentence(logic, load_ct, scene):
    loaded, other = load_ct(), load_ct(name="Other")
    segmentation = result_on(loaded)
    with pytest.raises(InputError, match="segmentation of the follow-up CT"):
        logic.followUp(segmentation, None)
    with pytest.raises(InputError, match="Both segmentations are the same"):
        logic.followUp(segmentation, segmentation)
    with pytest.raises(InputError, match="Both CTs are the same"):
        logic.followUp(segmentation, result_on(loaded))
    with pytest.raises(InputError, match="Choose the baseline CT"):
        logic.followUp(painted(loaded, {"a": loaded.blood}), result_on(other))
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(InputError, match="empty holds no segment"):
        logic.followUp(empty, segmentation, beforeVolume=other.node)


def test_the_report_is_one_page_with_scores_and_no_names(logic, load_ct, tmp_path):
    loaded = load_ct("axial", "uneven", name="Jane Doe 1950")
    segmentation = result_on(loaded)
    path = tmp_path / "report.html"
    written = logic.report(segmentation, path, entered={"gcs": 9, "age": 71})
    assert written == path
    text = path.read_text("utf-8")
    assert f"{loaded.world.volume_ml(loaded.blood):.1f} mL of blood" in text
    assert "ICH score" in text
    assert "Slice probabilities" in text
    assert "No slice scores were given" not in text
    assert "No map was given" not in text
    assert "unevenly spaced" in text
    assert "tiny 0.1" in text
    assert "Jane" not in text
    assert "edited by hand" not in text
    assert re.search(r"(?i)research use only", text)


def test_the_report_says_that_the_mask_was_edited(logic, load_ct, tmp_path):
    loaded = load_ct()
    segmentation = result_on(loaded)
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        one_voxel(loaded), segmentation, "hemorrhage", slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MAX
    )
    text = logic.report(segmentation, tmp_path / "report.html").read_text("utf-8")
    assert "edited by hand" in text


def test_a_report_that_cannot_be_written_is_a_sentence(logic, load_ct, tmp_path):
    segmentation = result_on(load_ct())
    with pytest.raises(InputError, match=r"ends in \.html"):
        logic.report(segmentation, tmp_path / "report.doc")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        logic.report(segmentation, tmp_path / "file" / "report.html")
    with pytest.raises(InputError, match="3 to 15"):
        logic.report(segmentation, tmp_path / "report.html", entered={"gcs": 99})
    assert not list(tmp_path.rglob("*.html"))
