"""From an image to the frames that are propagated over, and from masks of frames back to its grid (layer: cli)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError, SettingsError
from ..core.frames import FrameSource, SeriesFrames, TimeFrames, VolumeFrames
from ..core.geometry import Axis
from ..core.intensity import IntensityMapping
from .readers import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

AXES = ("auto", "i", "j", "k", "time")
THICK = 1.05
"""Slices count as thick when their distance is this many times the other spacings."""


@dataclass(frozen=True, eq=False)
class Stack:
    """An image as frames: the slices of a volume, the frames of a clip, or both for 3D+t.

    Attributes:
        image: What was read; slices are times already where the user said so.
        axis: Axis of the slices; None for a clip.
        window: Width and level of the grey values, if they are known.
    """

    image: Image
    axis: Axis | None
    window: tuple[float, float] | None = None

    @cached_property
    def mapping(self) -> IntensityMapping:
        """The one intensity mapping of the whole image: the window, else robust percentiles."""
        arrays = self.image.arrays
        if self.window is not None:
            return IntensityMapping.from_window(*self.window)
        if arrays[0].ndim == 4 and arrays[0].dtype == np.uint8:
            return IntensityMapping(0.0, 255.0)
        return IntensityMapping.from_arrays(arrays)

    @cached_property
    def series(self) -> SeriesFrames:
        """All time points."""
        return SeriesFrames(self.image.arrays, self.image.geometry, self.axis or Axis.K, self.mapping)

    def source(self, time: int = 0) -> FrameSource:
        """The frames that prompts refer to: all frames of a clip, else the slices of one time point."""
        if self.axis is not None:
            return self.series.at_time(time)
        frames = np.concatenate(self.image.arrays)
        matrix = VolumeFrames(self.image.arrays[0], self.image.geometry, Axis.K, self.mapping).pixel_to_ras(0)
        return TimeFrames(frames, matrix if self.image.is_calibrated else None, self.image.times_s, self.mapping)

    def view(self, masks_tkji: NDArray, time: int, frame: int) -> NDArray:
        """The part (H, W) of an array on the image's grid that belongs to a frame; for a clip the frame is the time."""
        if self.axis is None:
            return masks_tkji[frame, 0]
        return masks_tkji[time][(slice(None),) * self.axis.array_axis + (frame,)]

    def picture(self, time: int, frame: int) -> NDArray[np.uint8]:
        """The 8-bit frame the network sees."""
        return self.source(time).frame(frame)

    def describe(self) -> str:
        """One line about the frames for the user."""
        source = self.source()
        size = f"{source.num_frames} frames of {source.width} x {source.height} pixels"
        if self.axis is None:
            return f"{size} in time"
        times = f", {self.image.num_times} time points" if self.image.num_times > 1 else ""
        return f"{size} along axis {self.axis.value}{times}"


def make_stack(image: Image, axis: str = "auto", seed_kji: NDArray | None = None) -> Stack:
    """Choose the frames.

    Args:
        image: The image.
        axis: One of AXES; ``auto`` takes time for clips, else the axis along which the seed mask is flat, else the one
            of thick slices, else k. ``time`` makes frames in time of the slices of a volume along k.
        seed_kji: Labels (K, J, I) of the seed mask, if there is one.

    Raises:
        SettingsError: If the axis does not exist in this image.
        InputError: If there is only one frame, or nothing can be seen.
    """
    if axis not in AXES:
        msg = f"There is no axis {axis!r}. Accepted: {', '.join(AXES)}."
        raise SettingsError(msg)
    if image.is_clip and axis not in ("auto", "time"):
        msg = f"{image.path} has frames in time only; use --axis time (or auto) instead of {axis}."
        raise SettingsError(msg)
    if axis == "time" and image.num_times == 1:
        image = image.slices_as_times()
    if image.is_clip or (axis == "time" and not image.is_series):
        chosen = None
    else:
        chosen = Axis(axis) if axis in ("i", "j", "k") else _choose_axis(image, seed_kji)
    stack = Stack(image, chosen)
    _check_stack(stack)
    return stack


def _choose_axis(image: Image, seed_kji: NDArray | None) -> Axis:
    """The axis along which the seed is flat, else the one of thick slices, else k."""
    if seed_kji is not None and seed_kji.any():
        flat = [axis for axis in Axis if np.ptp(np.nonzero(seed_kji)[axis.array_axis]) == 0]
        if len(flat) == 1:
            return flat[0]
    spacing = dict(zip(Axis, image.geometry.spacing_mm, strict=True))
    thickest = max(Axis, key=lambda axis: spacing[axis])
    others = [spacing[axis] for axis in Axis if axis is not thickest]
    return thickest if spacing[thickest] > THICK * max(others) else Axis.K


def _check_stack(stack: Stack) -> None:
    """Refuse a stack on which nothing can be propagated."""
    path = stack.image.path
    if stack.mapping.is_constant:
        msg = f"{path} is constant: every voxel is {stack.mapping.low:g}, so that there is nothing to see."
        raise InputError(msg)
    if stack.source().num_frames < 2:
        where = "in time" if stack.axis is None else f"along axis {stack.axis.value}"
        msg = (
            f"{path} has only one frame {where}; a propagation needs at least two. "
            "Choose another --axis, or give a volume."
        )
        raise InputError(msg)
