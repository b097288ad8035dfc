"""The refiner follows clips by its own masks; in training, some of these are withheld, others clicked right."""

from __future__ import annotations

import torch

from DDSAM2SlicerLib.model.prior import MaskPrior
from DDSAM2SlicerLib.model.refiner import MaskRefiner
from DDSAM2SlicerLib.training.prompts import Batch
from DDSAM2SlicerLib.training.refining import follow_clips

SIZE, NUM_FRAMES = 64, 4


def draw_a_still_square():
    """The square (S, S), and a clip of it."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[20:44, 20:44] = True
    masks = mask.expand(1, NUM_FRAMES, SIZE, SIZE)
    return mask, Batch(masks.to(torch.uint8) * 200, masks, torch.zeros(1, 1, 1, 1), "mask")


def follow_a_still_square(hintless):
    """The square, and the logits (T - 1, S, S) of an untrained refiner, which repeats what it is told."""
    mask, batch = draw_a_still_square()
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


class ObedientRefiner(torch.nn.Module):
    """Tracks nothing, and where it is clicked, finds the whole clip's truth; notes what it was told."""

    def __init__(self, truth):
        """Know the truth (1, 1, S, S), as logits."""
        super().__init__()
        self.truth, self.told = truth, []

    def forward(self, clues):
        self.told.append(clues)
        return torch.full_like(self.truth, -8.0) if clues.points is None else self.truth


def test_tracked_masks_are_clicked_right_and_followed_on_from_there():
    mask, batch = draw_a_still_square()
    refiner = ObedientRefiner(torch.where(mask, 7.0, -7.0)[None, None])
    found = follow_clips(refiner, MaskPrior(), batch, torch.Generator().manual_seed(0), corrected=1.0)
    assert set(found.corrected) == set(range(1, NUM_FRAMES))
    assert all(answer is refiner.truth for answers in found.corrected.values() for answer in answers)
    tracked = [clues for clues in refiner.told if clues.points is None]
    assert [torch.equal(clues.hint[0, 0] > 0, mask) for clues in tracked] == [True] * (NUM_FRAMES - 1)
    assert torch.equal(tracked[-1].anchor_logits, refiner.truth)
    clicked = next(clues for clues in refiner.told if clues.points is not None)
    coordinates, labels = clicked.points
    x, y = coordinates[0, 0].round().int().tolist()
    assert mask[y, x]
    assert labels.tolist() == [[1]]
    assert (clicked.hint < 0).all()
    assert clicked.anchor_logits is not None
