"""Teaches the mask refiner by itself: prompts on single frames, and clips followed by its own masks (layer: training).

The network around it is left out, which makes a step several times cheaper; the decoder's clue stays empty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ..model import steps
from ..model.prior import MaskPrior
from ..model.refiner import Clues, MaskRefiner
from .objective import LossWeights, refined_loss
from .prompts import NUM_CLICKS, Batch, bend, draw_box, draw_clicks, draw_correction

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
    first = prompt_frame(refiner, images[:, 0], batch.masks[:, 0], batch.kind, generator)
    given = steps.MASK_SCALE * batch.masks[:, :1].float() + steps.MASK_BIAS
    anchor = first[-1].detach() if first else given
    result, logits = Followed(first, []), anchor
    for index in range(1, images.shape[1]):
        hint, moved_image = prior(logits.detach(), images[:, index - 1], images[:, index])
        if hintless and torch.rand((), generator=generator).item() < hintless:
            hint, moved_image = None, None
        logits = refiner(Clues(images[:, index], hint, moved_image, images[:, 0], anchor))
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


def prompt_frame(
    refiner: MaskRefiner, image: torch.Tensor, masks: torch.Tensor, kind: str, generator: torch.Generator
) -> list[torch.Tensor]:
    """Answer a prompt: logits (B, 1, S, S) after every click; none for a given mask."""
    if kind == "mask":
        return []
    if kind == "rough":
        return [refiner(Clues(image, bend(masks, generator)))]
    if kind == "box":
        return [refiner(Clues(image, points=draw_box(masks, generator)))]
    points = draw_clicks(masks, 1, generator)
    answers = [refiner(Clues(image, points=points))]
    for _ in range(NUM_CLICKS - 1 if kind == "clicks" else 0):
        points = draw_correction(points, answers[-1].detach()[:, 0] > 0, masks, generator)
        answers.append(refiner(Clues(image, answers[-1].detach(), points=points)))
    return answers
