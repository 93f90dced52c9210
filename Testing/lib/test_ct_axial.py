"""The axial view of a CT and the way back, to the voxel."""

from itertools import permutations, product

import numpy as np
import pytest
from heads import axial_affine, head_ct, radius, rotation, world

from ICHWeakSegLib.ct import CT, AxialGrid

ORIENTATIONS = ["".join(letters) for order in permutations(("LR", "PA", "SI")) for letters in product(*order)]
# Grids that the permutation, the shear and the resampling have to deal with.
GRIDS = {
    "oblique": {"turn": rotation("R", 12)},
    "turned-in-plane": {"turn": rotation("S", 25)},
    "tilt": {"tilt_deg": -20},
    "tilt-flipped": {"tilt_deg": 24, "axes": "RAI"},
    "thin-tilt": {"tilt_deg": -17, "spacing": (4, 4, 2.5)},
    "far-oblique": {"turn": rotation("R", 30), "spacing": (4, 4, 4)},
    "far-oblique-two-ways": {"turn": rotation("A", 28) @ rotation("S", 20), "spacing": (4, 4, 4)},
    "tilted-sagittal": {"tilt_deg": 15, "axes": "PSL", "shape": (36, 60, 60), "spacing": (4, 4, 4)},
}


def distinct(ct: CT) -> np.ndarray:
    """A different value in every voxel."""
    return np.arange(ct.hu.size, dtype=np.int32).reshape(ct.hu.shape)


@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_permuted_and_flipped_volumes_are_views_in_the_standard_order(axes):
    ct = head_ct(shape=(10, 12, 14), axes=axes)
    points = world(ct.hu.shape, ct.ijk_to_ras)
    grid = AxialGrid(ct)
    assert grid.is_view
    assert np.shares_memory(grid.hu, ct.hu)
    right, anterior, superior = (grid.from_native(points[..., n]) for n in range(3))
    assert (np.diff(superior, axis=0) > 0).all()
    assert (np.diff(anterior, axis=1) < 0).all()
    assert (np.diff(right, axis=2) < 0).all()
    np.testing.assert_allclose(grid.positions_mm, superior[:, 0, 0])
    np.testing.assert_allclose(world(grid.shape, grid.ijk_to_ras), np.stack([right, anterior, superior], -1))
    values = distinct(ct)
    np.testing.assert_array_equal(grid.to_native(grid.from_native(values)), values)
    assert grid.slice_ml.sum() * grid.hu[0].size == pytest.approx(ct.hu.size * ct.voxel_ml)
    np.testing.assert_array_equal(grid.slice_hu(3), grid.hu[3])


def test_native_slice_tells_the_way_back():
    for axes in ("LPS", "LPI", "RAI"):
        ct = head_ct(shape=(8, 20, 20), axes=axes)
        grid = AxialGrid(ct)
        for s, k in enumerate(grid.native_slice):
            np.testing.assert_array_equal(np.sort(grid.hu[s], None), np.sort(ct.hu[k], None))
    assert AxialGrid(head_ct(shape=(8, 20, 20), axes="ASR")).native_slice is None


@pytest.mark.parametrize("name", GRIDS)
def test_a_mask_comes_back_where_it_was(name):
    ct = head_ct(**GRIDS[name])
    grid = AxialGrid(ct)
    lesion = radius(world(ct.hu.shape, ct.ijk_to_ras), 25.0, (10, -20, 15)) <= 1
    back = grid.to_native(grid.from_native(lesion))
    dice = 2 * (back & lesion).sum() / (back.sum() + lesion.sum())
    assert dice > (0.95 if "far" in name or "sagittal" in name else 0.9999)
    assert back.dtype == bool
    drawn = radius(world(grid.shape, grid.ijk_to_ras), 25.0, (10, -20, 15)) <= 1
    native = grid.to_native(drawn)
    assert 2 * (native & lesion).sum() / (native.sum() + lesion.sum()) > 0.9
    assert (drawn.sum(axis=(1, 2)) @ grid.slice_ml) == pytest.approx(4 / 3 * np.pi * 25**3 / 1000, rel=0.03)


