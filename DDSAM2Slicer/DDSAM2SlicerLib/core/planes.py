"""A stack of parallel planes of any orientation through a volume, resampled frame by frame (layer: core)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrays import check_frame, check_image, check_shape, is_colour
from .errors import GeometryError
from .geometry import VolumeGeometry, map_points
from .intensity import IntensityMapping, choose_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

GRID_DECIMALS = 6
"""Index coordinates are rounded to this: a plane that lies on the grid then shows the voxels themselves."""


@dataclass(frozen=True, eq=False)
class PlaneFrames:
    """Frames cut from a volume along a direction that need not follow its axes (a FrameSource).

    Attributes:
        array_kji: (K, J, I) or (K, J, I, 3) voxels; not copied.
        geometry: Placement of the voxels.
        origin_ras: Centre of pixel (0, 0) of frame 0, in RAS mm.
        column_dir_ras: Direction of increasing column; any length, stored as unit vector.
        row_dir_ras: Direction of increasing row; at a right angle to the former.
        spacing_mm: Step per column, per row and per frame; frames advance along column x row direction.
        num_frames: Number of frames.
        shape_hw: Rows and columns of a frame.
        mapping: Grey values; by default the volume's own robust percentiles.
    """

    array_kji: NDArray
    geometry: VolumeGeometry
    origin_ras: NDArray[np.float64]
    column_dir_ras: NDArray[np.float64]
    row_dir_ras: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    num_frames: int
    shape_hw: tuple[int, int]
    mapping: IntensityMapping | None = None

    is_calibrated = True

    def __post_init__(self) -> None:
        """Freeze and validate."""
        array = check_image(self.array_kji, "KJI")
        check_shape(array.shape[:3], self.geometry.shape_kji, "The image")
        column, row = _unit(self.column_dir_ras), _unit(self.row_dir_ras)
        if abs(column @ row) > 1e-3:
            msg = f"The plane's column and row directions {column} and {row} are not at a right angle."
            raise GeometryError(msg)
        row = _unit(row - (row @ column) * column)
        if min(self.spacing_mm) <= 0 or min(self.num_frames, *self.shape_hw) < 1:
            msg = (
                f"{self.num_frames} planes of {self.shape_hw} pixels at {self.spacing_mm} mm are not usable: "
                "every number must be positive."
            )
            raise GeometryError(msg)
        frozen = {
            "array_kji": array,
            "origin_ras": np.array(self.origin_ras, dtype=np.float64),
            "column_dir_ras": column,
            "row_dir_ras": row,
            "mapping": choose_mapping([array], self.mapping, is_colour(array, "KJI")),
        }
        for name, value in frozen.items():
            object.__setattr__(self, name, value)

    @classmethod
    def covering(
        cls,
        array_kji: NDArray,
        geometry: VolumeGeometry,
        column_dir_ras: ArrayLike,
        row_dir_ras: ArrayLike,
        spacing_mm: tuple[float, float, float],
        mapping: IntensityMapping | None = None,
    ) -> PlaneFrames:
        """Cut the whole volume: the smallest stack of this orientation whose pixel centres reach every voxel centre."""
        column, row = _unit(column_dir_ras), _unit(row_dir_ras)
        axes = np.stack([column, row, np.cross(column, row)])
        corners_ijk = np.array(list(itertools.product(*((0, size - 1) for size in geometry.shape_kji[::-1]))))
        along = geometry.map_ijk_to_ras(corners_ijk) @ axes.T
        low, extent = along.min(axis=0), np.ptp(along, axis=0)
        steps = np.ceil(extent / spacing_mm - 1e-6).astype(int)
        start = low - (steps * spacing_mm - extent) / 2
        width, height, num_frames = (steps + 1).tolist()
        return cls(array_kji, geometry, start @ axes, column, row, spacing_mm, num_frames, (height, width), mapping)

    @property
    def height(self) -> int:
        """Rows of a frame."""
        return self.shape_hw[0]

    @property
    def width(self) -> int:
        """Columns of a frame."""
        return self.shape_hw[1]

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Step per column and per row."""
        return self.spacing_mm[0], self.spacing_mm[1]

    @property
    def frame_step_mm(self) -> float:
        """Distance between neighbouring frames."""
        return self.spacing_mm[2]

    def pixel_to_ras(self, index: int) -> NDArray[np.float64]:
        """(4, 4): steps in mm per column, row and frame, and the centre of pixel (0, 0) of this frame."""
        check_frame(index, self.num_frames)
        return self._stack_to_ras() @ _shift_frames(index)

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Resample one frame, trilinear, (H, W) or (H, W, 3); black outside of the volume."""
        ijk = self._indices_ijk(index)
        values, is_inside = _interpolate(self.array_kji, ijk, self.mapping)
        grey = self.mapping.apply(values)
        grey[~is_inside] = 0
        return grey

    def from_volume(self, labelmap_kji: NDArray, frame: int) -> NDArray:
        """Cut a label map of the volume, nearest voxel, (H, W); 0 outside."""
        check_shape(labelmap_kji.shape, self.geometry.shape_kji, "The label map")
        nearest, is_inside = _nearest(self._indices_ijk(frame), labelmap_kji.shape[::-1])
        cut = labelmap_kji[nearest[2], nearest[1], nearest[0]]
        return np.where(is_inside, cut, np.zeros_like(cut))

    def to_volume(self, masks_by_frame: Mapping[int, NDArray]) -> NDArray[np.uint8]:
        """Write masks (H, W) into a new (K, J, I) array: a voxel takes the pixel that is nearest to its centre."""
        volume = np.zeros(self.geometry.shape_kji, np.uint8)
        masks = np.zeros((self.num_frames, *self.shape_hw), bool)
        for index, mask in masks_by_frame.items():
            check_shape(mask.shape, self.shape_hw, f"The mask of frame {index}")
            masks[check_frame(index, self.num_frames)] = mask
        ijk_to_stack = np.linalg.inv(self._stack_to_ras()) @ self.geometry.ijk_to_ras
        j, i = np.indices(volume.shape[1:], dtype=np.float64)
        for k in range(volume.shape[0]):  # slice by slice: coordinates of a whole volume would not fit in memory
            ijk = np.stack([i.ravel(), j.ravel(), np.full(i.size, float(k))], axis=1)
            stack_xyn = map_points(ijk_to_stack, ijk).T.reshape(3, *i.shape)
            nearest, is_inside = _nearest(stack_xyn.round(GRID_DECIMALS), (self.width, self.height, self.num_frames))
            volume[k] = masks[nearest[2], nearest[1], nearest[0]] & is_inside
        return volume

    def _stack_to_ras(self) -> NDArray[np.float64]:
        """(4, 4) from (column, row, frame) to RAS mm."""
        matrix = np.eye(4)
        normal = np.cross(self.column_dir_ras, self.row_dir_ras)
        matrix[:3, :3] = np.stack([self.column_dir_ras, self.row_dir_ras, normal], axis=1) * np.array(self.spacing_mm)
        matrix[:3, 3] = self.origin_ras
        return matrix

    def _indices_ijk(self, index: int) -> NDArray[np.float64]:
        """(3, H, W): fractional voxel index (i, j, k) of every pixel."""
        pixel_to_ijk = self.geometry.ras_to_ijk @ self.pixel_to_ras(index)
        y, x = np.indices(self.shape_hw, dtype=np.float64)
        ijk = (
            pixel_to_ijk[:3, 0, None, None] * x + pixel_to_ijk[:3, 1, None, None] * y + pixel_to_ijk[:3, 3, None, None]
        )
        return ijk.round(GRID_DECIMALS)


def _unit(direction: ArrayLike) -> NDArray[np.float64]:
    """Return the direction with length 1, as a new array."""
    vector = np.array(direction, dtype=np.float64)
    length = np.linalg.norm(vector)
    if vector.shape != (3,) or not np.isfinite(length) or length == 0:
        msg = f"{direction} is not a direction in space: three finite numbers, not all zero, are needed."
        raise GeometryError(msg)
    return vector / length


def _shift_frames(index: int) -> NDArray[np.float64]:
    """(4, 4) that moves by a number of frames."""
    matrix = np.eye(4)
    matrix[2, 3] = index
    return matrix


def _nearest(indices: NDArray[np.float64], shape: tuple[int, int, int]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Round (3, ...) coordinates to cells of a grid, clipped into it, and tell which lay inside a cell."""
    sizes = np.array(shape).reshape(3, *([1] * (indices.ndim - 1)))
    rounded = np.floor(indices + 0.5).astype(np.intp)
    is_inside = ((rounded >= 0) & (rounded < sizes)).all(axis=0)
    return np.clip(rounded, 0, sizes - 1), is_inside


