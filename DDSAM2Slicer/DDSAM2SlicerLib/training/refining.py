"""Teaches the mask refiner by itself: prompts on single frames, and clips followed by its own masks (layer: training).

The network around it is left out, which makes a step several times cheaper; the decoder's clue stays empty.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from ..model import steps
from ..model.prior import MaskPrior, Motion
from ..model.refiner import Clues, MaskRefiner, carried_from, trend_of
from .objective import LossWeights, refined_loss
from .prompts import Batch, Points, give_corrections, give_prompts

HINTLESS = 0.08
"""Share of the tracked frames on which the previous mask is withheld, as behind a frame that was not kept."""


class Followed(NamedTuple):
    """Logits (B, 1, S, S) of a batch of clips."""

    first: list[torch.Tensor]  # frame 0 after every click; none for a given mask
    tracked: list[torch.Tensor]  # frames 1 to T - 1
    corrected: dict[int, list[torch.Tensor]]  # tracked frames that were clicked right, after every click


def follow_clips(
    refiner: MaskRefiner,
    prior: MaskPrior,
    batch: Batch,
    generator: torch.Generator,
    hintless: float = 0.0,
    corrected: float = 0.0,
) -> Followed:
    """Answer the prompt of every clip's first frame and track the answer through the others.

    Args:
        refiner: Draws all masks.
        prior: Registers the frames.
        batch: Clips and the kind of their prompts.
        generator: Source of randomness.
        hintless: Share of the tracked frames on which the previous mask is withheld.
        corrected: Share of the tracked frames that are clicked right, and from which it goes on as from a prompt.
    """
    images = to_grey_clips(batch.frames)
    clues = Clues(images[:, 0])  # but for the previous mask

    def answer(points: Points | None, hint: torch.Tensor | None) -> torch.Tensor:
        """Answer prompts on the frame that the clues are of by then."""
        return refiner(replace(clues, hint=hint).with_points(points, batch.frames.shape[-1]))

    first = [] if batch.kind == "mask" else give_prompts(batch, generator, answer, lambda logits: logits)
    given = steps.MASK_SCALE * batch.masks[:, :1].float() + steps.MASK_BIAS
    anchor = first[-1].detach() if first else given
    result, logits, trend = Followed(first, [], {}), anchor, None
    carried = carried_from(images[:, 0], anchor)
    clues = replace(clues, step=batch.steps, anchor_image=images[:, 0], anchor_logits=anchor)
    for index, motion in enumerate(register_clips(prior, images, batch.steps), start=1):
        moved = prior(motion, logits.detach(), trend, carried)
        clues = replace(clues, image=images[:, index])
        is_told = not hintless or torch.rand((), generator=generator).item() >= hintless
        logits = refiner(clues.with_moved(moved) if is_told else clues)
        result.tracked.append(logits)
        trend, carried = trend_of(logits.detach(), moved.logits) if is_told else None, moved.carried
        if corrected and torch.rand((), generator=generator).item() < corrected:
            result.corrected[index] = give_corrections(batch.masks[:, index], logits, generator, answer)
            logits, trend = result.corrected[index][-1], None
            carried = carried_from(images[:, index], logits.detach())
            clues = replace(clues, anchor_image=images[:, index], anchor_logits=logits.detach())
    return result


def to_grey_clips(frames: torch.Tensor) -> torch.Tensor:
    """Turn clips (B, T, S, S), uint8, into what registration and refiner look at: (B, T, 1, R, R)."""
    return steps.to_grey(steps.normalise(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])


def register_clips(prior: MaskPrior, images: torch.Tensor, steps: torch.Tensor) -> list[Motion]:
    """Motion to every frame but the first from the frame before it, found all at once.

    Args:
        prior: Finds it.
        images: (B, T, 1, R, R) clips in grey, see ``to_grey_clips``.
        steps: (B, 1, 1, 1) as in ``Batch``.
    """
    count, num_frames = images.shape[:2]
    if num_frames == 1:
        return []
    steps = steps.repeat_interleave(num_frames - 1, dim=0)
    found = prior.register(images[:, :-1].flatten(0, 1), images[:, 1:].flatten(0, 1), steps)
    flow, image = (part.unflatten(0, (count, num_frames - 1)) for part in found)
    return [Motion(flow[:, index], image[:, index]) for index in range(num_frames - 1)]


def refiner_loss(
    refiner: MaskRefiner,
    prior: MaskPrior,
    batch: Batch,
    weights: LossWeights,
    generator: torch.Generator,
    corrected: float = 0.0,
) -> torch.Tensor:
    """Return the training loss of a batch of clips; a frame given as a mask is not scored."""
    result = follow_clips(refiner, prior, batch, generator, HINTLESS, corrected)
    answered = [(0, result.first), *enumerate(([one] for one in result.tracked), start=1), *result.corrected.items()]
    answers, frames = zip(*((answer, frame) for frame, own in answered for answer in own), strict=True)
    wanted = torch.cat([batch.masks[:, frame] for frame in frames]).float()
    return refined_loss(torch.cat(answers), wanted[:, None], weights)  # at once: on a GPU many small steps are slow
