"""Planes of any orientation: equal to slices on the grid, consistent with the world off it."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import GeometryError, InputError, NonFiniteVoxelsWarning
from DDSAM2SlicerLib.core.frames import IntensityMapping, PlaneFrames, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids, create_geometry

SHAPE_KJI = (6, 8, 10)
IDENTITY = IntensityMapping(0, 255)


def planes_on_grid(volume, geometry, axis):
    """Planes that coincide with the slices of a volume; the frame axis may point against column x row."""
    slices = VolumeFrames(volume, geometry, axis, IDENTITY)
    first = slices.pixel_to_ras(0)
    normal = np.cross(first[:3, 0], first[:3, 1])
    runs_backwards = normal @ first[:3, 2] < 0
    origin = slices.pixel_to_ras(slices.num_frames - 1 if runs_backwards else 0)[:3, 3]
    spacing = (*slices.pixel_spacing_mm, slices.frame_step_mm)
    shape = (slices.height, slices.width)
    planes = PlaneFrames(
        volume, geometry, origin, first[:3, 0], first[:3, 1], spacing, slices.num_frames, shape, IDENTITY
    )
    order = range(slices.num_frames)
    return slices, planes, list(reversed(order) if runs_backwards else order)


@pytest.mark.parametrize("is_left_handed", [False, True])
@pytest.mark.parametrize("axis", Axis)
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_planes_on_the_grid_equal_the_slices_and_masks_return_exactly(seed, axis, is_left_handed):
    geometry = create_geometry(SHAPE_KJI, seed, is_left_handed=is_left_handed)
    volume = np.random.default_rng(0).integers(0, 256, SHAPE_KJI).astype(np.uint8)
    slices, planes, order = planes_on_grid(volume, geometry, axis)
    for plane, index in enumerate(order):
        assert planes.frame(plane).tolist() == slices.frame(index).tolist()
        np.testing.assert_allclose(planes.pixel_to_ras(plane)[:3, 3], slices.pixel_to_ras(index)[:3, 3], atol=1e-9)
    labelmap = (volume > 128).astype(np.uint8)
    masks = {plane: planes.from_volume(labelmap, plane) for plane in range(planes.num_frames)}
    assert planes.to_volume(masks).tolist() == labelmap.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_oblique_planes_show_a_linear_ramp_where_it_is_in_the_world(seed):
    geometry = create_geometry(SHAPE_KJI, seed)
    k, j, i = np.indices(SHAPE_KJI)
    volume = (10.0 * i + 5 * j + 3 * k).astype(np.float32)
    directions = create_geometry(SHAPE_KJI, seed + 100).ijk_to_ras[:3, :3]
    centre = geometry.map_ijk_to_ras([[4.5, 3.5, 2.5]])[0]
    planes = PlaneFrames(
        volume, geometry, centre, directions[:, 0], directions[:, 1], (0.1, 0.1, 0.1), 3, (4, 5), IDENTITY
    )
    for index in range(3):
        x, y = 3, 2
        point = (planes.pixel_to_ras(index) @ [x, y, 0, 1])[:3]
        expected = geometry.map_ras_to_ijk([point])[0] @ [10, 5, 3]
        assert planes.frame(index)[y, x] == pytest.approx(expected, abs=0.51)


@pytest.mark.parametrize("seed", range(3))
def test_covering_stack_reaches_every_voxel_and_brings_masks_back(seed):
    phantom = create_ellipsoids(geometry=create_geometry((20, 40, 48), seed, (1, 1, 2)))
    directions = create_geometry((1, 1, 1), seed + 50).ijk_to_ras[:3, :3]
    planes = PlaneFrames.covering(phantom.array, phantom.geometry, directions[:, 0], directions[:, 1], (0.5, 0.5, 0.5))
    everything = {index: np.ones(planes.shape_hw, bool) for index in range(planes.num_frames)}
    assert planes.to_volume(everything).all()
    labelmap = (phantom.labels == 1).astype(np.uint8)
    returned = planes.to_volume({index: planes.from_volume(labelmap, index) for index in range(planes.num_frames)})
    # Half a millimetre steps through voxels of a millimetre: every voxel centre falls on a pixel inside its voxel.
    assert (returned == labelmap).mean() > 0.999


def test_covering_an_aligned_volume_gives_its_own_slices():
    phantom = create_ellipsoids()
    planes = PlaneFrames.covering(phantom.array, phantom.geometry, (1, 0, 0), (0, 1, 0), (1, 1, 2), IDENTITY)
    assert (planes.num_frames, planes.height, planes.width) == phantom.array.shape
    assert planes.frame(7).tolist() == phantom.array[7].tolist()


def test_outside_of_the_volume_is_black_and_not_in_masks():
    volume = np.full(SHAPE_KJI, 200, np.uint8)
    geometry = VolumeGeometry(SHAPE_KJI, np.eye(4))
    planes = PlaneFrames(volume, geometry, (-2, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), 1, (1, 4), IDENTITY)
    assert planes.frame(0).tolist() == [[0, 0, 200, 200]]
    assert planes.from_volume(volume, 0).tolist() == [[0, 0, 200, 200]]


def test_the_far_border_is_outside_too():
    volume = np.full(SHAPE_KJI, 200, np.uint8)
    geometry = VolumeGeometry(SHAPE_KJI, np.eye(4))
    planes = PlaneFrames(volume, geometry, (8, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), 1, (1, 4), IDENTITY)
    assert planes.frame(0).tolist() == [[200, 200, 0, 0]]
    assert planes.from_volume(volume, 0).tolist() == [[200, 200, 0, 0]]


def test_covering_stack_is_centred_on_the_volume():
    planes = PlaneFrames.covering(
        np.zeros(SHAPE_KJI), VolumeGeometry(SHAPE_KJI, np.eye(4)), (1, 0, 0), (0, 1, 0), (4, 4, 4)
    )
    assert (planes.num_frames, planes.shape_hw) == (3, (3, 4))
    assert planes.pixel_to_ras(0)[:3, 3].tolist() == [-1.5, -0.5, -1.5]


@pytest.mark.parametrize(("offset", "expected"), [(-0.45, [1, 2, 3]), (0.45, [1, 2, 3]), (0.55, [2, 3, 0])])
def test_labels_are_taken_from_the_voxel_a_pixel_lies_in(offset, expected):
    labelmap = np.array([[[1, 2, 3]]], np.uint8)
    geometry = VolumeGeometry((1, 1, 3), np.eye(4))
    planes = PlaneFrames(labelmap, geometry, (offset, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), 1, (1, 3), IDENTITY)
    assert planes.from_volume(labelmap, 0).tolist() == [expected]


def test_pixels_between_voxels_are_interpolated():
    volume = np.zeros((1, 1, 3), np.uint8)
    volume[0, 0] = [0, 100, 200]
    geometry = VolumeGeometry((1, 1, 3), np.eye(4))
    planes = PlaneFrames(volume, geometry, (0, 0, 0), (1, 0, 0), (0, 1, 0), (0.5, 1, 1), 1, (1, 5), IDENTITY)
    assert planes.frame(0).tolist() == [[0, 50, 100, 150, 200]]


def test_rgb_planes_stay_rgb():
    volume = np.random.default_rng(0).integers(0, 256, (*SHAPE_KJI, 3)).astype(np.uint8)
    geometry = VolumeGeometry(SHAPE_KJI, np.eye(4))
    planes = PlaneFrames.covering(volume, geometry, (1, 0, 0), (0, 1, 0), (1, 1, 1))
    assert planes.frame(2).tolist() == volume[2].tolist()


def test_infinite_neighbour_does_not_spoil_a_finite_voxel():
    volume = np.full(SHAPE_KJI, 100.0)
    volume[0, 0, 1], volume[0, 0, 2] = np.inf, np.nan
    geometry = VolumeGeometry(SHAPE_KJI, np.eye(4))
    with pytest.warns(NonFiniteVoxelsWarning):
        planes = PlaneFrames.covering(volume, geometry, (1, 0, 0), (0, 1, 0), (1, 1, 1), IntensityMapping(0, 255))
    assert planes.frame(0)[0, :4].tolist() == [100, 255, 0, 100]


@pytest.mark.parametrize(
    ("column", "row", "spacing", "message"),
    [
        ((1, 0, 0), (1, 1, 0), (1, 1, 1), "not at a right angle"),
        ((0, 0, 0), (0, 1, 0), (1, 1, 1), "not a direction"),
        ((1, 0), (0, 1, 0), (1, 1, 1), "not a direction"),
        ((1, 0, np.nan), (0, 1, 0), (1, 1, 1), "not a direction"),
        ((1, 0, 0), (0, 1, 0), (1, 0, 1), "must be positive"),
    ],
)
def test_plane_that_is_no_plane_is_refused(column, row, spacing, message):
    geometry = VolumeGeometry(SHAPE_KJI, np.eye(4))
    with pytest.raises(GeometryError, match=message):
        PlaneFrames(np.zeros(SHAPE_KJI), geometry, (0, 0, 0), column, row, spacing, 2, (3, 3))


def test_frame_outside_the_planes_is_refused():
    geometry = VolumeGeometry(SHAPE_KJI, np.eye(4))
    planes = PlaneFrames(np.zeros(SHAPE_KJI), geometry, (0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 1), 2, (3, 3))
    with pytest.raises(InputError, match="frames 0 to 1"):
        planes.frame(2)
    with pytest.raises(InputError, match="frames 0 to 1"):
        planes.to_volume({2: np.ones((3, 3), bool)})
