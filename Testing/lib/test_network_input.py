"""From an axial CT to a network's input images."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from ICHWeakSegLib.ct.network_input import HGI_SAM_INPUT, NetworkInput, Preprocessing
from ICHWeakSegLib.ct.windows import apply_windows

RNG = np.random.default_rng(5)
WISHES = Preprocessing(32, ((40, 80), (80, 200)), pixel_mm=2.0)


@dataclass
class Slices:
    """A stack of slices with a brain in it, as `AxialGrid` gives it."""

    hu: np.ndarray
    step: float = 5.0
    spacing_mm: tuple[float, float] = (1.0, 1.0)
    positions_mm: np.ndarray = field(init=False)

    def __post_init__(self):
        self.positions_mm = np.arange(len(self.hu)) * self.step

    def slice_hu(self, s):
        return self.hu[s]


def case(count=6, shape=(80, 70), step=5.0, brain_hu=30.0):
    """A brain of `brain_hu` with noise, bone and air around it, centred at row 38, column 33."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot((rows - 38) / 26, (columns - 33) / 20)
    plane = np.where(distance <= 1, brain_hu, np.where(distance <= 1.3, 1200, -1000)).astype(np.float32)
    hu = plane + np.where(distance <= 1, RNG.normal(0, 5, (count, *shape)), 0)
    return Slices(np.rint(hu).astype(np.int16), step), np.broadcast_to(distance <= 1, hu.shape)


def test_one_slab_a_slice_when_thick():
    slices, brain = case()
    source = NetworkInput(slices, brain, replace(WISHES, slice_mm=5.0))
    assert [list(group) for group in source.groups] == [[s] for s in range(6)]
    images, masks = source.batch([0, 5])
    assert images.shape == (2, 2, 32, 32)
    assert images.dtype == np.float32
    assert masks.dtype == bool
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize(
    ("step", "wanted", "each"),
    [(1.0, 5.0, 5), (0.625, 5.0, 8), (1.25, 5.0, 4), (5.0, 5.0, 1), (8.0, 5.0, 1), (1.0, None, 1)],
)
def test_thin_slices_become_slabs(step, wanted, each):
    slices, brain = case(count=19, step=step)
    source = NetworkInput(slices, brain, replace(WISHES, slice_mm=wanted))
    assert [s for group in source.groups for s in group] == list(range(19))
    assert all(len(group) == each for group in source.groups[:-1])
    assert 1 <= len(source.groups[-1]) <= each
    for slab, group in enumerate(source.groups):
        assert {source.group_of(s) for s in group} == {slab}
        hu, _ = source.slab(slab)
        np.testing.assert_allclose(hu, slices.hu[list(group)].mean(axis=0), atol=1e-3)


def test_slabs_are_less_noisy():
    slices, brain = case(count=20, step=1.0)
    thin = NetworkInput(slices, brain, WISHES).crop(3)
    thick = NetworkInput(slices, brain, replace(WISHES, slice_mm=5.0)).crop(0)
    # The rim is averaged with bone.
    inner = np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 8
    assert thick[0][inner].std() < 0.65 * thin[0][inner].std()


@pytest.mark.parametrize("brain_hu", [22.0, 41.0])
def test_shift_to_the_wanted_brain(brain_hu):
    slices, brain = case(brain_hu=brain_hu)
    as_is = NetworkInput(slices, brain, WISHES)
    assert as_is.median_brain_hu == pytest.approx(brain_hu, abs=1)
    assert as_is.hu_shift == 0
    shifted = NetworkInput(slices, brain, replace(WISHES, brain_hu=33.0))
    hu, mask = shifted.crop(2)
    # The rim is averaged with bone.
    inner = mask & (np.hypot(*(np.mgrid[:32, :32] - 15.5)) < 8)
    assert np.median(hu[inner]) == pytest.approx(33, abs=1)
    images, _ = shifted.batch([2])
    assert np.median(images[0, 0][inner]) == pytest.approx(33 / 80, abs=0.02)


