"""The square window of a frame that the network sees, and the exact way back (layer: engine).

A crop has whole-pixel borders and may reach beyond the frame, where it is black. It is square in millimetres, so that
an object looks the same whatever the pixel's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..core.settings import EngineSettings

GUARD = 0.06
"""An object that comes closer to the crop's border than this share of its side makes the crop move."""
SHRINK, GROW = 0.5, 1.6
"""The crop is kept while the object's share of its side stays within these multiples of the wanted share."""
OUTSIDE_LOGIT = -10.0
"""Mask logit of what the network has not seen; a given mask has the same outside."""

Box = tuple[float, float, float, float]  # x0, y0, x1, y1: centres of the outermost pixels


@dataclass(frozen=True)
class Crop:
    """Window of a frame: columns x to x + width - 1, rows y to y + height - 1."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, frame: NDArray, size: int) -> torch.Tensor:
        """Resample an 8-bit frame (H, W) or (H, W, 3) to network size: (1, size, size[, 3]), float, 0 to 255."""
        channels = frame[..., None] if frame.ndim == 2 else frame
        pixels = torch.from_numpy(self._extract(channels)).permute(2, 0, 1)[None].float()
        resized = _resize(pixels, size)
        return resized[:, 0] if frame.ndim == 2 else resized.permute(0, 2, 3, 1)

    def cut_mask(self, mask: NDArray, size: int) -> torch.Tensor:
        """Resample a mask (H, W) to network size: (1, 1, size, size), float, 0 or 1, as SAM 2 does."""
        pixels = torch.from_numpy(self._extract(mask.astype(np.float32)[..., None])).permute(2, 0, 1)[None]
        return (_resize(pixels, size) >= 0.5).float()

    def to_network(self, x: float, y: float, size: int) -> tuple[float, float]:
        """Map a point from frame pixels to network pixels; integers are pixel centres in both."""
        return (x - self.x + 0.5) * size / self.width - 0.5, (y - self.y + 0.5) * size / self.height - 0.5

    def to_pixels(self, logits: torch.Tensor) -> torch.Tensor:
        """Resample network logits (B, 1, h, w) to the frame pixels of the window, (B, height, width)."""
        size = (self.height, self.width)
        return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)[:, 0]

    def place(self, window: NDArray, height: int, width: int) -> NDArray:
        """Put boolean pixels of the window (B, height, width) into empty frames (B, H, W)."""
        frames = np.zeros((window.shape[0], height, width), bool)
        top, left = max(self.y, 0), max(self.x, 0)
        bottom, right = min(self.y + self.height, height), min(self.x + self.width, width)
        frames[:, top:bottom, left:right] = window[:, top - self.y : bottom - self.y, left - self.x : right - self.x]
        return frames

    def transfer(self, logits: torch.Tensor, other: Crop, size: int) -> torch.Tensor:
        """Resample logits (B, 1, h, w) of this crop to (B, 1, size, size) of another; outside is background."""
        affine = other.affine_in(self)[None].to(logits.device)
        grid = F.affine_grid(affine, (1, 1, size, size), align_corners=False).expand(logits.shape[0], -1, -1, -1)
        lifted = logits.float().clamp_min(OUTSIDE_LOGIT) - OUTSIDE_LOGIT
        return F.grid_sample(lifted, grid, mode="bilinear", align_corners=False) + OUTSIDE_LOGIT

    def affine_in(self, other: Crop) -> torch.Tensor:
        """The matrix (2, 3) of ``F.affine_grid`` that samples this window in an image of another one."""
        scale_x, scale_y = self.width / other.width, self.height / other.height
        shift_x = (2 * (self.x - other.x) + self.width) / other.width - 1
        shift_y = (2 * (self.y - other.y) + self.height) / other.height - 1
        return torch.tensor([[scale_x, 0.0, shift_x], [0.0, scale_y, shift_y]])

    def _extract(self, frame: NDArray) -> NDArray:
        """Copy the window out of (H, W, C), with zeros where it reaches beyond the frame."""
        height, width, channels = frame.shape
        top, left = max(self.y, 0), max(self.x, 0)
        bottom, right = min(self.y + self.height, height), min(self.x + self.width, width)
        if (top, left, bottom, right) == (self.y, self.x, self.y + self.height, self.x + self.width):
            return np.ascontiguousarray(frame[top:bottom, left:right])
        window = np.zeros((self.height, self.width, channels), frame.dtype)
        window[top - self.y : bottom - self.y, left - self.x : right - self.x] = frame[top:bottom, left:right]
        return window


@dataclass(frozen=True)
class CropPolicy:
    """Chooses windows for frames of one size and lets them follow the object."""

    height: int
    width: int
    pixel_aspect: float
    """Height of a pixel divided by its width."""
    settings: EngineSettings
    room: float = 1.0
    """Windows around objects are so many times as wide as the settings ask."""

    def whole(self) -> Crop:
        """The whole frame: stretched to the network's square without zoom, as in SAM 2, else with black borders."""
        if not self.settings.zoom:
            return Crop(0, 0, self.width, self.height)
        return self._around((0, 0, self.width - 1, self.height - 1), self._largest_side())

    def halve(self, x: float, y: float, count: int) -> list[Crop]:
        """The whole frame, then windows around a pixel, each half as wide as the one before; no more than ``count``."""
        whole = self.whole()
        sides = [self._largest_side() / 2**step for step in range(1, count)] if self.settings.zoom else []
        return [whole, *(self._around((x, y, x, y), side) for side in sides if side >= self.settings.min_crop_px)]

    def choose(self, box: Box | None) -> Crop:
        """Window around a box in which the object fills the wanted share of the side; the whole frame without a box."""
        if box is None or not self.settings.zoom:
            return self.whole()
        side = max(self.room * self._side(box) / self.settings.zoom_margin, self.settings.min_crop_px)
        return self._around(box, min(side, self._largest_side()))

    def follow(self, crop: Crop, box: Box | None) -> Crop:
        """Keep the window while the object sits well inside and its size fits, else choose a new one."""
        if box is None or not self.settings.zoom:
            return crop
        wanted = self.choose(box)
        is_size_fine = SHRINK <= crop.width / wanted.width <= GROW
        guard_x, guard_y = GUARD * crop.width, GUARD * crop.height
        x0, y0, x1, y1 = box
        is_inside = (
            (x0 >= crop.x + guard_x or crop.x <= 0)
            and (y0 >= crop.y + guard_y or crop.y <= 0)
            and (x1 <= crop.x + crop.width - 1 - guard_x or crop.x + crop.width >= self.width)
            and (y1 <= crop.y + crop.height - 1 - guard_y or crop.y + crop.height >= self.height)
        )
        return crop if is_size_fine and is_inside else wanted

    def _side(self, box: Box) -> float:
        """Side, in columns, of the smallest square that holds the box."""
        return max(box[2] - box[0] + 1, (box[3] - box[1] + 1) * self.pixel_aspect)

    def _largest_side(self) -> float:
        """Side, in columns, of the square that holds the whole frame."""
        return max(self.width, self.height * self.pixel_aspect)

    def _around(self, box: Box, side: float) -> Crop:
        """Window of that side (in columns), centred on the box as far as it can stay inside the frame."""
        columns = max(math.ceil(side), 2)
        rows = max(math.ceil(side / self.pixel_aspect), 2)
        return Crop(
            _start((box[0] + box[2]) / 2, columns, self.width),
            _start((box[1] + box[3]) / 2, rows, self.height),
            columns,
            rows,
        )


def bounding_box(mask: NDArray) -> Box | None:
    """Tight box of a mask (H, W); None if it is empty."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if columns.size else None


def join_boxes(boxes: list[Box | None]) -> Box | None:
    """Smallest box around all boxes; None if there is none."""
    found = [box for box in boxes if box is not None]
    if not found:
        return None
    x0, y0, x1, y1 = zip(*found, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _start(centre: float, length: int, limit: int) -> int:
    """First pixel of an interval around a centre: inside [0, limit) if it fits, else centred on the frame."""
    if length >= limit:
        return -((length - limit) // 2)
    return min(max(round(centre - (length - 1) / 2), 0), limit - length)


def _resize(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Resample (B, C, h, w) to a square, without aliasing; nothing is touched when the size fits."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
