"""What a click on a tracked mask may change: the piece it points at."""

import pytest
import torch

from DDSAM2SlicerLib.engine.prompting import CLICK_LOGIT, confine

SIDE = 64  # a click reaches two pixels


def logits_of(*boxes):
    """Logits of 3 within boxes (rows, columns), of -3 elsewhere."""
    logits = torch.full((1, 1, SIDE, SIDE), -3.0)
    for rows, columns in boxes:
        logits[0, 0, slice(*rows), slice(*columns)] = 3.0
    return logits


BODY, ARM, OTHER = ((20, 40), (20, 40)), ((27, 34), (40, 60)), ((2, 8), (2, 8))


def test_a_positive_click_adds_the_piece_it_lies_in_and_no_other():
    result = confine(logits_of(BODY, ARM, OTHER), logits_of(BODY), x=50, y=30, positive=True)
    assert torch.equal(result > 0, logits_of(BODY, ARM) > 0)


def test_a_positive_click_takes_nothing_away():
    result = confine(logits_of(ARM), logits_of(BODY), x=50, y=30, positive=True)
    assert torch.equal(result > 0, logits_of(BODY, ARM) > 0)


def test_a_negative_click_removes_the_piece_it_lies_in_and_adds_nothing():
    result = confine(logits_of(BODY, OTHER), logits_of(BODY, ARM), x=50, y=30, positive=False)
    assert torch.equal(result > 0, logits_of(BODY) > 0)


@pytest.mark.parametrize("positive", [True, False])
def test_a_click_that_the_network_does_not_follow_is_followed_around_it(positive):
    unmoved = logits_of(BODY)
    x, y = (50, 30) if positive else (30, 30)
    result = confine(unmoved, unmoved, x=x, y=y, positive=positive)
    changed = (result > 0) != (unmoved > 0)
    assert changed.sum() == 13  # pixels no farther than two
    assert result[0, 0, y, x] == (CLICK_LOGIT if positive else -CLICK_LOGIT)


def test_a_click_on_what_is_right_changes_no_pixel_of_the_mask():
    result = confine(logits_of(BODY, ARM), logits_of(BODY), x=30, y=30, positive=True)
    assert torch.equal(result > 0, logits_of(BODY) > 0)


def test_a_click_outside_of_the_window_changes_nothing():
    assert torch.equal(confine(logits_of(ARM), logits_of(BODY), x=-9, y=30, positive=True), logits_of(BODY))
