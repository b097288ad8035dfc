"""The steps of SAM 2 as functions over explicit tensors: encode, attend, decode, remember (layer: model).

Training and engine both stand on these, so what is trained is what runs. Every step calls sam2's own modules in
sam2's own order;
letters: B objects, S input side, C model width, (h, w) token grid (S/16 each).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from sam2.modeling.sam2_utils import get_1d_sine_pe

from .certainty import expected_iou

if TYPE_CHECKING:
    from .refiner import Clues

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in [0, 1], which SAM 2 expects."""
MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""Logits of a given mask are 10 inside and -10 outside."""
GREY_SIDE = 128
"""Registration and refiner look at images that are no larger: it is the side that the refiner has learned."""


@dataclass(frozen=True, eq=False)
class Features:
    """Encoder output of a batch of frames."""

    embedding: torch.Tensor  # (B, C, h, w)
    high_res: tuple[torch.Tensor, torch.Tensor]  # (B, C/8, 4h, 4w), (B, C/4, 2h, 2w)
    position: torch.Tensor  # (h*w, 1, C)

    def expand(self, count: int) -> Features:
        """View the features of one frame as a batch of ``count`` objects; nothing is copied."""
        stride_4, stride_8 = (level.expand(count, -1, -1, -1) for level in self.high_res)
        return Features(self.embedding.expand(count, -1, -1, -1), (stride_4, stride_8), self.position)


@dataclass(frozen=True, eq=False)
class Memory:
    """What is kept of one frame for a batch of objects."""

    features: torch.Tensor  # (B, Cm, h, w)
    position: torch.Tensor  # (B or 1, Cm, h, w)
    pointer: torch.Tensor  # (B, C)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Masks of one frame for a batch of objects; all logits fp32."""

    low_res: torch.Tensor  # (B, 1, 4h, 4w) chosen mask; finer where it was refined
    high_res: torch.Tensor  # (B, 1, S, S) the same, bilinearly enlarged
    iou: torch.Tensor  # (B,) predicted IoU of the chosen mask
    object_score: torch.Tensor  # (B, 1) logit, above 0 = the object is in the frame
    pointer: torch.Tensor | None  # (B, C); None if the network had no part in it
    candidates: torch.Tensor  # (B, M, 4h, 4w) all masks that the decoder had on offer
    candidate_ious: torch.Tensor  # (B, M)


def normalise(frames: torch.Tensor) -> torch.Tensor:
    """Turn 8-bit frames (B, S, S) or (B, S, S, 3) into network input (B, 3, S, S), float32."""
    rgb = frames[..., None].expand(*frames.shape, 3) if frames.dim() == 3 else frames
    scaled = rgb.permute(0, 3, 1, 2).to(torch.float32) / 255.0
    mean, std = _mean_and_std(frames.device)
    return (scaled - mean) / std


def to_grey(image: torch.Tensor) -> torch.Tensor:
    """Mean of the colours of a normalised input (B, 3, S, S): (B, 1, R, R) in 0..1, fp32; R is S, at most GREY_SIDE."""
    mean, std = _mean_and_std(image.device)
    grey = (image.float() * std + mean).mean(1, keepdim=True)
    return grey if grey.shape[-1] <= GREY_SIDE else F.interpolate(grey, size=(GREY_SIDE, GREY_SIDE), mode="area")


@lru_cache
def _mean_and_std(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """What SAM 2 normalises colours with, two (1, 3, 1, 1)."""
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD))
    return mean, std


def resize(values: torch.Tensor, side: int) -> torch.Tensor:
    """Resample squares (B, C, h, w) to (B, C, side, side) without aliasing; nothing is touched when the size fits."""
    present = values.shape[-1]
    if present == side:
        return values
    return F.interpolate(values, size=(side, side), mode="bilinear", align_corners=False, antialias=side < present)


def mask_side(model: SAM2Base) -> int:
    """Side of the masks that the model draws: the decoder's grid, or that of its refiner."""
    return model.image_size // 4 if model.refiner is None else min(model.image_size, GREY_SIDE)


def encode_image(model: SAM2Base, images: torch.Tensor) -> Features:
    """Run the image encoder once on (B, 3, S, S)."""
    output = model.forward_image(images)
    stride_4, stride_8, embedding = output["backbone_fpn"][-3:]
    position = output["vision_pos_enc"][-1][:1].flatten(2).permute(2, 0, 1)
    return Features(embedding, (stride_4, stride_8), position)


def no_memory(model: SAM2Base, features: Features) -> torch.Tensor:
    """Return the embedding (B, C, h, w) of a frame that is decoded from its prompts alone."""
    return features.embedding + model.no_mem_embed.view(1, -1, 1, 1)


