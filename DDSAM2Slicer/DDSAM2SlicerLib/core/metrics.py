"""Agreement of two masks and size of one, always with units (layer: core).

Masks are arrays of two or three axes, every non-zero cell is inside. ``spacing_mm`` runs in the order of indices,
(column, row) of a frame or (i, j, k) of a volume, which is the reverse of the array's axes; it is what
``FrameSource.pixel_spacing_mm`` and ``VolumeGeometry.spacing_mm`` return.

Distances follow TrackRAD2025's evaluation in its symmetric form: edges are the cells that erosion with a cross
removes (outside of the array counts as background), Hausdorff is the larger of both directed 95 % quantiles, and a
distance to an empty mask is the longest side of the array. J&F follows DAVIS 2017.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .errors import InputError
from .masks import squared_distance_to

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DAVIS_TOLERANCE = 0.008
"""Boundaries match within this fraction of the frame's diagonal, rounded up to whole pixels."""


class JAndF(NamedTuple):
    """DAVIS measures of one frame: region similarity, boundary accuracy and their mean."""

    j: float
    f: float
    mean: float


def dice(one: NDArray, other: NDArray) -> float:
    """Dice coefficient: 1 if both masks are empty, 0 if one is."""
    one, other = _as_pair(one, other)
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return float(2 * np.count_nonzero(one & other) / total) if total else 1.0


def iou(one: NDArray, other: NDArray) -> float:
    """Intersection over union: 1 if both masks are empty, 0 if one is."""
    one, other = _as_pair(one, other)
    union = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / union) if union else 1.0


def hd95_mm(one: NDArray, other: NDArray, spacing_mm: Sequence[float]) -> float:
    """95 % Hausdorff distance of the edges: 0 if both masks are empty, the longest side of the array if one is."""
    distances = _edge_distances_mm(one, other, spacing_mm)
    if distances is None:
        return _empty_distance_mm(one, other, spacing_mm)
    return float(max(np.quantile(directed, 0.95) for directed in distances))


def mean_surface_distance_mm(one: NDArray, other: NDArray, spacing_mm: Sequence[float]) -> float:
    """Mean of both directed mean edge distances; empty masks as in ``hd95_mm``."""
    distances = _edge_distances_mm(one, other, spacing_mm)
    if distances is None:
        return _empty_distance_mm(one, other, spacing_mm)
    return float(np.mean([directed.mean() for directed in distances]))


def surface_dice(one: NDArray, other: NDArray, spacing_mm: Sequence[float], tolerance_mm: float) -> float:
    """Fraction of all edge cells that lie within the tolerance of the other edge: 1 if both are empty, 0 if one is."""
    distances = _edge_distances_mm(one, other, spacing_mm)
    if distances is None:
        return float(not (np.any(one) or np.any(other)))
    return float(np.mean(np.concatenate(distances) <= tolerance_mm))


def j_and_f(predicted: NDArray, truth: NDArray) -> JAndF:
    """DAVIS region and boundary measures of one frame (H, W): all 1 if both masks are empty, 0 if one is."""
    predicted, truth = _as_pair(predicted, truth)
    radius = math.ceil(DAVIS_TOLERANCE * math.hypot(*predicted.shape))
    edges = _davis_boundary(predicted), _davis_boundary(truth)
    precision = _fraction_near(edges[0], edges[1], radius)
    recall = _fraction_near(edges[1], edges[0], radius)
    f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    j = iou(predicted, truth)
    return JAndF(j, f, (j + f) / 2)


def centre_distance_mm(one: NDArray, other: NDArray, spacing_mm: Sequence[float]) -> float:
    """Distance between the centres of mass; empty masks as in ``hd95_mm``."""
    one, other = _as_pair(one, other)
    if not (one.any() and other.any()):
        return _empty_distance_mm(one, other, spacing_mm)
    offset = np.argwhere(one).mean(axis=0) - np.argwhere(other).mean(axis=0)
    return float(np.linalg.norm(offset * _array_spacing(one, spacing_mm)))


def area_mm2(mask: NDArray, spacing_mm: Sequence[float]) -> float:
    """Area of a mask (H, W); 0 if it is empty."""
    return _size(mask, spacing_mm, 2)


def volume_mm3(mask: NDArray, spacing_mm: Sequence[float]) -> float:
    """Volume of a mask (K, J, I); 0 if it is empty."""
    return _size(mask, spacing_mm, 3)


