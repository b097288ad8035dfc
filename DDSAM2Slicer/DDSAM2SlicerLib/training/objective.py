"""Losses of pretraining (layer: training).

SAM 2's own focal and Dice loss alone collapses to empty masks when a small network starts from nothing; balanced
cross entropy, Dice and an auxiliary loss that pulls the encoder's levels apart inside and outside the object do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ..model.steps import Decoded, Features

FEATURE_SCALE = 10.0
"""Cosine similarities times this are the logits of the auxiliary loss."""


@dataclass(frozen=True)
class LossWeights:
    """How much each term counts."""

    cross_entropy: float = 1.0
    dice: float = 1.0
    iou: float = 0.2
    object_score: float = 0.2
    features: float = 0.3
    balance: float = 0.5
    """0 = every pixel counts the same; 1 = object and background count the same in sum."""


def mask_losses(logits: torch.Tensor, target: torch.Tensor, weights: LossWeights) -> torch.Tensor:
    """Weighted cross entropy plus soft Dice loss: logits (B, M, H, W), target (B, 1, H, W) in 0..1, result (B, M)."""
    share = target.mean(dim=(2, 3), keepdim=True).clamp(0.005, 0.995)
    pixel_weights = (target / (2 * share) + (1 - target) / (2 * (1 - share))) ** weights.balance
    target = target.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none") * pixel_weights
    probability = logits.sigmoid()
    overlap = (probability * target).sum(dim=(2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) + 1)
    return weights.cross_entropy * entropy.mean(dim=(2, 3)) + weights.dice * dice


def refined_loss(logits: torch.Tensor, target: torch.Tensor, weights: LossWeights) -> torch.Tensor:
    """Return the loss of refined masks: logits and target (B, 1, S, S).

    Where the object is absent, soft Dice hardly tells a large wrong mask from a huge one; the mean probability of what
    was found, weighted by itself, does.
    """
    is_present = target.flatten(1).amax(1) > 0.5
    probability = logits.sigmoid()
    found = probability.square().sum(dim=(1, 2, 3)) / (probability.sum(dim=(1, 2, 3)) + 1)
    return torch.where(is_present, mask_losses(logits, target, weights)[:, 0], found).mean()


def frame_loss(decoded: Decoded, target: torch.Tensor, weights: LossWeights) -> torch.Tensor:
    """Return the loss of one frame's masks, predicted IoU and object score.

    Of several candidate masks only the best is taught, but all learn to predict their IoU (as SAM does). Frames
    without the object teach the object score and, at a quarter of the weight, an empty mask.

    Args:
        decoded: Output of the decoder for B objects.
        target: (B, 1, S, S) float masks.
        weights: What counts how much.
    """
    size = target.shape[-2:]
    logits = F.interpolate(decoded.candidates, size=size, mode="bilinear", align_corners=False)  # (B, M, S, S)
    per_candidate = mask_losses(logits, target, weights)
    is_present = (target.flatten(1).amax(1) > 0.5).float()  # (B,)
    best = per_candidate.amin(dim=1)
    loss = (best * (0.25 + 0.75 * is_present)).mean()
    with torch.no_grad():
        predicted = logits > 0
        wanted = target > 0.5
        iou = (predicted & wanted).sum(dim=(2, 3)) / (predicted | wanted).sum(dim=(2, 3)).clamp_min(1)
    loss = loss + weights.iou * ((decoded.candidate_ious - iou).abs() * is_present[:, None]).mean()
    score_loss = F.binary_cross_entropy_with_logits(decoded.object_score[:, 0].float(), is_present)
    return loss + weights.object_score * score_loss


def feature_loss(features: Features, targets: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Ask every encoder level to tell object from background by their mean features on frame 0.

    Args:
        features: Encoder output of B * T frames, frames of one clip in a row.
        targets: (B, T, S, S) float masks.
        num_frames: T.
    """
    losses = []
    for level in (features.embedding, *features.high_res):
        level = F.normalize(level.float(), dim=1).unflatten(0, (-1, num_frames))  # (B, T, C, h, w)
        mask = F.interpolate(targets, size=level.shape[-2:], mode="area")  # (B, T, h, w)
        inside = _mean_feature(level[:, 0], mask[:, 0])
        outside = _mean_feature(level[:, 0], 1 - mask[:, 0])
        direction = (inside - outside)[:, None, :, None, None]
        logits = FEATURE_SCALE * (level * direction).sum(2)
        share = mask.mean(dim=(2, 3), keepdim=True).clamp(0.01, 0.99)
        pixel_weights = mask / (2 * share) + (1 - mask) / (2 * (1 - share))
        losses.append((F.binary_cross_entropy_with_logits(logits, mask, reduction="none") * pixel_weights).mean())
    return torch.stack(losses).mean()


def _mean_feature(level: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average (B, C, h, w) where ``mask`` (B, h, w) is high, and normalise: (B, C)."""
    weighted = (level * mask[:, None]).sum(dim=(2, 3)) / mask.sum(dim=(1, 2)).clamp_min(1e-3)[:, None]
    return F.normalize(weighted, dim=1)
