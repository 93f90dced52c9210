"""Windows as channels, and the frame between a slice and the network's square."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2.functional import InterpolationMode, center_crop, resize

from ICHWeakSegLib.ct.framing import centred, resize_crop
from ICHWeakSegLib.ct.windows import apply_windows

RNG = np.random.default_rng(3)


def smooth_image(shape, waves=2.0):
    """Values in 0-1 that change slowly."""
    rows, columns = (np.linspace(0, 1, size) for size in shape)
    return (
        0.5 + 0.25 * np.sin(2 * np.pi * waves * rows)[:, None] + 0.25 * np.cos(2 * np.pi * waves * columns)
    ).astype(np.float32)


class TestWindows:
    def test_fixed_against_hand_values(self):
        hu = np.array([[-1024, 0, 20], [40, 60, 3000]], np.int16)
        brain, bone = apply_windows(hu, [(40, 80), (700, 3200)])
        np.testing.assert_allclose(brain, [[0, 0, 0.25], [0.5, 0.75, 1]], atol=1e-6)
        np.testing.assert_allclose(bone[1], [940 / 3200, 960 / 3200, 1], atol=1e-6)
        assert brain.dtype == np.float32

    def test_the_cut_of_the_pseudo_masks(self):
        # 140 of 255 grey values in window 80/200 (arXiv 2309.16627) is the 89.8 HU of mp.17689.
        (grey,) = apply_windows(np.array([[89.8]]), [(80, 200)])
        assert float(grey[0, 0]) == pytest.approx(140 / 255, abs=2e-4)

    def test_observed_spans_what_the_slice_has(self):
        hu = np.array([[-500, 10, 30, 50]], np.int16)
        (found,) = apply_windows(hu, [(40, 80)], "observed")
        # Inside the window the slice goes from 0 (cut) to 50.
        np.testing.assert_allclose(found, [[0, 0.2, 0.6, 1]], atol=1e-6)

    @pytest.mark.parametrize("value", [-1000, 35, 2000])
    def test_constant_slice(self, value):
        hu = np.full((3, 4), value, np.int16)
        assert not apply_windows(hu, [(40, 80)], "observed").any()
        expected = np.clip((value - 0) / 80, 0, 1)
        np.testing.assert_allclose(apply_windows(hu, [(40, 80)]), expected, atol=1e-6)

    @pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
    def test_types_agree_and_the_slice_is_left_alone(self, dtype):
        hu = RNG.integers(-1000, 1500, (8, 9)).astype(dtype)
        before = hu.copy()
        found = apply_windows(hu, [(40, 81), (80, 200)])
        expected = [(np.clip(before.astype(float), -0.5, 80.5) + 0.5) / 81]
        np.testing.assert_allclose(found[:1], expected, atol=1e-6)
        np.testing.assert_array_equal(hu, before)

    @pytest.mark.parametrize(
        ("windows", "scaling"), [([(40, 80)], "relative"), ([(40, 0)], "fixed"), ([(40, -80)], "fixed")]
    )
    def test_refused(self, windows, scaling):
        with pytest.raises(ValueError, match=r"Scaling|width"):
            apply_windows(np.zeros((2, 2)), windows, scaling)


class TestResizeCrop:
    @pytest.mark.parametrize("shape", [(512, 512), (512, 640), (700, 512), (430, 501)])
    def test_equals_torch(self, shape):
        image = RNG.random(shape, np.float32)
        size = [422]
        expected = resize(torch.from_numpy(image)[None], size, InterpolationMode.BILINEAR, antialias=True)
        expected = center_crop(expected, [384, 384])[0].numpy()
        found = resize_crop(shape, 422, 384).crop(image)
        assert found.shape == (384, 384)
        assert np.abs(found - expected).max() < 1e-4

    def test_upsampling_equals_torch(self):
        image = RNG.random((100, 120), np.float32)
        expected = resize(torch.from_numpy(image)[None], [211], InterpolationMode.BILINEAR, antialias=True)
        found = resize_crop((100, 120), 211, 190).crop(image)
        assert np.abs(found - center_crop(expected, [190, 190])[0].numpy()).max() < 1e-4

    @pytest.mark.parametrize("shape", [(512, 512), (512, 640), (300, 256)])
    def test_way_back(self, shape):
        frame, image = resize_crop(shape, 422, 384), smooth_image(shape)
        back = frame.paste(frame.crop(image))
        inside = frame.paste(np.ones((384, 384), np.float32)) > 0
        middle = inside.copy()
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        middle[rows[[0, 1, -2, -1]]] = False
        middle[:, columns[[0, 1, -2, -1]]] = False
        assert back.shape == shape
        assert np.abs(back - image)[middle].max() < 0.005
        assert not back[~inside].any()
        # 384 of 422 pixels of the shorter way.
        assert abs(len(rows) - 384 / 422 * min(shape)) < 2
        assert abs((rows[0] + rows[-1]) / 2 - (shape[0] - 1) / 2) <= 1

    @pytest.mark.parametrize("shape", [(512, 512), (512, 640)])
    def test_a_point_comes_back_to_its_pixel(self, shape):
        frame = resize_crop(shape, 422, 384)
        for row, column in ((60, 100), (255, 256), (401, 300), (256, 411)):
            image = np.zeros(shape, np.float32)
            image[row, column] = 1
            square = frame.crop(image)
            back = frame.paste(square)
            assert np.unravel_index(back.argmax(), shape) == (row, column)
            place = np.unravel_index(square.argmax(), square.shape)
            assert abs(frame.rows.start + frame.rows.step * place[0] - row) <= 0.5 * frame.rows.step
            centre = (back * np.arange(shape[0])[:, None]).sum() / back.sum()
            assert abs(centre - row) < 0.25

    def test_channels_at_once(self):
        images, frame = RNG.random((3, 80, 64), np.float32), resize_crop((80, 64), 50, 40)
        for one, both in zip(images, frame.crop(images), strict=True):
            np.testing.assert_allclose(frame.crop(one), both, atol=1e-6)


class TestBrainCrop:
    def test_centre_and_scale(self):
        # 192 pixels of 0.95 mm around a point of a slice of 0.5 x 0.4 mm.
        frame = centred((400, 500), (0.5, 0.4), (180.0, 270.0), 192, 0.95)
        image = np.zeros((400, 500), np.float32)
        image[180, 270] = 1
        square = frame.crop(image)
        centre = [(square.sum(axis=1 - axis) * np.arange(192)).sum() / square.sum() for axis in (0, 1)]
        assert centre == pytest.approx([95.5, 95.5], abs=0.3)
        moved = np.zeros((400, 500), np.float32)
        moved[180 + 38, 270 + 95] = 1  # 19 mm down, 38 mm to the right
        square = frame.crop(moved)
        centre = [(square.sum(axis=1 - axis) * np.arange(192)).sum() / square.sum() for axis in (0, 1)]
        assert centre == pytest.approx([95.5 + 20, 95.5 + 40], abs=0.3)

    def test_way_back(self):
        frame, image = centred((400, 500), (0.5, 0.4), (190.0, 250.0), 192, 0.95), smooth_image((400, 500))
        back = frame.paste(frame.crop(image))
        assert np.abs(back - image)[12:365, 25:475].max() < 0.01

    def test_slice_smaller_than_the_crop(self):
        frame, image = centred((60, 50), (1.0, 1.0), (29.5, 24.5), 96, 1.0), smooth_image((60, 50), 1)
        square = frame.crop(image, fill=-7.0)
        assert square.shape == (96, 96)
        np.testing.assert_allclose(square[18:78, 23:73], image, atol=1e-5)
        outside = np.ones((96, 96), bool)
        outside[18:78, 23:73] = False
        np.testing.assert_allclose(square[outside], -7, atol=1e-5)
        np.testing.assert_allclose(frame.paste(square), image, atol=1e-5)

    def test_crop_that_hangs_over_the_edge(self):
        frame = centred((64, 64), (1.0, 1.0), (2.0, 60.0), 32, 1.0)
        image = RNG.random((64, 64)).astype(np.float32)
        square, back = frame.crop(image), frame.paste(frame.crop(image))
        assert square.shape == (32, 32)
        assert back.shape == (64, 64)
        assert not back[20:].any()
        assert not back[:, :40].any()

    def test_brightness_is_kept(self):
        frame = centred((512, 512), (0.45, 0.45), (255.5, 255.5), 96, 1.9)
        np.testing.assert_allclose(frame.crop(np.full((512, 512), 37.0)), 37, rtol=1e-5)
