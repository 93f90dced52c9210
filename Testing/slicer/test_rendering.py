"""Results as Slicer's real slice and 3D views draw them, checked pixel by pixel; only Qt's window is missing."""

import colorsys
from contextlib import closing

import numpy as np
import pytest
from conftest import make_result
from rendering import SliceView, ThreeDView, set_window, why_no_pictures
from scipy import ndimage

from ICHWeakSegLib.output.segments import segment_style
from ICHWeakSegSlicer.maps import createMapNode, hideMap, readMap, showMap, writeMap
from ICHWeakSegSlicer.segmentations import createSegmentationNode, setMasks, writeResult

pytestmark = [
    pytest.mark.skipif(bool(why_no_pictures()), reason=why_no_pictures() or "-"),
    pytest.mark.usefixtures("no_slicer_errors"),
]

# Grid and transform of `load_ct`.
PLACES = [
    ("axial", None),
    ("flipped", None),
    ("oblique", None),
    ("sheared", None),
    ("axial", "linear"),
    ("sheared", "linear"),
    ("axial", "tilted"),
    ("axial", "uneven"),
]
WINDOW, LEVEL = 80, 40
BLOOD = np.array(segment_style("hemorrhage").color)


@pytest.fixture
def slice_view(scene_setup):
    """Makes slice views through the middle of the blood; they are closed after the test."""
    made = []

    def make(loaded, orientation="Axial"):
        view = SliceView(scene_setup.scene, scene_setup.application, orientation)
        made.append(view)
        set_window(loaded.node, WINDOW, LEVEL)
        view.show(loaded.node)
        view.go_to(middle(loaded))
        return view

    yield make
    for view in made:
        view.close()


@pytest.fixture
def three_d_view(scene_setup):
    with closing(ThreeDView(scene_setup.scene, scene_setup.application)) as view:
        yield view


def add_result(loaded, masks=None):
    node = createSegmentationNode(loaded.node)
    writeResult(node, loaded.node, make_result(loaded, masks))
    return node


def middle(loaded):
    """World RAS of the voxel next to the blood's middle: never between two voxels."""
    points = loaded.world_ras(loaded.blood)
    return points[np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1))]


def truth_at(loaded, volume, places, order=0, outside=0.0):
    """Values of a volume (K, J, I) at world RAS, shape (..., 3), by a grid that Slicer has no part in."""
    affine, positions = loaded.world.ijk_to_ras, loaded.world.slice_positions_mm
    ijk = np.linalg.solve(affine[:3, :3], (places - affine[:3, 3]).reshape(-1, 3).T)
    if positions is not None:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        step = abs(affine[:3, 2] @ normal / np.linalg.norm(normal))
        along = (positions - positions[0]) / step
        ijk[2] = np.interp(ijk[2], along, np.arange(len(along)), left=-9, right=999)
    values = ndimage.map_coordinates(volume.astype(np.float32), ijk[::-1], order=order, cval=outside)
    return values.reshape(places.shape[:-1])


def filled(loaded, mask):
    """World RAS of points that fill the voxels of a mask evenly, shape (n, 3)."""
    k, j, i = np.nonzero(mask)
    corner = np.linspace(-0.45, 0.45, 9)
    steps = np.stack(np.meshgrid(corner, corner, corner), axis=-1).reshape(-1, 3)
    ijk = (np.stack([i, j, k], axis=-1)[:, None] + steps).reshape(-1, 3)
    affine, positions = loaded.world.ijk_to_ras, loaded.world.slice_positions_mm
    if positions is not None:
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        step = abs(affine[:3, 2] @ normal / np.linalg.norm(normal))
        ijk[:, 2] = np.interp(ijk[:, 2], np.arange(len(positions)), (positions - positions[0]) / step)
    return ijk @ affine[:3, :3].T + affine[:3, 3]


def inside(mask, pixels=2):
    """A mask without its rim of this many pixels."""
    return ndimage.binary_erosion(mask, iterations=pixels)


def around(mask, pixels=2):
    """A mask with a rim of this many pixels."""
    return ndimage.binary_dilation(mask, iterations=pixels)


def coloured(picture):
    """Pixels that are not grey."""
    return np.ptp(picture.astype(int), axis=-1) > 12


