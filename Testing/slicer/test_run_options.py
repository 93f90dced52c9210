"""Wrong arguments are one sentence, wherever Python's caller puts them; numbers may be numpy's."""

import numpy as np
import pytest
from conftest import add_volume
from test_questions import result_on

from ICHWeakSegLib import InputError
from ICHWeakSegLib.ct.hu import HUVolume
from ICHWeakSegSlicer.runoptions import fraction, runOptions
from ICHWeakSegSlicer.volumes import ctFromVolume

NOTHING = dict.fromkeys(("model", "method", "refine", "threshold", "sensitivity", "device"))


def test_what_was_given_becomes_plain_values(tmp_path):
    assert runOptions(**NOTHING) == {}
    assert runOptions(**{**NOTHING, "model": "", "method": "", "device": "cpu"}) == {"device": "cpu"}
    given = runOptions(
        **{**NOTHING, "model": tmp_path, "threshold": np.float32(0.5), "sensitivity": np.int16(1)}
    )
    assert given == {"model": tmp_path, "threshold": 0.5, "sensitivity": 1.0}
    assert {type(given[name]) for name in ("threshold", "sensitivity")} == {float}
    assert runOptions(**{**NOTHING, "threshold": 0, "sensitivity": "high"}) == {
        "threshold": 0.0,
        "sensitivity": "high",
    }


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("threshold", "0.2", "is a number between 0 and 1, not '0.2'"),
        ("threshold", True, "is a number"),
        ("threshold", 7, "7 does not"),
        ("threshold", float("nan"), "nan does not"),
        ("sensitivity", 2, "2 does not"),
        ("sensitivity", [1], "is a number"),
        ("model", 5, "is a name or a folder"),
        ("method", 5, "method is a name"),
        ("refine", b"hu", "refine is a name"),
        ("device", 0, "device is a name"),
        ("device", "cuda:7", "auto, cpu, cuda or mps"),
    ],
)
def test_wrong_options_are_sentences_at_once(logic, load_ct, name, value, part):
    with pytest.raises(InputError, match=part):
        logic.start(load_ct().node, **{name: value})
    assert not logic.busy


def test_no_threshold_where_one_is_needed():
    with pytest.raises(InputError, match="not None"):
        fraction(None, "threshold of the map")


def test_a_number_of_numpy_cuts_and_segments(logic, load_ct):
    segmentation = logic.segment(load_ct().node, model="tiny", threshold=np.float32(0.0))
    logic.setThreshold(segmentation, np.float32(0.5))
    assert logic.thresholdOf(segmentation) == 0.5


@pytest.mark.parametrize("threshold", ["0.5", None, True, float("nan"), -1])
def test_wrong_thresholds_are_sentences(logic, load_ct, threshold):
    segmentation = result_on(load_ct())
    with pytest.raises(InputError, match="between 0 and 1"):
        logic.setThreshold(segmentation, threshold)


def test_an_empty_model_is_the_default_one(logic, load_ct):
    job = logic.start(load_ct().node, model="")
    assert "model" not in job._options
    job.cancel()


@pytest.mark.parametrize("what", ["ct", "text", "none"])
def test_what_is_no_segmentation_is_a_sentence(logic, load_ct, what, tmp_path):
    loaded = load_ct()
    wrong = {"ct": loaded.node, "text": "segmentation", "none": None}[what]
    assert "choose one" in logic.canRecut(wrong)
    assert logic.thresholdOf(wrong) is None
    calls = (
        lambda: logic.setThreshold(wrong, 0.2),
        lambda: logic.showMap(wrong, True),
        lambda: logic.measure(wrong),
        lambda: logic.jumpToLesion(wrong),
        lambda: logic.report(wrong, tmp_path / "report.html"),
        lambda: logic.followUp(result_on(loaded), wrong),
    )
    for call in calls:
        with pytest.raises(InputError, match=r"choose one|[cC]hoose the segmentation"):
            call()


def test_a_ct_of_8_bits_is_read(scene, load_ct):
    loaded = load_ct()
    clipped = np.clip(loaded.hu, -128, 127)
    node = add_volume(scene, clipped.astype(np.int8), loaded.local)
    np.testing.assert_array_equal(ctFromVolume(node).hu, clipped)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.float32])
def test_slices_of_every_type_become_hu(dtype):
    volume = HUVolume((1, 2, 2), "CT")
    values = np.array([[0, 1], [100, 127]], dtype)
    volume.put(0, values)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu[0], values)


def test_a_device_that_is_not_there_is_told_before_the_ct_is_read(logic, load_ct):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    stages = []
    with pytest.raises(InputError, match="no cuda device: choose cpu or auto") as caught:
        logic.segment(
            load_ct().node, model="tiny", device="cuda", onProgress=lambda stage, *_: stages.append(stage)
        )
    assert "--" not in str(caught.value)
    assert set(stages) <= {"reading"}
