"""The logic on real nodes with the real worker process and tiny random models: HU find the blood."""

import os
import time

import numpy as np
import pytest
from conftest import add_volume, make_result, slicer, vtk
from phantom_heads import dice
from slicer.util import arrayFromVolume, vtkMatrixFromArray
from test_segmentations import mask_of

from ICHWeakSegLib import InputError
from ICHWeakSegLib.segment import Cancelled
from ICHWeakSegSlicer import maps, segmentations, tables
from ICHWeakSegSlicer.logic import SceneLogic

# A random network's map says nothing: at 0 it rules nothing out, and HU find the blood.
LOW, HIGH = 0.0, 0.05
SUBTYPES = ["EDH", "IPH", "IVH", "SAH", "SDH"]


def one_voxel(loaded):
    """A labelmap with the CT's first voxel."""
    image = slicer.vtkOrientedImageData()
    image.SetImageToWorldMatrix(vtkMatrixFromArray(loaded.local))
    image.SetExtent(0, 0, 0, 0, 0, 0)
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    image.GetPointData().GetScalars().Fill(1)
    return image


def edit(segmentation, loaded, segment="hemorrhage"):
    """Paint the CT's first voxel, as a user does."""
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(
        one_voxel(loaded), segmentation, segment, slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MAX
    )


def begun(logic, job):
    """Let a job come as far as the worker's first word."""
    seen = []
    # In place of nobody.
    job._onProgress = lambda *step: seen.append(step)
    while not seen:
        logic.poll()
        time.sleep(0.001)
        assert job.state == "running", job.error


def node_ids(scene):
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


@pytest.mark.parametrize(
    ("grid", "transform"),
    [
        ("axial", None),
        ("flipped", None),
        ("sheared", None),
        ("oblique", None),
        ("axial", "linear"),
        (None, "tilted"),
        ("axial", "uneven"),
    ],
)
def test_finds_the_bleed_on_every_grid(logic, load_ct, grid, transform):
    loaded = load_ct(grid or "axial", transform)
    segmentation = logic.segment(loaded.node, model="tiny")
    (segment,) = segmentations.ourSegmentIds(segmentation)
    mask = mask_of(segmentation, segment)
    assert dice(mask, loaded.blood) > 0.75
    assert segmentation.GetParentTransformNode() is loaded.node.GetParentTransformNode()


def test_the_numbers_are_those_of_the_true_geometry(logic, load_ct, scene):
    loaded = load_ct("axial", "uneven")
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    slices = scene.AddNewNodeByClass("vtkMRMLTableNode")
    job = logic.start(loaded.node, model="tiny", outputTable=table, outputSliceTable=slices).wait()
    assert slices.GetNumberOfRows() == len(job.result.slice_scores) == loaded.hu.shape[0]
    mask = mask_of(job.segmentationNode)
    assert job.result.total.volume_ml == pytest.approx(loaded.world.volume_ml(mask))
    assert job.tableNode is table
    shown = table.GetTable().GetColumnByName("Volume (mL)").GetValue(0)
    assert shown == pytest.approx(job.result.total.volume_ml)


def test_callbacks_and_one_load_of_the_model(logic, load_ct):
    loaded, stages, ended = load_ct(), [], []
    for _ in range(2):
        stages.clear()
        job = logic.start(
            loaded.node,
            model="tiny",
            onProgress=lambda stage, done, total: stages.append((stage, done, total)),
            onFinished=ended.append,
        )
        assert logic.busy
        assert job.wait().state == "finished"
    assert [job.state for job in ended] == ["finished", "finished"]
    names = [stage for stage, _, _ in stages]
    assert "classifying and localizing" in names
    assert "loading the model" not in names
    assert all(0 <= done <= total for _, done, total in stages)


def test_an_existing_segmentation_keeps_the_users_segments(logic, load_ct, scene):
    loaded = load_ct()
    own = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    own.GetSegmentation().AddEmptySegment("ventricles", "Ventricles")
    found = logic.segment(loaded.node, own, model="tiny")
    assert found is own
    ids = [
        own.GetSegmentation().GetNthSegmentID(n) for n in range(own.GetSegmentation().GetNumberOfSegments())
    ]
    assert ids == ["ventricles", "hemorrhage"]
    logic.segment(loaded.node, own, model="many")
    ids = [
        own.GetSegmentation().GetNthSegmentID(n) for n in range(own.GetSegmentation().GetNumberOfSegments())
    ]
    assert ids == ["ventricles", *SUBTYPES]


