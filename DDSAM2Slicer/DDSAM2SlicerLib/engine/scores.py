"""Results of the engine: masks of one frame and how sure they are (layer: engine)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crop import Crop


@dataclass(frozen=True)
class FrameScore:
    """How sure the mask of one object on one frame is."""

    iou: float
    """IoU with the truth as predicted by the network, 0 to 1; 1 for a mask given by the user."""
    object_score: float
    """Probability that the object is in the frame."""
    overlap: float
    """IoU with the mask of the neighbouring frame it was propagated from; 1 where there is none, or both are empty."""
    ended: bool = False
    """Whether the object had ended before this frame, so that the network was not asked."""


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Masks of some objects on one frame.

    Attributes:
        frame: Index in the stack.
        object_ids: Objects, in the order of the arrays.
        masks: (N, H, W) bool, pixels of the frame.
        scores: One for each object.
        logits: (N, h, w) network's mask logits in the window ``crop``; None where no network was asked.
        crop: The window of the frame that the network saw.
    """

    frame: int
    object_ids: tuple[int, ...]
    masks: NDArray[np.bool_]
    scores: tuple[FrameScore, ...]
    logits: NDArray[np.float32] | None = None
    crop: Crop | None = None


def overlap_of(one: NDArray | None, other: NDArray | None) -> float:
    """IoU of two masks (H, W); 1 if either is unknown or both are empty."""
    if one is None or other is None:
        return 1.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
