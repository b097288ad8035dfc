"""Volume nodes and slice views to frames of the core: geometry, voxels, displayed intensities (layer: mrml)."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from ..core.errors import InputError
from ..core.frames import FrameSource, PlaneFrames, VolumeFrames
from ..core.geometry import Axis, VolumeGeometry
from ..core.intensity import IntensityMapping
from .transforms import local_to_world, matrix_from_vtk

ALIGNED_COSINE = 0.99999
"""A slice view whose axes deviate less than this (0.26 degrees) from the volume's shows its own slices."""

INVERTED_GREY_ID = "vtkMRMLColorTableNodeInvertedGrey"


def volume_array(volume) -> NDArray:
    """View of a volume node's voxels: (K, J, I) or, for RGB, (K, J, I, 3); not copied, to be read only.

    Raises:
        InputError: If the node holds no voxels, or vectors that are not colours.
    """
    image = volume.GetImageData() if volume is not None else None
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        name = volume.GetName() if volume is not None else None
        msg = f"The volume {name!r} holds no voxels. Choose a volume that is loaded."
        raise InputError(msg)
    shape = image.GetDimensions()[::-1]
    components = scalars.GetNumberOfComponents()
    if components not in (1, 3, 4):
        msg = (
            f"The volume {volume.GetName()!r} has {components} values per voxel; grey values (1) and colours (3 or 4) "
            "are accepted. Extract one component first."
        )
        raise InputError(msg)
    array = vtk_to_numpy(scalars)
    if components == 1:
        return array.reshape(shape)
    return array.reshape(*shape, components)[..., :3]  # an alpha channel says nothing about the object


def local_geometry(volume) -> VolumeGeometry:
    """Placement of the voxels in the volume node's own coordinates, parent transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return VolumeGeometry(volume_array(volume).shape[:3], matrix_from_vtk(matrix))


def volume_geometry(volume) -> VolumeGeometry:
    """Placement of the voxels in the world, parent transforms included.

    Raises:
        GeometryError: If a parent transform is not linear, or the grid ends up sheared.
    """
    local = local_geometry(volume)
    return VolumeGeometry(local.shape_kji, local_to_world(volume) @ local.ijk_to_ras)


def displayed_mapping(volume) -> IntensityMapping | None:
    """Window and level the user sees, or None where nothing is displayed or the image is in colour.

    A window that nobody has chosen is stretched to where the voxels lie: soft tissues of a CT hardly show in it.
    """
    display = volume.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode") or volume.IsA("vtkMRMLLabelMapVolumeNode"):
        return None
    window, level = display.GetWindow(), display.GetLevel()
    if volume.GetImageData().GetNumberOfScalarComponents() > 1 or window == 0 or not np.isfinite([window, level]).all():
        return None
    mapping = IntensityMapping.from_window(window, level)
    is_inverted = mapping.invert != (display.GetColorNodeID() == INVERTED_GREY_ID)
    mapping = replace(mapping, invert=is_inverted)
    return mapping.stretched_on([volume_array(volume)]) if display.GetAutoWindowLevel() else mapping


def frames_along_axis(volume, axis: Axis, mapping: IntensityMapping | None = None) -> VolumeFrames:
    """The volume's slices along one index axis, in the displayed window unless a mapping is given."""
    return VolumeFrames(volume_array(volume), volume_geometry(volume), Axis(axis), mapping or displayed_mapping(volume))


def axis_of_slice_view(volume, slice_node) -> Axis | None:
    """The index axis a slice view looks along, or None if it cuts the volume obliquely."""
    directions = volume_geometry(volume).ijk_to_ras[:3, :3]
    directions = directions / np.linalg.norm(directions, axis=0)
    normal = _slice_axes(slice_node)[2]
    cosines = np.abs(normal @ directions)
    best = int(np.argmax(cosines))
    return Axis("ijk"[best]) if cosines[best] >= ALIGNED_COSINE else None


def frames_of_slice_view(volume, slice_node, mapping: IntensityMapping | None = None) -> FrameSource:
    """Frames in the orientation a slice view shows: the volume's own slices, or oblique planes through all of it."""
    axis = axis_of_slice_view(volume, slice_node)
    if axis is not None:
        return frames_along_axis(volume, axis, mapping)
    column, up, _normal = _slice_axes(slice_node)
    anchor = matrix_from_vtk(slice_node.GetSliceToRAS())[:3, 3]
    return _planes_through(volume, anchor, column, -up, mapping or displayed_mapping(volume))


def frame_of_slice_view(frames: FrameSource, slice_node) -> int | None:
    """Index of the frame a slice view shows now, or None if it shows none of them."""
    return nearest_frame(frames, matrix_from_vtk(slice_node.GetSliceToRAS())[:3, 3])


def nearest_frame(frames: FrameSource, point_ras: NDArray) -> int | None:
    """Index of the frame whose plane is nearest to a point, or None if no frame is within half a step.

    Frames that differ in time only lie on one plane: the answer is then None, unless there is but one frame.
    """
    if frames.frame_step_mm is None:
        return 0 if frames.num_frames == 1 else None
    index = int(np.floor(frame_coordinate(frames, point_ras) + 0.5))
    return index if 0 <= index < frames.num_frames else None


def frame_coordinate(frames: FrameSource, point_ras: NDArray) -> float:
    """Position of a point across the planes, in frames; an integer lies on a frame."""
    return round(float(np.linalg.inv(frames.pixel_to_ras(0))[2] @ [*point_ras, 1.0]), 6)


def show_frame(frames: FrameSource, index: int, slice_node) -> None:
    """Move a slice view to a frame; the only offset that is right for oblique volumes too."""
    matrix = frames.pixel_to_ras(index)
    center = matrix[:3] @ [(frames.width - 1) / 2, (frames.height - 1) / 2, 0, 1]
    slice_node.JumpSliceByCentering(*center)


def _slice_axes(slice_node) -> NDArray[np.float64]:
    """Rows: unit vectors of a slice view to the right, up, and towards the viewer, in RAS."""
    axes = matrix_from_vtk(slice_node.GetSliceToRAS())[:3, :3].T
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)


def _planes_through(volume, anchor_ras, column, row, mapping) -> PlaneFrames:
    """Oblique planes that cover the volume; one of them passes through the anchor.

    Steps are the distances after which the next voxel is reached, so nothing of the volume falls between two pixels.
    """
    geometry = volume_geometry(volume)
    axes = np.stack([column, row, np.cross(column, row)])
    steps_mm = 1 / np.linalg.norm(geometry.ras_to_ijk[:3, :3] @ axes.T, axis=0)
    corners_ijk = np.array(list(itertools.product(*((0, size - 1) for size in geometry.shape_kji[::-1]))))
    steps = ((geometry.map_ijk_to_ras(corners_ijk) - anchor_ras) @ axes.T / steps_mm).round(6)
    first, last = np.floor(steps.min(axis=0)), np.ceil(steps.max(axis=0))
    width, height, num_frames = (last - first + 1).astype(int).tolist()
    return PlaneFrames(
        volume_array(volume),
        geometry,
        anchor_ras + (first * steps_mm) @ axes,
        column,
        row,
        tuple(steps_mm.tolist()),
        num_frames,
        (height, width),
        mapping,
    )
