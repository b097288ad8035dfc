"""Encode, merge and clean binary masks of one frame, in plain numpy (layer: core).

Objects are connected through edges and corners (8 neighbours), holes through edges only (4 neighbours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def encode_rle(mask: NDArray) -> list[int]:
    """Return run lengths of a mask (H, W) row by row, outside first: [outside, inside, outside, ...]."""
    flat = np.asarray(mask).ravel() != 0
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(changes, prepend=0, append=flat.size).tolist()


def decode_rle(counts: Sequence[int], height: int, width: int) -> NDArray[np.bool_]:
    """Return the mask (H, W) that was encoded.

    Raises:
        InputError: If the runs do not fill exactly that many pixels.
    """
    runs = np.array(counts, dtype=np.int64).reshape(-1)
    if (runs < 0).any() or runs.sum() != height * width:
        msg = f"A run-length code of {runs.sum()} pixels does not fill a mask of {height} x {width}."
        raise InputError(msg)
    is_inside = np.arange(runs.size) % 2 == 1
    return np.repeat(is_inside, runs).reshape(height, width)


def merge_labels(
    masks: NDArray, object_ids: Sequence[int], logits: NDArray | None = None
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Merge masks (N, H, W) into one label map (H, W), 0 where no object is.

    Args:
        masks: One mask per object.
        object_ids: The label of each, 1 to 65535.
        logits: (N, H, W); where masks overlap the higher logit wins. Without it the later object wins.

    Raises:
        InputError: If numbers of masks, labels and logits differ, or a label does not fit.
    """
    masks = np.asarray(masks) != 0
    if masks.ndim != 3 or len(object_ids) != len(masks) or (logits is not None and logits.shape != masks.shape):
        msg = f"Masks of shape {masks.shape} cannot be merged into {len(object_ids)} labels: one (H, W) mask each."
        raise InputError(msg)
    if len(object_ids) and not 1 <= min(object_ids) <= max(object_ids) <= np.iinfo(np.uint16).max:
        msg = f"Labels {tuple(object_ids)} cannot be stored: they must lie between 1 and 65535."
        raise InputError(msg)
    labels = np.zeros(masks.shape[1:], np.uint8 if max(object_ids, default=0) <= np.iinfo(np.uint8).max else np.uint16)
    best = np.full(masks.shape[1:], -np.inf)
    for index, object_id in enumerate(object_ids):
        strength = np.zeros(labels.shape) if logits is None else logits[index]
        wins = masks[index] & (strength >= best)
        labels[wins] = object_id
        best[wins] = strength[wins]
    return labels


def label_components(mask: NDArray, diagonal: bool = True) -> tuple[NDArray[np.int32], int]:
    """Number the connected parts of a mask (H, W) from 1, in the order of their first pixel; return labels, number."""
    mask = np.asarray(mask) != 0
    starts, lengths = _find_runs(mask)
    roots = _connect(len(starts), *_touching_runs(starts, lengths, mask.shape[1], int(diagonal)))
    unique, run_labels = np.unique(roots, return_inverse=True)
    labels = np.zeros(mask.shape, np.int32)
    labels[mask] = np.repeat(run_labels + 1, lengths)
    return labels, len(unique)


def largest_component(mask: NDArray) -> NDArray[np.bool_]:
    """Keep the largest connected part of a mask (H, W); of equal ones the first. An empty mask stays empty."""
    labels, number = label_components(mask)
    if number <= 1:
        return labels > 0
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()


def fill_holes(mask: NDArray, max_size_px: int | None = None) -> NDArray[np.bool_]:
    """Fill background parts of a mask (H, W) off the border that have at most that many pixels (None: any number)."""
    mask = np.asarray(mask) != 0
    labels, _ = label_components(~mask, diagonal=False)
    sizes = np.bincount(labels.ravel())
    is_hole = sizes <= (mask.size if max_size_px is None else max_size_px)
    is_hole[0] = False
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        is_hole[border] = False
    return mask | is_hole[labels]


def squared_distance_to(mask: NDArray, spacing: Sequence[float], limit: float = np.inf) -> NDArray[np.float64]:
    """Exact squared distance of every cell of an array to the nearest cell of a mask; infinite if the mask is empty.

    Args:
        mask: Array of any number of axes.
        spacing: Cell size per array axis, in the order of the axes.
        limit: Distances above it need not be exact, they may come out larger; a small limit saves time.
    """
    squared = np.where(np.asarray(mask) != 0, 0.0, np.inf)
    for axis, step in enumerate(spacing):
        lines = np.moveaxis(squared, axis, 0)
        nearest = lines.copy()
        # Lower envelope of parabolas by trying every shift; a shift longer than all distances cannot help any more.
        for shift in range(1, len(lines)):
            gap = (shift * step) ** 2
            if gap > limit**2 or gap >= nearest.max():
                break
            np.minimum(nearest[shift:], lines[:-shift] + gap, out=nearest[shift:])
            np.minimum(nearest[:-shift], lines[shift:] + gap, out=nearest[:-shift])
        squared = np.moveaxis(nearest, 0, axis)
    return squared


def most_interior_point(mask: NDArray) -> tuple[int, int]:
    """Return the pixel (x, y) of a mask (H, W) that is farthest from its outside; beyond the frame counts as outside.

    Raises:
        InputError: If the mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not rows.size:
        msg = "An empty mask has no interior point. Choose a frame where the object is."
        raise InputError(msg)
    top, left = int(rows.min()), int(columns.min())
    inside = np.pad(np.asarray(mask)[top : rows.max() + 1, left : columns.max() + 1] != 0, 1)
    y, x = np.unravel_index(squared_distance_to(~inside, (1, 1)).argmax(), inside.shape)
    return left + int(x) - 1, top + int(y) - 1


def _find_runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Horizontal runs of a mask: first position and length; positions count row by row with a gap after each row."""
    gapped = np.zeros((mask.shape[0], mask.shape[1] + 1), bool)
    gapped[:, :-1] = mask
    changes = np.flatnonzero(np.diff(gapped.ravel(), prepend=False))
    return changes[::2], changes[1::2] - changes[::2]


def _touching_runs(
    starts: NDArray[np.int64], lengths: NDArray[np.int64], width: int, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs that touch across neighbouring rows; reach 1 includes corners."""
    below = starts + width + 1  # where each run would lie in the next row
    first = np.searchsorted(starts + lengths, below - reach, side="right")
    stop = np.searchsorted(starts, below + lengths + reach, side="left")
    number = np.maximum(stop - first, 0)
    upper = np.repeat(np.arange(len(starts)), number)
    offset = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    return upper, np.repeat(first, number) + offset


def _connect(number: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """Smallest member of each node's connected component, for a graph given by pairs (union-find on whole arrays)."""
    root = np.arange(number)
    while (root[one] != root[other]).any():
        low, high = np.minimum(root[one], root[other]), np.maximum(root[one], root[other])
        np.minimum.at(root, high, low)
        while (root != root[root]).any():
            root = root[root]
    return root
