"""Mask refiner: a small U-Net that redraws the decoder's coarse mask at a finer resolution (layer: model).

SAM 2's decoder draws on a grid of a quarter of the input's side, which at 128 pixels is coarser than the organs of a
small volume. The refiner sees the pixels themselves and every clue there is about the object: the decoder's logits,
the moved mask and image of the previous frame (see ``prior.py``), how that mask was changing (a tapering organ goes on
tapering), the anchor's mask carried here by registration alone, how far apart the frames lie, the prompts, and how
object and background look where the object is known. Sources of the ideas: cascaded refinement (CascadePSP, Cheng et
al. 2020), the rough mask of the previous frame as input (MaskTrack, Perazzi et al. 2017), prompts as image channels
(ScribblePrompt, Wong et al. 2024), intensity likelihoods of object and background (GrabCut, Rother et al. 2004).

Letters: B objects, R side of the refined mask and of grey images, see ``steps.to_grey``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from .prior import Moved
from .steps import resize

WIDTHS = (32, 48, 64, 96, 128)
"""Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of R."""
FOLD = 2
"""The entrance and the exit work on squares of FOLD x FOLD pixels."""
NUM_CLUES = 16
ENTRANCE = "refiner.down.0.0.0.weight"
"""The first convolution's name among a model's weights."""
LOGIT_SCALE = 4.0
"""Logits enter as tanh(logits / LOGIT_SCALE): their sign and certainty, not their size."""
LIKENESS_SCALE = 8.0
"""Likeness, in -1..1, is carried as logits of up to this size."""
STEP_SCALE = 1 / 8
"""Steps between frames enter as tanh(step / STEP_SCALE); they are shares of the image's side."""
CLICK_SIGMA = 3.0 / 128
"""Clicks are drawn as Gaussians of this size, in units of the image's side."""
NUM_BINS = 64
BLUR_PX = 4
LIKELIHOOD_LIMIT = 4.0


@dataclass(frozen=True, eq=False)
class Clues:
    """What is known about B objects on one frame; absent clues are None."""

    image: torch.Tensor  # (1 or B, 1, R, R) the frame in grey
    hint: torch.Tensor | None = None  # (B, 1, h, w) logits of an earlier or moved mask
    moved_image: torch.Tensor | None = None  # the same of the previous frame, moved as its mask was
    trend: torch.Tensor | None = None  # (B, 1, h, w) ``trend_of`` the previous frame, moved along
    carried: torch.Tensor | None = None  # (B, 3, h, w) ``carried_from`` the last mask given, moved frame by frame
    step: torch.Tensor | None = None  # (1 or B, 1, 1, 1) distance to the next frame over the image's side; 0 in time
    anchor_image: torch.Tensor | None = None  # the same of a frame on which the object is known for certain
    anchor_logits: torch.Tensor | None = None  # (B, 1, h, w) its mask there
    points: tuple[torch.Tensor, torch.Tensor] | None = None  # as ``steps.decode`` takes them, in pixels of ``image``
    decoded: torch.Tensor | None = None  # (B, 1, h, w) logits of the decoder

    def with_points(self, points: tuple[torch.Tensor, torch.Tensor] | None, side: int) -> Clues:
        """The same with prompts (if any) in pixels of an image of this side: whole numbers are pixel centres."""
        if points is None:
            return self
        coordinates, labels = points
        return replace(self, points=((coordinates + 0.5) * (self.image.shape[-1] / side) - 0.5, labels))

    def with_moved(self, moved: Moved) -> Clues:
        """The same with the previous frame as well."""
        return replace(self, hint=moved.logits, moved_image=moved.image, trend=moved.trend, carried=moved.carried)


class MaskRefiner(nn.Module):
    """U-Net without normalisation layers, so that a mask does not depend on what else is in the batch."""

    def __init__(self) -> None:
        """Start as the plain sum of hint and decoder."""
        super().__init__()
        first, *_ = WIDTHS
        entrance = nn.Sequential(nn.Sequential(_Entrance(first), nn.ReLU(inplace=True)), _block(first, first))
        self.down = nn.ModuleList(
            [
                entrance,
                *(nn.Sequential(_block(wide, deep, stride=2), _block(deep, deep)) for wide, deep in pairwise(WIDTHS)),
            ]
        )
        steps_up = zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        self.up = nn.ModuleList(nn.Sequential(_block(deep + wide, wide), _block(wide, wide)) for deep, wide in steps_up)
        self.out = nn.Conv2d(first, FOLD**2, 3, padding=1)
        self.trust = nn.Parameter(torch.tensor([2.0, 1.0]))  # logits per unit of hint and of decoder
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.out.weight)
        self.to(memory_format=torch.channels_last)

    def forward(self, clues: Clues) -> torch.Tensor:
        """Return mask logits (B, 1, R, R), fp32."""
        stacked, known = _draw(clues)
        return self._correct(stacked) + (known * self.trust.view(1, 2, 1, 1)).sum(1, keepdim=True)

    def _correct(self, stacked: torch.Tensor) -> torch.Tensor:
        """Run the U-Net over drawn clues (B, NUM_CLUES, R, R): what is added to the logits known before."""
        device = stacked.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else stacked.dtype
        x = stacked.to(dtype).contiguous(memory_format=torch.channels_last)  # converted first, there is less to copy
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1))
        return F.pixel_shuffle(self.out(x).float(), FOLD)


