"""Volume nodes and slice views become frames that show the right voxels at the right place."""

from dataclasses import replace

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import GeometryError, InputError
from DDSAM2SlicerLib.core.frames import PlaneFrames, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids, create_geometry

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import volumes  # noqa: E402 (needs slicer)

SHAPE = (5, 7, 9)


def test_geometry_includes_nested_parent_transforms(make):
    outer, inner = make.random_matrix(1), make.random_matrix(2)
    transform = make.transform(inner, parent=make.transform(outer))
    geometry = create_geometry(SHAPE, seed=3)
    volume = make.volume(np.zeros(SHAPE, np.int16), geometry, transform=transform)
    found = volumes.volume_geometry(volume)
    np.testing.assert_allclose(found.ijk_to_ras, outer @ inner @ geometry.ijk_to_ras, atol=1e-9)
    np.testing.assert_allclose(volumes.local_geometry(volume).ijk_to_ras, geometry.ijk_to_ras, atol=1e-9)


def test_non_linear_transform_is_refused_with_what_to_do(make, scene):
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "breathing")
    grid = slicer.vtkOrientedBSplineTransform()
    warp.SetAndObserveTransformToParent(grid)
    volume = make.volume(np.zeros(SHAPE, np.int16), transform=warp)
    with pytest.raises(GeometryError, match=r"non-linear transform 'breathing'.*Harden"):
        volumes.volume_geometry(volume)


def test_shearing_transform_is_refused(make):
    shear = np.eye(4)
    shear[0, 1] = 0.3
    volume = make.volume(np.zeros(SHAPE, np.int16), transform=make.transform(shear))
    with pytest.raises(GeometryError, match="sheared"):
        volumes.volume_geometry(volume)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_voxels_are_viewed_in_their_own_type(make, dtype):
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    found = volumes.volume_array(make.volume(array))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_colour_volume_stays_colour(make):
    array = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)
    frames = volumes.frames_along_axis(make.volume(array), Axis.K)
    np.testing.assert_array_equal(frames.frame(2), array[2])


def test_volume_without_voxels_is_refused(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(InputError, match="'empty' holds no voxels"):
        volumes.volume_array(node)


def test_diffusion_vectors_are_refused(make):
    volume = make.volume(np.zeros((*SHAPE, 6), np.float32))
    with pytest.raises(InputError, match="6 values per voxel"):
        volumes.volume_array(volume)


def test_displayed_window_becomes_the_mapping(make):
    volume = make.volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(100, 60)
    mapping = volumes.frames_along_axis(volume, Axis.K).mapping
    assert (mapping.low, mapping.high, mapping.invert, mapping.tones) == (10, 110, False, None)


def test_a_window_that_nobody_chose_is_stretched_to_where_the_voxels_lie(make):
    array = np.zeros((10, 10, 10), np.int16)
    array[2:8] = np.random.default_rng(0).normal(40, 10, (6, 10, 10))
    array[9] = 3000
    volume = make.volume(array)
    volume.CreateDefaultDisplayNodes()
    assert volume.GetDisplayNode().GetAutoWindowLevel()
    mapping = volumes.displayed_mapping(volume)
    linear = replace(mapping, tones=None)
    values = np.array([20, 60])
    assert np.ptp(mapping.apply(values).astype(int)) > np.ptp(linear.apply(values).astype(int))


def test_inverted_colours_are_part_of_the_mapping(make):
    volume = make.volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE))
    volume.CreateDefaultDisplayNodes()
    volume.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    assert volumes.displayed_mapping(volume).invert
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(-100, 60)
    assert not volumes.displayed_mapping(volume).invert, "a negative window inverts once more"


def test_volume_that_is_not_displayed_gets_robust_percentiles(make):
    array = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    volume = make.volume(array)
    assert volumes.displayed_mapping(volume) is None
    mapping = volumes.frames_along_axis(volume, Axis.K).mapping
    assert mapping.low == pytest.approx(np.percentile(array, 0.5), abs=1)


@pytest.mark.parametrize(("orientation", "axis"), [("Axial", Axis.K), ("Coronal", Axis.J), ("Sagittal", Axis.I)])
def test_slice_view_along_an_axis_gives_the_volumes_own_slices(make, scene, orientation, axis):
    volume = make.volume(create_ellipsoids().array, create_ellipsoids().geometry)
    view = _slice_view(scene, orientation)
    frames = volumes.frames_of_slice_view(volume, view)
    assert isinstance(frames, VolumeFrames)
    assert frames.axis is axis
    volumes.show_frame(frames, 3, view)
    assert volumes.frame_of_slice_view(frames, view) == 3


def test_oblique_view_gives_planes_one_of_which_is_the_one_on_display(make, scene):
    phantom = create_ellipsoids()
    volume = make.volume(phantom.array, phantom.geometry, transform=make.transform(make.random_matrix(4)))
    view = _slice_view(scene, "Axial")
    frames = volumes.frames_of_slice_view(volume, view)
    assert isinstance(frames, PlaneFrames)
    for shown in (2, frames.num_frames // 2):
        volumes.show_frame(frames, shown, view)
        assert volumes.frame_of_slice_view(frames, view) == shown
    center = volumes.volume_geometry(volume).map_ijk_to_ras([[20, 17, 9]])[0]
    view.JumpSliceByCentering(*(center + 0.37))  # somewhere between two frames of the first stack
    shown = np.array([view.GetSliceToRAS().GetElement(row, 3) for row in range(3)])
    assert abs(volumes.frame_coordinate(frames, shown) % 1 - 0.5) < 0.49
    again = volumes.frames_of_slice_view(volume, view)
    assert volumes.frame_coordinate(again, shown) == pytest.approx(round(volumes.frame_coordinate(again, shown)))


def test_trap_8_an_oblique_volume_is_reached_by_jumping_not_by_offset(make, scene):
    phantom = create_ellipsoids()
    geometry = create_geometry(phantom.array.shape, seed=5)
    volume = make.volume(phantom.array, geometry)
    view = _slice_view(scene, "Axial")
    view.RotateToVolumePlane(volume)
    frames = volumes.frames_along_axis(volume, volumes.axis_of_slice_view(volume, view))
    for index in (0, 1, frames.num_frames - 1):
        volumes.show_frame(frames, index, view)
        assert volumes.frame_of_slice_view(frames, view) == index
    assert view.GetOrientation() == "Reformat"
    view.SetSliceOffset(float(frames.pixel_to_ras(0)[2, 3]))  # the z of frame 0 is not its offset
    assert volumes.frame_of_slice_view(frames, view) != 0


def test_point_beyond_the_last_frame_belongs_to_none(make):
    frames = volumes.frames_along_axis(make.volume(np.zeros(SHAPE, np.uint8)), Axis.K)
    assert volumes.nearest_frame(frames, np.array([0, 0, 4.4])) == 4
    assert volumes.nearest_frame(frames, np.array([0, 0, 4.6])) is None


def _slice_view(scene, orientation):
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    view = scene.CreateNodeByClass("vtkMRMLSliceNode")
    view.UnRegister(None)
    view.SetName("Red")
    view.SetLayoutName("Red")
    scene.AddNode(view)
    assert view.SetOrientation(orientation)
    return view