@pytest.mark.parametrize("name", GRIDS)
def test_the_axial_hu_shows_the_head_where_the_affine_says(name):
    ct = head_ct(**GRIDS[name])
    grid = AxialGrid(ct)
    points = world(grid.shape, grid.ijk_to_ras)
    inner = radius(points) < 0.8
    # The field of view of a turned volume does not reach into every corner of the axial one.
    inner &= grid.from_native(np.ones(ct.hu.shape, np.uint8)) == 1
    assert inner.sum() > 2000
    assert np.abs(grid.hu[inner] - 35).max() <= 1
    assert (grid.hu[radius(points, 120.0) > 1] <= -1000).all()
    assert grid.hu.dtype == np.int16


def test_a_tilted_stack_keeps_its_slices():
    ct = head_ct(tilt_deg=-20, spacing=(4, 4, 5))
    grid = AxialGrid(ct)
    assert not grid.is_view
    assert grid.warnings == []
    assert grid.shape[0] == ct.hu.shape[0]
    assert grid.shape[2] == ct.hu.shape[2]
    assert grid.shape[1] == ct.hu.shape[1] + int(np.ceil(27 * 5 * np.tan(np.radians(20)) / 4))
    steps = grid.ijk_to_ras[:3, :3]
    np.testing.assert_allclose(steps.T @ steps, np.diag([16, 16, 25]), atol=1e-9)
    np.testing.assert_allclose(np.diff(grid.positions_mm), 5)
    for s in (0, 13, 27):
        mixed = CT(np.where(np.arange(28)[:, None, None] == s, ct.hu, -1024).astype(np.int16), ct.ijk_to_ras)
        np.testing.assert_array_equal(AxialGrid(mixed).slice_hu(s), grid.hu[s])
        np.testing.assert_array_equal(grid.slice_hu(s), grid.hu[s])


def test_whole_pixel_shears_are_exact():
    shape = (12, 20, 16)
    affine = axial_affine(shape, spacing=(2, 2, 5))
    # Each slice lies 2 rows further back and 1 column further right than the one below it.
    affine[:3, 2] += 2 * affine[:3, 1] - affine[:3, 0]
    ct = CT(np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16), affine)
    grid = AxialGrid(ct)
    assert grid.shape == (12, 20 + 22, 16 + 11)
    np.testing.assert_array_equal(grid.to_native(grid.hu, order=1), ct.hu)
    np.testing.assert_array_equal(grid.to_native(grid.hu, order=0), ct.hu)
    assert sorted(grid.hu[grid.hu > -1024]) == sorted(ct.hu[ct.hu > -1024])


def test_there_and_back_on_a_shear_loses_interpolation_only():
    ct = head_ct(tilt_deg=-20)
    smooth = 1000 * np.exp(-(radius(world(ct.hu.shape, ct.ijk_to_ras), 60.0) ** 2)).astype(np.float32)
    grid = AxialGrid(ct)
    back = grid.to_native(grid.from_native(smooth, order=1), order=1)
    assert np.abs(back - smooth)[:, 2:-2].max() < 5


def test_uneven_slices_stay_and_are_measured_one_by_one():
    positions = np.concatenate([np.arange(14) * 2.5, 37.5 + np.arange(14) * 7.5]) - 60
    ct = head_ct(positions=positions, spacing=(4, 4, 2.5))
    ct.ijk_to_ras[2, 3] = -60
    for flipped in (False, True):
        if flipped:
            affine = ct.ijk_to_ras.copy()
            affine[2, 2], affine[2, 3] = -2.5, positions[-1]
            ct = CT(ct.hu[::-1], affine, -positions[::-1])
        grid = AxialGrid(ct)
        assert grid.is_view
        np.testing.assert_allclose(grid.positions_mm, positions)
        gaps = np.diff(positions)
        reach = np.concatenate([gaps[:1], (gaps[1:] + gaps[:-1]) / 2, gaps[-1:]])
        np.testing.assert_allclose(grid.slice_ml, 16 * reach / 1000)
        np.testing.assert_allclose(grid.slice_ml[np.argsort(grid.native_slice)], ct.slice_voxel_ml())


