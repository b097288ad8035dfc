"""Losses reward the right mask, train empty frames and reach every part of the network."""

import pytest
import torch

from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model
from DDSAM2SlicerLib.training.clips import Clip, ClipSettings, make_clips
from DDSAM2SlicerLib.training.loop import set_image_size
from DDSAM2SlicerLib.training.objective import LossWeights, mask_losses, refined_loss
from DDSAM2SlicerLib.training.prompts import (
    PROMPT_KINDS,
    draw_box,
    draw_click,
    draw_correction,
    give_prompts,
    join_clips,
)
from DDSAM2SlicerLib.training.rollout import clip_loss


def a_square(low=4, high=12, size=16):
    mask = torch.zeros(1, 1, size, size)
    mask[..., low:high, low:high] = 1
    return mask


def test_the_right_mask_costs_less_than_a_shifted_an_empty_and_a_full_one():
    target = a_square()
    right, shifted = (a_square(*edges) * 16 - 8 for edges in ((4, 12), (6, 14)))
    costs = [
        float(mask_losses(logits, target, LossWeights()))
        for logits in (right, shifted, -8 + 0 * target, 8 + 0 * target)
    ]
    assert costs[0] < 0.01
    assert costs[0] < costs[1] < min(costs[2:])


def test_balance_makes_missing_a_small_object_cost_more():
    target = a_square(7, 9)
    empty = torch.full_like(target, -4.0)
    plain, balanced = (float(mask_losses(empty, target, LossWeights(dice=0, balance=value))) for value in (0.0, 1.0))
    assert balanced > 5 * plain


def test_boxes_hold_the_object_and_first_clicks_lie_inside():
    masks = torch.zeros(3, 32, 32, dtype=torch.bool)
    masks[:, 8:24, 10:20] = True
    generator = torch.Generator().manual_seed(1)
    box, labels = draw_box(masks, generator)
    assert labels.tolist() == [[2, 3]] * 3
    assert torch.all((box[:, 0] - torch.tensor([10.0, 8.0])).abs() < 8)
    points, labels = draw_click(masks, generator)
    assert labels.tolist() == [[1]] * 3
    for mask, ((x, y),) in zip(masks, points.tolist(), strict=True):
        assert bool(mask[int(y), int(x)])


def test_half_of_the_boxes_fit_exactly():
    masks = torch.zeros(200, 64, 64, dtype=torch.bool)
    masks[:, 20:40, 16:48] = True
    boxes, _ = draw_box(masks, torch.Generator().manual_seed(0))
    is_tight = (boxes == torch.tensor([[16.0, 20.0], [47.0, 39.0]])).all(dim=(1, 2))
    assert 0.4 < float(is_tight.float().mean()) < 0.6


def test_a_correction_goes_where_too_much_or_too_little_was_found():
    truth, found = torch.zeros(2, 32, 32, dtype=torch.bool), torch.zeros(2, 32, 32, dtype=torch.bool)
    truth[:, 4:14, 4:14] = True
    found[0, 4:14, 4:28] = True  # too much on the right
    found[1, 4:14, 4:7] = True  # too little
    generator = torch.Generator().manual_seed(1)
    points, labels = draw_correction(draw_click(truth, generator), found, truth, generator)
    assert labels.tolist() == [[1, 0], [1, 1]]
    for (x, y), is_wanted in zip(points[:, 1].tolist(), (False, True), strict=True):
        assert bool(truth[int(is_wanted), int(y), int(x)]) == is_wanted


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("box", [[2, 3]]),
        ("click", [[1]]),
        ("clicks", [[1], [1, 0], [1, 0, 0]]),
        ("corrected_box", [[2, 3], [2, 3, 0], [2, 3, 0, 0]]),
    ],
)
def test_prompts_grow_click_by_click(kind, labels):
    masks = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    masks[..., 8:24, 10:20] = True
    given = []

    def answer(points, hint):
        given.append(points[1][0].tolist())
        return torch.full((1, 1, 32, 32), 8.0)  # always too much

    batch = join_clips([Clip(masks[0].byte(), masks[0], step=0.0)], kind)
    assert len(give_prompts(batch, torch.Generator().manual_seed(1), answer, lambda logits: logits)) == len(labels)
    assert given == labels


@pytest.mark.parametrize("kind", PROMPT_KINDS)
def test_the_loss_of_a_clip_is_finite_and_reaches_encoder_and_decoder(kind):
    torch.manual_seed(0)
    model = build_model(ARCHITECTURES["hiera_nano"])
    set_image_size(model, 64)
    model.train()
    settings = ClipSettings(num_frames=2, size=64, scene_size=64, min_object_px=30)
    clips = [clip for seed in range(4) for clip in make_clips(seed, settings)][:2]
    batch = join_clips(clips, kind)
    loss = clip_loss(model, batch, LossWeights(), torch.Generator().manual_seed(0))
    loss.backward()
    assert torch.isfinite(loss)
    for name in ("image_encoder.trunk.patch_embed.proj.weight", "sam_mask_decoder.mask_tokens.weight"):
        assert float(model.get_parameter(name).grad.abs().sum()) > 0, name


def test_a_mask_of_nothing_costs_until_it_is_gone():
    nothing = torch.zeros(1, 1, 16, 16)
    losses = []
    for side in (16, 4, 0):
        logits = torch.full((1, 1, 16, 16), -8.0)
        logits[..., :side, :side] = 8.0
        losses.append(float(refined_loss(logits, nothing, LossWeights())))
    assert losses[0] > 0.9
    assert losses[1] > 0.9
    assert losses[2] < 0.01
