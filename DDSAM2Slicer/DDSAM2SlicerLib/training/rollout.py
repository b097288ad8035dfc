"""A clip through the network as the engine runs it: prompt frame 0, attend, decode, remember (layer: training)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sam2.modeling.sam2_base import SAM2Base

from ..model import steps
from ..model.refiner import Clues
from .objective import LossWeights, feature_loss, frame_loss, refined_loss
from .prompts import NUM_CLICKS, Batch, Points, bend, draw_box, draw_clicks, draw_correction


class Rollout(NamedTuple):
    """What the network said about a batch of clips."""

    first: list[steps.Decoded]  # frame 0, after every click
    tracked: list[steps.Decoded]  # frames 1 to T - 1
    features: steps.Features  # of all B * T frames

    @property
    def outputs(self) -> list[steps.Decoded]:
        """The last word on each of the T frames."""
        return [self.first[-1], *self.tracked]


def run_clips(model: SAM2Base, batch: Batch, generator: torch.Generator) -> Rollout:
    """Predict every frame of a batch of clips."""
    count, num_frames = batch.frames.shape[:2]
    images = steps.normalise(batch.frames.flatten(0, 1))
    everything = steps.encode_image(model, images)
    images = images.unflatten(0, (count, num_frames))
    features = _frame_features(everything, 0, num_frames)
    first = prompt_frame(model, features, images[:, 0], batch.masks[:, 0], batch.kind, generator)
    result = Rollout(first, [], everything)
    memories = []
    for index in range(1, num_frames):
        last = result.outputs[-1]
        is_from_points = batch.kind != "mask" and index == 1
        memories.append(steps.remember(model, features, last.high_res, last.object_score, last.pointer, is_from_points))
        features = _frame_features(everything, index, num_frames)
        moved = None
        if model.mask_prior is not None:
            moved = model.mask_prior(last.low_res.detach(), images[:, index - 1], images[:, index])
        prior = None if moved is None else moved.logits
        embedding = _look_back(model, features, memories, index, num_frames)
        decoded = steps.decode(model, embedding, features, mask_logits=prior, prior=prior)
        hint, moved_image = moved or (None, None)
        clues = Clues(images[:, index], hint, moved_image, images[:, 0], result.first[-1].low_res.detach())
        result.tracked.append(steps.refine(model, decoded, clues))
    return result


def clip_loss(model: SAM2Base, batch: Batch, weights: LossWeights, generator: torch.Generator) -> torch.Tensor:
    """Return the training loss of a batch of clips; a frame given as a mask is not scored."""
    result = run_clips(model, batch, generator)
    targets = batch.masks.float()
    first = [] if batch.kind == "mask" else [(decoded, targets[:, 0, None]) for decoded in result.first]
    tracked = [(decoded, targets[:, index, None]) for index, decoded in enumerate(result.tracked, start=1)]
    pairs = first + tracked
    losses = [frame_loss(decoded, target, weights) for decoded, target in pairs if decoded.candidates.requires_grad]
    if model.refiner is not None:
        losses += [refined_loss(decoded.high_res, target, weights) for decoded, target in pairs]
    loss = torch.stack(losses).mean()
    if result.features.embedding.requires_grad:
        loss = loss + weights.features * feature_loss(result.features, targets, targets.shape[1])
    return loss


def _frame_features(everything: steps.Features, index: int, num_frames: int) -> steps.Features:
    """Take frame ``index`` of every clip."""
    stride_4, stride_8 = (level[index::num_frames] for level in everything.high_res)
    return steps.Features(everything.embedding[index::num_frames], (stride_4, stride_8), everything.position)


def _look_back(
    model: SAM2Base, features: steps.Features, memories: list[steps.Memory], index: int, num_frames: int
) -> torch.Tensor:
    """Attend to the prompted frame and the most recent ones, in the engine's order."""
    recent = range(max(index - model.num_maskmem + 1, 1), index)
    spatial = [(0, memories[0])] + [(model.num_maskmem - (index - past), memories[past]) for past in recent]
    pointers = [(index, memories[0].pointer)] + [(index - past, memories[past].pointer) for past in reversed(recent)]
    return steps.attend(model, features, spatial, pointers, max(num_frames, model.max_obj_ptrs_in_encoder))


def prompt_frame(
    model: SAM2Base,
    features: steps.Features,
    image: torch.Tensor,
    masks: torch.Tensor,
    kind: str,
    generator: torch.Generator,
) -> list[steps.Decoded]:
    """Decode a prompted frame (B, 3, S, S), after every click; ``masks`` (B, S, S) bool are what prompts show."""
    if kind == "mask":
        return [steps.use_mask(model, features, masks[:, None].float())]

    def answer(points: Points | None, hint: torch.Tensor | None = None, **options: object) -> steps.Decoded:
        embedding = steps.no_memory(model, features)
        decoded = steps.decode(model, embedding, features, points, mask_logits=hint, **options)
        return steps.refine(model, decoded, Clues(image, hint, points=points))

    if kind == "rough":  # to correct a bent mask by the image is the decoder's task on every tracked frame
        rough = bend(masks, generator)
        return [answer(None, rough, prior=rough if model.mask_prior is not None else None)]
    if kind == "box":
        return [answer(draw_box(masks, generator))]
    points = draw_clicks(masks, 1, generator)
    answers = [answer(points, multimask=True)]
    for _ in range(NUM_CLICKS - 1 if kind == "clicks" else 0):
        found = answers[-1].high_res.detach()[:, 0] > 0
        points = draw_correction(points, found, masks, generator)
        answers.append(answer(points, answers[-1].low_res.detach()))
    return answers
