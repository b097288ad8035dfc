"""Fixed generated clips that tell how training goes, in figures and as a sheet of pictures (layer: training)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sam2.modeling.sam2_base import SAM2Base

from ..model.prior import MaskPrior
from ..model.steps import MASK_BIAS, MASK_SCALE, normalise
from .clips import Clip, ClipSettings, make_clips
from .prompts import Batch, join_clips
from .refining import follow_clips
from .rollout import run_clips

VALIDATION_SEED = 2**40
"""Scenes from this seed on are never trained on: training seeds stay far below."""
NUM_CLIPS = 48
KINDS = ("mask", "box", "click", "clicks")
GAINS = (0.8, 1.0, 1.1, 1.2, 1.35, 1.5, 2.0, 4.0)
"""Candidates for the gain of the mask prior; large ones leave tracking to the moved mask."""
CALIBRATION_FRAMES = 16
"""Clips that choose the gain are longer than those trained on: what drifts shows itself late."""


@lru_cache(maxsize=2)
def validation_clips(settings: ClipSettings) -> tuple[Clip, ...]:
    """Draw the fixed clips of a size."""
    clips: list[Clip] = []
    seed = VALIDATION_SEED
    while len(clips) < NUM_CLIPS:
        clips.extend(make_clips(seed, settings)[:1])
        seed += 1
    return tuple(clips)


@torch.no_grad()
def validate(
    model: SAM2Base, settings: ClipSettings, folder: Path, step: int, is_alone: bool = False
) -> dict[str, float]:
    """Measure a model, or its refiner alone, on fixed clips, and write a sheet.

    Returns:
        Mean Dice of tracked frames (``mask``; ``copy``: the first mask kept, ``moved``: moved with the image) and of
        prompted ones (``box``, ``click``, ``clicks``); ``empty``: share of the frames without the object that are so.
    """
    model.eval()
    clips = validation_clips(settings)
    batch = join_clips(clips, "mask")
    frames, masks = batch.frames, batch.masks
    device = next(model.parameters()).device
    figures = {"copy": _mean_dice(masks[:, :1].expand_as(masks)[:, 1:], masks[:, 1:])}
    if model.mask_prior is not None:
        figures["moved"] = _mean_dice(_move_all(model.mask_prior, frames, masks), masks[:, 1:])
    for kind in KINDS:
        batch = Batch(frames.to(device), masks.to(device), batch.steps.to(device), kind)
        predicted = _predict(model, batch, is_alone).cpu()
        part = slice(1, None) if kind == "mask" else slice(0, 1)
        figures[kind] = _mean_dice(predicted[:, part], masks[:, part])
        if kind == "mask":
            is_gone = ~masks.flatten(2).any(2)
            figures["empty"] = float((~predicted.flatten(2).any(2))[is_gone].float().mean()) if is_gone.any() else 1.0
            _write_sheet(frames[:10], masks[:10], predicted[:10], folder / f"sheet_{step:06d}.png")
    return {key: round(value, 4) for key, value in figures.items()}


@torch.no_grad()
def choose_gain(model: SAM2Base, settings: ClipSettings) -> dict[float, float]:
    """Set the gain of the mask prior to the best of ``GAINS`` on long fixed clips; returns the mean Dice of each.

    Training sees short clips, where a gain below one costs little; over many frames it lets masks fade.
    """
    model.eval()
    clips = validation_clips(replace(settings, num_frames=CALIBRATION_FRAMES))
    batch = join_clips(clips, "mask")
    scores = {}
    for gain in GAINS:
        model.mask_prior.gain.fill_(gain)
        predicted = _predict(model, batch, is_alone=False)
        scores[gain] = round(_mean_dice(predicted[:, 1:], batch.masks[:, 1:]), 4)
    model.mask_prior.gain.fill_(max(scores, key=scores.get))
    return scores


def _predict(model: SAM2Base, batch: Batch, is_alone: bool) -> torch.Tensor:
    """Masks (B, T, S, S) of all frames of a batch of clips."""
    generator = torch.Generator().manual_seed(0)
    if not is_alone:
        return torch.cat([output.high_res > 0 for output in run_clips(model, batch, generator).outputs], dim=1)
    first, tracked = follow_clips(model.refiner, model.mask_prior, batch, generator)
    start = first[-1][:, 0] > 0 if first else batch.masks[:, 0]
    return torch.stack([start, *(logits[:, 0] > 0 for logits in tracked)], dim=1)


def _move_all(prior: MaskPrior, frames: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Masks (B, T - 1, S, S) of frame 0 moved from frame to frame with the image and nothing else."""
    images = normalise(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    logits, moved = MASK_SCALE * masks[:, :1].float() + MASK_BIAS, []
    for index in range(1, frames.shape[1]):
        logits = prior(logits, images[:, index - 1], images[:, index]).logits
        moved.append(logits[:, 0] > 0)
    return torch.stack(moved, dim=1)


def _mean_dice(predicted: torch.Tensor, truth: torch.Tensor) -> float:
    """Average over clips of the Dice pooled over their frames, (B, T, S, S) bool each."""
    overlap = (predicted & truth).sum(dim=(1, 2, 3))
    total = predicted.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return float(torch.where(total > 0, 2 * overlap / total.clamp_min(1), 1.0).mean())


def _write_sheet(frames: torch.Tensor, masks: torch.Tensor, predicted: torch.Tensor, path: Path) -> None:
    """Draw clips in rows: truth tints green, prediction red, agreement yellow."""
    grey = frames.numpy()[..., None].repeat(3, axis=-1).astype(np.float32)
    grey[..., 0] += 70.0 * predicted.numpy()
    grey[..., 1] += 70.0 * masks.numpy()
    rows = [np.concatenate(list(clip), axis=1) for clip in grey.clip(0, 255).astype(np.uint8)]
    Image.fromarray(np.concatenate(rows, axis=0)).save(path)