def attend(
    model: SAM2Base,
    features: Features,
    spatial: list[tuple[int, Memory]],
    pointers: list[tuple[float, torch.Tensor]],
    num_frames: int,
) -> torch.Tensor:
    """Condition a frame on memories.

    Args:
        model: The network.
        features: Encoder output, expanded to B objects.
        spatial: (t_pos, memory) in SAM 2's order; t_pos 0 is a conditioning frame, ``num_maskmem - 1`` the frame next
            to this one.
        pointers: (distance in frames, (B, C) object pointer); positive distances lie behind in the tracking direction.
        num_frames: Length of the stack, which limits the distances that are told apart.

    Returns:
        (B, C, h, w) embedding for the decoder.
    """
    batch, channels, height, width = features.embedding.shape
    tokens, positions = [], []
    for t_pos, memory in spatial:
        tokens.append(memory.features.flatten(2).permute(2, 0, 1))
        position = memory.position.flatten(2).permute(2, 0, 1).expand(-1, batch, -1)
        positions.append(position + model.maskmem_tpos_enc[model.num_maskmem - t_pos - 1])
    num_pointer_tokens = 0
    if pointers:
        pointer_tokens, pointer_positions = encode_pointers(model, pointers, num_frames)
        num_pointer_tokens = pointer_tokens.shape[0]
        tokens.append(pointer_tokens)
        positions.append(pointer_positions)
    current = features.embedding.flatten(2).permute(2, 0, 1)
    conditioned = model.memory_attention(
        curr=current,
        curr_pos=features.position.expand(-1, batch, -1),
        memory=torch.cat(tokens),
        memory_pos=torch.cat(positions),
        num_obj_ptr_tokens=num_pointer_tokens,
    )
    return conditioned.permute(1, 2, 0).reshape(batch, channels, height, width)


