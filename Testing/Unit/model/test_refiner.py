"""The refiner redraws masks from whatever is known, at a fine resolution, one object like many."""

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F

from DDSAM2SlicerLib.model import steps
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model
from DDSAM2SlicerLib.model.refiner import (
    ENTRANCE,
    FOLD,
    NUM_CLUES,
    Clues,
    MaskRefiner,
    appearance,
    carried_from,
    knowing_all_clues,
    trend_of,
)

SIZE = 64


def a_lively_refiner():
    torch.manual_seed(0)
    refiner = MaskRefiner()
    torch.nn.init.normal_(refiner.out.weight, std=0.05)
    return refiner.eval()


def some_clues(count=2):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    box = torch.tensor([[[10.0, 12.0], [40.0, 50.0], [20.0, 20.0], [5.0, 5.0]]]).expand(count, -1, -1)
    labels = torch.tensor([[2, 3, 1, 0]], dtype=torch.int32).expand(count, -1)
    return Clues(
        image=draw(1, 1, SIZE, SIZE),
        hint=draw(count, 1, SIZE, SIZE),
        moved_image=draw(1, 1, SIZE, SIZE),
        trend=draw(count, 1, SIZE, SIZE),
        carried=draw(count, 3, SIZE, SIZE),
        step=torch.full((1, 1, 1, 1), 0.05),
        anchor_image=draw(1, 1, SIZE, SIZE),
        anchor_logits=draw(count, 1, SIZE, SIZE),
        points=(box, labels),
        decoded=draw(count, 1, 16, 16),
    )


def test_an_untrained_refiner_adds_up_what_it_is_told():
    clues = some_clues()
    logits = MaskRefiner()(clues)
    decoded = torch.nn.functional.interpolate(clues.decoded, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    assert torch.allclose(logits, 2 * torch.tanh(clues.hint / 4) + torch.tanh(decoded / 4), atol=1e-5)


@pytest.mark.parametrize(
    "absent", ["hint moved_image", "trend", "carried", "step", "anchor_image anchor_logits", "points", "decoded"]
)
def test_any_clue_may_be_missing_and_each_one_matters(absent):
    refiner, clues = a_lively_refiner(), some_clues()
    fewer = replace(clues, **dict.fromkeys(absent.split()))
    assert refiner(fewer).shape == (2, 1, SIZE, SIZE)
    assert not torch.allclose(refiner(fewer), refiner(clues), atol=1e-3)


def test_the_entrance_sees_each_square_of_pixels_as_one():
    entrance = a_lively_refiner().down[0][0][0]
    clues = torch.randn(2, NUM_CLUES, 16, 16)
    folded = F.conv2d(F.pixel_unshuffle(clues, FOLD), entrance.weight, entrance.bias, padding=1)
    assert torch.allclose(entrance(clues), folded, atol=1e-4)


def test_a_mask_does_not_depend_on_what_else_is_in_the_batch():
    refiner, clues = a_lively_refiner(), some_clues()

    def first(value, name):
        if value is None or name in ("image", "moved_image", "step", "anchor_image"):
            return value
        return tuple(one[:1] for one in value) if name == "points" else value[:1]

    alone = Clues(**{field.name: first(getattr(clues, field.name), field.name) for field in fields(clues)})
    assert torch.allclose(refiner(alone), refiner(clues)[:1], atol=1e-4)


def test_a_large_input_is_drawn_at_the_side_that_was_learned_with_clicks_in_their_place():
    refiner, side = a_lively_refiner(), steps.GREY_SIDE
    small = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    large = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    click, label = torch.tensor([[[40.0, 90.0]]]), torch.tensor([[1]], dtype=torch.int32)
    logits = refiner(Clues(steps.to_grey(large)).with_points((2 * click + 0.5, label), 2 * side))
    assert logits.shape == (1, 1, side, side)
    assert torch.allclose(logits, refiner(Clues(steps.to_grey(small), points=(click, label))), atol=1e-3)


def test_the_trend_is_positive_where_a_mask_grew_and_negative_where_it_shrank():
    before, after = torch.full((1, 1, 8, 8), -8.0), torch.full((1, 1, 8, 8), -8.0)
    before[..., :4], after[..., 2:6] = 8.0, 8.0
    trend = trend_of(after, before)
    assert trend[0, 0, 0].round().tolist() == [-2.0, -2.0, 0.0, 0.0, 2.0, 2.0, 0.0, 0.0]


def test_appearance_tells_what_looks_like_the_object_on_another_frame():
    reference = torch.full((1, 1, SIZE, SIZE), 0.2)
    reference[..., 10:30, 10:30] = 0.8
    weight = (reference > 0.5).float()
    other = torch.full((1, 1, SIZE, SIZE), 0.2)
    other[..., 40:50, 35:60] = 0.8
    for ratio in appearance(other, reference, weight):
        assert float(ratio[..., 44:46, 40:55].min()) > 0.5
        assert float(ratio[..., :30, :].max()) < -0.5


def test_refined_masks_are_fine_and_carry_their_own_scores():
    model = build_model(replace(ARCHITECTURES["hiera_nano"].with_image_size(SIZE), adapters=None))
    torch.nn.init.constant_(model.refiner.out.bias, -9.0)
    image = torch.zeros(1, 3, SIZE, SIZE)
    features = steps.encode_image(model, image)
    points = torch.tensor([[[30.0, 30.0]]]), torch.tensor([[1]], dtype=torch.int32)
    decoded = steps.decode(model, steps.no_memory(model, features), features, points)
    gone = steps.refine(model, decoded, Clues(steps.to_grey(image), points=points))
    assert gone.low_res.shape == (1, 1, SIZE, SIZE)
    assert float(gone.object_score.detach()) < 0
    assert torch.equal(gone.pointer, model.no_obj_ptr)


def test_the_refiner_needs_no_gradient_to_draw_its_clues():
    clues = some_clues()
    hint = clues.hint.requires_grad_()
    MaskRefiner()(replace(clues, hint=hint)).sum().backward()
    assert hint.grad is None


def test_what_looks_like_the_object_but_was_left_out_is_handed_on():
    """Of two equally bright halves one is the object: both look like it, the mask tells them apart."""
    image = torch.full((1, 1, SIZE, SIZE), 0.2)
    image[..., 10:30, 10:50] = 0.8
    logits = torch.full((1, 1, SIZE, SIZE), -10.0)
    logits[..., 10:30, 10:30] = 10.0
    mask, sharp, blurred = carried_from(image, logits)[0]
    assert torch.equal(mask, logits[0, 0])
    for likeness in (sharp, blurred):
        assert likeness[20, 40] == likeness[20, 20] > 0 > likeness[50, 50]


def test_weights_that_know_fewer_clues_give_the_same_masks():
    """Files from before a clue was added stay usable: they ignore it."""
    torch.manual_seed(1)
    refiner, clues = MaskRefiner(), some_clues()
    torch.nn.init.normal_(refiner.out.weight, std=0.1)
    known = NUM_CLUES - 2
    with torch.no_grad():
        refiner.down[0][0][0].weight[:, known * FOLD**2 :] = 0
    tensors = {f"refiner.{name}": tensor for name, tensor in refiner.state_dict().items()}
    old = {**tensors, ENTRANCE: tensors[ENTRANCE][:, : known * FOLD**2]}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in knowing_all_clues(old).items())
    without = replace(clues, carried=torch.cat([clues.carried[:, :1], torch.zeros(2, 2, SIZE, SIZE)], dim=1))
    assert torch.equal(refiner(clues), refiner(without))
    assert knowing_all_clues({"other": torch.ones(1)}).keys() == {"other"}
