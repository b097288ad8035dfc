"""Which voxels of a segment's label map belong to a frame, and labels read and written there in place (layer: mrml).

Slicer keeps several segments in one image (a layer) as different label values, each layer with its own extent.
Voxel indices here are those of one grid, the volume's, whatever the extent of a layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from ..core.errors import InputError
from ..core.geometry import SAME_GRID_TOLERANCE_VOXEL, VolumeGeometry, map_points
from .transforms import matrix_from_vtk, matrix_to_vtk

BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"

COORDINATE_DECIMALS = 6
"""Coordinates are rounded to this before they are rounded to a cell, so that halves do not depend on the last bit."""

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


def sites_of_frame(
    pixel_to_ijk: NDArray, mask: NDArray, shape_kji: Sequence[int], own_voxels: Callable[[], NDArray[np.intp]]
) -> Sites:
    """Find the voxels of a frame that a new mask may set or clear.

    On a frame that lies on the grid these are all its pixels. On an oblique one they are the voxels nearer to this
    frame than to its neighbours, as far as the mask reaches, and those of the object as it was.

    Args:
        pixel_to_ijk: (4, 4) from (column, row, frames away from this one, 1) to voxel index.
        mask: (H, W) new mask.
        shape_kji: Size of the grid.
        own_voxels: Gives the (N, 3) voxels the object has now; only asked on oblique frames.
    """
    rounded = np.rint(pixel_to_ijk[:3])
    height, width = mask.shape
    drift = np.abs(pixel_to_ijk[:3] - rounded) @ [width, height, 1, 1]
    entries = np.abs(rounded[:, :3])
    is_permutation = (entries.sum(axis=0) == 1).all() and (entries.sum(axis=1) == 1).all()
    if is_permutation and drift.max() <= SAME_GRID_TOLERANCE_VOXEL:
        return _aligned_sites(rounded.astype(np.intp), mask.shape, shape_kji)
    return _oblique_sites(np.linalg.inv(pixel_to_ijk), pixel_to_ijk, mask, shape_kji, own_voxels())


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


def _oblique_sites(ijk_to_pixel, pixel_to_ijk, mask, shape_kji, own_ijk) -> Sites:
    """Sites of a frame that cuts the grid at an angle, slice by slice of the grid to save memory."""
    found = [own_ijk]
    rows, columns = np.nonzero(mask)
    if rows.size:
        low = np.array([columns.min(), rows.min(), 0]) - 0.5
        high = np.array([columns.max(), rows.max(), 0]) + 0.5
        corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
        ijk = map_points(pixel_to_ijk, corners)
        first = np.maximum(np.floor(ijk.min(axis=0)), 0).astype(int)
        last = np.minimum(np.ceil(ijk.max(axis=0)), np.array(shape_kji[::-1]) - 1).astype(int)
        for k in range(first[2], last[2] + 1):
            i, j = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1))
            away = ijk_to_pixel[2] @ np.stack([i.ravel(), j.ravel(), np.full(i.size, k), np.ones(i.size)])
            is_near = np.abs(away) < 0.51  # decided exactly below
            found.append(np.stack([i.ravel()[is_near], j.ravel()[is_near], np.full(int(is_near.sum()), k)], axis=1))
    ijk = np.concatenate(found)
    pixels = np.floor(map_points(ijk_to_pixel, ijk).round(COORDINATE_DECIMALS) + 0.5).astype(np.intp)
    is_shown = (pixels[:, 2] == 0) & (pixels[:, :2] >= 0).all(axis=1) & (pixels[:, :2] < mask.shape[::-1]).all(axis=1)
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

    def voxels_of(self, label: int) -> NDArray[np.intp]:
        """(N, 3) voxels of the grid that carry a label; the layer must be on the grid."""
        # Much faster than argwhere on a large array.
        kji = np.unravel_index(np.flatnonzero(self.array.reshape(-1) == label), self.array.shape)
        return np.stack(kji[::-1], axis=1) + self.start - self.shift

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
    image = slicer.vtkOrientedImageData()
    extent = []
    for start, size in zip(first_ijk, array_kji.shape[::-1], strict=True):
        extent += [int(start), int(start) + size - 1]
    image.SetExtent(*extent)
    image.SetImageToWorldMatrix(matrix_to_vtk(ijk_to_local))
    flat = np.ascontiguousarray(array_kji).reshape(-1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True, array_type=get_vtk_array_type(flat.dtype)))
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
    if layer.is_on_grid:
        array, first = _padded(layer, grid.shape_kji, layer.array.dtype)
        i, j, k = layer.shift - first
        depth, height, width = grid.shape_kji
        return array[k : k + depth, j : j + height, i : i + width] == label
    ijk = tuple(np.ogrid[tuple(slice(size) for size in grid.shape_kji[::-1])])
    return np.ascontiguousarray((layer.read(ijk) == label).transpose(2, 1, 0))


def put_on_grid(segmentation_node, segment_id: str, grid: VolumeGeometry) -> Layer:
    """Make a segment's layer reach over the whole grid, so that any voxel can be written; labels stay as they are.

    A segment stored on another grid leaves its layer and is resampled (nearest voxel); its neighbours are not.
    """
    segmentation = segmentation_node.GetSegmentation()
    segment = segment_of(segmentation_node, segment_id)
    layer = layer_of(segmentation_node, segment_id, grid)
    if (
        layer is not None
        and layer.covers(grid.shape_kji)
        and segment.GetLabelValue() <= np.iinfo(layer.array.dtype).max
    ):
        return layer
    sharing = [segment_id] if layer is None else _segments_of_layer(segmentation, segment_id)
    first, label = np.zeros(3, int), segment.GetLabelValue()
    dtype = np.uint8 if label <= np.iinfo(np.uint8).max else np.uint16
    if layer is None or layer.array.size == 0:
        array = np.zeros(grid.shape_kji, dtype)
        matrix = grid.ijk_to_ras
    elif layer.is_on_grid:
        array, first = _padded(layer, grid.shape_kji, np.promote_types(dtype, layer.array.dtype))
        matrix = layer.matrix
    else:
        array = read_whole_segment(segmentation_node, segment_id, grid).astype(np.uint8)
        matrix = grid.ijk_to_ras
        sharing, label = [segment_id], 1
    image = create_image(array, first, matrix)
    for shared_id in sharing:
        segmentation.GetSegment(shared_id).AddRepresentation(BINARY_LABELMAP, image)
    segment.SetLabelValue(label)
    return Layer(image, grid)


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


def _padded(layer: Layer, shape_kji: Sequence[int], dtype) -> tuple[NDArray, NDArray[np.intp]]:
    """Copy a layer into an array that also reaches over the whole grid; return it with its first index."""
    size = np.array(layer.array.shape[::-1])
    first = np.minimum(layer.start, layer.shift)
    last = np.maximum(layer.start + size, layer.shift + np.array(shape_kji[::-1]))
    array = np.zeros(tuple((last - first)[::-1]), dtype)
    i, j, k = layer.start - first
    array[k : k + size[2], j : j + size[1], i : i + size[0]] = layer.array
    return array, first
