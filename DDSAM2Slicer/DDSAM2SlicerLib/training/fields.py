"""Smooth random functions of continuous coordinates, the raw material of every generated scene (layer: training).

Coordinates are (..., 3) in the order (x, y, z), in units of half the scene's width: the frame spans [-1, 1] in x and y.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


class Draws:
    """Random draws from one seeded generator, with the few shapes of randomness that scenes need."""

    def __init__(self, seed: int) -> None:
        """Start the stream of draws."""
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float) -> float:
        """Draw from [low, high)."""
        return low + (high - low) * torch.rand((), generator=self.generator).item()

    def log_uniform(self, low: float, high: float) -> float:
        """Draw with every octave equally likely."""
        return math.exp(self.uniform(math.log(low), math.log(high)))

    def integer(self, low: int, high: int) -> int:
        """Draw from low..high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def chance(self, probability: float) -> bool:
        """Be True this often."""
        return torch.rand((), generator=self.generator).item() < probability

    def choice(self, options: tuple) -> object:
        """Pick one option."""
        return options[self.integer(0, len(options) - 1)]

    def normal(self, *shape: int) -> torch.Tensor:
        """Draw a tensor of independent standard normal numbers."""
        return torch.randn(*shape, generator=self.generator)

    def uniform_tensor(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Draw a tensor of independent numbers in [low, high)."""
        return low + (high - low) * torch.rand(*shape, generator=self.generator)


def smooth_field(draws: Draws, channels: int, cells: float, points: torch.Tensor) -> torch.Tensor:
    """Evaluate smooth random functions.

    Args:
        draws: Source of randomness.
        channels: Number of independent functions.
        cells: Bumps across the width of the scene; larger is finer.
        points: (T, H, W, 3) coordinates; beyond [-1, 1] the functions are mirrored.

    Returns:
        (channels, T, H, W), about zero mean and unit spread.
    """
    side = max(round(cells) + 2, 3)
    noise = draws.normal(1, channels, side, side, side)
    noise = F.interpolate(noise, scale_factor=2, mode="trilinear", align_corners=False)
    noise = F.avg_pool3d(noise, 3, stride=1, padding=1, count_include_pad=False)
    noise = noise / noise.std().clamp_min(1e-6)
    return F.grid_sample(noise, points[None] * (cells / side), padding_mode="reflection", align_corners=False)[0]


def rotation(draws: Draws) -> torch.Tensor:
    """Draw a (3, 3) rotation matrix."""
    orthogonal, upper = torch.linalg.qr(draws.normal(3, 3))
    return orthogonal * torch.sign(torch.diagonal(upper))