def test_uneven_and_tilted_slices_are_shifted_to_their_true_places():
    shape = (28, 56, 60)
    positions = np.cumsum(np.r_[0, np.tile([4.0, 6.0], 13), 4.0]) - 60
    affine = axial_affine(shape, spacing=(4, 4, 5), tilt_deg=-20)
    ct = head_ct(shape=shape, affine=affine, positions=positions)
    grid = AxialGrid(ct)
    np.testing.assert_allclose(np.diff(grid.positions_mm), np.diff(positions))
    first = grid.ijk_to_ras[:3, 3]
    normal = grid.ijk_to_ras[:3, 2] / np.linalg.norm(grid.ijk_to_ras[:3, 2])
    flat = world((1, *grid.shape[1:]), grid.ijk_to_ras)[0]
    for s in range(5, 23):
        points = flat + normal * (grid.positions_mm[s] - normal @ first)
        assert np.abs(grid.hu[s][radius(points) < 0.8] - 35).max() <= 1


def test_uneven_sagittal_slices_are_resampled():
    shape = (36, 50, 50)
    positions = np.cumsum(np.r_[0, np.tile([3.0, 5.0], 17), 3.0])
    positions -= positions.mean()
    affine = axial_affine(shape, spacing=(4, 4, 4), axes="PSR")
    affine[0, 3] = positions[0]
    ct = head_ct(shape=shape, affine=affine, positions=positions)
    grid = AxialGrid(ct)
    assert not grid.is_view
    assert len(grid.warnings) == 1
    inner = radius(world(grid.shape, grid.ijk_to_ras)) < 0.8
    assert np.abs(grid.hu[inner] - 35).max() <= 1


def test_far_oblique_volumes_are_resampled_with_a_warning():
    ct = head_ct(turn=rotation("R", 30), spacing=(4, 4, 6))
    grid = AxialGrid(ct)
    assert len(grid.warnings) == 1
    assert "30 degrees off" in grid.warnings[0]
    assert "4 x 4 x 5 mm" in grid.warnings[0]
    np.testing.assert_allclose(grid.ijk_to_ras[:3, :3], np.diag([-4, -4, 5]))
    assert AxialGrid(head_ct(turn=rotation("R", 19))).is_view
    outside = grid.to_native(np.ones(grid.shape, np.uint8), fill=7)
    assert (outside == 1).all()


@pytest.mark.parametrize("tilt", [-25, -10, 15, 30])
def test_volume_of_a_sheared_grid_is_its_determinant(tilt):
    ct = head_ct(shape=(64, 110, 100), tilt_deg=tilt, spacing=(2, 2, 2.5))
    ball = radius(world(ct.hu.shape, ct.ijk_to_ras), 40.0) <= 1
    truth = 4 / 3 * np.pi * 40**3 / 1000
    assert ct.volume_ml(ball) == pytest.approx(truth, rel=0.01)
    assert ct.voxel_ml == pytest.approx(2 * 2 * 2.5 / 1000)
    assert np.prod(ct.spacing) / 1000 == pytest.approx(ct.voxel_ml / np.cos(np.radians(tilt)))


def test_wrong_shapes_are_the_callers_error():
    ct = head_ct()
    grid = AxialGrid(ct)
    with pytest.raises(ValueError, match="shape"):
        grid.to_native(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="shape"):
        grid.from_native(np.zeros((2, 2, 2)))
