"""Which voxels of a segment's label map belong to a frame, and labels read and written there in place (layer: mrml).

Slicer keeps several segments in one image (a layer) as different label values, each layer with its own extent.
Voxel indices here are those of one grid, the volume's, whatever the extent of a layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from ..core.errors import InputError
from ..core.geometry import SAME_GRID_TOLERANCE_VOXEL, VolumeGeometry, map_points
from .transforms import matrix_from_vtk, matrix_to_vtk

BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"

COORDINATE_DECIMALS = 6
"""Coordinates are rounded to this before they are rounded to a cell, so that halves do not depend on the last bit."""

NEAR_FRAMES = 0.51
"""Voxels this near to a frame are looked at; which half belongs to it is decided exactly."""
PIECE_BYTES = 2**22
"""Labels that are cleared or copied at a time: a few milliseconds."""

Indices = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]
"""Voxel indices (i, j, k): three arrays that broadcast to one shape."""


@dataclass(frozen=True, eq=False)
class Sites:
    """The voxels that a frame shows, each with its pixel.

    Attributes:
        ijk: Voxel indices on the grid.
        rows: Row of the pixel of each voxel; broadcasts like the indices.
        columns: Column of the pixel of each voxel.
    """

    ijk: Indices
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]

    def pick(self, mask: NDArray) -> NDArray[np.bool_]:
        """Values of a mask (H, W) at the voxels."""
        return mask[self.rows, self.columns] != 0


def sites_of_frame(pixel_to_ijk: NDArray, shape_hw: tuple[int, int], shape_kji: Sequence[int]) -> Sites:
    """Find the voxels that a frame shows.

    On a frame that lies on the grid these are all its pixels. On an oblique one they are the voxels nearer to this
    frame than to its neighbours.

    Args:
        pixel_to_ijk: (4, 4) from (column, row, frames away from this one, 1) to voxel index.
        shape_hw: Rows and columns of the frame.
        shape_kji: Size of the grid.
    """
    rounded = np.rint(pixel_to_ijk[:3])
    height, width = shape_hw
    drift = np.abs(pixel_to_ijk[:3] - rounded) @ [width, height, 1, 1]
    entries = np.abs(rounded[:, :3])
    is_permutation = (entries.sum(axis=0) == 1).all() and (entries.sum(axis=1) == 1).all()
    if is_permutation and drift.max() <= SAME_GRID_TOLERANCE_VOXEL:
        return _aligned_sites(rounded.astype(np.intp), shape_hw, shape_kji)
    return _oblique_sites(np.linalg.inv(pixel_to_ijk), pixel_to_ijk, shape_hw, shape_kji)


def _aligned_sites(step: NDArray[np.intp], shape_hw: tuple[int, int], shape_kji: Sequence[int]) -> Sites:
    """Sites of a frame whose pixels are voxels; cropped to the grid."""
    pixels = [np.arange(shape_hw[1])[None, :], np.arange(shape_hw[0])[:, None]]  # columns, rows
    for index, size in enumerate(shape_kji[::-1]):
        start = step[index, 3]
        for which in (0, 1):
            if step[index, which]:
                position = start + step[index, which] * pixels[which]
                is_inside = (position >= 0) & (position < size)
                pixels[which] = pixels[which][is_inside].reshape([1, -1] if which == 0 else [-1, 1])
        if not step[index, :2].any() and not 0 <= start < size:
            pixels[0] = pixels[0][:, :0]
    ijk = [np.full((1, 1), step[index, 3]) for index in range(3)]
    for index in range(3):
        for which in (0, 1):
            if step[index, which]:
                ijk[index] = ijk[index] + step[index, which] * pixels[which]
    return Sites(tuple(ijk), rows=pixels[1], columns=pixels[0])


def _oblique_sites(ijk_to_pixel: NDArray, pixel_to_ijk: NDArray, shape_hw, shape_kji: Sequence[int]) -> Sites:
    """Sites of a frame that cuts the grid at an angle: along the axis that cuts it most, where the frame passes."""
    normal, sizes = ijk_to_pixel[2, :3], np.array(shape_kji[::-1])
    edges = np.array([[-0.5, -0.5, -0.5], [shape_hw[1] - 0.5, shape_hw[0] - 0.5, 0.5]])
    corners = map_points(pixel_to_ijk, np.array(list(itertools.product(*edges.T))))
    first = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    last = np.minimum(np.ceil(corners.max(axis=0)), sizes - 1).astype(int)
    along = int(np.argmax(np.abs(normal)))
    across = [axis for axis in range(3) if axis != along]
    u, v = np.ogrid[tuple(slice(first[axis], last[axis] + 1) for axis in across)]
    away = normal[across[0]] * u + normal[across[1]] * v + ijk_to_pixel[2, 3]
    reach = NEAR_FRAMES / abs(normal[along])
    lowest = np.ceil(-away / normal[along] - reach).astype(np.intp)
    found = []
    for step in range(int(2 * reach) + 1):
        position = lowest + step
        is_near = (np.abs(away + normal[along] * position) < NEAR_FRAMES) & (position >= 0) & (position < sizes[along])
        ijk = np.empty((int(is_near.sum()), 3), np.intp)
        ijk[:, along] = position[is_near]
        for axis, index in zip(across, (u, v), strict=True):
            ijk[:, axis] = np.broadcast_to(index, is_near.shape)[is_near]
        found.append(ijk)
    ijk = np.concatenate(found)
    pixels = np.floor(map_points(ijk_to_pixel, ijk).round(COORDINATE_DECIMALS) + 0.5).astype(np.intp)
    is_shown = (pixels[:, 2] == 0) & (pixels[:, :2] >= 0).all(axis=1) & (pixels[:, :2] < shape_hw[::-1]).all(axis=1)
    ijk, pixels = ijk[is_shown], pixels[is_shown]
    return Sites(tuple(ijk.T), rows=pixels[:, 1], columns=pixels[:, 0])


class Layer:
    """One label image of a segmentation, seen from the grid; a view, to be asked for again after other changes."""

    def __init__(self, image, grid: VolumeGeometry) -> None:
        """Look at a vtkOrientedImageData without copying it."""
        self.image = image
        self.start = np.array(image.GetExtent()[::2])
        scalars = image.GetPointData().GetScalars()
        is_empty = image.IsEmpty() or scalars is None
        shape = (0, 0, 0) if is_empty else image.GetDimensions()[::-1]
        self.array = np.empty(shape, np.uint8) if is_empty else vtk_to_numpy(scalars).reshape(shape)
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        self.matrix = matrix_from_vtk(matrix)
        self.grid_to_layer = np.linalg.inv(self.matrix) @ grid.ijk_to_ras
        corners = np.array(list(itertools.product(*((0, size) for size in grid.shape_kji[::-1]))))
        shifts = map_points(self.grid_to_layer, corners) - corners
        self.shift = np.rint(shifts[0]).astype(int)
        self.is_on_grid = bool(np.abs(shifts - self.shift).max() <= SAME_GRID_TOLERANCE_VOXEL)

    def covers(self, shape_kji: Sequence[int]) -> bool:
        """Whether every voxel of the grid is stored."""
        first = self.shift - self.start
        last = first + np.array(shape_kji[::-1])
        return self.is_on_grid and bool((first >= 0).all() and (last <= np.array(self.array.shape[::-1])).all())

    def read(self, ijk: Indices) -> NDArray:
        """Labels at voxels of the grid, 0 outside of the layer; the nearest label where the layer has another grid."""
        if self.array.size == 0:
            return np.zeros(np.broadcast_shapes(*(index.shape for index in ijk)), self.array.dtype)
        local = self._locate(ijk)
        if self._has_all(local):
            return self.array[local[2], local[1], local[0]]
        is_inside = np.ones((), bool)
        for index, size in zip(local, self.array.shape[::-1], strict=True):
            is_inside = is_inside & (index >= 0) & (index < size)
        i, j, k = (np.clip(index, 0, size - 1) for index, size in zip(local, self.array.shape[::-1], strict=True))
        return np.where(is_inside, self.array[k, j, i], self.array.dtype.type(0))

    def write(self, ijk: Indices, labels: NDArray) -> None:
        """Store labels at voxels of the grid; the layer must be on the grid, voxels outside of it are left out."""
        local = self._locate(ijk)
        if self._has_all(local):  # many times faster: the indices of an aligned frame are not written out
            self.array[local[2], local[1], local[0]] = labels
            return
        i, j, k = np.broadcast_arrays(*local)
        is_inside = np.ones(i.shape, bool)
        for index, size in zip((i, j, k), self.array.shape[::-1], strict=True):
            is_inside &= (index >= 0) & (index < size)
        self.array[k[is_inside], j[is_inside], i[is_inside]] = labels[is_inside]

    def _has_all(self, local: Indices) -> bool:
        """Whether all indices are inside of the stored extent."""
        pairs = zip(local, self.array.shape[::-1], strict=True)
        return all(index.size > 0 and index.min() >= 0 and index.max() < size for index, size in pairs)

    def _locate(self, ijk: Indices) -> Indices:
        if self.is_on_grid:
            return tuple(index + self.shift[axis] - self.start[axis] for axis, index in enumerate(ijk))
        points = np.stack([index.astype(float) for index in np.broadcast_arrays(*ijk)])
        mapped = np.tensordot(self.grid_to_layer[:3, :3], points, 1)
        mapped += self.grid_to_layer[:3, 3].reshape(3, *([1] * (points.ndim - 1)))
        nearest = np.floor(mapped.round(COORDINATE_DECIMALS) + 0.5).astype(np.intp)
        return tuple(nearest[axis] - self.start[axis] for axis in range(3))


def create_image(array_kji: NDArray, first_ijk: Sequence[int], ijk_to_local: NDArray):
    """Build a vtkOrientedImageData with a copy of the array, its first voxel at a given index."""
    image, room = _allocate_image(array_kji.shape[::-1], first_ijk, ijk_to_local, array_kji.dtype)
    room[:] = array_kji
    return image


def layer_of(segmentation_node, segment_id: str, grid: VolumeGeometry) -> Layer | None:
    """Look at the layer a segment lives in; None if it has no label map."""
    image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
    return None if image is None else Layer(image, grid)


def read_segment(segmentation_node, segment_id: str, ijk: Indices, grid: VolumeGeometry) -> NDArray[np.bool_]:
    """Whether voxels of the grid belong to a segment."""
    layer = layer_of(segmentation_node, segment_id, grid)
    if layer is None:
        return np.zeros(np.broadcast_shapes(*(index.shape for index in ijk)), bool)
    return layer.read(ijk) == segment_of(segmentation_node, segment_id).GetLabelValue()


def read_whole_segment(segmentation_node, segment_id: str, grid: VolumeGeometry) -> NDArray[np.bool_]:
    """A segment as a (K, J, I) mask on the grid, a new array."""
    label = segment_of(segmentation_node, segment_id).GetLabelValue()
    layer = layer_of(segmentation_node, segment_id, grid)
    if layer is None or layer.array.size == 0:
        return np.zeros(grid.shape_kji, bool)
    labels = np.zeros(grid.shape_kji, layer.array.dtype)
    if layer.is_on_grid:
        _copy_slices(layer, layer.shift, 0, labels)
        return labels == label
    _resample_slices(layer, label, 0, labels)
    return labels != 0


def put_on_grid(segmentation_node, segment_id: str, grid: VolumeGeometry) -> Layer:
    """Make a segment's layer reach over the whole grid, so that any voxel can be written; labels stay as they are.

    A segment stored on another grid leaves its layer and is resampled (nearest voxel); its neighbours are not.
    """
    for _ in grow_to_grid(segmentation_node, segment_id, grid):
        pass
    return layer_of(segmentation_node, segment_id, grid)


def grow_to_grid(segmentation_node, segment_id: str, grid: VolumeGeometry) -> Iterator[None]:
    """``put_on_grid`` in pieces of a few milliseconds, for event loops; the segment changes with the last one."""
    segmentation = segmentation_node.GetSegmentation()
    segment, layer = segment_of(segmentation_node, segment_id), layer_of(segmentation_node, segment_id, grid)
    label, sharing, fill = segment.GetLabelValue(), [segment_id], None
    dtype = np.uint8 if label <= np.iinfo(np.uint8).max else np.uint16
    first, size, matrix = np.zeros(3, int), np.array(grid.shape_kji[::-1]), grid.ijk_to_ras
    if layer is not None and layer.array.size == 0:
        sharing = _segments_of_layer(segmentation, segment_id)
    elif layer is not None and layer.is_on_grid:
        if layer.covers(grid.shape_kji) and label <= np.iinfo(layer.array.dtype).max:
            return
        first = np.minimum(layer.start, layer.shift)
        size = np.maximum(layer.start + layer.array.shape[::-1], layer.shift + size) - first
        matrix, fill = layer.matrix, partial(_copy_slices, layer, first)
        dtype, sharing = np.promote_types(dtype, layer.array.dtype), _segments_of_layer(segmentation, segment_id)
    elif layer is not None:
        dtype, fill, label = np.uint8, partial(_resample_slices, layer, label), 1
    image, array = _allocate_image(size, first, matrix, dtype)
    before = 0 if layer is None else layer.image.GetMTime()
    step = max(PIECE_BYTES // array[0].nbytes, 1)
    for start in range(0, len(array), step):
        piece = array[start : start + step]
        piece[:] = 0
        if fill is not None:
            fill(start, piece)
        yield
    if layer is not None and layer.image.GetMTime() != before:  # somebody painted in the layer meanwhile
        yield from grow_to_grid(segmentation_node, segment_id, grid)
        return
    for shared_id in sharing:
        segmentation.GetSegment(shared_id).AddRepresentation(BINARY_LABELMAP, image)
    segment.SetLabelValue(label)


def segment_of(segmentation_node, segment_id: str):
    """The vtkSegment with this ID.

    Raises:
        InputError: If the segmentation has none.
    """
    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        known = ", ".join(segmentation_node.GetSegmentation().GetSegmentIDs()) or "none"
        msg = f"Segmentation {segmentation_node.GetName()!r} has no segment {segment_id!r} (it has: {known})."
        raise InputError(msg)
    return segment


def announce(segmentation_node, segment_id: str) -> None:
    """Tell views, undo history and scene that voxels of a segment were changed in place; surfaces stay as they are."""
    image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
    image.GetPointData().GetScalars().Modified()
    segmentation_node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified, segment_id)


def _segments_of_layer(segmentation, segment_id: str) -> list[str]:
    return list(segmentation.GetSegmentIDsForLayer(segmentation.GetLayerIndex(segment_id)))


def _copy_slices(layer: Layer, first: NDArray[np.intp], start: int, piece: NDArray) -> None:
    """Copy a layer's labels into cleared slices, the first voxel of which is ``first`` plus ``start`` slices."""
    offset = layer.start - first - [0, 0, start]
    sources, targets = [], []
    for shift, length, size in zip(offset, layer.array.shape[::-1], piece.shape[::-1], strict=True):
        low, high = max(shift, 0), min(shift + length, size)
        targets.append(slice(low, max(high, low)))
        sources.append(slice(low - shift, max(high, low) - shift))
    piece[tuple(targets[::-1])] = layer.array[tuple(sources[::-1])]


def _resample_slices(layer: Layer, label: int, start: int, piece: NDArray) -> None:
    """Set slices of the grid from ``start`` on to 1 where the nearest voxel of a layer carries a label."""
    k, j, i = np.ogrid[start : start + len(piece), : piece.shape[1], : piece.shape[2]]
    piece[:] = layer.read((i, j, k)) == label


def _allocate_image(size: NDArray[np.intp], first_ijk: Sequence[int], ijk_to_local: NDArray, dtype):
    """A vtkOrientedImageData of so many voxels (i, j, k), and a view (K, J, I) of them; what they hold is undefined."""
    image = slicer.vtkOrientedImageData()
    extent = np.stack([first_ijk, np.add(first_ijk, size) - 1], axis=1)
    image.SetExtent(*extent.ravel().tolist())
    image.SetImageToWorldMatrix(matrix_to_vtk(ijk_to_local))
    image.AllocateScalars(get_vtk_array_type(np.dtype(dtype)), 1)
    return image, vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
