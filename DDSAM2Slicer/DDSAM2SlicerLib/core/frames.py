"""A frame is a frame: volume axis, plane, clip and series look the same to the engine (layer: core).

A frame source is a stack of 2D frames of 8 bits with a map from pixel (column, row) of frame n to the world.
Integer pixel coordinates are pixel centres, so a frame spans -0.5 to width - 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .arrays import check_frame, check_image, check_shape, is_colour
from .errors import InputError
from .geometry import Axis, VolumeGeometry
from .intensity import IntensityMapping, choose_mapping
from .planes import PlaneFrames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["FrameSource", "IntensityMapping", "PlaneFrames", "SeriesFrames", "TimeFrames", "VolumeFrames"]


class FrameSource(Protocol):
    """What the engine needs to know about a stack of frames."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""

    @property
    def height(self) -> int:
        """Rows of a frame."""

    @property
    def width(self) -> int:
        """Columns of a frame."""

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Step per column and per row."""

    @property
    def frame_step_mm(self) -> float | None:
        """Distance between neighbouring frames; None when frames follow each other in time."""

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame, (H, W) or (H, W, 3), a new array."""

    def pixel_to_ras(self, index: int) -> NDArray[np.float64]:
        """(4, 4): steps in mm per column, row and frame, and the centre of pixel (0, 0) of this frame."""


@dataclass(frozen=True, eq=False)
class VolumeFrames:
    """The slices of a volume along one of its index axes (a FrameSource).

    Axis K gives frames of J rows and I columns, J gives K rows and I columns, I gives K rows and J columns.

    Attributes:
        array_kji: (K, J, I) or (K, J, I, 3) voxels; not copied, never changed.
        geometry: Placement of the voxels.
        axis: Axis along which the frames are stacked.
        mapping: Grey values; by default the volume's own robust percentiles.
    """

    array_kji: NDArray
    geometry: VolumeGeometry
    axis: Axis
    mapping: IntensityMapping | None = None

    is_calibrated = True

    def __post_init__(self) -> None:
        """Freeze and validate."""
        array = check_image(self.array_kji, "KJI")
        check_shape(array.shape[:3], self.geometry.shape_kji, "The image")
        object.__setattr__(self, "array_kji", array)
        object.__setattr__(self, "axis", Axis(self.axis))
        object.__setattr__(self, "mapping", choose_mapping([array], self.mapping, is_colour(array, "KJI")))

    @property
    def num_frames(self) -> int:
        """Number of slices along the axis."""
        return self.geometry.shape_kji[self.axis.array_axis]

    @property
    def height(self) -> int:
        """Rows of a frame."""
        return self.geometry.shape_kji[2 - self.axis.frame_axes[1]]

    @property
    def width(self) -> int:
        """Columns of a frame."""
        return self.geometry.shape_kji[2 - self.axis.frame_axes[0]]

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Step per column and per row."""
        column_axis, row_axis = self.axis.frame_axes
        return self.geometry.spacing_mm[column_axis], self.geometry.spacing_mm[row_axis]

    @property
    def frame_step_mm(self) -> float:
        """Distance between neighbouring slices."""
        return self.geometry.spacing_mm[2 - self.axis.array_axis]

    def pixel_to_ras(self, index: int) -> NDArray[np.float64]:
        """(4, 4): steps in mm per column, row and frame, and the centre of pixel (0, 0) of this frame."""
        check_frame(index, self.num_frames)
        frame_axis = 2 - self.axis.array_axis
        matrix = self.geometry.ijk_to_ras[:, [*self.axis.frame_axes, frame_axis, 3]]
        matrix[:, 3] += index * self.geometry.ijk_to_ras[:, frame_axis]
        return matrix

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One slice in 8 bits, (H, W) or (H, W, 3), a new array."""
        return self.mapping.apply(self._slice(self.array_kji, index))

    def from_volume(self, labelmap_kji: NDArray, frame: int) -> NDArray:
        """The slice (H, W) of a label map on the volume's grid; a view."""
        check_shape(labelmap_kji.shape, self.geometry.shape_kji, "The label map")
        return self._slice(labelmap_kji, frame)

    def to_volume(self, masks_by_frame: Mapping[int, NDArray]) -> NDArray[np.uint8]:
        """Put masks (H, W) of some frames into a new array (K, J, I) of 0 and 1; the inverse of ``from_volume``."""
        volume = np.zeros(self.geometry.shape_kji, np.uint8)
        for index, mask in masks_by_frame.items():
            check_shape(mask.shape, (self.height, self.width), f"The mask of frame {index}")
            self._slice(volume, index)[...] = np.asarray(mask) != 0
        return volume

    def _slice(self, array: NDArray, index: int) -> NDArray:
        """View of one frame of an array (K, J, I, ...)."""
        return array[(slice(None),) * self.axis.array_axis + (check_frame(index, self.num_frames),)]