def test_subtypes_and_their_recut(logic, load_ct):
    loaded = load_ct()
    segmentation = logic.segment(loaded.node, model="many")
    segments = segmentation.GetSegmentation()
    assert [segments.GetNthSegment(n).GetName() for n in range(segments.GetNumberOfSegments())] == SUBTYPES
    before = np.sum([mask_of(segmentation, name) for name in SUBTYPES], axis=0)
    assert before.max() == 1
    logic.setThreshold(segmentation, HIGH)
    after = np.sum([mask_of(segmentation, name) for name in SUBTYPES], axis=0)
    assert 0 < after.sum() <= before.sum()
    logic.setThreshold(segmentation, LOW)
    again = np.sum([mask_of(segmentation, name) for name in SUBTYPES], axis=0)
    np.testing.assert_array_equal(again, before)


def test_recut_is_what_segmenting_at_that_threshold_gives(logic, load_ct):
    loaded = load_ct()
    first = logic.segment(loaded.node, model="tiny")
    second = logic.segment(loaded.node, model="tiny", threshold=HIGH)
    wanted = mask_of(second, "hemorrhage")
    assert logic.thresholdOf(first) == pytest.approx(LOW)
    assert not np.array_equal(mask_of(first, "hemorrhage"), wanted)
    # The worker has seen another case since.
    logic.setThreshold(first, HIGH)
    np.testing.assert_array_equal(mask_of(first, "hemorrhage"), wanted)
    assert logic.thresholdOf(first) == pytest.approx(HIGH)


def test_recut_after_the_worker_and_its_files_are_gone(models, load_ct, monkeypatch, scene):
    monkeypatch.setenv("ICHWEAKSEG_MODELS", str(models))
    loaded, logic = load_ct(), SceneLogic()
    segmentation = logic.segment(loaded.node, model="tiny")
    before = mask_of(segmentation, "hemorrhage").copy()
    logic.close()
    # A later session has no model folder either: the stored map is enough.
    monkeypatch.setenv("ICHWEAKSEG_MODELS", "nowhere")
    later = SceneLogic()
    later.setThreshold(segmentation, HIGH)
    assert mask_of(segmentation, "hemorrhage").sum() < before.sum()
    later.setThreshold(segmentation, LOW)
    np.testing.assert_array_equal(mask_of(segmentation, "hemorrhage"), before)
    later.close()


def test_a_newer_threshold_replaces_a_waiting_one(logic, load_ct):
    segmentation = logic.segment(load_ct().node, model="tiny")
    jobs = []
    for value in (0.02, 0.03, 0.04, HIGH):
        jobs.append(logic.startThreshold(segmentation, value))
        logic.poll()
    states = [job.wait().state for job in jobs]
    assert states == ["finished", "cancelled", "cancelled", "finished"]
    assert logic.thresholdOf(segmentation) == pytest.approx(HIGH)


def test_edits_are_not_lost_unasked(logic, load_ct):
    loaded = load_ct()
    segmentation = logic.segment(loaded.node, model="tiny")
    edit(segmentation, loaded)
    assert "edited" in logic.canRecut(segmentation)
    with pytest.raises(InputError, match="edited"):
        logic.setThreshold(segmentation, HIGH)
    assert mask_of(segmentation, "hemorrhage")[0, 0, 0] == 1
    logic.setThreshold(segmentation, HIGH, overwriteEdits=True)
    assert mask_of(segmentation, "hemorrhage")[0, 0, 0] == 0


def test_reasons_against_a_recut(logic, load_ct, scene):
    loaded = load_ct()
    assert "segment a CT first" in logic.canRecut(scene.AddNewNodeByClass("vtkMRMLSegmentationNode"))
    without = logic.segment(loaded.node, model="tiny", keepMap=False)
    assert "map was not kept" in logic.canRecut(without)
    with_map = logic.segment(loaded.node, model="tiny")
    assert logic.canRecut(with_map) == ""
    with pytest.raises(InputError, match="between 0 and 1"):
        logic.setThreshold(with_map, 1.2)
    scene.RemoveNode(maps.mapOf(with_map))
    assert "map was not kept" in logic.canRecut(with_map)
    other = logic.segment(loaded.node, model="tiny")
    scene.RemoveNode(loaded.node)
    assert "not in the scene" in logic.canRecut(other)


def test_a_run_without_map_forgets_the_old_one(logic, load_ct):
    loaded = load_ct()
    segmentation = logic.segment(loaded.node, model="many")
    logic.segment(loaded.node, segmentation, model="tiny", keepMap=False)
    assert maps.mapOf(segmentation) is None
    assert segmentations.readSubtypes(segmentation) is None


def test_map_node(logic, load_ct, scene):
    loaded = load_ct()
    own = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "map")
    segmentation = logic.segment(loaded.node, model="tiny", outputMap=own)
    assert maps.mapOf(segmentation) is own
    values = arrayFromVolume(own)
    assert values.shape == loaded.hu.shape
    assert 0 < values.max() <= 1
    assert values.min() == 0


