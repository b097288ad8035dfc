"""How sure refined masks are, by their own probabilities, taken for right, and by each other (layer: model)."""

from __future__ import annotations

import torch

LARGEST_SHIFT = 2.0
"""Logits are raised by so much at most: from there on it is no object that they are unsure of, but everything."""


def expected_iou(logits: torch.Tensor) -> torch.Tensor:
    """IoU (B,) to be expected of refined masks, given as logits (B, 1, h, w)."""
    probability = torch.sigmoid(logits.float())
    found = (probability > 0.5).to(probability.dtype)
    union = torch.maximum(probability, found).sum(dim=(1, 2, 3))
    return (probability * found).sum(dim=(1, 2, 3)) / union.clamp_min(1e-6)


def raise_to_best(logits: torch.Tensor) -> torch.Tensor:
    """Raise refined logits (B, 1, h, w) so that 0 is the threshold of the largest Dice to be expected.

    That is never above a probability of one half, and lower the less sure the mask is (Lipton et al. 2014, "Optimal
    thresholding of classifiers to maximize F1 measure").
    """
    ordered = logits.float().flatten(1).sort(dim=1, descending=True).values
    probability = torch.sigmoid(ordered)
    count = torch.arange(1, ordered.shape[1] + 1, device=logits.device)
    expected = 2 * probability.cumsum(1) / (count + probability.sum(1, keepdim=True))
    best = expected.argmax(1, keepdim=True)
    threshold = ordered.gather(1, (best + 1).clamp_max(ordered.shape[1] - 1))  # the first that is left out
    return logits - threshold.clamp(-LARGEST_SHIFT, 0)[..., None, None]


def agreement(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Dice (B,) of two masks, given as logits (B, 1, h, w); 1 where both are empty."""
    first, second = one > 0, other > 0
    common, both = (masks.sum(dim=(1, 2, 3)) for masks in (first & second, torch.cat([first, second], dim=1)))
    return torch.where(both > 0, 2 * common / both.clamp_min(1), 1.0)
