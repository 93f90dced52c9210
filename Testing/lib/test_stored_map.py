"""A stored map cut again: the same mask at the same threshold, without a network."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from heads import axial_affine
from phantom_heads import PIXEL_MM, dice, head, on_grid
from tiny_models import tiny_card, tiny_model

from ICHWeakSegLib import InputError, load_model, segment
from ICHWeakSegLib.models import MapSettings
from ICHWeakSegLib.output.provenance import provenance_fields
from ICHWeakSegLib.refine import HuOptions
from ICHWeakSegLib.refine.refine_maps import Refinement
from ICHWeakSegLib.refine.stored_map import StoredCase


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    card = tiny_card("tiny", map=MapSettings("hgi-sam", 0.2, "hu", {"smallest_ml": 1.0}))
    return load_model(tiny_model(tmp_path_factory.mktemp("models") / "tiny", card))


@pytest.fixture(scope="module")
def case():
    return head()


@pytest.fixture(scope="module")
def result(case, model):
    return segment(case.ct, model)


@pytest.fixture(scope="module")
def stored(case, result) -> StoredCase:
    return StoredCase(case.ct, result.map, result.provenance)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.7])
def test_is_what_segment_gives_at_that_threshold(case, model, stored, threshold):
    mask, masks = stored.rethreshold(threshold)
    wanted = segment(case.ct, model, threshold=threshold).mask
    assert list(masks) == ["hemorrhage"]
    np.testing.assert_array_equal(mask, wanted)
    assert wanted.any()


def test_thresholds_matter_and_come_back(stored, result):
    low, high = (stored.rethreshold(threshold)[0] for threshold in (0.0, 0.7))
    assert low.sum() > high.sum()
    np.testing.assert_array_equal(stored.rethreshold(0.2)[0], result.mask)


@pytest.mark.parametrize("refine", ["threshold", "otsu"])
def test_other_refinements(case, model, refine):
    result = segment(case.ct, model, refine=refine, threshold=0.4)
    mask, _ = StoredCase(case.ct, result.map, result.provenance).rethreshold(0.4)
    np.testing.assert_array_equal(mask, result.mask)


def test_a_sheared_grid_differs_by_border_voxels_only(model):
    shape = (32, 128, 128)
    affine = axial_affine(shape, (PIXEL_MM, PIXEL_MM, 5.0), tilt_deg=18.0)
    affine[2, 3] += 30
    tilted = on_grid(shape, affine)
    result = segment(tilted.ct, model)
    mask, _ = StoredCase(tilted.ct, result.map, result.provenance).rethreshold(0.2)
    assert result.mask.any()
    assert dice(mask, result.mask) > 0.97


def test_provenance_may_be_text(case, result, stored):
    text = {
        key.removeprefix("ICHWeakSeg_"): value for key, value in provenance_fields(result.provenance).items()
    }
    assert text["refine_smallest_ml"] == "1"
    mask, _ = StoredCase(case.ct, result.map, text).rethreshold(0.2)
    np.testing.assert_array_equal(mask, result.mask)


def test_options_of_the_refinement_come_along(case, result, stored):
    only_large = {**result.provenance, "refine_smallest_ml": 1000.0}
    mask, _ = StoredCase(case.ct, result.map, only_large).rethreshold(0.2)
    assert stored.rethreshold(0.2)[0].any()
    assert not mask.any()


def test_subtypes_are_parted(case, result):
    subtypes = np.ones(case.ct.hu.shape, np.uint8)
    subtypes[:, :, 64:] = 2
    stored = StoredCase(case.ct, result.map, result.provenance, subtypes, ("IPH", "SDH"))
    mask, masks = stored.rethreshold(0.2)
    assert list(masks) == ["IPH", "SDH"]
    np.testing.assert_array_equal(masks["IPH"] + masks["SDH"], mask)
    assert masks["IPH"][:, :, :64].sum() == mask[:, :, :64].sum()


def test_needs_the_ct_of_the_map(case, result):
    with pytest.raises(InputError, match="segment again"):
        StoredCase(case.ct, result.map[1:], result.provenance)


@pytest.mark.parametrize("lost", ["refine", "map_threshold", "brain_hu"])
def test_needs_to_know_how_it_was_made(case, result, lost):
    facts = {key: value for key, value in result.provenance.items() if key != lost}
    with pytest.raises(InputError, match="segment again"):
        StoredCase(case.ct, result.map, facts)


def test_threshold_out_of_range(stored):
    with pytest.raises(InputError, match="between 0 and 1"):
        stored.rethreshold(1.5)


def test_an_empty_map_gives_no_blood(case, result):
    mask, _ = StoredCase(case.ct, np.zeros_like(result.map), result.provenance).rethreshold(0.0)
    assert not mask.any()


def test_cut_tells_and_reads_its_facts():
    cut = Refinement("hu", 0.25, replace(HuOptions(), reach_mm=12.5))
    assert cut.facts() == {"refine": "hu", "map_threshold": 0.25, "refine_reach_mm": 12.5}
    assert Refinement.of({key: str(value) for key, value in cut.facts().items()}) == cut


def test_needs_no_torch():
    code = "import sys, ICHWeakSegLib.refine.stored_map; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
