"""The mask prior follows the image's motion, stays bounded and passes no gradient."""

import pytest
import torch

from DDSAM2SlicerLib.model.prior import PRIOR_LIMIT, MaskPrior, estimate_flow, find_gain, find_jump, warp

SIZE = 128
TIME, SLICES = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.03)


def a_disc(column, row, radius=22.0):
    """Image (1, 1, S, S) of a soft disc on a faint slope, and its mask logits."""
    y, x = torch.meshgrid(torch.arange(SIZE) * 1.0, torch.arange(SIZE) * 1.0, indexing="ij")
    distance = torch.hypot(x - column, y - row)
    image = torch.sigmoid((radius - distance) / 3) + 0.1 * x / SIZE
    return image[None, None], (radius - distance)[None, None].clamp(-20, 20)


def a_texture():
    """Image (1, 1, S, S) of random blobs, a few pixels wide."""
    coarse = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic")


def move(before, after, mask, step=SLICES, **others):
    """The mask of one image moved to where the other shows it."""
    prior = MaskPrior()
    return prior(prior.register(before, after, step), mask, **others)


def dice_of(logits, truth):
    one, other = logits > 0, truth > 0
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def test_the_flow_of_a_shifted_disc_points_back_to_where_it_was():
    before, _ = a_disc(60, 64)
    after, mask = a_disc(66, 64)
    flow = estimate_flow(after, before, SLICES > 0)  # after(p) looks like before(p + flow)
    edge = torch.nn.functional.interpolate(mask, size=flow.shape[-2:], mode="area")[0, 0].abs() < 4
    assert float(flow[0, 0][edge].mean() * SIZE) < -2
    assert abs(float(flow[0, 1][edge].mean() * SIZE)) < 0.5


def test_in_time_a_disc_that_jumps_by_two_thirds_of_its_width_is_still_followed():
    before, mask_before = a_disc(48, 64, radius=18)
    after, mask_after = a_disc(72, 64, radius=18)
    assert dice_of(mask_before, mask_after) < 0.25
    assert dice_of(move(before, after, mask_before, TIME).logits, mask_after) > 0.8


@pytest.mark.parametrize(("columns", "rows"), [(32, 0), (0, -24), (-20, 28)])
def test_a_scene_that_jumps_as_a_whole_is_found_again(columns, rows):
    before = a_texture()
    after = before.roll((rows, columns), dims=(2, 3))
    jump = find_jump(after, before)[0, :, 0, 0] * SIZE  # after(p) looks like before(p + jump)
    assert jump.tolist() == [-columns, -rows]
    flow = estimate_flow(after, before, TIME == 0)
    moved, middle = warp(before, flow), slice(SIZE // 4, -SIZE // 4)
    assert float((moved - after)[..., middle, middle].abs().mean()) < 0.2 * float((before - after).abs().mean())


def test_a_still_scene_and_each_image_of_a_batch_for_itself():
    image = a_texture()
    jumps = find_jump(torch.cat([image, image.roll(16, dims=3)]), image.repeat(2, 1, 1, 1))
    assert jumps[:, :, 0, 0].tolist() == [[0, 0], [-16 / SIZE, 0]]


def test_through_slices_there_are_no_jumps():
    before = a_texture()
    flow = estimate_flow(before.roll(32, dims=3), before, SLICES == 0)
    assert float(flow.abs().max() * SIZE) < 20


def test_time_and_slices_may_share_a_batch():
    before, _ = a_disc(48, 64, radius=18)
    after, _ = a_disc(72, 64, radius=18)
    both = MaskPrior().register(before.repeat(2, 1, 1, 1), after.repeat(2, 1, 1, 1), torch.cat([TIME, SLICES])).flow
    alone = [MaskPrior().register(before, after, step).flow for step in (TIME, SLICES)]
    assert torch.allclose(both, torch.cat(alone), atol=1e-5)
    assert float((alone[0] - alone[1]).abs().max()) > 0.02


def test_equal_images_do_not_move():
    image, _ = a_disc(60, 64)
    assert float(estimate_flow(image, image, TIME).abs().max()) < 1e-6


def test_what_appears_in_a_corner_moves_nothing_else():
    """A bright structure changes the image's mean and spread; grey values elsewhere say that nothing has moved."""
    before = a_texture()
    after = before.clone()
    after[..., :32, :32] = 3.0
    flow = estimate_flow(after, before, SLICES == 0)
    assert float(flow[..., 64:, 64:].abs().max() * SIZE) < 0.05


def test_a_brighter_slice_is_told_from_one_on_which_something_bright_appears():
    """The first is scaled, and then nothing moves; the second is compared as it is."""
    before, empty = a_texture().clamp(0.05, 0.8), torch.zeros(1, 1, SIZE, SIZE)
    other = before.clone()
    other[..., :48, :48] = 1.0
    gains = find_gain(torch.cat([1.2 * before, other, empty]), torch.cat([before, before, before]))
    assert gains.flatten().tolist() == pytest.approx([1.2, 1.0, 1.0], abs=1e-4)
    assert float(estimate_flow(1.2 * before, before, SLICES == 0).abs().max() * SIZE) < 0.1


@pytest.mark.parametrize(("column", "row"), [(67, 64), (60, 70), (55, 60)])
def test_the_moved_mask_fits_better_than_the_copied_one(column, row):
    before, mask_before = a_disc(60, 64)
    after, mask_after = a_disc(column, row)
    moved = move(before, after, mask_before)
    assert dice_of(moved.logits, mask_after) > dice_of(mask_before, mask_after) + 0.03


def test_priors_are_clamped_and_carry_no_gradient():
    image, mask = a_disc(60, 64)
    moved = move(image, image, (10 * mask).requires_grad_())
    assert float(moved.logits.abs().max()) == PRIOR_LIMIT
    assert not moved.logits.requires_grad


def test_the_image_moves_with_its_mask():
    before, mask = a_disc(60, 64)
    after, _ = a_disc(66, 64)
    moved = move(before, after, mask)
    assert float((moved.image - after).abs().mean()) < 0.5 * float((before - after).abs().mean())


@pytest.mark.parametrize(("companion", "channels"), [("trend", 1), ("carried", 3)])
def test_trend_and_what_is_carried_move_with_the_mask(companion, channels):
    before, mask = a_disc(60, 64)
    after, mask_after = a_disc(66, 64)
    moved = move(before, after, mask, **{companion: torch.sign(mask).expand(-1, channels, -1, -1)})
    found = getattr(moved, companion)[:, -1:]
    assert dice_of(found, mask_after) == pytest.approx(dice_of(moved.logits, mask_after), abs=0.02)
    assert getattr(move(before, after, mask), companion) is None


def test_warping_by_a_tenth_of_the_side_moves_by_a_tenth():
    image = torch.zeros(1, 1, 20, 20)
    image[0, 0, 5, 10] = 1
    flow = torch.zeros(1, 2, 20, 20)
    flow[:, 0] = 0.1  # sample two columns to the right: the content moves left
    assert torch.nonzero(warp(image, flow)[0, 0] > 0.5).tolist() == [[5, 8]]
