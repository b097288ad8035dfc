"""Mask prior: the previous frame's mask, moved to where the image moved, offered to the decoder (layer: model).

Two published ideas meet here: guiding a segmenter with the rough mask of the previous frame (MaskTrack, Perazzi et
al. 2017) and demons registration with symmetric forces (Thirion 1998; Vercauteren et al. 2009). The result enters SAM
2 as its ordinary dense mask prompt and is added, with a learned gain, to the decoder's logits: the decoder learns
corrections instead of masks from nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

PRIOR_LIMIT = 8.0
"""Logits of a prior are clamped to this size: sure, yet correctable."""
FLOW_SIZES = (32, 64, 128)
"""Sides, in pixels, of the images that are registered, coarse to fine."""
FLOW_ITERATIONS = (12, 8, 5)
FLOW_SIGMA_PX = 1.5
"""Gaussian smoothing of the displacement field after every iteration."""


class Moved(NamedTuple):
    """The previous frame where its motion took it."""

    logits: torch.Tensor  # (B, 1, h, w)
    image: torch.Tensor  # (1 or B, 3, S, S)


class MaskPrior(nn.Module):
    """Motion-compensated previous mask, and how much of it is added to the decoder's logits."""

    def __init__(self) -> None:
        """Start with full trust: at first the output is the moved mask."""
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    @torch.no_grad()
    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(self, previous_logits: torch.Tensor, previous_image: torch.Tensor, image: torch.Tensor) -> Moved:
        """Move the previous logits along the image's motion; always in fp32.

        Args:
            previous_logits: (B, 1, h, w) mask logits of the previous frame.
            previous_image: (1 or B, 3, S, S) normalised network input of the previous frame.
            image: The same of the current frame.

        Returns:
            Logits for the current frame, clamped to ``PRIOR_LIMIT``, and the moved image; no gradient flows through.
        """
        flow = estimate_flow(image, previous_image)
        logits = warp(previous_logits.float(), flow).clamp(-PRIOR_LIMIT, PRIOR_LIMIT)
        return Moved(logits, warp(previous_image, flow))


def estimate_flow(fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
    """Register two images with symmetric-force demons.

    Args:
        fixed: (B, C, S, S) image whose grid the result lives on; channels are averaged.
        moving: (B, C, S, S) image to be moved onto it.

    Returns:
        (B, 2, h, w) displacement (x, y) in units of the image side: ``fixed(p)`` looks like ``moving(p + flow)``.
    """
    flow = fixed.new_zeros(fixed.shape[0], 2, FLOW_SIZES[0], FLOW_SIZES[0])
    for size, iterations in zip(FLOW_SIZES, FLOW_ITERATIONS, strict=True):
        fixed_small, moving_small = (_shrink(image, size) for image in (fixed, moving))
        flow = F.interpolate(flow, size=(size, size), mode="bilinear", align_corners=False)
        kernel = _gaussian_kernel(FLOW_SIGMA_PX, flow)
        for _ in range(iterations):
            flow = _smooth(flow + _demons_step(fixed_small, moving_small, flow), kernel)
    return flow


def warp(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Sample (B, C, h, w) at ``p + flow(p)``; flow (1 or B, 2, ., .) in units of the image side, borders repeat."""
    if flow.shape[-2:] != image.shape[-2:]:
        flow = F.interpolate(flow, size=image.shape[-2:], mode="bilinear", align_corners=False)
    identity = torch.eye(2, 3, device=image.device, dtype=image.dtype)[None]
    grid = F.affine_grid(identity, (1, 1, *image.shape[-2:]), align_corners=False)
    grid = (grid + 2 * flow.permute(0, 2, 3, 1)).expand(image.shape[0], -1, -1, -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _shrink(image: torch.Tensor, size: int) -> torch.Tensor:
    """Average channels and area to (B, 1, size, size), zero mean and unit spread, so that forces are scale-free."""
    small = F.interpolate(image.mean(1, keepdim=True), size=(size, size), mode="area")
    spread = small.std(dim=(2, 3), keepdim=True).clamp_min(1e-4)
    return (small - small.mean(dim=(2, 3), keepdim=True)) / spread


def _demons_step(fixed: torch.Tensor, moving: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """Return one additive update of the flow (same units) from symmetric forces."""
    size = fixed.shape[-1]
    warped = warp(moving, flow)
    difference = fixed - warped
    gradient = 0.5 * (_gradient(fixed) + _gradient(warped))  # per pixel
    weight = difference / (gradient.square().sum(1, keepdim=True) + difference.square()).clamp_min(1e-6)
    return (weight * gradient) / size


def _gradient(image: torch.Tensor) -> torch.Tensor:
    """Central differences (x, y) of (B, 1, h, w), per pixel, borders repeated."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    along_y = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], dim=1)


def _gaussian_kernel(sigma_px: float, like: torch.Tensor) -> torch.Tensor:
    """One-dimensional Gaussian of three sigmas either side, summing to one."""
    radius = int(3 * sigma_px + 0.5)
    positions = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    kernel = torch.exp(-0.5 * (positions / sigma_px) ** 2)
    return kernel / kernel.sum()


def _smooth(flow: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Blur both components separably, borders repeated."""
    radius = len(kernel) // 2
    components = flow.flatten(0, 1)[:, None]  # as a batch of their own: grouped convolutions are slow on CPUs
    rows = F.conv2d(F.pad(components, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    both = F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return both.view_as(flow)