def hue(pixels):
    """Median hue of pixels, shape (n, 3), 0-1."""
    return float(np.median([colorsys.rgb_to_hsv(*pixel)[0] for pixel in pixels[::5] / 255.0]))


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
@pytest.mark.parametrize(("grid", "transform"), PLACES)
def test_ct_and_segment_lie_where_they_should(load_ct, slice_view, grid, transform, orientation):
    loaded = load_ct(grid, transform)
    node = add_result(loaded)
    view = slice_view(loaded, orientation)
    picture, places = view.picture(), view.places()
    blood = truth_at(loaded, loaded.blood, places) > 0.5
    assert blood.sum() > 500
    assert coloured(picture)[inside(blood)].all()
    assert not coloured(picture)[~around(blood)].any()

    node.GetDisplayNode().SetVisibility(False)
    plain = view.picture().astype(int)
    assert not coloured(plain).any()
    # A linear cut through the HU, far from their jumps, as the window shows it.
    hu = truth_at(loaded, loaded.hu, places, order=1, outside=-1000)
    grey = np.clip((hu - LEVEL) / WINDOW + 0.5, 0, 1) * 255
    known = inside(truth_at(loaded, np.ones(loaded.hu.shape), places, order=1) == 1)
    steady = known & (ndimage.maximum_filter(grey, 5) - ndimage.minimum_filter(grey, 5) < 40)
    assert (grey[steady] > 50).sum() > 5000
    assert np.abs(plain[..., 0] - grey)[steady].max() < 25


def test_axial_view_is_radiological(load_ct, slice_view):
    loaded = load_ct("axial")
    view = slice_view(loaded)
    places = view.places()
    assert places[200, 0, 0] > places[200, -1, 0]  # the patient's right is on the left
    assert places[0, 200, 1] > places[-1, 200, 1]  # the nose is up
    # And the picture follows the places: blood in the patient's left half is in the right half.
    assert middle(loaded)[0] < places[200, 200, 0]
    add_result(loaded)
    columns = np.nonzero(coloured(view.picture()))[1]
    assert columns.min() > 200


def test_fill_and_outline(load_ct, slice_view):
    loaded = load_ct("axial")
    node = add_result(loaded)
    view = slice_view(loaded)
    display = node.GetDisplayNode()
    blood = truth_at(loaded, loaded.blood, view.places()) > 0.5
    both = view.picture().astype(float)
    display.SetVisibility(False)
    plain = view.picture().astype(float)
    display.SetVisibility(True)

    display.SetVisibility2DOutline(False)
    fill = view.picture().astype(float)
    opacity = display.GetOpacity2DFill()
    assert 0.2 < opacity < 0.8
    blend = (1 - opacity) * plain + opacity * 255 * BLOOD
    assert np.abs(fill - blend)[inside(blood, 1)].max() < 4

    display.SetVisibility2DOutline(True)
    display.SetVisibility2DFill(False)
    outline = view.picture()
    drawn = coloured(outline)
    assert drawn.sum() > 100
    assert not drawn[inside(blood, 3)].any()
    # The outline closes round the blood.
    assert (ndimage.binary_fill_holes(drawn) | ~inside(blood)).all()
    np.testing.assert_allclose(np.median(outline[drawn], axis=0), 255 * BLOOD, atol=12)
    # With the fill its rim is nearer to the segment's own colour than the inside.
    away = np.abs(both - 255 * BLOOD).sum(axis=-1)
    assert np.median(away[drawn]) < np.median(away[inside(blood, 4)]) / 2


def test_nothing_is_left_of_a_hidden_or_empty_segment(load_ct, slice_view, three_d_view):
    loaded = load_ct("axial")
    view = slice_view(loaded)
    three_d_view.look(middle(loaded))
    before, before_3d = view.picture(), three_d_view.picture()
    assert not coloured(before).any()
    assert not before_3d.any()

    node = add_result(loaded)
    assert coloured(view.picture()).any()
    assert coloured(three_d_view.picture()).any()
    display = node.GetDisplayNode()
    display.SetSegmentVisibility("hemorrhage", False)
    np.testing.assert_array_equal(view.picture(), before)
    np.testing.assert_array_equal(three_d_view.picture(), before_3d)
    display.SetSegmentVisibility("hemorrhage", True)
    assert coloured(view.picture()).any()

    setMasks(node, loaded.node, make_result(loaded, np.zeros_like(loaded.blood)))
    np.testing.assert_array_equal(view.picture(), before)
    np.testing.assert_array_equal(three_d_view.picture(), before_3d)


