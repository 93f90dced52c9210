"""The brain mask: everything inside the inner table."""

import numpy as np
import pytest
from heads import axial_affine
from phantom_heads import PIXEL_MM, dice, head, on_grid
from scipy import ndimage

from ICHWeakSegLib.ct import CT, AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask


def found(case):
    """Mask on the axial slices, and the truth there."""
    grid = AxialGrid(case.ct)
    return BrainMask(grid).to_array(), grid.from_native(case.brain)


def agree(case, least=0.95):
    mask, brain = found(case)
    assert dice(mask, brain) > least
    return mask


def test_slices_of_5_mm():
    case = head()
    mask = agree(case, 0.96)
    # All of the blood belongs to it, and no bone.
    assert mask[case.blood].mean() > 0.99
    assert (case.ct.hu[mask] > 500).mean() < 0.01


@pytest.mark.parametrize("thickness", [1, 8])
def test_thin_and_thick_slices(thickness):
    agree(head(thickness))


def test_fine_pixels():
    case = head(8)
    case.ct.hu, case.brain = (a.repeat(3, axis=1).repeat(3, axis=2) for a in (case.ct.hu, case.brain))
    case.ct.ijk_to_ras[:3, :2] /= 3
    agree(case)


@pytest.mark.parametrize("part", [slice(0, 14), slice(8, 25), slice(9, 16)], ids=["vertex", "base", "both"])
def test_cut_off(part):
    case = head()
    case.ct = CT(case.ct.hu[part], case.ct.ijk_to_ras)
    case.brain = case.brain[part]
    agree(case)


def test_craniectomy():
    case = head()
    rows, columns = np.indices(case.ct.hu.shape[1:]) - 63.5
    angle = np.degrees(np.arctan2(rows, columns))
    gap = (np.abs(angle) < 35) & (columns > 0)
    gone = case.ct.hu > 120
    gone &= gap
    gone[:10] = False
    assert gone.any(axis=(1, 2)).sum() > 8
    case.ct.hu[gone] = 25
    mask = agree(case, 0.93)
    # The open side does not spill into the scalp.
    outside = mask & ~case.brain
    assert outside.sum() < 0.06 * case.brain.sum()


def test_drain_and_clips():
    case = head()
    hu = case.ct.hu
    # A drain from the scalp into the ventricles, and clips of metal.
    hu[16, 40:66, 62:64] = 2800
    hu[15, 52:66, 62:64] = 2800
    for k, j, i in ((11, 70, 60), (11, 72, 66), (12, 60, 75)):
        hu[k, j : j + 3, i : i + 3] = 3071
    mask = agree(case)
    assert mask[11, 70:73, 60:63].mean() > 0.5


@pytest.mark.parametrize("move", [(25, 0), (-20, 15)])
def test_off_centre(move):
    case = head()
    shape = (*case.ct.hu.shape[:1], 190, 190)
    hu, brain = np.full(shape, -1000, np.int16), np.zeros(shape, bool)
    place = (slice(None), slice(31 + move[0], 159 + move[0]), slice(31 + move[1], 159 + move[1]))
    hu[place], brain[place] = case.ct.hu, case.brain
    case.ct, case.brain = CT(hu, case.ct.ijk_to_ras), brain
    agree(case)


@pytest.mark.parametrize("degrees", [25.0, -40.0])
def test_turned_in_the_plane(degrees):
    case = head()
    case.ct.hu = ndimage.rotate(case.ct.hu, degrees, (1, 2), reshape=False, order=1, cval=-1000)
    case.brain = ndimage.rotate(case.brain.astype(np.float32), degrees, (1, 2), reshape=False, order=1) >= 0.5
    agree(case)


def test_tilted_gantry():
    shape = (34, 128, 128)
    agree(on_grid(shape, axial_affine(shape, (PIXEL_MM, PIXEL_MM, 5.0), tilt_deg=18.0)))


@pytest.mark.parametrize("columns", [slice(0, 98), slice(30, 128)], ids=["left", "right"])
def test_head_cut_by_the_field_of_view(columns):
    case = head()
    case.ct = CT(np.ascontiguousarray(case.ct.hu[:, :, columns]), case.ct.ijk_to_ras)
    case.brain = case.brain[:, :, columns]
    assert case.brain[..., [0, -1]].any()
    agree(case, 0.9)


def test_one_slice_at_a_time_equals_the_whole():
    case = head(4)
    grid = AxialGrid(case.ct)
    whole = BrainMask(grid).to_array()
    single = BrainMask(grid)
    assert len(single) == len(whole)
    for s in (20, 3, 21, 3):
        np.testing.assert_array_equal(single[s], whole[s])


@pytest.mark.parametrize("thickness", [5, 1])
def test_tells_how_many_slices_were_searched(thickness):
    grid, told = AxialGrid(head(thickness).ct), []
    mask = BrainMask(grid, lambda *counts: told.append(counts))
    searched = len(told) - 1
    assert told == [(done, searched) for done in range(searched + 1)]
    # Of thin slices every other one.
    assert searched == len(grid.positions_mm) // (2 if thickness == 1 else 1)
    np.testing.assert_array_equal(mask[12], BrainMask(grid)[12])

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BrainMask(grid, stop)


@pytest.mark.parametrize("hu", [-1000, 35], ids=["air", "soft tissue"])
def test_nothing_without_a_skull(hu):
    case = head()
    case.ct.hu[:] = np.where(case.ct.hu > -300, hu, -1000)
    mask = BrainMask(AxialGrid(case.ct))
    assert mask.empty
    assert not mask.to_array().any()
