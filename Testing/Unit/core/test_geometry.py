"""Volume geometry: exact round trips, conventions, and grids that are refused."""

import itertools

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import GeometryError
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.testing.phantoms import create_geometry

SHAPE_KJI = (3, 4, 5)


def grid_points(shape_kji):
    return np.array(list(itertools.product(*(range(size) for size in shape_kji[::-1]))), dtype=float)


def matrix_with(**entries):
    matrix = np.diag([1.0, 2.0, 3.0, 1.0])
    for name, value in entries.items():
        row, column = int(name[1]), int(name[2])
        matrix[row, column] = value
    return matrix


def test_index_maps_to_world_by_the_matrix():
    geometry = VolumeGeometry(SHAPE_KJI, [[0, -2, 0, 10], [1, 0, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    assert geometry.map_ijk_to_ras([[1, 1, 1], [0, 0, 0]]).tolist() == [[8, 21, 33], [10, 20, 30]]
    assert geometry.spacing_mm == (1, 2, 3)


@pytest.mark.parametrize("is_left_handed", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_any_orientation_returns_to_the_same_voxels(seed, is_left_handed):
    geometry = create_geometry(SHAPE_KJI, seed, is_left_handed=is_left_handed)
    points = grid_points(SHAPE_KJI)
    returned = geometry.map_ras_to_ijk(geometry.map_ijk_to_ras(points))
    np.testing.assert_allclose(returned, points, atol=1e-9)
    assert (returned.round() == points).all()
    assert geometry.is_left_handed is is_left_handed


@pytest.mark.parametrize("is_left_handed", [False, True])
def test_itk_description_round_trip_is_the_same_grid(is_left_handed):
    geometry = create_geometry(SHAPE_KJI, 3, is_left_handed=is_left_handed)
    again = VolumeGeometry.from_lps(SHAPE_KJI, *geometry.to_lps())
    np.testing.assert_allclose(again.ijk_to_ras, geometry.ijk_to_ras, atol=1e-9)
    assert again.same_grid_as(geometry)


def test_itk_world_is_flipped_to_ras():
    geometry = VolumeGeometry.from_lps(SHAPE_KJI, (10, 20, 30), (1, 2, 3), np.eye(3).ravel())
    assert geometry.map_ijk_to_ras([[1, 1, 1]]).tolist() == [[-11, -22, 33]]


def test_itk_description_with_wrong_lengths_is_refused():
    with pytest.raises(GeometryError, match="2, 3 and 9 numbers"):
        VolumeGeometry.from_lps(SHAPE_KJI, (0, 0), (1, 1, 1), np.eye(3).ravel())


def test_sheared_grid_is_refused_with_axes_and_angle():
    gantry_tilt = np.deg2rad(15)
    matrix = matrix_with(m12=3 * np.sin(gantry_tilt), m22=3 * np.cos(gantry_tilt))
    with pytest.raises(GeometryError, match=r"axes j and k deviate from a right angle by 15\.0 degrees"):
        VolumeGeometry(SHAPE_KJI, matrix)


def test_rounded_direction_cosines_are_accepted():
    geometry = create_geometry(SHAPE_KJI, 1)
    rounded = geometry.ijk_to_ras.round(4)
    assert VolumeGeometry(SHAPE_KJI, rounded).same_grid_as(geometry)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (matrix_with(m00=np.nan), "finite numbers only"),
        (np.eye(3), "must be 4 x 4"),
        (matrix_with(m00=0), "larger than zero"),
        (matrix_with(m01=2, m11=0), "sheared: its axes i and j .* 90.0 degrees"),
        (matrix_with(m30=1), "last row"),
    ],
)
def test_matrix_that_places_no_grid_is_refused(matrix, message):
    with pytest.raises(GeometryError, match=message):
        VolumeGeometry(SHAPE_KJI, matrix)


@pytest.mark.parametrize("shape", [(3, 4), (3, 0, 5), (1, 3, 4, 5)])
def test_shape_that_is_no_volume_is_refused(shape):
    with pytest.raises(GeometryError, match="three sizes"):
        VolumeGeometry(shape, np.eye(4))


def test_geometry_cannot_be_changed_through_its_matrix_or_the_given_one():
    given = np.eye(4)
    geometry = VolumeGeometry(SHAPE_KJI, given)
    given[0, 3] = 5
    assert geometry.ijk_to_ras[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        geometry.ijk_to_ras[0, 3] = 5


def test_same_grid_tolerates_header_precision():
    geometry = create_geometry((100, 200, 300), 5)
    assert geometry.same_grid_as(VolumeGeometry((100, 200, 300), geometry.ijk_to_ras.astype(np.float32)))


@pytest.mark.parametrize(
    "other",
    [
        VolumeGeometry((3, 4, 6), np.eye(4)),
        VolumeGeometry(SHAPE_KJI, np.diag([1, 1, 1.1, 1])),
        VolumeGeometry(SHAPE_KJI, np.diag([1, 1, -1, 1])),
        VolumeGeometry(SHAPE_KJI, [[1, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["shape", "spacing", "direction", "origin"],
)
def test_other_grid_is_not_the_same(other):
    assert not VolumeGeometry(SHAPE_KJI, np.eye(4)).same_grid_as(other)


def test_one_slice_grids_differ_by_the_direction_of_the_slice():
    assert not VolumeGeometry((1, 4, 5), np.eye(4)).same_grid_as(VolumeGeometry((1, 4, 5), np.diag([1, 1, -1, 1])))


def test_points_of_another_shape_are_refused():
    with pytest.raises(GeometryError, match=r"must be \(N, 3\)"):
        VolumeGeometry(SHAPE_KJI, np.eye(4)).map_ijk_to_ras([1, 2, 3])


def test_axis_prints_as_its_letter_and_knows_its_place_in_the_array():
    assert [f"{axis}" for axis in Axis] == ["i", "j", "k"]
    assert [axis.array_axis for axis in Axis] == [2, 1, 0]
