"""Sessions: streaming, changed prompts, locks, ranges and cancelling, on a small random network."""

import numpy as np
import pytest
import torch
from sessions import collect, count_encoder_calls, open_session, with_masks
from upstream import draw_frames

from DDSAM2SlicerLib.core.errors import DeviceError, InputError, PromptError, SettingsError
from DDSAM2SlicerLib.core.plan import FrameRange
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet
from DDSAM2SlicerLib.engine import network


def test_frames_come_in_visiting_order_with_the_prompted_one_first(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 4)))
    assert [result.frame for result in session.propagate()] == [4, 5, 6, 7, 8, 9, 10, 11, 3, 2, 1, 0]
    assert [result.frame for result in session.propagate("backward")] == [4, 3, 2, 1, 0]
    assert [result.frame for result in session.propagate("both", FrameRange(3, 6))] == [4, 5, 3]


@pytest.mark.parametrize("object_ids", [(1,), (1, 2, 3)])
def test_every_frame_is_encoded_once_whatever_the_number_of_objects(a_model, a_scene, object_ids, monkeypatch):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, *((one, 0) for one in object_ids)))
    calls = count_encoder_calls(monkeypatch)
    assert len(collect(session.propagate())) == 12 * len(object_ids)
    assert len(calls) == 12


def test_objects_seeded_on_different_frames_share_the_encoder(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0), (2, 3)))
    calls = count_encoder_calls(monkeypatch)
    assert len(collect(session.propagate("forward"))) == 12 + 9
    assert len(calls) == 12


def test_an_object_alone_gives_the_masks_it_gives_in_company(a_model, a_scene):
    frames, masks = a_scene
    alone, together = open_session(a_model, frames), open_session(a_model, frames)
    alone.set_prompts(with_masks(masks, (2, 0)))
    together.set_prompts(with_masks(masks, (1, 0), (2, 0), (3, 0)))
    one, all_of_them = collect(alone.propagate()), collect(together.propagate())
    assert all((mask == all_of_them[key]).mean() > 0.999 for key, mask in one.items())


def test_cancelling_keeps_what_has_arrived_and_computes_no_further_frame(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))
    calls = count_encoder_calls(monkeypatch)
    arrived = []
    for result in session.propagate(cancel=lambda: len(arrived) == 4):
        arrived.append(result.frame)
    assert arrived == [0, 1, 2, 3]
    assert len(calls) == 4


def test_a_changed_prompt_recomputes_only_up_to_the_nearest_anchors(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0), (2, 0)))
    first = collect(session.propagate())
    locked = {1: {3: first[1, 3], 8: first[1, 8]}}
    session.set_prompts(with_masks(masks, (1, 0), (2, 0), (1, 6)))
    again = collect(session.propagate(locked=locked, changed=(1, 6)))
    assert sorted(again) == [(1, 4), (1, 5), (1, 6), (1, 7)]
    assert (again[1, 6] == masks[6, 0]).all()


def test_locked_frames_are_not_touched_but_steer_their_neighbours(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))
    free = collect(session.propagate())
    accepted = masks[6, 2]
    steered = collect(session.propagate(locked={1: {6: accepted}}))
    assert (1, 6) not in steered
    assert (steered[1, 7] != free[1, 7]).any()


def test_scores_are_probabilities_and_prompted_masks_are_certain(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))
    scores = [result.scores[0] for result in session.propagate()]
    assert (scores[0].iou, scores[0].object_score) == (1.0, 1.0)
    assert all(0 <= one.iou <= 1 and 0 <= one.object_score <= 1 and 0 <= one.overlap <= 1 for one in scores)


def test_bfloat16_gives_nearly_the_same_masks_and_leaves_the_model_alone(a_model, a_scene):
    frames, masks = a_scene
    results = []
    for precision in ("fp32", "bf16"):
        session = open_session(a_model, frames[:4], precision=precision, mask_prior=True)
        session.set_prompts(with_masks(masks, (1, 0), (2, 0)))
        results.append(np.stack([mask for result in session.propagate() for mask in result.masks]))
    assert (results[0] == results[1]).mean() > 0.97
    assert all(parameter.dtype == torch.float32 for parameter in a_model.parameters())


def test_boxes_and_clicks_answer_with_zoom(a_model):
    frames, _ = draw_frames(2, 256)
    session = open_session(a_model, frames, zoom=True, min_crop_px=32)
    session.set_prompts(PromptSet.empty().with_box(1, 0, Box(50, 50, 90, 80)).with_point(2, 0, Point(60, 60)))
    result = session.preview(0)
    assert result.object_ids == (1, 2)
    assert result.masks.shape == (2, 256, 256)


def test_objects_do_not_overlap_if_asked(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames, non_overlap=True)
    session.set_prompts(with_masks(masks, (1, 0), (2, 0), (3, 0)))
    assert all(result.masks.sum(0).max() <= 1 for result in session.propagate() if result.frame)


def test_prompts_outside_the_stack_or_the_range_are_refused(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    with pytest.raises(PromptError, match="frames 0 to 11 only"):
        session.set_prompts(PromptSet.empty().with_mask(1, 12, masks[0, 0]))
    session.set_prompts(with_masks(masks, (1, 0)))
    with pytest.raises(PromptError, match="Widen the range"):
        list(session.propagate(frame_range=FrameRange(2, 5)))


def test_a_range_or_a_locked_mask_that_does_not_fit_is_refused(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))
    with pytest.raises(SettingsError, match="has frames 0 to 11"):
        session.propagate(frame_range=FrameRange(0, 13))
    with pytest.raises(InputError, match=r"frame 3 has shape \(5, 5\)"):
        session.propagate(locked={1: {3: np.zeros((5, 5), bool)}})


def test_an_object_without_prompt_starts_from_its_locked_frames(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    results = collect(session.propagate(locked={2: {5: masks[5, 1]}}))
    assert sorted(results) == [(2, frame) for frame in range(12) if frame != 5]


def test_running_out_of_memory_is_one_sentence(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))

    def fail(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(network.FrameEncoder, "encode", fail)
    with pytest.raises(DeviceError, match="Choose a smaller model"):
        list(session.propagate())
