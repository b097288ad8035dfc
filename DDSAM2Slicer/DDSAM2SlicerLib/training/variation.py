"""Shows clips otherwise, a batch at once on its device: mirrored, moved, in other tones, noisier (layer: training).

So clips can be reused without being repeated.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F

from .clips import MIN_PROMPT_PX
from .prompts import Batch, noise_like

MOVED = 0.5
"""Share of the clips that are turned a little, shifted and scaled; the others are only mirrored."""
ANGLE, SHIFT = 0.35, 0.1
"""Largest turn, in radians, and shift, in half the frame's side."""
ZOOM_LOW, ZOOM_HIGH = 0.72, 1.04
"""Range of the part of the frame that stays in sight."""
INVERTED, RECOLOURED, NOISY = 0.15, 0.15, 0.3
"""Shares of the clips whose tones are inverted, or follow any smooth curve, or that get more noise."""
NUM_KNOTS = 6
NOISE = 14.0
"""Largest standard deviation of added noise, in grey levels."""
UNIFORM_SPREAD = 12**-0.5
"""Standard deviation of numbers that are uniform in [0, 1)."""
MAY_REVERSE = 0.9
"""A clip that tapers is not played backwards: it is to begin where the object is largest."""


def vary(batch: Batch, generator: torch.Generator) -> Batch:
    """Return a batch that shows the same objects otherwise; each stays in sight on its first frame."""
    batch = _mirror(batch, generator)
    batch = _reverse(batch, generator)
    batch = _move(batch, generator)
    return replace(batch, frames=_retone(batch.frames, generator))


def _mirror(batch: Batch, generator: torch.Generator) -> Batch:
    """Mirror at either axis and at the diagonal, each half of the times."""
    draws = (torch.rand(3, len(batch.frames), 1, 1, 1, generator=generator) < 0.5).to(batch.frames.device)

    def mirror(clips: torch.Tensor) -> torch.Tensor:
        clips = torch.where(draws[0], clips.flip(-2), clips)
        clips = torch.where(draws[1], clips.flip(-1), clips)
        return torch.where(draws[2], clips.transpose(-1, -2), clips)

    return replace(batch, frames=mirror(batch.frames), masks=mirror(batch.masks))


def _reverse(batch: Batch, generator: torch.Generator) -> Batch:
    """Play some clips backwards whose object is as large at the end as at the beginning."""
    areas = batch.masks[:, [0, -1]].sum(dim=(2, 3))
    is_reversed = (torch.rand(len(areas), generator=generator) < 0.5).to(areas.device)
    is_reversed &= areas[:, 1] >= (MAY_REVERSE * areas[:, 0]).clamp_min(MIN_PROMPT_PX)
    is_reversed = is_reversed.view(-1, 1, 1, 1)
    frames, masks = (torch.where(is_reversed, one.flip(1), one) for one in (batch.frames, batch.masks))
    return replace(batch, frames=frames, masks=masks)


def _move(batch: Batch, generator: torch.Generator) -> Batch:
    """Turn, shift and scale some clips; what comes in from beyond the frame is black."""
    count, _, side = batch.frames.shape[:3]
    draws = torch.rand(5, count, generator=generator)
    is_moved = draws[0] < MOVED
    angle, zoom = ANGLE * (2 * draws[1] - 1), ZOOM_LOW + (ZOOM_HIGH - ZOOM_LOW) * draws[2]
    shift = SHIFT * (2 * draws[3:] - 1)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    affine = torch.stack([torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)], dim=1)
    grid = F.affine_grid(affine.to(batch.frames.device), [count, 1, side, side], align_corners=False)
    frames, masks = (
        F.grid_sample(one.float(), grid, align_corners=False) for one in (batch.frames, batch.masks)
    )  # the frames of a clip as channels
    masks = masks >= 0.5
    is_moved = is_moved.to(masks.device) & (masks[:, 0].sum(dim=(1, 2)) >= MIN_PROMPT_PX)
    is_moved = is_moved.view(-1, 1, 1, 1)
    return replace(
        batch,
        frames=torch.where(is_moved, frames.round().to(torch.uint8), batch.frames),
        masks=torch.where(is_moved, masks, batch.masks),
        steps=torch.where(is_moved, batch.steps / zoom.to(masks.device).view(-1, 1, 1, 1), batch.steps),
    )


def _retone(frames: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Give every clip of (B, T, S, S) uint8 tones of its own: gamma, inversion, any smooth curve, noise."""
    count = len(frames)
    draws = torch.rand(5, count, 1, generator=generator)
    tones = torch.linspace(0, 1, 256) ** (2.0 ** (draws[0] - 0.5))
    tones = torch.where(draws[1] < INVERTED, 1 - tones, tones)
    knots = torch.rand(count, 1, NUM_KNOTS, generator=generator)
    curve = F.interpolate(knots, size=256, mode="linear", align_corners=True)[:, 0]
    tones = torch.where(draws[2] < RECOLOURED, curve, tones).to(frames.device)
    toned = 255 * tones.gather(1, frames.flatten(1).long()).view_as(frames)
    strength = (NOISE * draws[3] * (draws[4] < NOISY)).to(frames.device).view(-1, 1, 1, 1)
    toned = toned + strength / UNIFORM_SPREAD * (noise_like(toned, generator) - 0.5)
    return toned.clamp(0, 255).round().to(torch.uint8)