def encode_pointers(
    model: SAM2Base, pointers: list[tuple[float, torch.Tensor]], num_frames: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Split pointers into tokens of the memory's width and encode their time: two (N * C / Cm, B, Cm) tensors."""
    stacked = torch.stack([pointer for _, pointer in pointers])  # (N, B, C)
    count, batch, channels = stacked.shape
    longest = max(min(num_frames, model.max_obj_ptrs_in_encoder) - 1, 1)
    distances = _on_device(tuple(float(distance) for distance, _ in pointers), stacked.device)
    encoding = model.obj_ptr_tpos_proj(get_1d_sine_pe(distances / longest, dim=channels))
    encoding = encoding[:, None].expand(-1, batch, -1)
    parts = channels // model.mem_dim
    tokens = stacked.reshape(count, batch, parts, model.mem_dim).permute(0, 2, 1, 3).flatten(0, 1)
    return tokens, encoding.repeat_interleave(parts, dim=0)


@lru_cache
def _on_device(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Numbers (N,) as a tensor; those of every clip are the same, and to send them anew each time is slow on a GPU."""
    return torch.tensor(numbers, device=device)


def decode(
    model: SAM2Base,
    embedding: torch.Tensor,
    features: Features,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    mask_logits: torch.Tensor | None = None,
    prior: torch.Tensor | None = None,
    multimask: bool = False,
) -> Decoded:
    """Predict masks from an embedding and prompts; where the model has a refiner, ``refine`` has the last word.

    Args:
        model: The network.
        embedding: (B, C, h, w) from ``no_memory`` or ``attend``.
        features: The same frame's encoder output, expanded to B.
        points: Coordinates (B, P, 2) as (x, y) in network pixels and labels (B, P): 1 positive, 0 negative, 2 and 3
            box corners, -1 padding.
        mask_logits: (B, 1, 4h, 4w) dense prompt, or finer.
        prior: Logits of the same shape, added to every mask with the learned gain of ``model.mask_prior``.
        multimask: Offer three masks and choose the one with the best predicted IoU.
    """
    batch = embedding.shape[0]
    grid_side = model.sam_prompt_encoder.mask_input_size[0]
    mask_logits, prior = (None if one is None else resize(one, grid_side) for one in (mask_logits, prior))
    if points is None:
        coordinates = embedding.new_zeros(batch, 1, 2, dtype=torch.float32)
        points = (coordinates, -torch.ones(batch, 1, dtype=torch.int32, device=embedding.device))
    sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=mask_logits)
    masks, ious, tokens, object_score = model.sam_mask_decoder(
        image_embeddings=embedding,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        repeat_image=False,
        high_res_features=list(features.high_res),
    )
    masks = masks.float()
    if prior is not None:
        masks = masks + model.mask_prior.gain * prior
    is_final = model.refiner is None
    if is_final and not model.training:  # training sees the logits themselves: frames judged empty give gradients, too
        masks = torch.where((object_score > 0)[:, :, None, None], masks, NO_OBJ_SCORE)
    best = ious.argmax(dim=1) if ious.shape[1] > 1 else torch.zeros(batch, dtype=torch.long, device=ious.device)
    rows = torch.arange(batch, device=ious.device)
    low_res = masks[rows, best][:, None]
    token = tokens[rows, best] if tokens.shape[1] > 1 else tokens[:, 0]
    pointer = model.obj_ptr_proj(token)
    return Decoded(
        low_res=low_res,
        high_res=resize(low_res, model.image_size),
        iou=ious[rows, best].float(),
        object_score=object_score,
        pointer=_pointer_or_none(model, pointer, (object_score > 0).to(pointer.dtype)) if is_final else pointer,
        candidates=masks,
        candidate_ious=ious.float(),
    )


def refine(model: SAM2Base, decoded: Decoded, clues: Clues) -> Decoded:
    """Redraw decoded masks at a finer resolution; scores follow from the new masks. Without a refiner: as given."""
    if model.refiner is None:
        return decoded
    return redraw(model, decoded, model.refiner(replace(clues, decoded=decoded.low_res)))


def redraw(model: SAM2Base, decoded: Decoded, logits: torch.Tensor) -> Decoded:
    """Put other mask logits (B, 1, h, w) in the place of the decoder's; scores follow from them."""
    drawn, pointer = draw(model, logits), decoded.pointer
    if pointer is not None:
        pointer = _pointer_or_none(model, pointer, (drawn.object_score > 0).to(pointer.dtype))
    return replace(drawn, pointer=pointer, candidates=decoded.candidates, candidate_ious=decoded.candidate_ious)


def draw(model: SAM2Base, logits: torch.Tensor) -> Decoded:
    """Take mask logits (B, 1, h, w) that the refiner drew alone as an answer; scores follow from them."""
    iou = expected_iou(logits)
    high_res = resize(logits, model.image_size)
    return Decoded(
        low_res=logits,
        high_res=high_res,
        iou=iou,
        object_score=logits.amax(dim=(2, 3)),
        pointer=None,
        candidates=logits,
        candidate_ious=iou[:, None],
    )


def take_mask(model: SAM2Base, mask: torch.Tensor) -> Decoded:
    """Take a given mask (B, 1, S, S), float 0 or 1, as its frame's output; no network is asked."""
    high_res, ones = mask * MASK_SCALE + MASK_BIAS, mask.new_ones(mask.shape[0])
    low_res = resize(high_res, mask_side(model))
    score = high_res.amax(dim=(2, 3))
    return Decoded(low_res, high_res, ones, score, pointer=None, candidates=low_res, candidate_ious=ones[:, None])


def use_mask(model: SAM2Base, features: Features, mask: torch.Tensor) -> Decoded:
    """Take a given mask (B, 1, S, S), float 0 or 1, as its frame's output; the decoder supplies the object pointer."""
    return replace(take_mask(model, mask), pointer=point_at(model, features, mask))


def point_at(model: SAM2Base, features: Features, mask: torch.Tensor) -> torch.Tensor:
    """Object pointers (B, C) of masks (B, 1, S, S), float 0 or 1."""
    pointer = decode(model, features.embedding, features, mask_logits=model.mask_downsample(mask)).pointer
    return _pointer_or_none(model, pointer, mask.amax(dim=(2, 3)).to(pointer.dtype))


def remember(
    model: SAM2Base,
    features: Features,
    high_res: torch.Tensor,
    object_score: torch.Tensor,
    pointer: torch.Tensor,
    is_mask_from_points: bool,
) -> Memory:
    """Encode a frame with its mask logits (B, 1, S, S) into a memory."""
    binarize = model.binarize_mask_from_pts_for_mem_enc and is_mask_from_points and not model.training
    probability = (high_res > 0).float() if binarize else torch.sigmoid(high_res)
    scaled = probability * model.sigmoid_scale_for_mem_enc + model.sigmoid_bias_for_mem_enc
    output = model.memory_encoder(features.embedding, scaled, skip_mask_sigmoid=True)
    encoded = output["vision_features"]
    is_absent = (object_score <= 0).to(encoded.dtype)[..., None, None]  # (B, 1, 1, 1)
    encoded = encoded + is_absent * model.no_obj_embed_spatial[..., None, None]
    return Memory(encoded, output["vision_pos_enc"][-1], pointer)


def _pointer_or_none(model: SAM2Base, pointer: torch.Tensor, is_present: torch.Tensor) -> torch.Tensor:
    """Replace the pointers of absent objects, ``is_present`` (B, 1) being 0 or 1."""
    return is_present * pointer + (1 - is_present) * model.no_obj_ptr