class TimeFrames:
    """Frames that follow each other in time at one place: cine, ultrasound, video (a FrameSource)."""

    frame_step_mm = None

    def __init__(
        self,
        frames: ArrayLike,
        pixel_to_ras: ArrayLike | None = None,
        times_s: Sequence[float] | None = None,
        mapping: IntensityMapping | None = None,
    ) -> None:
        """Wrap frames without copying them.

        Args:
            frames: (T, H, W) grey or (T, H, W, 3) RGB.
            pixel_to_ras: (4, 4) as FrameSource.pixel_to_ras; without it a pixel counts as 1 mm.
            times_s: Time of each frame, in order.
            mapping: Grey values; by default robust percentiles over all frames, 8-bit RGB as it is.
        """
        self.array_thw = check_image(frames, "THW")
        self.num_frames, self.height, self.width = self.array_thw.shape[:3]
        self.mapping = choose_mapping([self.array_thw], mapping, is_colour(self.array_thw, "THW"))
        self.is_calibrated = pixel_to_ras is not None
        # The geometry of a single slice: refuses what is not finite or sheared.
        matrix = np.eye(4) if pixel_to_ras is None else pixel_to_ras
        self._geometry = VolumeGeometry((1, self.height, self.width), matrix)
        self.times_s = _check_times(times_s, self.num_frames)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Step per column and per row; 1 mm each if the frames are not calibrated."""
        return self._geometry.spacing_mm[:2]

    def pixel_to_ras(self, index: int) -> NDArray[np.float64]:
        """(4, 4), the same for every frame; the third column is only a direction, frames do not move."""
        check_frame(index, self.num_frames)
        return self._geometry.ijk_to_ras.copy()

    def frame(self, index: int) -> NDArray[np.uint8]:
        """One frame in 8 bits, (H, W) or (H, W, 3), a new array."""
        return self.mapping.apply(self.array_thw[check_frame(index, self.num_frames)])


@dataclass(frozen=True, eq=False)
class SeriesFrames:
    """Volumes that follow each other in time (3D+t), to be read slice by slice or time point by time point.

    Attributes:
        arrays_tkji: (T, K, J, I[, 3]) array, or T arrays (K, J, I[, 3]) of one shape; not copied.
        geometry: Placement, the same at all times.
        axis: Axis along which the frames of one time point are stacked.
        mapping: Grey values; by default robust percentiles over all time points together.
    """

    arrays_tkji: Sequence[NDArray]
    geometry: VolumeGeometry
    axis: Axis
    mapping: IntensityMapping | None = None

    def __post_init__(self) -> None:
        """Freeze and validate."""
        arrays = [check_image(array, "KJI") for array in self.arrays_tkji]
        if not arrays:
            msg = "The series is empty: it needs at least one time point."
            raise InputError(msg)
        for time, array in enumerate(arrays):
            check_shape(array.shape[:3], self.geometry.shape_kji, f"Time point {time} of the series")
            check_shape(array.shape, arrays[0].shape, f"Time point {time} of the series")
        object.__setattr__(self, "arrays_tkji", tuple(arrays))
        object.__setattr__(self, "axis", Axis(self.axis))
        object.__setattr__(self, "mapping", choose_mapping(arrays, self.mapping, is_colour(arrays[0], "KJI")))

    @property
    def num_times(self) -> int:
        """Number of time points."""
        return len(self.arrays_tkji)

    @property
    def num_slices(self) -> int:
        """Number of slice positions along the axis."""
        return self.geometry.shape_kji[self.axis.array_axis]

    def at_time(self, time: int) -> VolumeFrames:
        """The slices of one time point, with the mapping of the whole series."""
        check_frame(time, self.num_times)
        return VolumeFrames(self.arrays_tkji[time], self.geometry, self.axis, self.mapping)

    def at_slice(self, position: int) -> TimeFrames:
        """One slice position through time, with the mapping of the whole series."""
        check_frame(position, self.num_slices)
        frames = np.stack([np.take(array, position, axis=self.axis.array_axis) for array in self.arrays_tkji])
        return TimeFrames(frames, self.at_time(0).pixel_to_ras(position), mapping=self.mapping)


def _check_times(times_s: Sequence[float] | None, num_frames: int) -> tuple[float, ...] | None:
    """Return the times as floats; there must be one per frame, finite, and never running backwards."""
    if times_s is None:
        return None
    times = np.array(times_s, dtype=np.float64)
    if times.shape != (num_frames,) or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        msg = f"{num_frames} frames need {num_frames} finite times in ascending order; {times.size} were given."
        raise InputError(msg)
    return tuple(times.tolist())