def test_blank_outside_the_brain():
    slices, brain = case()
    images, masks = NetworkInput(slices, brain, replace(WISHES, blank_outside_brain=True)).batch([1])
    assert not images[0][:, ~masks[0]].any()
    assert images[0][:, masks[0]].all()
    kept, _ = NetworkInput(slices, brain, WISHES).batch([1])
    np.testing.assert_array_equal(kept[0][:, masks[0]], images[0][:, masks[0]])
    assert kept[0][:, ~masks[0]].max() == 1


def test_brain_crop_is_centred_on_the_wide_slices():
    slices, brain = case()
    brain = brain.copy()
    # A small section off the middle, as near the skull base, does not move the frame.
    brain[0] = False
    brain[0, 5:15, 5:12] = True
    frame = NetworkInput(slices, brain, WISHES).frame
    for axis, centre in ((frame.rows, 38), (frame.columns, 33)):
        assert axis.start + axis.step * 15.5 == pytest.approx(centre)
        assert axis.step == 2.0
    square = frame.crop(brain[3]) > 0.5
    # Two millimetres a pixel: 52 x 40 mm of brain.
    assert np.ptp(np.flatnonzero(square.any(1))) + 1 == pytest.approx(26, abs=1)
    assert np.ptp(np.flatnonzero(square.any(0))) + 1 == pytest.approx(20, abs=1)


def test_bone_and_air_are_clipped_before_averaging():
    slices, brain = case()
    hu, _ = NetworkInput(slices, brain, WISHES).crop(0)
    assert hu.min() >= -100.01
    assert hu.max() <= 200.01


@pytest.mark.parametrize("scaling", ["fixed", "observed"])
def test_whole_slice_as_hgi_sam(scaling):
    slices, brain = case(shape=(96, 80))
    wishes = replace(HGI_SAM_INPUT, size=64, resize=70, scaling=scaling)
    source = NetworkInput(slices, brain, wishes)
    images, masks = source.batch([4])
    # As the reference: windows first, then the resize.
    expected = source.frame.crop(apply_windows(slices.hu[4], wishes.windows, scaling))
    np.testing.assert_allclose(images[0], expected, atol=1e-6)
    assert masks.shape == (1, 64, 64)
    assert masks.any()


def test_slabs_without_brain():
    slices, brain = case()
    brain = brain.copy()
    brain[[0, 5]] = False
    source = NetworkInput(slices, brain, replace(WISHES, brain_hu=33.0))
    assert [source.slab_has_brain(slab) for slab in range(6)] == [False, True, True, True, True, False]
    none = NetworkInput(slices, np.zeros_like(brain), replace(WISHES, brain_hu=33.0))
    assert none.median_brain_hu is None
    assert none.hu_shift == 0
    images, masks = none.batch([2])
    assert np.isfinite(images).all()
    assert not masks.any()


def test_each_brain_slice_is_asked_for_once_per_pass():
    slices, brain = case()
    asked = []

    class Counting:
        def __getitem__(self, index):
            asked.append(index)
            return brain[index]

    source = NetworkInput(slices, Counting(), replace(WISHES, brain_hu=33.0))
    assert all(source.slab_has_brain(slab) for slab in range(6))
    source.batch(list(range(6)))
    assert sorted(asked) == sorted([*range(6), *range(6)])


@pytest.mark.parametrize(
    "wishes",
    [
        {"framing": "resize-crop", "resize": None},
        {"framing": "resize-crop", "resize": 31},
        {"framing": "brain-crop", "pixel_mm": None},
        {"framing": "brain-crop", "pixel_mm": 0.0},
        {"framing": "stretch"},
    ],
)
def test_refused(wishes):
    with pytest.raises(ValueError, match=r"Framing"):
        replace(WISHES, **wishes)
