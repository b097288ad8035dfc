"""Mask prior: the previous frame's mask, moved to where the image moved, offered to the decoder (layer: model).

Two published ideas meet here: guiding a segmenter with the rough mask of the previous frame (MaskTrack, Perazzi et
al. 2017) and demons registration with symmetric forces (Thirion 1998; Vercauteren et al. 2009). The result enters SAM
2 as its ordinary dense mask prompt and is added, with a learned gain, to the decoder's logits: the decoder learns
corrections instead of masks from nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .steps import GREY_SIDE

PRIOR_LIMIT = 8.0
"""Logits of a prior are clamped to this size: sure, yet correctable."""
FLOW_SIZES = (16, 32, 64, GREY_SIDE)
"""Sides, in pixels, of the images that are registered, coarse to fine.

What the coarsest finds counts in time only: there it is an object that has jumped. Between slices it is more often
other tissue, and masks that end are led astray.
"""
FLOW_ITERATIONS = (12, 4, 12, 8)
"""Steps at each of these sizes: few at 32 pixels, where an object is pulled along with what lies around it."""
FLOW_SIGMA_PX = 1.25
"""Gaussian smoothing of the displacement field after every iteration."""
JUMP_SIZE = 32
"""Side, in pixels, of the images that are searched for a jump of the whole scene."""
FARTHEST_JUMP = 0.3
"""No jump is longer than this share of the side, along either axis."""
JUMP_WORTH = 0.9
"""A jump must bring the mean squared difference below this share of what it is without."""
GAIN_SIZE = 32
"""Side, in pixels, of the images whose brightness is compared."""
DARK = 0.1
"""Darker pixels, in 0..1, are mostly air: they tell nothing about brightness."""
GAIN_WORTH = 0.9
"""Another brightness must bring the median difference below this share of what it is without."""


class Motion(NamedTuple):
    """How the image moved from the previous frame to this one."""

    flow: torch.Tensor  # (1 or B, 2, s, s) as ``estimate_flow`` gives it
    image: torch.Tensor  # (1 or B, 1, s, s) the previous frame in grey, moved


class Moved(NamedTuple):
    """The previous frame where its motion took it."""

    logits: torch.Tensor  # (B, 1, h, w)
    image: torch.Tensor  # (1 or B, 1, s, s) grey, s the finest registered side
    trend: torch.Tensor | None = None  # (B, 1, h, w)
    carried: torch.Tensor | None = None  # (B, 3, h, w)


class MaskPrior(nn.Module):
    """Motion-compensated previous mask, and how much of it is added to the decoder's logits."""

    def __init__(self) -> None:
        """Start with full trust: at first the output is the moved mask."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def register(self, previous: torch.Tensor, present: torch.Tensor, step: torch.Tensor) -> Motion:
        """Find where everything of a frame has come from; always in fp32.

        Args:
            previous: (1 or B, 1, R, R) the previous frame in grey, see ``steps.to_grey``.
            present: The same of the current frame.
            step: (1 or B, 1, 1, 1) distance between the frames; 0 in time.
        """
        flow = estimate_flow(present, previous, (step == 0).float())
        return Motion(flow, warp(previous, flow))

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(
        self,
        motion: Motion,
        previous_logits: torch.Tensor,
        trend: torch.Tensor | None = None,
        carried: torch.Tensor | None = None,
    ) -> Moved:
        """Move the previous logits along the image's motion; always in fp32.

        Args:
            motion: What ``register`` found.
            previous_logits: (B, 1, h, w) mask logits of the previous frame.
            trend: (B, 1, h, w) what the previous frame changed about its own moved mask, to be moved along.
            carried: (B, 3, h, w) what registration alone has brought to the previous frame, to be moved along.

        Returns:
            Logits for the current frame, clamped to ``PRIOR_LIMIT``, the moved image in grey and what else was given,
            moved; no gradient flows through.
        """
        given = {"logits": previous_logits, "trend": trend, "carried": carried}
        given = {name: one for name, one in given.items() if one is not None}
        warped = warp(torch.cat([one.float() for one in given.values()], dim=1), motion.flow)
        parts = warped.clamp(-PRIOR_LIMIT, PRIOR_LIMIT).split([one.shape[1] for one in given.values()], dim=1)
        return Moved(image=motion.image, **dict(zip(given, parts, strict=True)))


def estimate_flow(fixed: torch.Tensor, moving: torch.Tensor, may_jump: torch.Tensor) -> torch.Tensor:
    """Register two images with symmetric-force demons, from the best shift of the whole image on.

    Grey values are compared as they are, but for ``find_gain``: frames of one stack share their scale, and what differs
    between their means is mostly what they show.

    Args:
        fixed: (B, 1, S, S) image in 0..1 whose grid the result lives on.
        moving: (B, 1, S, S) image in 0..1 to be moved onto it.
        may_jump: (1 or B, 1, 1, 1) how much of the shift and of what the coarsest level finds is believed, 0 to 1.

    Returns:
        (B, 2, h, w) displacement (x, y) in units of the image side: ``fixed(p)`` looks like ``moving(p + flow)``.
    """
    moving = moving * find_gain(fixed, moving)
    flow = fixed.new_zeros(fixed.shape[0], 2, FLOW_SIZES[0], FLOW_SIZES[0])
    for size, iterations in zip(FLOW_SIZES, FLOW_ITERATIONS, strict=True):
        is_coarsest = size == FLOW_SIZES[0]
        if is_coarsest:
            if fixed.device.type == "cpu" and not may_jump.any():  # to ask a GPU takes longer
                continue
            flow = flow + find_jump(fixed, moving)
        target, source = (_shrink(image, size) for image in (fixed, moving))
        blur, slope = _line_filters(size, FLOW_SIGMA_PX, flow.device)
        steepness = _gradient(target, slope)
        flow = _resize(flow, (size, size))
        for _ in range(iterations):
            flow = blur @ (flow + _demons_step(target, steepness, warp(source, flow), slope)) @ blur.T
        if is_coarsest:
            flow = flow * may_jump
    return flow


def find_gain(fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
    """Find how much brighter one image is than the other as a whole, as slices of MR are that were recorded in turn.

    Args:
        fixed: (B, 1, S, S) image in 0..1.
        moving: (B, 1, S, S) image in 0..1.

    Returns:
        (B, 1, 1, 1) median ratio of ``fixed`` to ``moving``, which what comes and goes hardly changes; one where the
        images do not clearly agree better with it.
    """
    target, source = (_shrink(image, GAIN_SIZE).flatten(1) for image in (fixed, moving))
    is_dark = (target < DARK) | (source < DARK)

    def median(values: torch.Tensor) -> torch.Tensor:
        """Median (B, 1) over what is not dark; NaN where all is."""
        return values.masked_fill(is_dark, torch.nan).nanmedian(dim=1, keepdim=True).values

    gain = median(target / source)
    is_better = median((target - gain * source).abs()) < GAIN_WORTH * median((target - source).abs())
    return torch.where(is_better, gain, 1.0)[..., None, None]


def find_jump(fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
    """Find the shift of the whole image that demons, which follow slopes, would not find; by exhaustive search.

    Args:
        fixed: (B, 1, S, S) image.
        moving: (B, 1, S, S) image; of all its shifts the one with the least mean squared difference to ``fixed``,
            where they overlap, is the best.

    Returns:
        (B, 2, 1, 1) shift as ``estimate_flow`` counts it; zero where none is clearly better.
    """
    reach = int(FARTHEST_JUMP * JUMP_SIZE)
    still, other = (_shrink(image, JUMP_SIZE) for image in (fixed, moving))
    ones = torch.ones_like(still)

    def correlate(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Sum of first(p) * second(p + shift) for all shifts up to ``reach``, row by row: (B, shifts)."""
        size = (2 * JUMP_SIZE, 2 * JUMP_SIZE)
        product = torch.fft.rfft2(first, s=size).conj() * torch.fft.rfft2(second, s=size)
        around = torch.fft.irfft2(product, s=size).roll((reach, reach), dims=(2, 3))
        return around[..., : 2 * reach + 1, : 2 * reach + 1].flatten(1)

    difference = correlate(still.square(), ones) - 2 * correlate(still, other) + correlate(ones, other.square())
    difference = difference / correlate(ones, ones)
    least, best = difference.min(dim=1)
    is_better = least < JUMP_WORTH * difference[:, difference.shape[1] // 2]
    row, column = best // (2 * reach + 1), best % (2 * reach + 1)
    shift = (torch.stack([column, row], dim=1) - reach) * is_better[:, None] / JUMP_SIZE
    return shift[..., None, None]


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Sample (B, C, h, w) at ``p + flow(p)``; flow (1 or B, 2, ., .) in units of the image side, borders repeat."""
    height, width = image.shape[-2:]
    grid = _identity_grid(height, width, image.device) + 2 * _resize(flow, (height, width)).permute(0, 2, 3, 1)
    grid = grid.expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _resize(flow: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Interpolate a displacement field; nothing is touched when the size fits."""
    if flow.shape[-2:] == size:
        return flow
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False)


