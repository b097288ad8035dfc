"""Sessions: clicks on frames that were tracked before."""

import numpy as np
import pytest
import torch
from sessions import SIZE, collect, open_session, with_masks
from upstream import build_lively_model

from DDSAM2SlicerLib.core.errors import PromptError
from DDSAM2SlicerLib.core.masks import label_components
from DDSAM2SlicerLib.core.prompts import Point
from DDSAM2SlicerLib.engine import network
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES


def test_a_click_on_a_tracked_frame_corrects_what_was_found_there(a_model, a_scene):
    frames, masks = a_scene
    session, fresh = open_session(a_model, frames), open_session(a_model, frames)
    prompts = with_masks(masks, (1, 0))
    session.set_prompts(prompts)
    list(session.propagate())
    clicked = prompts.with_point(1, 7, Point(20, 20, positive=False))
    session.set_prompts(clicked)
    corrected = session.preview(7)
    fresh.set_prompts(clicked)
    with pytest.raises(PromptError, match="positive point"):
        fresh.preview(7)
    result = collect(session.propagate(changed=(1, 7)))
    assert (result[1, 7] == corrected.masks[0]).all()


@pytest.mark.parametrize("is_accepted", [False, True])
def test_a_click_on_a_tracked_frame_is_answered_in_view_of_the_nearest_given_mask(
    a_model, a_scene, monkeypatch, is_accepted
):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    prompts = with_masks(masks, (1, 0), (2, 0), *([] if is_accepted else [(2, 10)]))
    session.set_prompts(prompts)
    locked = {2: {8: masks[8, 1] & False, 10: masks[10, 1]}} if is_accepted else None  # an empty one shows nothing
    list(session.propagate(locked=locked))
    seen = []
    refine = network.Network.refine
    monkeypatch.setattr(
        network.Network, "refine", lambda self, decoded, clues: seen.append(clues) or refine(self, decoded, clues)
    )
    session.set_prompts(prompts.with_point(2, 7, Point(20, 20, positive=False)))
    session.preview(7)
    (clues,) = seen
    assert ((clues.anchor_logits[0, 0] > 0).numpy() == masks[10, 1]).all()
    assert clues.anchor_image[0, 0].numpy() * 255 == pytest.approx(frames[10], abs=0.01)
    assert clues.hint is not None


def test_a_click_on_a_tracked_frame_is_followed_where_it_points_and_nowhere_else(a_scene):
    frames, masks = a_scene
    model = build_lively_model(ARCHITECTURES["hiera_nano"].with_image_size(SIZE))
    with torch.no_grad():
        model.refiner.trust.mul_(100)  # so sure that it does not matter how coarsely logits are kept
    session = open_session(model, frames)
    prompts = with_masks(masks, (1, 0))
    session.set_prompts(prompts)
    before = collect(session.propagate())[1, 7]
    rows, columns = np.nonzero(~before)
    x, y = int(columns[0]), int(rows[0])
    session.set_prompts(prompts.with_point(1, 7, Point(x, y, positive=True)))
    after = session.preview(7).masks[0]
    assert after[y, x]
    assert (before & ~after).sum() == 0
    pieces, _ = label_components(after & ~before)
    far = (np.abs(np.mgrid[:SIZE, :SIZE] - np.array([y, x])[:, None, None]) > 4).any(0)  # more than the click's reach
    assert set(np.unique(pieces[far])) <= {0, *np.unique(pieces[~far])}


def test_a_negative_click_alone_refines_its_frame_on_the_way(a_model, a_scene):
    frames, masks = a_scene
    plain, clicked = open_session(a_model, frames), open_session(a_model, frames)
    plain.set_prompts(with_masks(masks, (1, 0)))
    clicked.set_prompts(with_masks(masks, (1, 0)).with_point(1, 5, Point(30, 30, positive=False)))
    one, other = collect(plain.propagate()), collect(clicked.propagate())
    assert (one[1, 4] == other[1, 4]).all()
    assert (one[1, 5] != other[1, 5]).any()


def test_without_memory_clicks_of_one_object_on_its_way_leave_the_other_alone(a_model, a_scene):
    frames, masks = a_scene
    prompts = with_masks(masks, (1, 0), (2, 0))
    alone, clicked = (open_session(a_model, frames, mask_prior=True, memory_use="never") for _ in range(2))
    alone.set_prompts(prompts)
    clicked.set_prompts(prompts.with_point(1, 5, Point(20, 20, positive=False)))
    found, corrected = collect(alone.propagate()), collect(clicked.propagate())
    assert not corrected[1, 5][20, 20]
    assert all((found[2, frame] == corrected[2, frame]).all() for frame in range(12))


def test_a_click_shows_the_mask_of_its_own_object_only(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames, min_certainty=1.0)
    session.set_prompts(with_masks(masks, (1, 0), (2, 0)).with_point(1, 3, Point(20, 20, positive=False)))
    found = collect(session.propagate())
    assert found[1, 3].any()
    assert not any(found[2, frame].any() for frame in range(1, 12))
