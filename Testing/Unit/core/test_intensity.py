"""Intensity mapping: literal values, robust ends, and voxels that are not numbers."""

import warnings

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import InputError, NonFiniteVoxelsWarning
from DDSAM2SlicerLib.core.intensity import WORTH_A_TABLE, IntensityMapping


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_window_maps_linearly_and_clips(dtype):
    values = np.array([[-200, -100, 0, 100, 200]], dtype)
    grey = IntensityMapping.from_window(200, 0).apply(values)
    assert grey.tolist() == [[0, 0, 128, 255, 255]]
    assert grey.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_full_window_keeps_values_whatever_their_type(dtype):
    grey = IntensityMapping(0, 255).apply(np.array([0, 7, 255], dtype))
    assert grey.tolist() == [0, 7, 255]
    assert grey.dtype == np.uint8


def test_inverted_mapping_swaps_black_and_white():
    values = np.array([0, 128, 255], np.uint8)
    assert IntensityMapping(0, 255, invert=True).apply(values).tolist() == [255, 127, 0]
    assert IntensityMapping(0, 510, invert=True).apply(values).tolist() == [255, 191, 127]


def test_negative_window_is_an_inverted_one():
    assert IntensityMapping.from_window(-200, 50) == IntensityMapping(-50, 150, invert=True)


def test_nan_is_black_and_infinities_are_the_ends():
    values = np.array([np.nan, -np.inf, np.inf, 5], np.float32)
    assert IntensityMapping(0, 10).apply(values).tolist() == [0, 0, 255, 128]


def test_robust_percentiles_ignore_outliers():
    values = np.arange(1000, dtype=np.float64).reshape(10, 10, 10)
    values[0, 0, 0] = -1e6
    values[9, 9, 9] = 1e6
    mapping = IntensityMapping.from_array(values)
    assert mapping.low == pytest.approx(4.995)
    assert mapping.high == pytest.approx(994.005)


def test_non_finite_voxels_are_left_out_counted_and_reported():
    values = np.linspace(0, 1, 1001).reshape(7, 11, 13)
    values[0, 0, :3] = [np.nan, np.inf, -np.inf]
    with pytest.warns(NonFiniteVoxelsWarning, match="3 voxels are NaN or infinite"):
        mapping = IntensityMapping.from_array(values)
    assert mapping.num_nonfinite == 3
    assert 0 < mapping.low < mapping.high < 1


def test_finite_image_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert IntensityMapping.from_array(np.arange(8.0).reshape(2, 2, 2)).num_nonfinite == 0


def test_image_without_a_finite_voxel_is_refused():
    with pytest.warns(NonFiniteVoxelsWarning), pytest.raises(InputError, match="no finite voxel"):
        IntensityMapping.from_array(np.full((2, 2, 2), np.nan))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_constant_image_becomes_black_and_says_so(dtype):
    values = np.full((2, 3, 4), 7, dtype)
    mapping = IntensityMapping.from_array(values)
    assert mapping.is_constant
    assert not mapping.apply(values).any()
    assert not IntensityMapping(0, 1).is_constant


def test_rare_bright_voxels_still_show():
    values = np.zeros((10, 10, 10), np.uint8)
    values[5, 5, 5] = 1
    assert IntensityMapping.from_array(values).apply(values).max() == 255


def test_eight_bit_identity_is_a_copy():
    values = np.array([[1, 2], [3, 4]], np.uint8)
    grey = IntensityMapping(0, 255).apply(values)
    assert grey.tolist() == values.tolist()
    assert not np.shares_memory(grey, values)


def test_large_offset_keeps_its_contrast():
    values = np.array([10**9, 10**9 + 100], np.int32)
    assert IntensityMapping.from_array(values.reshape(1, 1, 2)).apply(values).tolist() == [0, 255]


def test_huge_image_is_sampled_and_close(monkeypatch):
    values = np.random.default_rng(0).normal(size=(40, 40, 40))
    exact = IntensityMapping.from_array(values)
    monkeypatch.setattr("DDSAM2SlicerLib.core.intensity.MAX_SAMPLES", 8000)
    sampled = IntensityMapping.from_array(values)
    assert sampled != exact
    assert sampled.low == pytest.approx(exact.low, abs=0.2)


def a_ct_like_image():
    """Air and fat in most voxels, two soft tissues 50 apart, a little bone: 3,000 values wide."""
    rng = np.random.default_rng(0)
    means = rng.choice([-1000.0, -100.0, 30.0, 80.0, 1500.0], (30, 40, 40), p=[0.4, 0.2, 0.2, 0.18, 0.02])
    return means + rng.normal(0, 10, means.shape)


def test_a_stretched_mapping_tells_soft_tissues_apart_and_keeps_order_and_ends():
    image = a_ct_like_image()
    stretched = IntensityMapping.from_array(image)
    linear = IntensityMapping(stretched.low, stretched.high)
    values = np.array([-2000.0, 30.0, 80.0, 1500.0, 3000.0])
    plain, grey = (mapping.apply(values).astype(int) for mapping in (linear, stretched))
    assert grey[2] - grey[1] > 1.5 * (plain[2] - plain[1])
    assert grey.tolist() == sorted(grey.tolist())
    assert (grey[0], grey[-1]) == (0, 255)


def test_no_part_of_a_stretched_mapping_is_flat_or_a_step():
    tones = np.diff(IntensityMapping.from_array(a_ct_like_image()).tones)
    assert tones.max() / tones.min() == pytest.approx(6)  # the limits themselves, 3 and a half


def test_evenly_spread_values_and_windows_beside_the_image_stay_linear():
    values = np.linspace(0, 1000, 50_000).reshape(50, 100, 10)
    even, beside = IntensityMapping.from_array(values), IntensityMapping(5000, 6000).stretched_on([values])
    assert np.abs(np.array(even.tones) - np.linspace(0, 255, 257)).max() < 1
    assert np.abs(np.array(beside.tones) - np.linspace(0, 255, 257)).max() < 1e-6


def test_a_window_that_was_asked_for_stays_linear():
    assert IntensityMapping.from_window(400, 40).tones is None


@pytest.mark.parametrize("ends", [(1, 0), (np.nan, 1), (0, np.inf)])
def test_unusable_window_is_refused(ends):
    with pytest.raises(InputError, match="finite low <= high"):
        IntensityMapping(*ends)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "<i2", ">i2"])
def test_many_integers_get_the_greys_that_few_get(dtype):
    """They are looked up; no value is left out."""
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1, dtype=dtype)
    values = np.tile(values, WORTH_A_TABLE // values.size + 1).reshape(-1, 64)
    for mapping in (IntensityMapping(-20, 100, invert=True), IntensityMapping.from_array(values[:, ::2])):
        few = np.concatenate([mapping.apply(row) for row in values.astype(np.float32)])
        assert (mapping.apply(values).ravel() == few).all()
        assert mapping.apply(values.T).flags.c_contiguous
