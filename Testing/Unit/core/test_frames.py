"""Frame sources along axes, in time, and both: same voxels, same world, one mapping."""

import dataclasses
import warnings

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import GeometryError, InputError, NonFiniteVoxelsWarning
from DDSAM2SlicerLib.core.frames import IntensityMapping, SeriesFrames, TimeFrames, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.testing.phantoms import create_beating_heart, create_beating_heart_series, create_geometry

SHAPE_KJI = (3, 4, 5)
IDENTITY = IntensityMapping(0, 255)


def numbered_volume(shape_kji=SHAPE_KJI):
    return np.arange(np.prod(shape_kji), dtype=np.uint8).reshape(shape_kji)


@pytest.mark.parametrize(
    ("axis", "frame", "expected"),
    [
        ("k", 1, [[20, 21, 22, 23, 24], [25, 26, 27, 28, 29], [30, 31, 32, 33, 34], [35, 36, 37, 38, 39]]),
        ("j", 1, [[5, 6, 7, 8, 9], [25, 26, 27, 28, 29], [45, 46, 47, 48, 49]]),
        ("i", 1, [[1, 6, 11, 16], [21, 26, 31, 36], [41, 46, 51, 56]]),
    ],
)
def test_frames_along_each_axis_show_rows_and_columns_in_index_order(axis, frame, expected):
    frames = VolumeFrames(numbered_volume(), VolumeGeometry(SHAPE_KJI, np.eye(4)), axis, IDENTITY)
    assert frames.frame(frame).tolist() == expected
    assert (frames.height, frames.width) == np.shape(expected)
    assert frames.num_frames == SHAPE_KJI[Axis(axis).array_axis]


@pytest.mark.parametrize(
    ("axis", "pixel_spacing", "step"), [("k", (0.8, 1.1), 2.5), ("j", (0.8, 2.5), 1.1), ("i", (1.1, 2.5), 0.8)]
)
def test_spacing_follows_columns_rows_and_frames(axis, pixel_spacing, step):
    frames = VolumeFrames(numbered_volume(), create_geometry(SHAPE_KJI, 2), axis)
    assert frames.pixel_spacing_mm == pytest.approx(pixel_spacing)
    assert frames.frame_step_mm == pytest.approx(step)


@pytest.mark.parametrize("is_left_handed", [False, True])
@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_pixel_lies_in_the_world_where_its_voxel_lies(seed, axis, is_left_handed):
    geometry = create_geometry(SHAPE_KJI, seed, is_left_handed=is_left_handed)
    volume = numbered_volume()
    frames = VolumeFrames(volume, geometry, axis, IDENTITY)
    for index in range(frames.num_frames):
        grey = frames.frame(index)
        y, x = np.indices(grey.shape)
        pixels = np.stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
        ijk = geometry.map_ras_to_ijk((frames.pixel_to_ras(index) @ pixels)[:3].T).round(6)
        i, j, k = ijk.astype(int).T
        assert (ijk == ijk.astype(int)).all()
        assert volume[k, j, i].tolist() == grey.ravel().tolist()


@pytest.mark.parametrize("axis", Axis)
def test_masks_return_to_exactly_the_voxels_the_frames_showed(axis):
    labelmap = (np.random.default_rng(0).random(SHAPE_KJI) > 0.5).astype(np.uint8)
    frames = VolumeFrames(numbered_volume(), create_geometry(SHAPE_KJI, 4), axis)
    masks = {index: frames.from_volume(labelmap, index) for index in range(frames.num_frames)}
    assert frames.to_volume(masks).tolist() == labelmap.tolist()


