"""Teaches the mask refiner by itself: prompts on single frames, and clips followed by its own masks (layer: training).

The network around it is left out, which makes a step several times cheaper; the decoder's clue stays empty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..model import steps
from ..model.prior import MaskPrior
from ..model.refiner import Clues, MaskRefiner, trend_of
from .objective import LossWeights, refined_loss
from .prompts import Batch, Points, give_prompts

HINTLESS = 0.08
"""Share of the tracked frames on which the previous mask is withheld, as behind a frame that was not kept."""


class Followed(NamedTuple):
    """Logits (B, 1, S, S) of a batch of clips."""

    first: list[torch.Tensor]  # frame 0 after every click; none for a given mask
    tracked: list[torch.Tensor]  # frames 1 to T - 1


def follow_clips(
    refiner: MaskRefiner, prior: MaskPrior, batch: Batch, generator: torch.Generator, hintless: float = 0.0
) -> Followed:
    """Answer the prompt of every clip's first frame and track the answer through the others."""
    images = steps.normalise(batch.frames.flatten(0, 1)).unflatten(0, batch.frames.shape[:2])

    def answer(points: Points | None, hint: torch.Tensor | None) -> torch.Tensor:
        return refiner(Clues(images[:, 0], hint, points=points))

    first = [] if batch.kind == "mask" else give_prompts(batch, generator, answer, lambda logits: logits)
    given = steps.MASK_SCALE * batch.masks[:, :1].float() + steps.MASK_BIAS
    anchor = first[-1].detach() if first else given
    result, logits, trend, carried = Followed(first, []), anchor, None, anchor
    for index in range(1, images.shape[1]):
        moved = prior(logits.detach(), images[:, index - 1], images[:, index], trend, carried)
        carried = moved.carried
        clues = Clues(images[:, index], step=batch.steps, anchor_image=images[:, 0], anchor_logits=anchor)
        if not hintless or torch.rand((), generator=generator).item() >= hintless:
            clues = clues.with_moved(moved)
        logits = refiner(clues)
        trend = None if clues.hint is None else trend_of(logits.detach(), clues.hint)
        result.tracked.append(logits)
    return result


def refiner_loss(
    refiner: MaskRefiner, prior: MaskPrior, batch: Batch, weights: LossWeights, generator: torch.Generator
) -> torch.Tensor:
    """Return the training loss of a batch of clips; a frame given as a mask is not scored."""
    result = follow_clips(refiner, prior, batch, generator, HINTLESS)
    targets = batch.masks.float()
    losses = [refined_loss(logits, targets[:, 0, None], weights) for logits in result.first]
    losses += [refined_loss(logits, targets[:, index, None], weights) for index, logits in enumerate(result.tracked, 1)]
    return torch.stack(losses).mean()
