"""What the probabilities of a refined mask promise."""

import pytest
import torch

from DDSAM2SlicerLib.model.certainty import LARGEST_SHIFT, expected_iou, raise_to_best


def draw_disc(inside, outside, rim):
    """Logits (1, 1, 32, 32) of a disc whose rim is unsure."""
    line = torch.arange(32.0) - 15.5
    radius = (line**2 + line[:, None] ** 2).sqrt()
    return torch.where(radius < 6, inside, torch.where(radius < 10, rim, outside))[None, None]


def expected_dice(logits, mask):
    probability = torch.sigmoid(logits)
    return 2 * (probability * mask).sum() / (mask.sum() + probability.sum())


def test_a_sure_mask_is_expected_to_be_right_and_an_unsure_one_is_not():
    sure, unsure = draw_disc(9.0, -9.0, 9.0), draw_disc(1.0, -3.0, 0.1)
    found = expected_iou(torch.cat([sure, unsure]))
    assert found[0] > 0.999
    assert 0.3 < found[1] < 0.6


@pytest.mark.parametrize("rim", [-2.5, -1.5, -0.8, -0.3, 0.4, 2.0])
def test_no_other_threshold_has_a_larger_dice_to_be_expected(rim):
    torch.manual_seed(0)
    logits = draw_disc(2.0, -4.0, rim) + 0.3 * torch.randn(1, 1, 32, 32)
    found = expected_dice(logits, raise_to_best(logits) > 0)
    assert found >= max(expected_dice(logits, logits > limit) for limit in torch.linspace(-2, 2, 41)) - 1e-3


def test_an_unsure_rim_is_let_in_and_nothing_is_taken_away():
    logits = draw_disc(0.6, -6.0, -0.5)
    raised = raise_to_best(logits)
    assert (raised > 0).sum() > (logits > 0).sum()
    assert (raised >= logits).all()
    sure = draw_disc(9.0, -9.0, -1.5)
    torch.testing.assert_close(raise_to_best(sure) > 0, sure > 0)


def test_where_nothing_is_found_nothing_is_let_in_and_each_object_is_by_itself():
    nothing, object_ = torch.full((1, 1, 32, 32), -7.0), draw_disc(0.6, -6.0, -0.5)
    raised = raise_to_best(torch.cat([nothing, object_]))
    assert not (raised[0] > 0).any()
    assert (raised[0] - nothing[0]).max() <= LARGEST_SHIFT
    torch.testing.assert_close(raised[1:], raise_to_best(object_))