def test_frames_without_a_mask_stay_empty_in_the_volume():
    frames = VolumeFrames(numbered_volume(), VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    volume = frames.to_volume({1: np.ones((4, 5), bool)})
    assert volume.sum(axis=(1, 2)).tolist() == [0, 20, 0]


def test_mask_or_labelmap_of_another_shape_is_refused():
    frames = VolumeFrames(numbered_volume(), VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    with pytest.raises(InputError, match=r"mask of frame 1 has shape \(5, 4\), but \(4, 5\)"):
        frames.to_volume({1: np.ones((5, 4), bool)})
    with pytest.raises(InputError, match="label map has shape"):
        frames.from_volume(np.zeros((3, 4, 4)), 0)


def test_user_voxels_are_never_changed():
    volume = numbered_volume().astype(np.float32)
    volume[0, 0, 0] = np.nan
    before = volume.copy()
    with pytest.warns(NonFiniteVoxelsWarning):
        frames = VolumeFrames(volume, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    frames.frame(0)[...] = 0
    np.testing.assert_array_equal(volume, before)


def test_eight_bit_rgb_stays_rgb():
    volume = np.random.default_rng(0).integers(50, 200, (*SHAPE_KJI, 3)).astype(np.uint8)
    frames = VolumeFrames(volume, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.J)
    assert frames.frame(2).tolist() == volume[:, 2].tolist()
    assert frames.frame(2).shape == (3, 5, 3)


def test_wider_rgb_is_mapped_with_one_window_for_all_channels():
    volume = np.zeros((*SHAPE_KJI, 3), np.uint16)
    volume[..., 0], volume[..., 1] = 1000, 500
    frame = VolumeFrames(volume, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K).frame(0)
    assert frame[0, 0].tolist() == [255, 128, 0]


def test_one_slice_volume_is_a_stack_of_one_frame_or_of_lines():
    geometry = VolumeGeometry((1, 4, 5), np.eye(4))
    volume = numbered_volume((1, 4, 5))
    assert VolumeFrames(volume, geometry, Axis.K).num_frames == 1
    assert VolumeFrames(volume, geometry, Axis.J).frame(0).shape == (1, 5)


def test_constant_volume_gives_black_frames():
    frames = VolumeFrames(np.full(SHAPE_KJI, 7.0), VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    assert frames.mapping.is_constant
    assert not frames.frame(0).any()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3, 4, 5, 6)), "has 5 axes"),
        (np.zeros((2, 3, 4, 5)), "has 4 axes"),
        (np.zeros((3, 4)), "has 2 axes"),
        (np.zeros((0, 4, 5)), "is empty"),
        (np.zeros(SHAPE_KJI, complex), "type complex128"),
        (np.full(SHAPE_KJI, "x"), "type <U1"),
        (np.zeros((3, 5, 4)), r"shape \(3, 5, 4\), but \(3, 4, 5\)"),
    ],
)
def test_array_that_is_no_volume_is_refused(array, message):
    with pytest.raises(InputError, match=message):
        VolumeFrames(array, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)


def test_volume_frames_are_calibrated_and_cannot_be_changed():
    frames = VolumeFrames(numbered_volume(), VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    assert frames.is_calibrated
    with pytest.raises(dataclasses.FrozenInstanceError):
        frames.axis = Axis.I


@pytest.mark.parametrize("index", [-1, 3])
def test_frame_outside_the_stack_is_refused_and_the_stack_is_named(index):
    frames = VolumeFrames(numbered_volume(), VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    for read in (frames.frame, frames.pixel_to_ras):
        with pytest.raises(InputError, match=f"Frame {index} does not exist: the stack has frames 0 to 2"):
            read(index)


def test_given_window_is_used_and_non_finite_voxels_are_still_reported():
    volume = np.full(SHAPE_KJI, 50.0)
    volume[0, 0, :2] = [np.inf, np.nan]
    with pytest.warns(NonFiniteVoxelsWarning, match="2 voxels"):
        frames = VolumeFrames(volume, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K, IntensityMapping(0, 100))
    assert frames.frame(0)[0].tolist() == [255, 0, 128, 128, 128]


def test_clip_keeps_its_frames_times_and_place():
    heart = create_beating_heart(4, 16)
    clip = TimeFrames(heart.array, heart.geometry.ijk_to_ras, times_s=[0, 0.1, 0.2, 0.2], mapping=IDENTITY)
    assert (clip.num_frames, clip.height, clip.width) == (4, 16, 16)
    assert clip.frame(3).tolist() == heart.array[3].tolist()
    assert clip.pixel_spacing_mm == (1.5, 1.5)
    assert clip.frame_step_mm is None
    assert clip.times_s == (0, 0.1, 0.2, 0.2)
    assert clip.is_calibrated
    assert clip.pixel_to_ras(0).tolist() == clip.pixel_to_ras(3).tolist()


def test_clip_without_place_counts_pixels_and_says_so():
    clip = TimeFrames(np.zeros((2, 3, 4), np.uint8))
    assert clip.pixel_spacing_mm == (1, 1)
    assert not clip.is_calibrated


def test_clip_has_one_mapping_through_time():
    frames = np.stack([np.full((8, 8), 10), np.full((8, 8), 20), np.full((8, 8), 30)]).astype(np.int16)
    clip = TimeFrames(frames)
    assert [clip.frame(time)[0, 0] for time in range(3)] == pytest.approx([0, 128, 255], abs=3)


def test_rgb_clip_stays_rgb():
    frames = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 3)).astype(np.uint8)
    clip = TimeFrames(frames)
    assert (clip.num_frames, clip.height, clip.width) == (2, 4, 5)
    assert clip.frame(1).tolist() == frames[1].tolist()


