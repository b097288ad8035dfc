"""The refiner follows clips by its own masks; in training, some of these are withheld."""

from __future__ import annotations

import torch

from DDSAM2SlicerLib.model.prior import MaskPrior
from DDSAM2SlicerLib.model.refiner import MaskRefiner
from DDSAM2SlicerLib.training.prompts import Batch
from DDSAM2SlicerLib.training.refining import follow_clips

SIZE, NUM_FRAMES = 64, 4


def follow_a_still_square(hintless):
    """The square, and the logits (T - 1, S, S) of an untrained refiner, which repeats what it is told."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[20:44, 20:44] = True
    masks = mask.expand(1, NUM_FRAMES, SIZE, SIZE)
    batch = Batch(masks.to(torch.uint8) * 200, masks, torch.zeros(1, 1, 1, 1), "mask")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        tracked = follow_clips(MaskRefiner(), MaskPrior(), batch, generator, hintless).tracked
    return mask, torch.cat(tracked)[:, 0]


def test_a_mask_stays_where_nothing_moves():
    mask, logits = follow_a_still_square(hintless=0.0)
    assert torch.equal(logits > 0, mask.expand_as(logits))


def test_what_is_withheld_is_not_known():
    _, logits = follow_a_still_square(hintless=1.0)
    assert not logits.any()
