"""Lesions measured on bodies and phantoms of known size."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from heads import axial_affine, head_ct, rotation, world
from phantom_heads import head, on_grid

from ICHWeakSegLib.ct.axial import AxialGrid
from ICHWeakSegLib.ct.brain_mask import BrainMask
from ICHWeakSegLib.ct.errors import InputError
from ICHWeakSegLib.ct.volume import CT
from ICHWeakSegLib.phantom import make_phantom
from ICHWeakSegLib.quantify import measure
from ICHWeakSegLib.quantify.lesion import columns
from ICHWeakSegLib.quantify.midline import find_midplane

# Of an ellipsoid, the slices between 75 and 25 % of the largest area count half: sqrt(1 - share) of the half axis.
KOTHARI_C = (np.sqrt(1 - 0.75) + np.sqrt(1 - 0.25)) / 2


def body(half_mm, spacing=(0.5, 0.5, 1.0), centre=(3.2, -4.1, 2.3), turn_deg=0.0, **grid):
    """A CT of brain tissue and an ellipsoid of 60 HU in it; half axes along R, A and S."""
    size = np.ceil((2 * np.max(half_mm) + 16) / np.array(spacing)).astype(int)
    affine = axial_affine(tuple(size[::-1]), spacing, **grid)
    points = world(tuple(size[::-1]), affine, grid.get("positions")) - centre
    mask = (((points @ rotation("S", turn_deg)) / half_mm) ** 2).sum(-1) <= 1
    hu = np.where(mask, 60, 30).astype(np.int16)
    return CT(hu, affine), mask


def everywhere(ct):
    return np.ones(ct.hu.shape, bool)


@pytest.mark.parametrize(("half", "turn"), [((13, 20, 10), 0.0), ((14, 14, 14), 0.0), ((18, 11, 13), 27.0)])
def test_abc2_of_an_ellipsoid_within_2_percent(half, turn):
    ct, mask = body(half, turn_deg=turn)
    lesion = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct)).lesions[0]
    long, short = max(half[:2]), min(half[:2])
    assert lesion.a_mm == pytest.approx(2 * long, rel=0.02)
    assert lesion.b_mm == pytest.approx(2 * short, rel=0.02)
    assert lesion.height_mm == pytest.approx(2 * half[2], abs=1.0)
    exact = 2 * long * 2 * short * 2 * half[2] / 2000
    assert lesion.abc2_unweighted_ml == pytest.approx(exact, rel=0.02)
    # One slice more or less that counts half moves C by half a millimetre.
    assert lesion.c_mm == pytest.approx(2 * half[2] * KOTHARI_C, abs=1.0)
    ct, mask = body(half, spacing=(0.5, 0.5, 0.25), turn_deg=turn)
    lesion = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct)).lesions[0]
    assert lesion.abc2_ml == pytest.approx(exact * KOTHARI_C, rel=0.02)
    assert lesion.abc2_unweighted_ml * np.pi / 3 == pytest.approx(lesion.volume_ml, rel=0.02)


def test_c_weights_slices_by_their_area():
    ct = CT(np.full((7, 40, 40), 30, np.int16), axial_affine((7, 40, 40), (1.0, 1.0, 5.0)))
    mask = np.zeros(ct.hu.shape, bool)
    # Areas of 400, 304 (76 %), 300 (75 %), 100 (25 %) and 96 (24 %) pixels.
    for k, (rows, width) in enumerate([(20, 20), (19, 16), (20, 15), (10, 10), (12, 8)], start=1):
        mask[k, 10 : 10 + rows, 10 : 10 + width] = True
    lesion = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct)).lesions[0]
    assert lesion.c_slices == 1 + 1 + 0.5 + 0.5 + 0
    assert lesion.c_mm == pytest.approx(15.0)
    assert lesion.height_mm == pytest.approx(25.0)
    assert (lesion.slices, lesion.first_slice, lesion.last_slice) == (5, 1, 5)
    # The diagonal of a square of pixels, whose corners the outline rounds.
    assert lesion.diameter_mm == pytest.approx(np.hypot(20, 20), abs=1.2)


def test_b_is_a_diameter_within_the_lesion():
    """A crescent: across it, B is its thickness, not how far it bulges."""
    ct = CT(np.full((3, 160, 160), 30, np.int16), axial_affine((3, 160, 160), (0.5, 0.5, 5.0)))
    j, i = np.mgrid[:160, :160]
    far = np.hypot(j - 130, i - 80)
    mask = np.zeros(ct.hu.shape, bool)
    mask[1] = (far <= 76) & (far >= 64) & (j <= 100)
    lesion = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct)).lesions[0]
    # Straight across: between the outer circle and the lower one of inner circle and cut. It bulges by 23 mm.
    x = np.arange(0, 76, 0.1)
    inner = np.maximum(np.sqrt(np.maximum(64**2 - x**2, 0)), 30)
    assert lesion.b_mm == pytest.approx(0.5 * (np.sqrt(76**2 - x**2) - inner).max(), abs=0.5)
    assert lesion.irregularity > 3


GRIDS = {
    "isotropic": {"spacing": (1.0, 1.0, 1.0)},
    "thick": {"spacing": (0.6, 0.6, 5.0)},
    "pixels not square": {"spacing": (0.6, 0.9, 3.0)},
    "tilted": {"spacing": (0.6, 0.6, 4.0), "tilt_deg": 22.0},
    "sagittal": {"spacing": (0.8, 0.8, 1.2), "axes": "ASR"},
    "flipped": {"spacing": (0.8, 0.8, 3.0), "axes": "RAI"},
    "oblique": {"spacing": (0.8, 0.8, 1.5), "turn": rotation("R", 28)},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_volume_within_one_voxel_layer(grid):
    half, centre = np.array([16.0, 22.0, 18.0]), (3.2, -4.1, 2.3)
    ct, mask = body(half, centre=centre, **grid)
    found = measure(ct, {"hemorrhage": mask.astype(np.uint8)}, brain=everywhere(ct))
    lesion = found.lesions[0]
    exact = 4 / 3 * np.pi * half.prod() / 1000
    layer = 4 / 3 * np.pi * ((half + max(grid["spacing"]) / 2).prod() - half.prod()) / 1000
    assert abs(lesion.volume_ml - exact) < layer
    # Far better than a layer, in fact: borders cut voxels on either side.
    assert lesion.volume_ml == pytest.approx(exact, rel=0.03)
    assert found.total.volume_ml == pytest.approx(lesion.volume_ml)
    centroid = lesion.centroid_r_mm, lesion.centroid_a_mm, lesion.centroid_s_mm
    np.testing.assert_allclose(centroid, centre, atol=0.5)
    assert lesion.diameter_mm == pytest.approx(44, rel=0.06 if "tilt_deg" in grid else 0.04)
    # Resampling by nearest voxels roughens the surface of an oblique volume.
    rough = "turn" in grid
    assert lesion.sphericity == pytest.approx(_sphericity(half), abs=0.08 if rough else 0.04)
    assert (lesion.mean_hu, lesion.sd_hu, lesion.p5_hu, lesion.p95_hu) == (60, 0, 60, 60)


def _sphericity(half):
    # Thomsen's formula, within 1.1 %.
    pairs = np.array([half[0] * half[1], half[0] * half[2], half[1] * half[2]]) ** 1.6075
    return float((half.prod() ** (1 / 3)) ** 2 / pairs.mean() ** (1 / 1.6075))


def test_uneven_slices_count_with_their_own_thickness():
    positions = np.array([0.0, 2, 4, 6, 8, 10, 15, 20, 25, 30, 35])
    shape = (len(positions), 40, 40)
    ct = CT(np.full(shape, 30, np.int16), axial_affine(shape, (1.0, 1.0, 5.0)), positions)
    mask = np.zeros(shape, bool)
    mask[2:9, 10:20, 10:20] = True
    lesion = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct)).lesions[0]
    height = 2 * 3 + 3.5 + 5 * 3
    assert lesion.height_mm == pytest.approx(height)
    assert lesion.c_mm == pytest.approx(height)
    assert lesion.c_slices == 7
    assert lesion.volume_ml == pytest.approx(height * 100 / 1000)
    assert lesion.volume_ml == pytest.approx(ct.volume_ml(mask))
    # Where the slabs' common centre lies, from the first slice's edge.
    edges = np.array([3.0, 5, 7, 9, 12.5, 17.5, 22.5, 27.5])
    middle = np.average(positions[2:9], weights=np.diff(edges))
    assert lesion.centroid_s_mm - ct.ijk_to_ras[2, 3] == pytest.approx(middle)


@pytest.mark.parametrize("spacing", [(0.45, 0.45, 5.0), (0.45, 0.45, 1.0), (1.8, 1.8, 5.0)])
@pytest.mark.parametrize("half", [(15, 15, 15), (28, 20, 15), (15, 20, 28)])
def test_sphericity_does_not_depend_on_the_slices(half, spacing):
    ct, mask = body(half, spacing=spacing)
    lesion = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct)).lesions[0]
    coarse = spacing[0] > 1
    expected = _sphericity(np.array(half, float))
    assert lesion.sphericity == pytest.approx(expected, abs=0.06 if coarse else 0.03)
    axes = sorted(half[:2])
    # Perimeter of the ellipse by Ramanujan.
    a, b = axes[1], axes[0]
    h = ((a - b) / (a + b)) ** 2
    perimeter = np.pi * (a + b) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))
    assert lesion.irregularity == pytest.approx(
        perimeter**2 / (4 * np.pi**2 * a * b), abs=0.12 if coarse else 0.03
    )


def test_lesions_are_26_connected_and_sorted():
    ct = CT(np.full((5, 20, 20), 30, np.int16), axial_affine((5, 20, 20), (2.0, 2.0, 5.0)))
    mask = np.zeros(ct.hu.shape, np.uint8)
    mask[1, 2, 2] = mask[2, 3, 3] = 1  # joined by a corner
    mask[2, 10:14, 10:14] = 7
    ct.hu[2, 10:14, 10:14] = np.arange(16).reshape(4, 4) + 50
    found = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct))
    assert [lesion.number for lesion in found.lesions] == [1, 2]
    assert [lesion.volume_ml for lesion in found.lesions] == pytest.approx([0.32, 0.04])
    big = found.lesions[0]
    values = np.arange(50.0, 66)
    assert (big.mean_hu, big.sd_hu) == pytest.approx((values.mean(), values.std()))
    assert (big.p5_hu, big.p95_hu) == pytest.approx(tuple(np.percentile(values, [5, 95])))
    assert big.sphericity is None  # one slice has no shape in space
    total = found.total
    assert (total.lesions, total.slices, total.first_slice, total.last_slice) == (2, 2, 1, 2)
    assert total.volume_ml == pytest.approx(0.36)
    assert total.largest_ml == pytest.approx(0.32)
    rows = found.rows()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert list(rows[0]) == columns()
    assert rows[0]["lesion"] == 1
    assert rows[0]["subtype"] is None


def test_subtypes():
    ct = CT(np.full((6, 30, 30), 30, np.int16), axial_affine((6, 30, 30), (2.0, 2.0, 5.0)))
    masks = {name: np.zeros(ct.hu.shape, np.uint8) for name in ("EDH", "IPH", "IVH")}
    masks["IPH"][1:4, 5:15, 5:15] = 1
    masks["IVH"][1:4, 15:18, 5:15] = 1  # goes on from the IPH
    masks["EDH"][2, 25:27, 25:27] = 1
    found = measure(ct, masks, brain=everywhere(ct))
    assert [lesion.subtype for lesion in found.lesions] == ["IPH", "EDH"]
    assert found.lesions[0].subtypes_ml == pytest.approx({"EDH": 0, "IPH": 6.0, "IVH": 1.8})
    assert found.total.subtypes_ml == pytest.approx({"EDH": 0.08, "IPH": 6.0, "IVH": 1.8})
    row = found.rows()[0]
    assert list(row) == columns(("EDH", "IPH", "IVH"))
    assert row["IVH_ml"] == 1.8


def test_no_blood_is_a_result():
    ct = head_ct()
    found = measure(ct, {"EDH": np.zeros(ct.hu.shape, np.uint8), "SDH": np.zeros(ct.hu.shape, bool)})
    assert found.lesions == ()
    assert found.rows() == []
    assert found.total.volume_ml == 0
    assert found.total.mean_hu is None
    assert found.total.first_slice is None
    assert found.total.subtypes_ml == {"EDH": 0, "SDH": 0}
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["lesions"] == []


def test_wrong_masks_are_refused():
    ct = head_ct()
    mask = np.zeros(ct.hu.shape, bool)
    for arguments in (
        {"masks": {}},
        {"masks": {"hemorrhage": mask[1:]}},
        {"masks": {"hemorrhage": mask}, "brain": mask[:, 1:]},
        {"masks": {"hemorrhage": mask}, "ventricles": mask[..., 1:]},
    ):
        with pytest.raises(InputError):
            measure(ct, **arguments)


def test_without_a_skull_side_and_contact_are_unknown():
    ct, mask = body((15, 20, 12), spacing=(2, 2, 4))
    found = measure(ct, {"hemorrhage": mask})
    assert found.lesions[0].side is None
    assert found.lesions[0].touches_skull is None
    assert found.total.left_ml is None
    assert len(found.warnings) == 1
    assert found.lesions[0].volume_ml > 0


def test_a_speck_that_resampling_steps_over():
    ct = head_ct((40, 60, 60), spacing=(3.5, 3.5, 4.5), turn=rotation("R", 40))
    mask = np.zeros(ct.hu.shape, bool)
    rng = np.random.default_rng(0)
    mask[tuple(rng.integers(12, 28, (3, 30)))] = True
    found = measure(ct, {"hemorrhage": mask}, brain=everywhere(ct))
    assert found.total.volume_ml == pytest.approx(ct.volume_ml(mask))
    assert all(lesion.slices >= 1 and lesion.a_mm > 0 for lesion in found.lesions)


# The midline and contact with the skull.


def turned_head(axis, degrees, shift=(0.0, 0.0, 0.0)):
    """The phantom head, turned in the scanner; and the turn."""
    shape = (34, 128, 128)
    scanner = axial_affine(shape, (1.8, 1.8, 5.0))
    scanner[:3, 3] += (0, 0, 25)
    move = np.eye(4)
    move[:3, :3], move[:3, 3] = rotation(axis, degrees), shift
    turned = on_grid(shape, np.linalg.inv(move) @ scanner)
    turned.ct.ijk_to_ras = scanner
    return turned, move


@pytest.mark.parametrize(("axis", "degrees"), [("S", 0), ("S", -25), ("A", -12), ("R", 15)])
def test_midplane_of_a_turned_head(axis, degrees):
    turned, move = turned_head(axis, degrees, (6.0, -4.0, 3.0))
    grid = AxialGrid(turned.ct)
    plane = find_midplane(grid, BrainMask(grid))
    normal = move[:3, :3] @ [1, 0, 0]
    assert np.degrees(np.arccos(min(1, plane.normal @ normal))) < 2.5
    # At the head's middle; the phantom itself is a millimetre from symmetric.
    assert abs((move[:3, :3] @ [0, 0, 25] + move[:3, 3] - plane.point) @ plane.normal) < 2.0
    # Its bleed is on the left, 26 mm from the midline.
    found = measure(turned.ct, {"hemorrhage": turned.blood})
    assert found.lesions[0].side == "left"
    assert found.total.right_ml < 0.02 * found.total.volume_ml


def test_a_turned_head_by_ras_alone_would_be_wrong():
    """A ball behind, right of the head's midline, lies to the scanner's left."""
    turned, move = turned_head("S", 30)
    in_head = np.array([12.0, -60.0, 35.0])
    in_scanner = move[:3, :3] @ in_head
    turned2, _ = turned_head("S", -30)
    other = rotation("S", -30) @ in_head
    sides = set()
    for case, place in ((turned, in_scanner), (turned2, other)):
        mask = np.linalg.norm(world(case.ct.hu.shape, case.ct.ijk_to_ras) - place, axis=-1) < 6
        assert measure(case.ct, {"hemorrhage": mask}).lesions[0].side == "right"
        sides.add(np.sign(place[0]))
    assert sides == {-1.0, 1.0}


def test_sides():
    case = head()
    points = world(case.ct.hu.shape, case.ct.ijk_to_ras)

    def side(*balls):
        mask = np.zeros(case.ct.hu.shape, bool)
        for centre, half in balls:
            mask |= (((points - centre) / half) ** 2).sum(-1) <= 1
        return measure(case.ct, {"hemorrhage": mask}).lesions[0].side

    assert side(((30, 0, 30), (12, 12, 12))) == "right"
    assert side(((-30, 0, 30), (12, 12, 12))) == "left"
    assert side(((0, 0, 30), (4, 30, 12))) == "midline"
    assert side(((0, 0, 30), (40, 12, 12))) == "both"


@cache
def phantom(subtype, seed, tilt=0.0):
    return make_phantom(subtype, 25.0, tilt, 5.0, seed, size=128, pixel_mm=1.8)


@pytest.mark.parametrize(("subtype", "seed"), [("epidural", 1), ("epidural", 4), ("subdural", 1)])
def test_blood_under_the_skull_touches_it(subtype, seed):
    case = phantom(subtype, seed)
    assert measure(case.ct, {"hemorrhage": case.truth}).lesions[0].touches_skull is True


def test_blood_in_the_brain_does_not_touch_the_skull():
    for case in (phantom("intraventricular", 2, 15.0),):
        found = measure(case.ct, {"hemorrhage": case.truth})
        assert found.lesions[0].touches_skull is False
        assert found.lesions[0].touches_ventricles is None
        assert found.total.volume_ml == pytest.approx(case.volume_ml)
    deep = head()
    assert measure(deep.ct, {"hemorrhage": deep.blood}).lesions[0].touches_skull is False


def test_how_near_is_touching():
    """A skull of known place: 1 mm of brain between counts, 6 mm do not."""
    ct = head_ct((34, 200, 160), spacing=(1.0, 1.0, 5.0))
    points = world(ct.hu.shape, ct.ijk_to_ras)
    for gap, expected in ((0.0, True), (1.0, True), (6.0, False)):
        # The inner table crosses the axis through ears at 65 mm.
        mask = np.linalg.norm((points - (65 - gap - 8, 0, 0)), axis=-1) <= 8
        found = measure(ct, {"hemorrhage": mask})
        assert found.lesions[0].touches_skull is expected, gap


def test_ventricles_that_the_caller_knows():
    ct, mask = body((12, 12, 12), spacing=(1, 1, 4))
    far = np.zeros(ct.hu.shape, bool)
    far[:, :2, :2] = True
    near = np.roll(mask, 24, axis=2) & ~mask
    assert measure(ct, {"hemorrhage": mask}, ventricles=far).lesions[0].touches_ventricles is False
    assert measure(ct, {"hemorrhage": mask}, ventricles=near).lesions[0].touches_ventricles is True


@pytest.mark.parametrize("tilt", [0.0, 18.0])
def test_a_tilted_gantry_changes_no_volume(tilt):
    case = phantom("intraparenchymal", 6, tilt)
    found = measure(case.ct, {"hemorrhage": case.truth}, brain=case.brain)
    assert found.total.volume_ml == pytest.approx(case.volume_ml, rel=1e-6)
    assert found.total.volume_ml == pytest.approx(25.0, rel=0.05)


def test_the_same_input_gives_the_same_numbers():
    case = head()
    first, second = (measure(case.ct, {"hemorrhage": case.blood}).to_dict() for _ in range(2))
    assert first == second