def test_cancel_ends_the_worker_and_leaves_the_scene(logic, load_ct, scene):
    loaded = load_ct()
    before, seen = node_ids(scene), []
    job = logic.start(loaded.node, model="tiny", onProgress=lambda *step: seen.append(step))
    while not seen:
        logic.poll()
        time.sleep(0.001)
    pid = logic.client.pid
    job.cancel()
    assert job.state == "cancelled"
    assert not logic.busy
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert node_ids(scene) == before
    assert logic.segment(loaded.node, model="tiny") is not None


def test_cancel_from_a_callback_of_a_blocking_run(logic, load_ct, scene):
    loaded = load_ct()
    before = node_ids(scene)

    def stop(*_):
        logic._queue[0].cancel()

    with pytest.raises(Cancelled):
        logic.segment(loaded.node, model="tiny", onProgress=stop)
    assert node_ids(scene) == before


def test_a_crash_is_a_sentence_and_the_next_run_works(logic, load_ct, scene):
    loaded = load_ct()
    before, seen, problems = node_ids(scene), [], []
    job = logic.start(
        loaded.node,
        model="tiny",
        onProgress=lambda *step: seen.append(step),
        onError=lambda _, sentence: problems.append(sentence),
    )
    while not seen:
        logic.poll()
        time.sleep(0.001)
    os.kill(logic.client.pid, 9)
    assert job.wait().state == "failed"
    assert "memory" in job.error
    assert problems == [job.error]
    assert node_ids(scene) == before
    assert logic.segment(loaded.node, model="tiny") is not None


def test_closing_the_scene_during_a_run(logic, load_ct, scene):
    loaded, problems = load_ct(), []
    job = logic.start(loaded.node, model="tiny", onError=lambda _, sentence: problems.append(sentence))
    logic.poll()
    scene.Clear(False)
    assert job.wait().state == "cancelled"
    assert "removed from the scene" in problems[0]
    assert not any(identity.startswith("vtkMRMLSegmentationNode") for identity in node_ids(scene))


def test_a_deleted_output_is_made_anew(logic, load_ct, scene):
    loaded = load_ct()
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    job = logic.start(loaded.node, output, model="tiny")
    scene.RemoveNode(output)
    assert job.wait().state == "finished"
    assert job.segmentationNode is not output
    assert job.segmentationNode.GetScene() is scene


def test_one_run_at_a_time(logic, load_ct):
    loaded = load_ct()
    job = logic.start(loaded.node, model="tiny")
    with pytest.raises(InputError, match="under way"):
        logic.start(loaded.node, model="tiny")
    job.cancel()


def test_a_callback_that_fails_does_not_stop_the_run(logic, load_ct, caplog):
    def fail(*_):
        raise RuntimeError("not my day")

    job = logic.start(load_ct().node, model="tiny", onProgress=fail, onFinished=fail).wait()
    assert job.state == "finished"
    assert "callback" in caplog.text


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"model": "nothing"}, "There is no model 'nothing'"),
        ({"model": "tiny", "method": "magic"}, "method"),
        ({"model": "tiny", "threshold": 7}, "between 0 and 1"),
        ({"model": "tiny", "device": "abacus"}, "device"),
    ],
)
def test_wrong_options_are_sentences(logic, load_ct, scene, options, part):
    loaded = load_ct()
    before = node_ids(scene)
    with pytest.raises(InputError, match=part):
        logic.segment(loaded.node, **options)
    assert node_ids(scene) == before


def test_bad_volumes_are_refused_at_once_or_by_the_worker(logic, scene):
    with pytest.raises(InputError, match="No volume"):
        logic.segment(None)
    empty = add_volume(scene, np.full((5, 40, 40), -1000, np.int16), np.diag([-4, -4, 8, 1.0]), "Air")
    with pytest.raises(InputError, match="Air"):
        logic.segment(empty, model="tiny")


def test_no_blood_is_a_result(logic, load_ct):
    job = logic.start(load_ct().node, model="blind").wait()
    assert job.state == "finished"
    assert job.result.total.volume_ml == 0
    assert segmentations.ourSegmentIds(job.segmentationNode) == ["hemorrhage"]


def test_a_worker_that_cannot_start_is_a_sentence(load_ct, scene):
    logic, problems = SceneLogic(command=["/no/such/python"]), []
    job = logic.start(load_ct().node, onError=lambda _, sentence: problems.append(sentence)).wait()
    assert job.state == "failed"
    assert "could not be started" in problems[0]
    with pytest.raises(InputError, match="could not be started"):
        logic.segment(load_ct().node)
    logic.close()


