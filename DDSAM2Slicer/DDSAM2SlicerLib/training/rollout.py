"""A clip through the network as the engine runs it: prompt frame 0, attend, decode, remember (layer: training)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sam2.modeling.sam2_base import SAM2Base

from ..model import steps
from ..model.refiner import Clues, carried_from, trend_of
from .objective import LossWeights, feature_loss, frame_loss, refined_loss
from .prompts import Batch, Points, give_prompts
from .refining import register_clips


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
    images = steps.to_grey(images).unflatten(0, (count, num_frames))
    features = _frame_features(everything, 0, num_frames)
    first = _prompt_frame(model, features, images[:, 0], batch, generator)
    result = Rollout(first, [], everything)
    anchor = first[-1].low_res.detach()
    motions = (
        [None] * (num_frames - 1) if model.mask_prior is None else register_clips(model.mask_prior, images, batch.steps)
    )
    memories, trend, carried = [], None, carried_from(images[:, 0], anchor)
    for index, motion in enumerate(motions, start=1):
        last = result.outputs[-1]
        is_from_points = batch.kind != "mask" and index == 1
        memories.append(steps.remember(model, features, last.high_res, last.object_score, last.pointer, is_from_points))
        features = _frame_features(everything, index, num_frames)
        moved = None
        if motion is not None:
            moved = model.mask_prior(motion, last.low_res.detach(), trend, carried)
            carried = moved.carried
        prior = None if moved is None else moved.logits
        embedding = _look_back(model, features, memories, index, num_frames)
        decoded = steps.decode(model, embedding, features, mask_logits=prior, prior=prior)
        clues = Clues(images[:, index], step=batch.steps, anchor_image=images[:, 0], anchor_logits=anchor)
        if moved is not None:
            clues = clues.with_moved(moved)
        result.tracked.append(steps.refine(model, decoded, clues))
        trend = None if moved is None else trend_of(result.tracked[-1].low_res.detach(), moved.logits)
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


def _prompt_frame(
    model: SAM2Base, features: steps.Features, image: torch.Tensor, batch: Batch, generator: torch.Generator
) -> list[steps.Decoded]:
    """Decode the prompted frames, in grey (B, 1, R, R), after every click."""
    if batch.kind == "mask":
        return [steps.use_mask(model, features, batch.masks[:, :1].float())]

    def answer(points: Points | None, hint: torch.Tensor | None) -> steps.Decoded:
        # to correct a rough mask by the image is the decoder's task on every tracked frame, too
        prior = hint if points is None and model.mask_prior is not None else None
        is_one_click = points is not None and points[0].shape[1] == 1
        embedding = steps.no_memory(model, features)
        decoded = steps.decode(model, embedding, features, points, hint, prior, multimask=is_one_click)
        return steps.refine(model, decoded, Clues(image, hint).with_points(points, model.image_size))

    return give_prompts(batch, generator, answer, lambda decoded: decoded.high_res)
