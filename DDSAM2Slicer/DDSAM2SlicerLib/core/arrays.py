"""Checks on image arrays and frame numbers that every frame source shares (layer: core)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

NUM_COLOURS = 3


def check_image(array: ArrayLike, axes: str) -> NDArray:
    """Return the array unchanged (no copy) if it can be a stack of grey or RGB frames.

    Args:
        array: Numbers with the given axes, or with three colour values (RGB) as one more, last axis.
        axes: One letter per axis, for example "KJI".

    Raises:
        InputError: If it is empty, has other axes, or does not hold real numbers.
    """
    array = np.asarray(array)
    named = ", ".join(axes)
    if array.ndim != len(axes) and not is_colour(array, axes):
        msg = (
            f"An image array of shape {array.shape} has {array.ndim} axes; expected ({named}) for grey values or "
            f"({named}, {NUM_COLOURS}) for RGB. Pick one channel or time point first."
        )
        raise InputError(msg)
    if array.size == 0:
        msg = f"The image is empty: its shape is {array.shape}, axes ({named}). Choose an image with voxels."
        raise InputError(msg)
    if array.dtype.kind not in "buif":
        msg = f"Voxels of type {array.dtype} cannot be shown as grey values; use integers or real numbers."
        raise InputError(msg)
    return array


def is_colour(array: NDArray, axes: str) -> bool:
    """Whether the array has one axis more than named, with three values (RGB)."""
    return array.ndim == len(axes) + 1 and array.shape[-1] == NUM_COLOURS


def check_frame(index: int, num_frames: int) -> int:
    """Return the frame number if the stack has it; counting from the end is not accepted.

    Raises:
        InputError: If it has not.
    """
    if not 0 <= index < num_frames:
        msg = f"Frame {index} does not exist: the stack has frames 0 to {num_frames - 1}."
        raise InputError(msg)
    return int(index)


def check_shape(given: tuple[int, ...], expected: tuple[int, ...], name: str) -> None:
    """Raise InputError unless both shapes agree; the name opens the message."""
    if tuple(given) != tuple(expected):
        msg = f"{name} has shape {tuple(given)}, but {tuple(expected)} is needed; use data on the image's own grid."
        raise InputError(msg)