def test_a_full_disk_is_a_sentence(logic, load_ct, monkeypatch):
    def full(*_):
        raise InputError("The CT cannot be written to the temporary folder: free some space there.")

    monkeypatch.setattr(logic.client, "new_case", full)
    with pytest.raises(InputError, match="free some space"):
        logic.segment(load_ct().node, model="tiny")
    assert not logic.busy


def test_undo_across_runs_is_not_cut_with_the_wrong_map(logic, load_ct):
    segmentation = logic.segment(load_ct().node, model="tiny")
    maps.mapOf(segmentation).SetAttribute("ICHWeakSeg.run", "of another one")
    assert "another run" in logic.canRecut(segmentation)


def test_a_mask_of_two_networks_is_not_cut(logic, load_ct):
    segmentation = logic.segment(load_ct().node, model="tiny")
    segmentation.GetSegmentation().GetSegment("hemorrhage").SetTag("ICHWeakSeg.mode", "either")
    keys = vtk.reference("")
    segmentation.GetSegmentation().GetSegment("hemorrhage").GetTag("ICHWeakSeg.keys", keys)
    segmentation.GetSegmentation().GetSegment("hemorrhage").SetTag("ICHWeakSeg.keys", f"{keys},mode")
    assert "two networks" in logic.canRecut(segmentation)


def test_missing_packages(logic, load_ct, monkeypatch):
    monkeypatch.setattr(logic.dependencies, "installed", lambda: False)
    with pytest.raises(InputError, match="installDependencies"):
        logic.segment(load_ct().node, model="tiny")


def test_many_and_one_of_them_bad(logic, load_ct, scene):
    heads = [load_ct("axial", name="One").node, load_ct("flipped", name="Two").node]
    bad = add_volume(scene, np.full((5, 40, 40), -1000, np.int16), np.diag([-4, -4, 8, 1.0]), "Air")
    problems, cases = [], []
    found = logic.segmentMany(
        [heads[0], bad, heads[1]],
        model="tiny",
        onError=lambda node, sentence: problems.append((node.GetName(), sentence)),
        onCase=lambda *case: cases.append(case),
    )
    assert found[1] is None
    assert segmentations.referenceVolume(found[0]) is heads[0]
    assert segmentations.referenceVolume(found[2]) is heads[1]
    assert problems[0][0] == "Air"
    assert cases == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(InputError):
        logic.segmentMany([bad], model="tiny")
    with pytest.raises(InputError, match="no CT to segment"):
        logic.segmentMany([])
    with pytest.raises(InputError, match="outputMap"):
        logic.segmentMany(heads, outputMap=bad)


def test_a_sequence(logic, load_ct, scene):
    loaded = load_ct()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Follow-up")
    sequence.SetIndexName("day")
    for day in ("0", "2"):
        sequence.SetDataNodeAtValue(loaded.node, day)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    before = node_ids(scene)
    found = logic.segmentMany(browser, model="tiny")
    assert [found.GetNthIndexValue(n) for n in range(2)] == ["0", "2"]
    assert found.GetIndexName() == "day"
    for number in range(2):
        node = found.GetNthDataNode(number)
        assert segmentations.ourSegmentIds(node) == ["hemorrhage"]
        assert segmentations.referenceVolume(node) is None
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation("hemorrhage", image)
        assert image.GetNumberOfPoints() > 0
    assert browser.IsSynchronizedSequenceNode(found)
    left = [one for one in node_ids(scene) - before if "Volume" in one or "Segmentation" in one]
    # What the browser shows, and nothing of the way there.
    assert browser.GetProxyNode(found).GetID() in left
    kinds = sorted(one.rstrip("0123456789") for one in left)
    assert kinds == [
        "vtkMRMLSegmentationDisplayNode",
        "vtkMRMLSegmentationNode",
        "vtkMRMLSegmentationStorageNode",
    ]


def test_an_empty_browser(logic, scene):
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Nothing")
    with pytest.raises(InputError, match="Nothing has no CT volumes"):
        logic.segmentMany(browser)


def test_models_are_listed_and_described(logic):
    assert {"starter", "tiny", "many"} <= {model.name for model in logic.models()}
    assert "CT-ICH" in logic.describeModel("starter")
    with pytest.raises(InputError):
        logic.describeModel("nothing")


def test_results_written_by_hand_and_tables(load_ct, scene):
    loaded = load_ct()
    table = tables.createTableNode(loaded.node)
    tables.writeTable(table, make_result(loaded))
    assert table.GetNumberOfRows() == 1


def test_nothing_starts_before_the_first_run(scene):
    logic = SceneLogic()
    assert logic._client is None
    assert logic.models()
    logic.close()
