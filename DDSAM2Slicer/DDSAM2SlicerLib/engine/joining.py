"""Join what a forward and a backward sweep find between two given frames (layer: engine)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.plan import nearness
from .crop import Crop
from .scores import FrameResult, FrameScore

SURE_LOGIT = 8.0
"""Logits beyond this are as sure as any."""
TRUST = 4
"""Power of the predicted IoU with which a side counts: what began with a poor answer to a click is seldom sure."""

Key = tuple[int, int]  # object, frame


class Sides:
    """The sweeps of one run: forward masks are noted, backward masks on the same frames joined with them."""

    def __init__(
        self, anchors: Mapping[int, tuple[int, ...]], find_logits: Callable[[Key, Crop], torch.Tensor]
    ) -> None:
        """Begin a run.

        Args:
            anchors: Given frames of each object.
            find_logits: Gives the logits (1, 1, h, w) of a mask noted before, under another crop.
        """
        self._anchors, self._find_logits = anchors, find_logits
        self._noted: dict[Key, FrameScore] = {}

    def note(self, result: FrameResult) -> FrameResult:
        """Take in what the forward sweep found on a frame; returns it."""
        for one, score in zip(result.object_ids, result.scores, strict=True):
            self._noted[one, result.frame] = score
        return result

    def join(
        self, result: FrameResult, to_masks: Callable[[Crop, torch.Tensor], NDArray[np.bool_]]
    ) -> FrameResult | None:
        """Join what the backward sweep found on a frame with what the forward sweep had found there.

        Each mask counts the more, the nearer its given frame is, and the surer it is; what one side has lost is as the
        other side found it.

        Args:
            result: Of the backward sweep.
            to_masks: Turns logits (N, 1, h, w) under a crop into masks (N, H, W).

        Returns:
            The masks of the objects for which there is news; None if there is none.
        """
        keys = [(one, result.frame) for one in result.object_ids]
        news = [row for row, key in enumerate(keys) if key not in self._noted or result.scores[row].area]
        if not news:
            return None
        result, keys = result.take(news), [keys[row] for row in news]
        met = [row for row, key in enumerate(keys) if key in self._noted and self._noted[key].area]
        if not met:
            return result
        logits, scores = torch.from_numpy(result.logits)[:, None].clone(), list(result.scores)
        for row in met:
            ahead, back = self._noted[keys[row]], scores[row]
            share = self._share(keys[row], ahead, back)
            found = self._find_logits(keys[row], result.crop)[0].cpu()
            logits[row] = share * _limited(found) + (1 - share) * _limited(logits[row])
            scores[row] = replace(
                back,
                iou=share * ahead.iou + (1 - share) * back.iou,
                object_score=share * ahead.object_score + (1 - share) * back.object_score,
            )
        is_shown = np.array([score.area > 0 for score in scores])
        masks = to_masks(result.crop, logits) & is_shown[:, None, None]
        scores = [replace(score, area=np.count_nonzero(mask)) for score, mask in zip(scores, masks, strict=True)]
        return replace(result, masks=masks, scores=tuple(scores), logits=logits[:, 0].numpy())

    def _share(self, key: Key, ahead: FrameScore, back: FrameScore) -> float:
        """How much the forward sweep counts, 0 to 1."""
        near = nearness(self._anchors[key[0]], key[1])
        forward, backward = near * ahead.iou**TRUST, (1 - near) * back.iou**TRUST
        return forward / (forward + backward) if forward + backward else near


def _limited(logits: torch.Tensor) -> torch.Tensor:
    """Logits of which none outweighs all others."""
    return logits.clamp(-SURE_LOGIT, SURE_LOGIT)
