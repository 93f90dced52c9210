"""Hysteresis: lesions need a sure core and a size; their outline may be less sure."""

from dataclasses import replace

import numpy as np
import pytest

from ICHWeakSegLib.refine import HysteresisOptions, refine_hysteresis
from ICHWeakSegLib.refine.refine_maps import Refinement

ML = np.full(4, 0.01)
HU = np.full((4, 20, 20), 60.0)
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
    found = refine_hysteresis(HU, maps, BRAIN, ML, 0.3, HysteresisOptions(0.7, 0))
    assert found.sum() == 32
    assert found[1, 5:9, 5:9].all()
    assert found[2, 8:12, 8:12].all()


def test_small_ones_go_and_holes_are_filled():
    maps = plateau(empty(), np.s_[1, 5:10, 5:10], 0.9)
    maps[1, 7, 7] = 0
    maps = plateau(maps, np.s_[3, 2:4, 2:4], 0.9)
    found = refine_hysteresis(HU, maps, BRAIN, ML, 0.3, HysteresisOptions(0.7, 0.1))
    assert found.sum() == 25
    assert found[1, 7, 7]


def test_outside_the_brain_is_never_blood():
    brain = BRAIN.copy()
    brain[1, :, 8:] = False
    found = refine_hysteresis(HU, plateau(empty(), np.s_[1, 5:10, 5:10], 0.9), brain, ML, 0.3)
    assert found.sum() == 15
    assert not found[~brain].any()


def test_calcification_is_no_blood_and_leaves_blood_beside_it():
    hu, maps = HU.copy(), empty()
    for place, dense in (
        (np.s_[1, 5:8, 5:8], np.s_[1, 5:7, 5:6]),  # 2 of 9: calcified
        (np.s_[1, 10:15, 10:15], np.s_[1, 10, 10]),  # 1 of 25: blood
        (np.s_[3, 0:3, 0:3], np.s_[3, 0:2, 0]),  # at the edge: the skull's partial volume
    ):
        maps[place], hu[dense] = 0.9, 120
    how = HysteresisOptions(smallest_ml=0)
    found = refine_hysteresis(hu, maps, BRAIN, ML, 0.3, how)
    assert not found[1, 5:8, 5:8].any()
    assert found.sum() == 25 + 9
    assert refine_hysteresis(hu, maps, BRAIN, ML, 0.3, replace(how, calcified_share=1)).sum() == 43
    assert refine_hysteresis(hu, maps, BRAIN, ML, 0.3, replace(how, calcified_ml=0.05)).sum() == 43, (
        "too large"
    )


def test_the_peak_never_lies_below_the_threshold():
    maps = plateau(empty(), np.s_[1, 5:10, 5:10], 0.75)
    assert refine_hysteresis(HU, maps, BRAIN, ML, 0.7).any()
    assert not refine_hysteresis(HU, maps, BRAIN, ML, 0.8).any()
    assert not refine_hysteresis(HU, empty(), BRAIN, ML, 0.0).any(), "a map of zeros holds no blood"


@pytest.mark.parametrize("wrong", [{"peak": 1.5}, {"smallest_ml": -1}, {"calcified_share": 2}])
def test_wrong_options(wrong):
    with pytest.raises(ValueError, match="must"):
        HysteresisOptions(**wrong)


def test_a_stored_result_knows_its_options():
    cut = Refinement("hysteresis", 0.3, HysteresisOptions(0.8, 0.2))
    assert Refinement.of({key: str(value) for key, value in cut.facts().items()}) == cut
