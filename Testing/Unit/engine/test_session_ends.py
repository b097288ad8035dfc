"""Sessions: what is not sure enough is hidden, and what is gone ends."""

import numpy as np
import pytest
import torch
from sessions import SIZE, collect, count_encoder_calls, follow_slices, open_session, with_masks

from DDSAM2SlicerLib.core.prompts import Box, PromptSet
from DDSAM2SlicerLib.engine import propagate
from DDSAM2SlicerLib.engine.crop import bounding_box
from DDSAM2SlicerLib.engine.group import Group, HideRule


def test_an_object_that_is_gone_ends_without_further_network_calls(a_blind_model, a_scene, monkeypatch):
    frames, masks = a_scene
    calls = count_encoder_calls(monkeypatch)
    results = follow_slices(a_blind_model, frames, with_masks(masks, (1, 0)), stop_after_empty=2, mask_prior=False)
    assert len(results) == 12
    assert not any(result.masks.any() for result in results[1:])
    assert [result.scores[0].ended for result in results] == [False] * 3 + [True] * 9
    assert len(calls) == 3


def test_in_time_nothing_ends_since_it_may_come_back(a_blind_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_blind_model, frames, stop_after_empty=2)
    session.set_prompts(with_masks(masks, (1, 0)))
    results = list(session.propagate())
    assert not any(result.masks.any() for result in results[1:])
    assert not any(result.scores[0].ended for result in results)


def test_a_mask_that_is_not_sure_enough_is_not_shown_but_followed_on(a_model, a_scene):
    frames, masks = a_scene
    shown, scores = [], []
    for limit in (0.0, 1.0):
        session = open_session(a_model, frames, min_certainty=limit)
        session.set_prompts(with_masks(masks, (1, 0)))
        results = list(session.propagate())[1:]
        shown.append(sum(result.masks.any() for result in results))
        scores.append([result.scores[0].iou for result in results])
    assert shown[0] > 0
    assert shown[1] == 0
    assert scores[0] == scores[1]


def test_a_mask_is_as_certain_as_the_slices_before_it_agree(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    shown = [follow_slices(a_model, frames[:4], with_masks(masks, (1, 0)))]
    monkeypatch.setattr(propagate, "agreement", lambda one, other: torch.full((len(one),), 0.5))
    shown.append(follow_slices(a_model, frames[:4], with_masks(masks, (1, 0))))
    certain, doubted = ([result.scores[0].iou for result in results] for results in shown)
    assert doubted[:2] == [certain[0], pytest.approx(certain[1] / 2)]
    assert max(doubted[2:]) <= 0.5


def test_masks_agree_by_their_dice():
    one, other, nothing = (torch.full((1, 1, 4, 4), -3.0) for _ in range(3))
    one[..., :2, :], other[..., :1, :] = 3.0, 1.0
    pairs = (one, one), (one, other), (other, one), (one, nothing), (nothing, nothing)
    assert [float(propagate.agreement(*pair)) for pair in pairs] == pytest.approx([1, 2 / 3, 2 / 3, 0, 1])


def test_where_an_object_is_absent_nothing_strange_is_seen(a_blind_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_blind_model, frames, mask_prior=True)
    session.set_prompts(with_masks(masks, (1, 0)))
    found = collect(session.propagate(locked={1: {6: np.zeros((SIZE, SIZE), bool)}}))
    assert found[1, 2].any()
    assert not found[1, 5].any()


def test_what_starts_from_an_unsure_prompt_need_not_be_surer_than_that(a_model, a_scene):
    frames, masks = a_scene

    def follow(limit):
        session = open_session(a_model, frames, min_certainty=limit, memory_use="always")  # so that the box is answered
        session.set_prompts(PromptSet.empty().with_box(1, 0, Box(*bounding_box(masks[0, 0]))))
        return list(session.propagate())

    first, *tracked = follow(0.0)
    found = [result.scores[0].iou for result in tracked if result.masks.any()]
    start, least = first.scores[0].iou, min(found)
    assert least < start < 1
    assert start**2 < least
    assert sum(result.masks.any() for result in follow(1.0)[1:]) == len(found)


@pytest.mark.parametrize(
    ("certainties", "start", "shown"),
    [
        ([0.95, 0.9, 0.6, 0.5], 1.0, [True, True, False, False]),
        ([0.8, 0.75, 0.57, 0.57], 1.0, [True, True, True, False]),  # thin: never as sure, and so shown for longer
        ([0.95, 0.95, 0.65, 0.95], 1.0, [True, True, True, True]),  # one bad frame
        ([0.95, 0.3, 0.3, 0.75], 1.0, [True, False, False, False]),  # one lucky one
        ([0.5, 0.5], 1.0, [False, False]),  # gone at once
        ([0.5, 0.5], 0.6, [True, True]),  # but not if the answer to the prompt was as unsure
        ([0.5, 0.05], 0.6, [True, False]),
    ],
)
def test_certainty_is_compared_with_what_an_object_has_next_to_its_prompt(certainties, start, shown):
    group = Group([1], (), (), bank=None)
    rule = HideRule(share=1.0, settling=1, inertia=0.3)
    assert [group.note_certainty(1, certainty, start, rule, 0.74) for certainty in certainties] == shown


def test_what_is_usual_can_take_some_frames_to_show():
    certainties, shown = [1.0, 0.8, 0.6, 0.6], []
    for settling in (1, 2):
        rule, group = HideRule(share=0.8, settling=settling, inertia=0.0), Group([1], (), (), bank=None)
        shown.append([group.note_certainty(1, certainty, 1.0, rule, 0.9) for certainty in certainties])
    assert shown == [[True, True, False, False], [True] * 4]


def test_an_ended_object_is_tracked_again_behind_its_next_seed(a_blind_model, a_scene):
    frames, masks = a_scene
    prompts = with_masks(masks, (1, 0), (1, 6))
    results = follow_slices(a_blind_model, frames, prompts, direction="forward", stop_after_empty=1, mask_prior=False)
    ended = {result.frame: result.scores[0].ended for result in results}
    assert [frame for frame, is_over in ended.items() if not is_over] == [0, 1, 6, 7]
