"""Fixed generated clips that tell how training goes, in figures and as a sheet of pictures (layer: training)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sam2.modeling.sam2_base import SAM2Base

from ..model.prior import MaskPrior
from ..model.steps import MASK_BIAS, MASK_SCALE
from .clips import ClipSettings
from .data import scene_batches
from .prompts import Batch
from .refining import follow_clips, register_clips, to_grey_clips
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
def validation_clips(settings: ClipSettings, num_workers: int = 0) -> Batch:
    """Draw the fixed clips of a size, one of each scene, to be prompted by their masks."""
    scenes = scene_batches(settings, VALIDATION_SEED, num_workers=num_workers)
    firsts = [(scene.frames[:1], scene.masks[:1], scene.steps[:1]) for scene in islice(scenes, NUM_CLIPS)]
    return Batch(*(torch.cat(parts) for parts in zip(*firsts, strict=True)), "mask")


@torch.no_grad()
def validate(model: SAM2Base, batch: Batch, folder: Path, step: int, is_alone: bool = False) -> dict[str, float]:
    """Measure a model, or its refiner alone, on ``validation_clips``, and write a sheet.

    Returns:
        Mean Dice of tracked frames (``mask``; ``copy``: the first mask kept, ``moved``: moved with the image) and of
        prompted ones (``box``, ``click``, ``clicks``); ``empty``: share of the frames without the object that are so.
    """
    model.eval()
    frames, masks = batch.frames, batch.masks
    device = next(model.parameters()).device
    figures = {"copy": _mean_dice(masks[:, :1].expand_as(masks)[:, 1:], masks[:, 1:])}
    if model.mask_prior is not None:
        moved = _move_all(model.mask_prior, *(part.to(device) for part in (frames, masks, batch.steps))).cpu()
        figures["moved"] = _mean_dice(moved, masks[:, 1:])
    for kind in KINDS:
        asked = Batch(frames.to(device), masks.to(device), batch.steps.to(device), kind)
        predicted = _predict(model, asked, is_alone).cpu()
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
    batch = validation_clips(replace(settings, num_frames=CALIBRATION_FRAMES))
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
    found = follow_clips(model.refiner, model.mask_prior, batch, generator)
    start = found.first[-1][:, 0] > 0 if found.first else batch.masks[:, 0]
    return torch.stack([start, *(logits[:, 0] > 0 for logits in found.tracked)], dim=1)


def _move_all(prior: MaskPrior, frames: torch.Tensor, masks: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Masks (B, T - 1, S, S) of frame 0 moved from frame to frame with the image and nothing else."""
    logits, moved = MASK_SCALE * masks[:, :1].float() + MASK_BIAS, []
    for motion in register_clips(prior, to_grey_clips(frames), steps):
        logits = prior(motion, logits).logits
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