@pytest.mark.parametrize("times", [[0, 1], [0, 2, 1], [0, 1, np.nan]])
def test_times_that_do_not_fit_are_refused(times):
    with pytest.raises(InputError, match="3 finite times in ascending order"):
        TimeFrames(np.zeros((3, 4, 4)), times_s=times)


def test_clip_on_a_sheared_plane_is_refused():
    matrix = np.eye(4)
    matrix[0, 1] = 0.5
    with pytest.raises(GeometryError, match="axes i and j"):
        TimeFrames(np.zeros((3, 4, 4)), matrix)


@pytest.mark.parametrize("axis", Axis)
def test_series_is_the_same_by_time_and_by_slice(axis):
    heart = create_beating_heart_series(3, (4, 6, 8))
    series = SeriesFrames(heart.array, heart.geometry, axis)
    assert (series.num_times, series.num_slices) == (3, (4, 6, 8)[axis.array_axis])
    for time in range(series.num_times):
        for position in range(series.num_slices):
            by_time, by_slice = series.at_time(time), series.at_slice(position)
            assert by_time.frame(position).tolist() == by_slice.frame(time).tolist()
            assert by_time.pixel_to_ras(position).tolist() == by_slice.pixel_to_ras(time).tolist()


def test_series_has_one_mapping_for_all_times_and_slices():
    volumes = [np.full(SHAPE_KJI, value, np.int16) for value in (0, 50, 100)]
    series = SeriesFrames(volumes, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    assert [series.at_time(time).frame(0)[0, 0] for time in range(3)] == pytest.approx([0, 128, 255], abs=3)
    assert series.at_slice(1).mapping is series.mapping


def test_series_reports_non_finite_voxels_once():
    volumes = np.linspace(0, 1, 2 * 60).reshape(2, *SHAPE_KJI)
    volumes[1, 0, 0, 0] = np.nan
    with pytest.warns(NonFiniteVoxelsWarning, match="1 voxels"):
        series = SeriesFrames(volumes, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        series.at_time(1).frame(0)
        series.at_slice(0).frame(1)


def test_series_of_rgb_volumes_stays_rgb():
    volumes = np.random.default_rng(0).integers(0, 255, (2, *SHAPE_KJI, 3)).astype(np.uint8)
    series = SeriesFrames(volumes, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
    assert series.at_slice(2).frame(1).tolist() == volumes[1, 2].tolist()


@pytest.mark.parametrize(
    ("volumes", "message"),
    [
        ([], "at least one time point"),
        ([np.zeros(SHAPE_KJI), np.zeros((3, 4, 6))], "Time point 1 of the series has shape"),
        (np.zeros((2, 2, *SHAPE_KJI)), "has 4 axes"),
    ],
)
def test_series_that_does_not_fit_together_is_refused(volumes, message):
    with pytest.raises(InputError, match=message):
        SeriesFrames(volumes, VolumeGeometry(SHAPE_KJI, np.eye(4)), Axis.K)