def equivalent_diameter_mm(mask: NDArray, spacing_mm: Sequence[float]) -> float:
    """Diameter of the disc (two axes) or ball (three axes) of the same size; 0 if the mask is empty."""
    size = _size(mask, spacing_mm, mask.ndim)
    return math.sqrt(4 * size / math.pi) if mask.ndim == 2 else (6 * size / math.pi) ** (1 / 3)


def max_diameter_mm(mask: NDArray, spacing_mm: Sequence[float]) -> float:
    """Longest straight line between two points of a mask (H, W), pixel corners included (Feret); 0 if it is empty."""
    mask = np.asarray(mask) != 0
    row_step, column_step = _array_spacing(mask, spacing_mm)
    rows = np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return 0.0
    first, stop = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    # The far ends lie on corners of each row's first and last pixel: at most four points per row.
    x = np.concatenate([first, first, stop, stop]) * column_step
    y = np.concatenate([rows, rows + 1, rows, rows + 1]) * row_step
    return float(np.hypot(x[:, None] - x, y[:, None] - y).max())


def _as_pair(one: NDArray, other: NDArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return both masks as bool; they must have one shape."""
    one, other = np.asarray(one) != 0, np.asarray(other) != 0
    if one.shape != other.shape:
        msg = f"Masks of shapes {one.shape} and {other.shape} cannot be compared; bring them onto one grid first."
        raise InputError(msg)
    return one, other


def _array_spacing(mask: NDArray, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Spacing in the order of the array's axes."""
    if len(spacing_mm) != np.ndim(mask) or min(spacing_mm) <= 0:
        msg = f"Spacing {tuple(spacing_mm)} does not fit a mask of {np.ndim(mask)} axes: one positive number per axis."
        raise InputError(msg)
    return np.array(spacing_mm, dtype=np.float64)[::-1]


def _size(mask: NDArray, spacing_mm: Sequence[float], num_axes: int) -> float:
    """Number of cells inside times the size of a cell."""
    if mask.ndim != num_axes:
        msg = f"A mask of shape {mask.shape} has {mask.ndim} axes; {num_axes} are needed to measure it."
        raise InputError(msg)
    return float(np.count_nonzero(mask) * np.prod(_array_spacing(mask, spacing_mm)))


def _empty_distance_mm(one: NDArray, other: NDArray, spacing_mm: Sequence[float]) -> float:
    """Distance to report when at least one mask is empty."""
    if not (np.any(one) or np.any(other)):
        return 0.0
    return float((np.array(one.shape) * _array_spacing(one, spacing_mm)).max())


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells of a mask with a neighbour (faces only) that is outside of it or of the array."""
    padded = np.pad(mask, 1)
    core = (slice(1, -1),) * mask.ndim
    inner = mask.copy()
    for axis in range(mask.ndim):
        for shift in (-1, 1):
            inner &= np.roll(padded, shift, axis)[core]
    return mask & ~inner


def _edge_distances_mm(
    one: NDArray, other: NDArray, spacing_mm: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Distances of each edge cell to the nearest edge cell of the other mask, both ways; None if a mask is empty."""
    one, other = _as_pair(one, other)
    spacing = _array_spacing(one, spacing_mm)
    if not (one.any() and other.any()):
        return None
    inside = np.argwhere(one | other)
    box = tuple(slice(low, high + 1) for low, high in zip(inside.min(axis=0), inside.max(axis=0), strict=True))
    edges = _edge(one[box]), _edge(other[box])
    return tuple(np.sqrt(squared_distance_to(edges[1 - n], spacing)[edges[n]]) for n in (0, 1))


def _davis_boundary(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Boundary as DAVIS draws it: pixels that differ from the right, lower or lower right neighbour.

    Source: the definition in davis2017-evaluation (``_seg2bmap``); beyond the frame the last pixel is repeated.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    centre = padded[:-1, :-1]
    return (centre ^ padded[:-1, 1:]) | (centre ^ padded[1:, :-1]) | (centre ^ padded[1:, 1:])


def _fraction_near(edge: NDArray[np.bool_], target: NDArray[np.bool_], radius: int) -> float:
    """Fraction of edge pixels within the radius of the target; without edge pixels 1."""
    if not edge.any():
        return 1.0
    if not target.any():
        return 0.0
    return float(np.mean(squared_distance_to(target, (1, 1), radius)[edge] <= radius**2))