def test_views_follow_another_cut(load_ct, slice_view, three_d_view):
    loaded = load_ct("axial")
    node = add_result(loaded)
    view = slice_view(loaded)
    three_d_view.look(middle(loaded))
    whole, whole_3d = view.picture(), three_d_view.picture()
    front = loaded.blood.copy()
    front[:, int(np.median(np.nonzero(front)[1])) :] = False
    setMasks(node, loaded.node, make_result(loaded, front))
    cut = truth_at(loaded, front, view.places()) > 0.5
    gone = (truth_at(loaded, loaded.blood, view.places()) > 0.5) & ~around(cut)
    picture = view.picture()
    assert gone.sum() > 200
    assert coloured(whole)[inside(gone)].all()
    assert not coloured(picture)[gone].any()
    assert coloured(picture)[inside(cut)].all()
    assert coloured(three_d_view.picture()).sum() != coloured(whole_3d).sum()


def test_subtypes_each_in_their_colour(load_ct, slice_view):
    loaded = load_ct("axial")
    rows = np.nonzero(loaded.blood)[1]
    front = loaded.blood & (np.arange(loaded.blood.shape[1]) < np.median(rows))[None, :, None]
    masks = {"IPH": front, "SAH": loaded.blood & ~front}
    add_result(loaded, masks)
    view = slice_view(loaded)
    picture = view.picture()
    for name, mask in masks.items():
        place = inside(truth_at(loaded, mask, view.places()) > 0.5)
        assert place.sum() > 100
        # The grey below takes from the colour, not from its hue.
        assert hue(picture[place]) == pytest.approx(
            colorsys.rgb_to_hsv(*segment_style(name).color)[0], abs=0.03
        )


@pytest.mark.parametrize(("grid", "transform"), PLACES[:6])
def test_map_overlay_changes_its_place_alone(load_ct, slice_view, grid, transform):
    loaded = load_ct(grid, transform)
    result = make_result(loaded)
    view = slice_view(loaded)
    before, places = view.picture(), view.places()
    node = createMapNode(loaded.node, hidden=True)
    writeMap(node, loaded.node, result.map)
    np.testing.assert_array_equal(view.picture(), before)

    showMap(node)
    picture = view.picture()
    changed = (picture != before).any(axis=-1)
    heat = truth_at(loaded, readMap(node), places, order=1)
    assert not changed[~around(heat > 0)].any()
    strong = inside(heat > 0.2)
    assert strong.sum() > 500
    assert coloured(picture)[strong].mean() > 0.99
    # Half the CT, half the colour that the table gives to the value.
    colors = node.GetDisplayNode().GetColorNode()
    table = np.array([colors.GetLookupTable().GetTableValue(index)[:3] for index in range(256)])
    index = np.clip(np.rint(heat * 255).astype(int), 0, 255)
    steady = inside(strong) & (ndimage.maximum_filter(heat, 3) - ndimage.minimum_filter(heat, 3) < 0.02)
    assert steady.sum() > 200
    blend = 0.5 * before + 0.5 * 255 * table[index]
    assert np.abs(picture - blend)[steady].max() < 12
    hideMap(node)
    np.testing.assert_array_equal(view.picture(), before)


@pytest.mark.parametrize(("grid", "transform"), PLACES)
@pytest.mark.parametrize("direction", [(0, -1, 0), (1, 0, 0)], ids=["from the front", "from the left"])
def test_surface_covers_the_blood(load_ct, three_d_view, grid, transform, direction):
    loaded = load_ct(grid, transform)
    node = add_result(loaded)
    three_d_view.look(middle(loaded) + np.array([10, 15, -20]), direction)
    # The truth's own shadow: its voxels filled with points and projected.
    shadow = np.zeros((400, 400), bool)
    rows, columns = np.rint(three_d_view.pixels_of(filled(loaded, loaded.blood)) - 0.5).astype(int).T
    shadow[rows, columns] = True
    shadow = ndimage.binary_closing(shadow, iterations=3)
    center = np.argwhere(shadow).mean(axis=0)
    assert np.linalg.norm(center - 200) > 30

    # Slicer's usual surface is smoothed.
    picture = three_d_view.picture()
    seen = coloured(picture)
    assert hue(picture[seen]) == pytest.approx(colorsys.rgb_to_hsv(*BLOOD)[0], abs=0.03)
    np.testing.assert_allclose(np.argwhere(seen).mean(axis=0), center, atol=3)
    # It may stand out by a part of a voxel of 4 x 4 x 8 mm; a pixel is about 0.5 mm.
    assert not picture[~around(shadow, 10)].any()

    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0")
    node.RemoveClosedSurfaceRepresentation()
    node.CreateClosedSurfaceRepresentation()
    seen = coloured(three_d_view.picture())
    np.testing.assert_allclose(np.argwhere(seen).mean(axis=0), center, atol=1.5)
    assert np.count_nonzero(seen & shadow) / np.count_nonzero(seen | shadow) > 0.88
