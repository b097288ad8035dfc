"""Results of the engine in this process: those of ``core.results`` with what later corrections need (layer: engine)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..core import results
from ..core.results import FrameScore
from .crop import Crop

__all__ = ["FrameResult", "FrameScore", "overlap_of"]


@dataclass(frozen=True, eq=False)
class FrameResult(results.FrameResult):
    """Masks of some objects on one frame, with the network's view of it.

    Attributes:
        logits: (N, h, w) network's mask logits in the window ``crop``; None where no network was asked.
        crop: The window of the frame that the network saw.
    """

    logits: NDArray[np.float32] | None = None
    crop: Crop | None = None

    def take(self, rows: Sequence[int]) -> Self:
        """The same for some of the objects only."""
        taken = super().take(rows)
        return taken if self.logits is None else replace(taken, logits=self.logits[list(rows)])


def overlap_of(one: NDArray | None, other: NDArray | None) -> float:
    """IoU of two masks (H, W); 1 if either is unknown or both are empty."""
    if one is None or other is None:
        return 1.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0
