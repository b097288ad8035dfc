"""Given and prompted masks as the refiner is shown them, in the window around them (layer: engine)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..model import steps
from ..model.certainty import expected_iou
from ..model.prior import Moved
from ..model.refiner import Clues, carried_from
from .crop import CropPolicy, bounding_box, join_boxes
from .network import Frame, FrameCache, Network
from .prompting import Prompted
from .rows import join

FAMILIAR = 0.9
"""A refiner that expects less IoU of a given mask, shown it as the last one, does not know such objects."""


@dataclass(frozen=True, eq=False)
class AnchorView:
    """One anchor of a batch of B objects, wherever the present window has moved."""

    grey: torch.Tensor  # (1, 1, R, R) in 0..1
    logits: torch.Tensor  # (B, 1, R, R)
    is_familiar: torch.Tensor  # (B,) whether the refiner would draw such masks


def view_anchor(
    network: Network, cache: FrameCache, policy: CropPolicy, index: int, answers: Sequence[Prompted]
) -> AnchorView:
    """Look at one anchor of a batch.

    Args:
        network: What draws the masks.
        cache: Frames of the stack.
        policy: Chooses the window around the masks.
        index: The anchor's frame.
        answers: The given or prompted mask of every object there.
    """
    window = policy.choose(join_boxes([bounding_box(one.mask) for one in answers]))
    seen = cache.get(index, window)
    drawn = join([draw_anchor(network, one, seen) for one in answers])
    is_own = torch.tensor([one.decoded is not None for one in answers], device=drawn.low_res.device)
    is_familiar = is_own | (drawn.object_score[:, 0] <= 0)  # its own answers, and empty ones
    if not is_familiar.all():
        grey, mask = seen.grey, drawn.low_res
        shown = Moved(mask, grey, carried=carried_from(grey, mask))  # as if it were the last mask and nothing moved
        clues = Clues(grey, step=cache.step(window), anchor_image=grey, anchor_logits=mask)
        is_familiar = is_familiar | (expected_iou(network.glance(clues.with_moved(shown))) >= FAMILIAR)
    return AnchorView(seen.grey, drawn.low_res, is_familiar)


def draw_anchor(network: Network, prompted: Prompted, seen: Frame) -> steps.Decoded:
    """Bring the answer to a prompt, or a given mask, of one object under the crop that its frame is seen in."""
    decoded = prompted.decoded
    if decoded is None:
        mask = seen.crop.cut_mask(prompted.mask, network.size).to(network.device)
        return steps.take_mask(network.model, mask)
    if prompted.crop == seen.crop:
        return decoded
    high_res = prompted.crop.transfer(decoded.low_res, seen.crop, network.size)
    return replace(decoded, low_res=steps.resize(high_res, network.mask_side), high_res=high_res)