class _Entrance(nn.Conv2d):
    """What ``pixel_unshuffle`` and a 3x3 convolution do, as one strided convolution: no folded copy is made."""

    def __init__(self, width: int) -> None:
        """Take all clues."""
        super().__init__(NUM_CLUES * FOLD**2, width, 3)

    def forward(self, stacked: torch.Tensor) -> torch.Tensor:
        """Return (B, width, R / FOLD, R / FOLD) for clues (B, NUM_CLUES, R, R)."""
        return F.conv2d(stacked, F.pixel_shuffle(self.weight, FOLD), self.bias, stride=FOLD, padding=FOLD)


def knowing_all_clues(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Let a model's weights that were trained with fewer clues ignore the newer ones, which come last."""
    weight = tensors.get(ENTRANCE)
    missing = 0 if weight is None or weight.ndim != 4 else NUM_CLUES * FOLD**2 - weight.shape[1]
    return {**tensors, ENTRANCE: F.pad(weight, (0, 0, 0, 0, 0, missing))} if missing > 0 else tensors


def _block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """3x3 convolution and rectifier."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU(inplace=True))


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def _draw(clues: Clues) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw all clues as channels (B, NUM_CLUES, R, R); also hint and decoder alone (B, 2, R, R), in -1..1."""
    grey = clues.image
    side, count = grey.shape[-1], _count(clues)
    moved = grey if clues.moved_image is None else resize(clues.moved_image, side)
    box, positive, negative = _draw_points(clues.points, count, grey)
    hint, decoded = (_squash(logits, grey) for logits in (clues.hint, clues.decoded))
    asked = torch.maximum(box, positive) * (1 - negative)
    known = (clues.hint, clues.anchor_logits)
    recent, anchor = (None if logits is None else torch.sigmoid(resize(logits.float(), side)) for logits in known)
    anchor_image, recent_image = grey if anchor is None else clues.anchor_image, moved
    if anchor is None:
        anchor = recent if clues.points is None else asked
    if recent is None:
        recent, recent_image = anchor, anchor_image
    middle, spread = grey.mean(dim=(1, 2, 3), keepdim=True), grey.std(dim=(1, 2, 3), keepdim=True).clamp_min(0.02)
    carried = grey.new_zeros(1, 3, side, side) if clues.carried is None else _squash(clues.carried, grey)
    has_box = (box.amax(dim=(1, 2, 3), keepdim=True) > 0).float()
    channels = [
        (grey - middle) / spread,
        (moved - middle) / spread,
        hint,
        decoded,
        appearance(grey, anchor_image, anchor),
        appearance(grey, recent_image, recent),
        2 * box - has_box,
        positive,
        negative,
        torch.zeros_like(grey) if clues.trend is None else resize(clues.trend, side),
        carried[:, :1],
        torch.zeros_like(grey) if clues.step is None else torch.tanh(clues.step / STEP_SCALE).expand(-1, 1, side, side),
        carried[:, 1:],
    ]
    stacked = torch.cat([channel.expand(count, -1, -1, -1) for channel in channels], dim=1)
    return stacked, torch.cat([hint.expand(count, -1, -1, -1), decoded.expand(count, -1, -1, -1)], dim=1)


def _count(clues: Clues) -> int:
    """Number of objects."""
    parts = [clues.hint, clues.decoded, clues.anchor_logits, None if clues.points is None else clues.points[0]]
    return max(part.shape[0] for part in (clues.image, *parts) if part is not None)


def trend_of(logits: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
    """How a frame's mask differs from the hint it was drawn from, (B, 1, h, w) in -2..2: a clue for the next frame."""
    return torch.tanh(logits / LOGIT_SCALE) - torch.tanh(resize(hint.float(), logits.shape[-1]) / LOGIT_SCALE)


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
@torch.autocast("cuda", enabled=False)
def carried_from(image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """What a frame whose mask is given, or corrected, hands on: (B, 3, h, w).

    The mask's logits, and how much every pixel looks like the object there, sharp and blurred: what looks like it yet
    was left out of the mask is divided from it by a convention, which no later image shows.

    Args:
        image: (1 or B, 1, R, R) the frame in grey.
        logits: (B, 1, h, w) the mask.
    """
    grey = resize(image, logits.shape[-1])
    likeness = appearance(grey, grey, torch.sigmoid(logits.float()))
    return torch.cat([logits.float(), LIKENESS_SCALE * likeness], dim=1)


def _squash(logits: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Logits as a channel in -1..1, zeros where there are none."""
    return (
        torch.zeros_like(like) if logits is None else torch.tanh(resize(logits.float(), like.shape[-1]) / LOGIT_SCALE)
    )


def _draw_points(
    points: tuple[torch.Tensor, torch.Tensor] | None, count: int, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw the filled box, the positive and the negative clicks, three (B, 1, R, R) in 0..1."""
    side = like.shape[-1]
    if points is None:
        nothing = like.new_zeros(count, 1, side, side)
        return nothing, nothing, nothing
    coordinates, labels = points
    line = torch.arange(side, device=like.device, dtype=torch.float32)
    x, y = line.view(1, 1, 1, -1), line.view(1, 1, -1, 1)
    px, py = (coordinates[..., axis].float()[..., None, None] for axis in (0, 1))  # (B, P, 1, 1)
    kind = labels[..., None, None]
    near = torch.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (CLICK_SIGMA * side) ** 2))  # (B, P, R, R)
    positive, negative = ((near * (kind == wanted)).amax(1, keepdim=True) for wanted in (1, 0))
    after_start = ((x >= px - 0.5) & (y >= py - 0.5) & (kind == 2)).any(1, keepdim=True)
    before_end = ((x <= px + 0.5) & (y <= py + 0.5) & (kind == 3)).any(1, keepdim=True)
    return (after_start & before_end).float(), positive, negative


def appearance(image: torch.Tensor, reference: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Log-likelihood ratio of object to background for every pixel, sharp and blurred: (B, 2, R, R) in -1..1.

    Args:
        image: (1 or B, 1, R, R) in 0..1, to be judged.
        reference: The same of the frame whose histograms are taken.
        weight: (B, 1, R, R) in 0..1, how much a pixel of the reference belongs to the object.
    """
    count = len(weight)
    judged, known = (_bins(torch.cat([one, _blur(one)], dim=1)).expand(count, -1, -1) for one in (image, reference))
    shares = torch.cat([weight, 1 - weight], dim=1).flatten(2)  # of object and background, (B, 2, R*R)
    logs = _histograms(known, shares).log()
    ratio = (logs[:, :, 0] - logs[:, :, 1]).clamp(-LIKELIHOOD_LIMIT, LIKELIHOOD_LIMIT) / LIKELIHOOD_LIMIT
    return ratio.gather(2, judged).unflatten(2, weight.shape[2:])


def _blur(image: torch.Tensor) -> torch.Tensor:
    """Average over squares of BLUR_PX pixels, interpolated."""
    return resize(F.avg_pool2d(image, BLUR_PX), image.shape[-1])


def _bins(image: torch.Tensor) -> torch.Tensor:
    """Index of every pixel's histogram bin, (B, C, R*R)."""
    return (image.flatten(2) * NUM_BINS).long().clamp(0, NUM_BINS - 1)


def _histograms(bins: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Smoothed and normalised histograms (B, C, W, NUM_BINS), nowhere zero, of (B, C, P) by weights (B, W, P)."""
    count, images, kinds = len(bins), bins.shape[1], weights.shape[1]
    index = bins[:, :, None].expand(-1, -1, kinds, -1)
    counts = weights.new_zeros(count, images, kinds, NUM_BINS)
    counts = counts.scatter_add(3, index, weights[:, None].expand(-1, images, -1, -1))
    smooth = F.conv1d(counts.view(-1, 1, NUM_BINS), _smoothing(counts.device), padding=2).view_as(counts)
    return smooth / smooth.sum(3, keepdim=True).clamp_min(1e-3) + 0.1 / NUM_BINS


@lru_cache
def _smoothing(device: torch.device) -> torch.Tensor:
    """Binomial kernel (1, 1, 5) that smooths histograms."""
    return torch.tensor([[[1.0, 4.0, 6.0, 4.0, 1.0]]], device=device) / 16
