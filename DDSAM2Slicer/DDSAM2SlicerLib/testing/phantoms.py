"""Small labelled images whose truth is known: ellipsoids, a beating heart in 2D and 3D (layer: testing, numpy only)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.geometry import VolumeGeometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BACKGROUND, BODY, MUSCLE, BLOOD = 20, 90, 150, 220
"""Grey values of air, body, heart muscle and the blood inside."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """An image with its truth.

    Attributes:
        array: (K, J, I) volume, (T, H, W) clip or (T, K, J, I) series, uint8.
        labels: Same shape, uint8: 0 outside, objects from 1.
        geometry: Placement of a volume, or of each time point; of a single slice for a clip.
    """

    array: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    geometry: VolumeGeometry


def create_ellipsoids(
    shape_kji: tuple[int, int, int] = (20, 40, 48), geometry: VolumeGeometry | None = None, seed: int = 0
) -> Phantom:
    """Volume with two ellipsoids (labels 1 and 2) of different brightness in a body with mild noise."""
    k, j, i = _unit_grid(shape_kji)
    labels = np.zeros(shape_kji, np.uint8)
    labels[((k - 0.5) / 0.35) ** 2 + ((j - 0.5) / 0.25) ** 2 + ((i - 0.3) / 0.18) ** 2 <= 1] = 1
    labels[((k - 0.45) / 0.25) ** 2 + ((j - 0.55) / 0.2) ** 2 + ((i - 0.74) / 0.14) ** 2 <= 1] = 2
    grey = np.array([BODY, MUSCLE, BLOOD])[labels]
    return Phantom(_add_noise(grey, seed), labels, geometry or VolumeGeometry(shape_kji, np.diag([1.0, 1.0, 2.0, 1.0])))


def create_beating_heart(num_frames: int = 12, size: int = 64, seed: int = 0) -> Phantom:
    """Clip (T, H, W) of one heart beat: a ring of muscle (label 2) contracts around blood (label 1)."""
    y, x = _unit_grid((size, size))
    radius = np.hypot(y - 0.5, x - 0.48)
    inner = _inner_radius(num_frames)[:, None, None]
    # The ring keeps its area: muscle does not vanish when it contracts.
    outer = np.sqrt(inner**2 + 0.05)
    labels = np.where(radius < inner, 1, np.where(radius < outer, 2, 0)).astype(np.uint8)
    body = np.where(radius < 0.49, BODY, BACKGROUND)
    grey = np.where(labels == 1, BLOOD, np.where(labels == 2, MUSCLE, body))
    return Phantom(_add_noise(grey, seed), labels, VolumeGeometry((1, size, size), np.diag([1.5, 1.5, 8.0, 1.0])))


def create_beating_heart_series(
    num_times: int = 6, shape_kji: tuple[int, int, int] = (8, 40, 40), seed: int = 0
) -> Phantom:
    """Series (T, K, J, I) of a beating ball of blood (label 1) that is largest in the middle slice."""
    k, j, i = _unit_grid(shape_kji)
    radius = np.sqrt((k - 0.5) ** 2 + (j - 0.5) ** 2 + (i - 0.5) ** 2)
    labels = (radius < 1.5 * _inner_radius(num_times)[:, None, None, None]).astype(np.uint8)
    grey = np.array([BODY, BLOOD])[labels]
    return Phantom(_add_noise(grey, seed), labels, VolumeGeometry(shape_kji, np.diag([1.5, 1.5, 8.0, 1.0])))


def create_geometry(
    shape_kji: tuple[int, int, int],
    seed: int | None = None,
    spacing_mm: Sequence[float] = (0.8, 1.1, 2.5),
    is_left_handed: bool = False,
) -> VolumeGeometry:
    """Place a grid in the world; with a seed its directions are random (oblique), without one they follow RAS."""
    generator = np.random.default_rng(seed)
    directions = np.eye(3) if seed is None else np.linalg.qr(generator.normal(size=(3, 3)))[0]
    if (np.linalg.det(directions) < 0) != is_left_handed:
        directions[:, 2] *= -1
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.array(spacing_mm)
    matrix[:3, 3] = generator.uniform(-200, 200, 3) if seed is not None else (0, 0, 0)
    return VolumeGeometry(shape_kji, matrix)


def _unit_grid(shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Coordinates of cell centres along each axis, from 0 to 1, ready to broadcast."""
    return [
        axis.reshape([-1 if n == position else 1 for n in range(len(shape))])
        for position, axis in enumerate((np.arange(size) + 0.5) / size for size in shape)
    ]


def _inner_radius(num_times: int) -> NDArray[np.float64]:
    """Radius of the blood pool over one beat, as a fraction of the image's side."""
    phase = np.arange(num_times) / num_times
    return 0.24 - 0.06 * (1 - np.cos(2 * np.pi * phase)) / 2


def _add_noise(grey: NDArray, seed: int) -> NDArray[np.uint8]:
    """Add repeatable noise and convert to 8 bits."""
    noise = np.random.default_rng(seed).normal(0, 6, grey.shape)
    return np.clip(np.rint(grey + noise), 0, 255).astype(np.uint8)
