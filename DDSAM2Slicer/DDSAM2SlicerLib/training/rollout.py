"""A clip through the network as the engine runs it: prompt frame 0, attend, decode, remember (layer: training)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import SAM2Base

from ..model import steps
from ..model.prior import warp
from .objective import LossWeights, feature_loss, frame_loss

PROMPT_KINDS = ("mask", "box", "click", "clicks", "rough")
ROUGHNESS = 0.07
"""Rough masks are bent by a smooth displacement of up to about this share of the frame's side."""


@dataclass(frozen=True, eq=False)
class Batch:
    """B clips of T frames, each with one object, that share a kind of prompt."""

    frames: torch.Tensor  # (B, T, S, S) uint8
    masks: torch.Tensor  # (B, T, S, S) bool
    kind: str


def run_clips(model: SAM2Base, batch: Batch, generator: torch.Generator) -> tuple[list[steps.Decoded], steps.Features]:
    """Predict every frame of a batch of clips; returns T outputs and the features of all B * T frames."""
    count, num_frames = batch.frames.shape[:2]
    images = steps.normalise(batch.frames.flatten(0, 1))
    everything = steps.encode_image(model, images)
    images = images.unflatten(0, (count, num_frames))
    outputs, memories = [], []
    for index in range(num_frames):
        features = _frame_features(everything, index, num_frames)
        if index == 0:
            decoded = prompt_frame(model, features, batch.masks[:, 0], batch.kind, generator)
        else:
            prior = None
            if model.mask_prior is not None:
                prior = model.mask_prior(outputs[-1].low_res.detach(), images[:, index - 1], images[:, index])
            embedding = _look_back(model, features, memories, index, num_frames)
            decoded = steps.decode(model, embedding, features, mask_logits=prior, prior=prior)
        outputs.append(decoded)
        if index < num_frames - 1:
            memory = steps.remember(
                model,
                features,
                decoded.high_res,
                decoded.object_score,
                decoded.pointer,
                batch.kind != "mask" and index == 0,
            )
            memories.append(memory)
    return outputs, everything


def clip_loss(model: SAM2Base, batch: Batch, weights: LossWeights, generator: torch.Generator) -> torch.Tensor:
    """Return the training loss of a batch of clips; a frame given as a mask is not scored."""
    outputs, features = run_clips(model, batch, generator)
    targets = batch.masks.float()
    first = 1 if batch.kind == "mask" else 0
    losses = [frame_loss(outputs[index], targets[:, index, None], weights) for index in range(first, len(outputs))]
    return torch.stack(losses).mean() + weights.features * feature_loss(features, targets, len(outputs))


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
    model: SAM2Base, features: steps.Features, masks: torch.Tensor, kind: str, generator: torch.Generator
) -> steps.Decoded:
    """Decode a prompted frame; ``masks`` (B, S, S) bool are the truth that prompts are drawn from."""
    if kind == "mask":
        return steps.use_mask(model, features, masks[:, None].float())
    if kind == "rough":
        return _refine(model, features, masks, generator)
    points = draw_box(masks, generator) if kind == "box" else draw_clicks(masks, 1 if kind == "click" else 3, generator)
    embedding = steps.no_memory(model, features)
    return steps.decode(model, embedding, features, points=points, multimask=kind == "click")


def _refine(
    model: SAM2Base, features: steps.Features, masks: torch.Tensor, generator: torch.Generator
) -> steps.Decoded:
    """Correct a bent mask by the image, the decoder's task on every tracked frame."""
    count, side = len(masks), masks.shape[-1] // 4
    logits = F.interpolate(masks[:, None] * 16.0 - 8.0, size=(side, side), mode="bilinear", antialias=True)
    bend = torch.randn(count, 2, 4, 4, generator=generator).to(logits.device)
    strength = ROUGHNESS * torch.rand(count, 1, 1, 1, generator=generator).to(logits.device)
    flow = F.interpolate(bend, size=(side, side), mode="bicubic", align_corners=False) * strength
    rough = torch.cat([warp(one[None], own[None]) for one, own in zip(logits, flow, strict=True)])
    prior = rough if model.mask_prior is not None else None
    return steps.decode(model, steps.no_memory(model, features), features, mask_logits=rough, prior=prior)


def draw_box(masks: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw loose boxes around masks (B, S, S): coordinates (B, 2, 2) and labels (B, 2) as the decoder takes them."""
    size = masks.shape[-1]
    corners = []
    for mask in masks:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        corners.append([[int(columns[0]), int(rows[0])], [int(columns[-1]), int(rows[-1])]])
    box = torch.tensor(corners, dtype=torch.float32, device=masks.device)  # (B, 2, 2)
    extent = (box[:, 1] - box[:, 0] + 1)[:, None]
    looseness = 0.1 * torch.rand(len(masks), 1, 1, generator=generator)
    noise = torch.randn(len(masks), 2, 2, generator=generator)
    box = (box + (noise * looseness).to(box.device) * extent).clamp(0, size - 1)
    labels = torch.tensor([[2, 3]], dtype=torch.int32, device=masks.device).expand(len(masks), -1)
    return box, labels


def draw_clicks(masks: torch.Tensor, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw clicks, the first well inside the mask, each further one inside or, one time in three, outside."""
    coordinates, labels = [], []
    for mask in masks:
        inside, outside = _interior(mask).nonzero(), (~mask).nonzero()
        for number in range(count):
            is_outside = number > 0 and len(outside) > 0 and torch.rand((), generator=generator).item() < 1 / 3
            places = outside if is_outside else inside
            row, column = places[int(torch.randint(len(places), (), generator=generator))].tolist()
            coordinates.append([float(column), float(row)])
            labels.append(0 if is_outside else 1)
    shape = (len(masks), count)
    return (
        torch.tensor(coordinates, device=masks.device).view(*shape, 2),
        torch.tensor(labels, dtype=torch.int32, device=masks.device).view(shape),
    )


def _interior(mask: torch.Tensor) -> torch.Tensor:
    """Keep the pixels at least four pixels from the edge of a mask (S, S); all of it where it is thinner."""
    background = (~mask)[None, None].float()
    eroded = F.max_pool2d(background, 9, stride=1, padding=4)[0, 0] == 0
    return eroded if bool(eroded.any()) else mask