def _shrink(image: torch.Tensor, size: int) -> torch.Tensor:
    """Average area to (B, 1, size, size)."""
    return F.interpolate(image, size=(size, size), mode="area")


def _demons_step(
    target: torch.Tensor, steepness: torch.Tensor, warped: torch.Tensor, slope: torch.Tensor
) -> torch.Tensor:
    """Return one additive update of the flow (same units) from symmetric forces."""
    difference = target - warped
    gradient = 0.5 * (steepness + _gradient(warped, slope))  # per pixel
    weight = difference / (gradient.square().sum(1, keepdim=True) + difference.square()).clamp_min(1e-8)
    return weight * gradient / target.shape[-1]


def _gradient(image: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Central differences (x, y) of (B, 1, h, w), per pixel."""
    return torch.cat([image @ slope.T, slope @ image], dim=1)


@lru_cache(maxsize=16)
def _identity_grid(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Coordinates (1, h, w, 2) of the pixels as ``grid_sample`` counts them."""
    return F.affine_grid(torch.eye(2, 3)[None], (1, 1, height, width), align_corners=False).to(device)


@lru_cache(maxsize=16)
def _line_filters(size: int, sigma_px: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian blur and central difference along a line, borders repeated, as two (size, size) matrices.

    One matrix product filters all rows at once, which on small images is much faster than a convolution.
    """
    radius = int(3 * sigma_px + 0.5)
    positions = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (positions / sigma_px) ** 2)
    blur = _line_filter(positions, kernel / kernel.sum(), size)
    return blur.to(device), _line_filter(torch.tensor([-1, 1]), torch.tensor([-0.5, 0.5]), size).to(device)


def _line_filter(positions: torch.Tensor, weights: torch.Tensor, size: int) -> torch.Tensor:
    """Matrix (size, size) whose product with a line weighs the values at ``positions`` around every place."""
    places = torch.arange(size)[:, None].expand(-1, len(positions))
    neighbours = (places + positions).clamp(0, size - 1)
    return torch.zeros(size, size).scatter_add_(1, neighbours, weights.expand(size, -1).contiguous())
