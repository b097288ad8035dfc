"""Batches of clips; prompts as users give them: loose boxes, clicks and corrections, rough masks (layer: training)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F

from ..model import steps
from ..model.prior import warp
from .clips import Clip

PROMPT_KINDS = ("mask", "box", "click", "clicks", "corrected_box", "rough")
NUM_CORRECTIONS = 2
"""Clicks, each in a large error, that follow the first click of ``clicks`` and the box of ``corrected_box``."""
MAX_CORRECTIONS = 3
"""Clicks on a tracked mask."""
ROUGHNESS = 0.07
"""Rough masks are bent by a smooth displacement of up to about this share of the frame's side."""
ROUGH_LOGIT = 8.0
TIGHT = 0.5
"""Share of the boxes that fit exactly."""
ERROR_PX = (9, 25)
"""Errors are averaged over squares of one of these sides before one is clicked: large ones come first."""
INTERIOR_PX = (9, 17, 33)
"""A click lies in the middle of a square of one of these sides that the object fills, as far as there is one."""

Points = tuple[torch.Tensor, torch.Tensor]
"""Coordinates (B, P, 2) and labels (B, P), as ``steps.decode`` takes them."""
Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Batch:
    """B clips of T frames, each with one object, that share a kind of prompt."""

    frames: torch.Tensor  # (B, T, S, S) uint8
    masks: torch.Tensor  # (B, T, S, S) bool
    steps: torch.Tensor  # (B, 1, 1, 1) float, as ``Clues.step``
    kind: str

    @property
    def tensors(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Frames, masks and steps."""
        return self.frames, self.masks, self.steps


def join_clips(clips: Sequence[Clip], kind: str) -> Batch:
    """Make a batch of clips of equal size."""
    frames, masks = (torch.stack([getattr(clip, name) for clip in clips]) for name in ("frames", "masks"))
    return Batch(frames, masks, torch.tensor([clip.step for clip in clips]).view(-1, 1, 1, 1), kind)


def give_prompts(
    batch: Batch,
    generator: torch.Generator,
    answer: Callable[[Points | None, torch.Tensor | None], Answer],
    logits_of: Callable[[Answer], torch.Tensor],
) -> list[Answer]:
    """Prompt frame 0 as the batch's kind says, but not with the mask itself, and collect what is answered each time.

    Args:
        batch: Clips whose first masks the prompts show.
        generator: Source of randomness.
        answer: Takes points and logits (B, 1, S, S) of a rough or an earlier mask, either of which may be missing.
        logits_of: Mask logits (B, 1, h, w) of an answer; the next click goes into one of their large errors.
    """
    masks = batch.masks[:, 0]
    if batch.kind == "rough":
        return [answer(None, bend(masks, generator))]
    points = draw_box(masks, generator) if batch.kind in ("box", "corrected_box") else draw_click(masks, generator)
    first = answer(points, None)
    count = NUM_CORRECTIONS if batch.kind in ("clicks", "corrected_box") else 0
    return [first, *_click_right(masks, points, logits_of(first), count, generator, answer, logits_of)]


def give_corrections(
    masks: torch.Tensor,
    found: torch.Tensor,
    generator: torch.Generator,
    answer: Callable[[Points, torch.Tensor], torch.Tensor],
) -> list[torch.Tensor]:
    """Click a tracked mask right, one to ``MAX_CORRECTIONS`` times, and collect what is answered each time.

    Args:
        masks: (B, S, S) bool, the truth.
        found: (B, 1, h, w) logits that were tracked; the first click goes into one of their large errors.
        generator: Source of randomness.
        answer: Takes all points so far and the logits (B, 1, h, w) before the latest.
    """
    points = masks.new_zeros(len(masks), 0, 2, dtype=torch.float32), masks.new_zeros(len(masks), 0, dtype=torch.int32)
    count = int(torch.randint(1, MAX_CORRECTIONS + 1, (), generator=generator))
    return _click_right(masks, points, found, count, generator, answer, lambda logits: logits)


def _click_right(
    masks: torch.Tensor,
    points: Points,
    found: torch.Tensor,
    count: int,
    generator: torch.Generator,
    answer: Callable[[Points, torch.Tensor], Answer],
    logits_of: Callable[[Answer], torch.Tensor],
) -> list[Answer]:
    """Add so many clicks to points, each in a large error of the logits (B, 1, h, w) before it; the answers to each."""
    answers = []
    for _ in range(count):
        found = steps.resize(found.detach(), masks.shape[-1])
        points = draw_correction(points, found[:, 0] > 0, masks, generator)
        answers.append(answer(points, found))
        found = logits_of(answers[-1])
    return answers


def bend(masks: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn masks (B, S, S) into the logits (B, 1, S, S) of rough ones."""
    logits = (2.0 * masks[:, None].float() - 1.0) * ROUGH_LOGIT
    bends = torch.randn(len(masks), 2, 4, 4, generator=generator).to(logits.device)
    strength = ROUGHNESS * torch.rand(len(masks), 1, 1, 1, generator=generator).to(logits.device)
    return warp(logits, F.interpolate(bends, size=masks.shape[-2:], mode="bicubic", align_corners=False) * strength)


def draw_box(masks: torch.Tensor, generator: torch.Generator) -> Points:
    """Draw loose boxes around masks (B, S, S): coordinates (B, 2, 2) and labels (B, 2) as the decoder takes them."""
    size, count = masks.shape[-1], len(masks)
    corners = []
    for dim in (1, 2):  # columns, then rows: where each occupied run begins and ends
        is_occupied = masks.any(dim).to(torch.uint8)
        corners.append(torch.stack([is_occupied.argmax(1), size - 1 - is_occupied.flip(1).argmax(1)], dim=1))
    box = torch.stack(corners, dim=2).float()  # (B, 2, 2)
    extent = (box[:, 1] - box[:, 0] + 1)[:, None]
    is_loose = torch.rand(count, 1, 1, generator=generator) >= TIGHT
    looseness = 0.1 * torch.rand(count, 1, 1, generator=generator) * is_loose
    noise = torch.randn(count, 2, 2, generator=generator)
    box = (box + (noise * looseness).to(box.device) * extent).clamp(0, size - 1)
    labels = torch.tensor([[2, 3]], dtype=torch.int32, device=masks.device).expand(count, -1)
    return box, labels


def draw_click(masks: torch.Tensor, generator: torch.Generator) -> Points:
    """Draw one click well inside every mask (B, S, S)."""
    interiors = _interiors(masks)  # (B, N, S, S)
    depth = torch.randint(interiors.shape[1], (len(masks),), generator=generator).to(masks.device)
    allowed = interiors[torch.arange(len(masks), device=masks.device), depth]
    place = (noise_like(masks, generator) * allowed).flatten(1).argmax(1)
    coordinates = torch.stack([place % masks.shape[-1], place // masks.shape[-1]], dim=1)[:, None].float()
    return coordinates, torch.ones(len(masks), 1, dtype=torch.int32, device=masks.device)


def draw_correction(points: Points, found: torch.Tensor, truth: torch.Tensor, generator: torch.Generator) -> Points:
    """Add a click in a large error: positive where something of ``truth`` (B, S, S) is missing in ``found``."""
    error = truth.float() - found.float()
    side = ERROR_PX[int(torch.randint(len(ERROR_PX), (), generator=generator))]
    density = F.avg_pool2d(error[:, None], side, stride=1, padding=side // 2)[:, 0].abs() * (error != 0)
    place = (density + 0.05 * noise_like(density, generator) * (error != 0)).flatten(1).argmax(1)
    row, column = place // error.shape[-1], place % error.shape[-1]
    label = torch.where(found.flatten(1).any(1) & (error.flatten(1).gather(1, place[:, None])[:, 0] < 0), 0, 1)
    is_right = (error == 0).flatten(1).all(1)  # nothing to correct: padding
    coordinates = torch.cat([points[0], torch.stack([column, row], dim=1)[:, None].float()], dim=1)
    labels = torch.cat([points[1], torch.where(is_right, -1, label)[:, None].to(points[1].dtype)], dim=1)
    return coordinates, labels


def noise_like(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw uniform numbers of a tensor's shape on its device, from a seed that the CPU's generator gives."""
    own = torch.Generator(like.device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
    return torch.rand(like.shape, device=like.device, generator=own)


def _interiors(masks: torch.Tensor) -> torch.Tensor:
    """Where squares of each of the N INTERIOR_PX, or the largest that fit, lie inside masks (B, S, S): (B, N, S, S)."""
    background = (~masks)[:, None].float()
    interiors, smaller = [], masks
    for side in INTERIOR_PX:
        eroded = F.max_pool2d(background, side, stride=1, padding=side // 2)[:, 0] == 0
        smaller = torch.where(eroded.flatten(1).any(1)[:, None, None], eroded, smaller)
        interiors.append(smaller)
    return torch.stack(interiors, dim=1)
