"""Figures of what is in the scene: right, and counted once as long as nothing changes."""

import numpy as np
import pytest
from conftest import add_linear_transform
from slicer.util import arrayFromVolume, arrayFromVolumeModified
from test_lesion_tables import two_boxes
from test_logic import edit
from test_questions import result_on

from ICHWeakSegLib import InputError
from ICHWeakSegSlicer import figures


@pytest.fixture
def counted(monkeypatch):
    """The ids that were counted, a list each time."""
    figures._counted.clear()
    times, count = [], figures._count

    def counting(segmentationNode, volumeNode, ids):
        times.append(ids)
        return count(segmentationNode, volumeNode, ids)

    monkeypatch.setattr(figures, "_count", counting)
    return times


def test_the_figures_are_those_of_the_masks(load_ct):
    loaded = load_ct()
    large, small = two_boxes(loaded.hu.shape), two_boxes(loaded.hu.shape)
    large[14:], small[:14] = False, False
    each, total = figures.measure(result_on(loaded, {"IPH": large, "SDH": small}))
    assert [figure.volumeMl for figure in each] == pytest.approx([60 * 0.128, 0.128])
    assert [figure.lesions for figure in each] == [1, 1]
    assert (total.volumeMl, total.lesions) == (pytest.approx(61 * 0.128), 2)


def test_asking_twice_counts_once(load_ct, counted):
    loaded = load_ct()
    segmentation, other = result_on(loaded), result_on(loaded, two_boxes(loaded.hu.shape))
    first = figures.measure(segmentation)
    assert figures.measure(other) != first
    assert figures.measure(segmentation) == first
    # Another name or colour is shown, and nothing is counted for it.
    segment = segmentation.GetSegmentation().GetSegment("hemorrhage")
    segment.SetName("Blood")
    segment.SetColor(0, 0, 1)
    (figure,), _ = figures.measure(segmentation)
    assert (figure.name, figure.color) == ("Blood", (0, 0, 1))
    assert len(counted) == 2


def test_every_change_is_counted(load_ct, scene, counted):
    loaded = load_ct()
    segmentation = result_on(loaded)

    def paint():
        arrayFromVolume(loaded.node)[0, 0, 0] = 5
        arrayFromVolumeModified(loaded.node)

    def stretch():
        loaded.node.SetAndObserveTransformNodeID(transform.GetID())
        segmentation.SetAndObserveTransformNodeID(transform.GetID())

    transform = add_linear_transform(scene, np.diag([1.5, 1, 1, 1.0]))
    volumes = [figures.measure(segmentation)[1].volumeMl]
    for number, change in enumerate((lambda: edit(segmentation, loaded), paint, stretch), start=2):
        change()
        volumes.append(figures.measure(segmentation)[1].volumeMl)
        assert len(counted) == number
    assert volumes[1] - volumes[0] == pytest.approx(0.128)
    assert volumes[2] == volumes[1]
    assert volumes[3] == pytest.approx(1.5 * volumes[2])


def test_few_are_kept(load_ct, counted):
    loaded = load_ct()
    for _ in range(figures.MOST_COUNTED + 3):
        figures.measure(result_on(loaded))
    assert len(figures._counted) == figures.MOST_COUNTED


def test_no_ct_no_figures(load_ct, scene):
    loaded = load_ct()
    segmentation = result_on(loaded)
    scene.RemoveNode(loaded.node)
    with pytest.raises(InputError):
        figures.measure(segmentation)