def _interpolate(
    array_kji: NDArray, ijk: NDArray[np.float64], mapping: IntensityMapping
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Trilinear values at (3, H, W) index coordinates, and which of them lie inside a voxel of the volume."""
    _, is_inside = _nearest(ijk, array_kji.shape[2::-1])
    upper = np.array(array_kji.shape[2::-1]).reshape(3, 1, 1) - 1
    clipped = np.clip(ijk, 0, upper)
    first = np.floor(clipped).astype(np.intp)
    second = np.minimum(first + 1, upper)
    fraction = clipped - first
    values = np.zeros((*ijk.shape[1:], *array_kji.shape[3:]))
    for corner in itertools.product((0, 1), repeat=3):
        i, j, k = (second[axis] if bit else first[axis] for axis, bit in enumerate(corner))
        i_weight, j_weight, k_weight = (
            fraction[axis] if bit else 1 - fraction[axis] for axis, bit in enumerate(corner)
        )
        weight = i_weight * j_weight * k_weight
        voxels = array_kji[k, j, i].astype(np.float64)
        if array_kji.dtype.kind == "f":  # an infinite neighbour of weight zero would otherwise turn into NaN
            voxels = np.nan_to_num(voxels, nan=mapping.low, posinf=mapping.high, neginf=mapping.low)
        values += voxels * (weight[..., None] if voxels.ndim == 3 else weight)
    return values, is_inside
