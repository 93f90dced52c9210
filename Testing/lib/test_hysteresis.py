"""Hysteresis: lesions need a sure core and a size; their outline may be less sure."""

import numpy as np
import pytest

from ICHWeakSegLib.cut import Cut
from ICHWeakSegLib.refine import HysteresisOptions, refine_hysteresis

ML = np.full(4, 0.01)
BRAIN = np.ones((4, 20, 20), bool)


def plateau(maps, place, value):
    maps[place] = value
    return maps


def empty():
    return np.zeros((4, 20, 20), np.float32)


def test_a_lesion_keeps_its_less_sure_part_through_slices():
    maps = plateau(empty(), np.s_[1, 5:9, 5:9], 0.9)
    maps = plateau(maps, np.s_[2, 8:12, 8:12], 0.4)  # touches it by a corner
    maps = plateau(maps, np.s_[2, 15:19, 2:6], 0.6)  # touches nothing sure
    found = refine_hysteresis(maps, BRAIN, ML, 0.3, HysteresisOptions(0.7, 0))
    assert found.sum() == 32
    assert found[1, 5:9, 5:9].all()
    assert found[2, 8:12, 8:12].all()


def test_small_ones_go_and_holes_are_filled():
    maps = plateau(empty(), np.s_[1, 5:10, 5:10], 0.9)
    maps[1, 7, 7] = 0
    maps = plateau(maps, np.s_[3, 2:4, 2:4], 0.9)
    found = refine_hysteresis(maps, BRAIN, ML, 0.3, HysteresisOptions(0.7, 0.1))
    assert found.sum() == 25
    assert found[1, 7, 7]


def test_outside_the_brain_is_never_blood():
    brain = BRAIN.copy()
    brain[1, :, 8:] = False
    found = refine_hysteresis(plateau(empty(), np.s_[1, 5:10, 5:10], 0.9), brain, ML, 0.3)
    assert found.sum() == 15
    assert not found[~brain].any()


def test_the_peak_never_lies_below_the_threshold():
    maps = plateau(empty(), np.s_[1, 5:10, 5:10], 0.75)
    assert refine_hysteresis(maps, BRAIN, ML, 0.7).any()
    assert not refine_hysteresis(maps, BRAIN, ML, 0.8).any()
    assert not refine_hysteresis(empty(), BRAIN, ML, 0.0).any(), "a map of zeros holds no blood"


@pytest.mark.parametrize("wrong", [{"peak": 1.5}, {"smallest_ml": -1}])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match="must"):
        HysteresisOptions(**wrong)


def test_a_stored_result_knows_its_options():
    cut = Cut("hysteresis", 0.3, HysteresisOptions(0.8, 0.2))
    assert Cut.of({key: str(value) for key, value in cut.facts().items()}) == cut
