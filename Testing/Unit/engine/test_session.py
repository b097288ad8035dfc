"""Sessions: streaming, corrections, locks, ends, ranges and cancelling, on a small random network."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from upstream import as_stack, build_lively_model, draw_frames

from DDSAM2SlicerLib.core.errors import DeviceError, InputError, PromptError, SettingsError
from DDSAM2SlicerLib.core.frames import IntensityMapping, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.core.masks import label_components
from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.plan import Direction, FrameRange
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine import network, propagate
from DDSAM2SlicerLib.engine.crop import bounding_box
from DDSAM2SlicerLib.engine.group import Group, HideRule
from DDSAM2SlicerLib.engine.joining import TRUST
from DDSAM2SlicerLib.engine.network import Network
from DDSAM2SlicerLib.engine.predictor import Predictor
from DDSAM2SlicerLib.engine.propagate import Sweep
from DDSAM2SlicerLib.engine.session import ROOM
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES

SIZE = 64
SETTINGS = {
    "zoom": False,
    "precision": "fp32",
    "stop_after_empty": 0,
    "mask_prior": False,
    "min_certainty": 0.0,
}


@pytest.fixture(scope="module")
def a_model():
    return build_lively_model(ARCHITECTURES["hiera_nano"].with_image_size(SIZE))


@pytest.fixture(scope="module")
def a_blind_model():
    model = build_lively_model(ARCHITECTURES["hiera_nano"].with_image_size(SIZE))
    torch.nn.init.constant_(model.refiner.out.bias, -1000.0)
    return model


@pytest.fixture(scope="module")
def a_scene():
    return draw_frames(12, SIZE)


def open_session(model, frames, **settings):
    return Predictor(model, EngineSettings(**{**SETTINGS, **settings}), "cpu").open(as_stack(frames))


def with_masks(masks, *keys):
    prompts = PromptSet.empty()
    for object_id, frame in keys:
        prompts = prompts.with_mask(object_id, frame, masks[frame, object_id - 1])
    return prompts


def collect(results):
    return {
        (one, result.frame): mask
        for result in results
        for one, mask in zip(result.object_ids, result.masks, strict=True)
    }


def count_encoder_calls(monkeypatch):
    calls = []
    original = network.FrameEncoder.encode
    monkeypatch.setattr(network.FrameEncoder, "encode", lambda self, image: calls.append(1) or original(self, image))
    return calls


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


def test_frames_between_two_seeds_are_conditioned_on_both(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))
    one = collect(session.propagate())
    session.set_prompts(with_masks(masks, (1, 0), (1, 11)))
    both = collect(session.propagate())
    assert len(both) == 12
    assert (both[1, 1] != one[1, 1]).any()


def test_between_two_seeds_logits_pass_from_one_side_to_the_other(a_model, a_scene):
    frames, masks = a_scene
    found = {}
    for direction in Direction:
        session = open_session(a_model, frames)
        session.set_prompts(with_masks(masks, (1, 2), (1, 9)))
        results = [result for result in session.propagate(direction) if 2 < result.frame < 9]
        found[direction] = {result.frame: result for result in results}  # the last of each frame
    for frame, joined in found[Direction.BOTH].items():
        ahead, back = found[Direction.FORWARD][frame], found[Direction.BACKWARD][frame]
        assert ahead.masks.any()
        assert back.masks.any()
        weights = (9 - frame) * ahead.scores[0].iou ** TRUST, (frame - 2) * back.scores[0].iou ** TRUST
        share = weights[0] / sum(weights)
        expected = share * ahead.logits.clip(-8, 8) + (1 - share) * back.logits.clip(-8, 8)
        np.testing.assert_allclose(joined.logits, expected, atol=0.251)  # a step of what is kept
        assert joined.scores[0].iou == pytest.approx(share * ahead.scores[0].iou + (1 - share) * back.scores[0].iou)
        assert joined.scores[0].area == joined.masks.sum()


@pytest.mark.parametrize("lost_side", [False, True])
def test_what_one_side_has_lost_is_as_the_other_found_it(a_model, a_scene, lost_side, monkeypatch):
    frames, masks = a_scene

    def follow(direction):
        session = open_session(a_model, frames)
        session.set_prompts(with_masks(masks, (1, 2), (1, 9)))
        return {key: mask for key, mask in collect(session.propagate(direction)).items() if 2 < key[1] < 9}

    expected = follow(Direction.FORWARD if lost_side else Direction.BACKWARD)
    step = Sweep.step

    def lose(sweep, frame):
        results = step(sweep, frame)
        if sweep.reverse is not lost_side:
            return results
        return [
            replace(one, masks=one.masks & False, scores=(replace(one.scores[0], area=0),) * len(one.scores))
            for one in results
        ]

    monkeypatch.setattr(Sweep, "step", lose)
    found = follow(Direction.BOTH)
    assert found.keys() == expected.keys()
    assert all(found[key].any() and (found[key] == expected[key]).all() for key in found)


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


def test_an_object_that_is_gone_ends_without_further_network_calls(a_blind_model, a_scene, monkeypatch):
    frames, masks = a_scene
    session = open_session(a_blind_model, frames, stop_after_empty=2)
    session.set_prompts(with_masks(masks, (1, 0)))
    calls = count_encoder_calls(monkeypatch)
    results = list(session.propagate())
    assert len(results) == 12
    assert not any(result.masks.any() for result in results[1:])
    assert [result.scores[0].ended for result in results] == [False] * 3 + [True] * 9
    assert len(calls) == 3


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


def follow_slices(model, frames, prompts, locked=None, **settings):
    geometry = VolumeGeometry(frames.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    source = VolumeFrames(frames, geometry, Axis.K, IntensityMapping(0.0, 255.0))
    session = Predictor(model, EngineSettings(**{**SETTINGS, "mask_prior": True, **settings}), "cpu").open(source)
    session.set_prompts(prompts)
    return list(session.propagate(locked=locked))


@pytest.fixture
def looks(monkeypatch):
    """Distances that the refiner was told, look by look, without those at the prompted frame itself."""
    told, glance = [], Network.glance

    def note(self, clues):
        if clues.hint is not clues.anchor_logits:
            told.append(round(float(clues.step) * SIZE))
        return glance(self, clues)

    monkeypatch.setattr(Network, "glance", note)
    return told


@pytest.mark.parametrize(("use", "in_time", "between_slices"), [("auto", 12, 1), ("always", 12, 12), ("never", 1, 1)])
def test_by_default_the_memory_helps_in_time_only(a_model, a_scene, monkeypatch, use, in_time, between_slices):
    frames, masks = a_scene
    seen, encode = [], network.FrameEncoder.encode
    monkeypatch.setattr(network.FrameEncoder, "encode", lambda self, image: seen.append(image) or encode(self, image))
    session = open_session(a_model, frames, mask_prior=True, memory_use=use)
    session.set_prompts(with_masks(masks, (1, 0)))
    list(session.propagate())
    assert len(seen) == in_time
    seen.clear()
    follow_slices(a_model, frames, with_masks(masks, (1, 0)), memory_use=use)
    assert len(seen) == between_slices


def test_between_slices_a_mask_follows_from_the_two_before_it_but_none_beyond_a_given_one(a_model, a_scene, looks):
    frames, masks = a_scene
    follow_slices(a_model, frames[:5], with_masks(masks, (1, 0)))
    assert looks == [2, 2, 4, 2, 4, 2, 4]
    looks.clear()
    results = follow_slices(a_model, frames[:5], with_masks(masks, (1, 0)), locked={1: {2: masks[2, 0]}})
    assert looks == [2, 2, 2, 4, 2]  # forward to the slices 1, 3 and 4, back from 2 to 1
    assert [result.frame for result in results] == [0, 1, 3, 4, 1]


def test_without_memory_in_time_a_mask_follows_from_the_one_before_it(a_model, a_scene, looks):
    frames, masks = a_scene
    session = open_session(a_model, frames[:5], mask_prior=True, memory_use="never")
    session.set_prompts(with_masks(masks, (1, 0)))
    list(session.propagate())
    assert looks == [0] * 4


def test_a_mask_is_as_certain_as_the_slices_before_it_agree(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    shown = [follow_slices(a_model, frames[:4], with_masks(masks, (1, 0)))]
    monkeypatch.setattr(propagate, "agreement", lambda one, other: torch.full((len(one),), 0.5))
    shown.append(follow_slices(a_model, frames[:4], with_masks(masks, (1, 0))))
    certain, doubted = ([result.scores[0].iou for result in results] for results in shown)
    assert doubted[:2] == [certain[0], pytest.approx(certain[1] / 2)]
    assert max(doubted[2:]) <= 0.5


def test_from_slice_to_slice_more_around_the_object_is_in_view_than_in_time(a_model):
    frames, masks = draw_frames(3, 256)
    settings = {"zoom": True, "min_crop_px": 32, "mask_prior": True}
    session = open_session(a_model, frames, **settings)
    session.set_prompts(with_masks(masks, (3, 0)))
    in_time = list(session.propagate())[1].crop
    between = follow_slices(a_model, frames, with_masks(masks, (3, 0)), **settings)[1].crop
    assert between.width == pytest.approx(ROOM * in_time.width, abs=2)
    assert between.width > in_time.width


def test_masks_agree_by_their_dice():
    one, other, nothing = (torch.full((1, 1, 4, 4), -3.0) for _ in range(3))
    one[..., :2, :], other[..., :1, :] = 3.0, 1.0
    pairs = (one, one), (one, other), (other, one), (one, nothing), (nothing, nothing)
    assert [float(propagate.agreement(*pair)) for pair in pairs] == pytest.approx([1, 2 / 3, 2 / 3, 0, 1])


def test_without_memory_the_network_sees_prompted_and_corrected_frames_only(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    seen = []
    encode = network.FrameEncoder.encode
    monkeypatch.setattr(network.FrameEncoder, "encode", lambda self, image: seen.append(image) or encode(self, image))
    session = open_session(a_model, frames, mask_prior=True, memory_use="never")
    prompts = with_masks(masks, (1, 0), (2, 0))
    session.set_prompts(prompts)
    found = collect(session.propagate())
    assert len(seen) == 1
    session.set_prompts(prompts.with_point(1, 7, Point(20, 20, positive=False)))
    corrected = collect(session.propagate())
    assert len(seen) == 2
    assert found.keys() == corrected.keys()
    assert not corrected[1, 7][20, 20]
    assert all((found[2, frame] == corrected[2, frame]).all() for frame in range(12))
    assert all(dice(found[one, 3], masks[3, one - 1]) > 0.5 for one in (1, 2))


def test_without_memory_clicks_of_one_object_on_its_way_leave_the_other_alone(a_model, a_scene):
    frames, masks = a_scene
    prompts = with_masks(masks, (1, 0), (2, 0))
    alone, clicked = (open_session(a_model, frames, mask_prior=True, memory_use="never") for _ in range(2))
    alone.set_prompts(prompts)
    clicked.set_prompts(prompts.with_point(1, 5, Point(20, 20, positive=False)))
    found, corrected = collect(alone.propagate()), collect(clicked.propagate())
    assert not corrected[1, 5][20, 20]
    assert all((found[2, frame] == corrected[2, frame]).all() for frame in range(12))


def test_without_memory_a_small_object_is_followed_by_the_window_too(a_model):
    (frame,), (mask,) = draw_frames(1, 256)
    frames, masks = (np.stack([np.roll(one, 5 * step, axis=-1) for step in range(10)]) for one in (frame, mask))
    session = open_session(a_model, frames, zoom=True, min_crop_px=32, mask_prior=True, memory_use="never")
    session.set_prompts(with_masks(masks, (3, 0)))
    results = list(session.propagate())
    assert len({result.crop for result in results[1:]}) > 1
    assert dice(results[-1].masks[0], masks[-1, 2]) > 0.5


def test_a_model_that_cannot_refine_always_uses_its_memory(a_scene):
    frames, masks = a_scene
    model = build_lively_model(replace(ARCHITECTURES["hiera_nano"].with_image_size(SIZE), refiner=False))
    answers = []
    for use in ("always", "never"):
        session = open_session(model, frames, mask_prior=True, memory_use=use)
        session.set_prompts(with_masks(masks, (1, 0)))
        answers.append(collect(session.propagate()))
    assert all((answers[0][key] == answers[1][key]).all() for key in answers[0])


def test_masks_that_the_refiner_would_not_draw_go_where_the_image_goes(a_blind_model, a_scene, monkeypatch):
    frames, masks = a_scene

    def follow():
        session = open_session(a_blind_model, frames, mask_prior=True)
        session.set_prompts(with_masks(masks, (1, 0), (2, 0)))
        return collect(session.propagate())

    found = follow()
    assert all(dice(found[one, 3], masks[3, one - 1]) > 0.8 for one in (1, 2))
    monkeypatch.setattr(Sweep, "_is_familiar", lambda *_: torch.tensor([True, False]))
    found = follow()
    assert not found[1, 3].any()
    assert dice(found[2, 3], masks[3, 1]) > 0.8


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
        session = open_session(a_model, frames, min_certainty=limit)
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


def test_a_click_shows_the_mask_of_its_own_object_only(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames, min_certainty=1.0)
    session.set_prompts(with_masks(masks, (1, 0), (2, 0)).with_point(1, 3, Point(20, 20, positive=False)))
    found = collect(session.propagate())
    assert found[1, 3].any()
    assert not any(found[2, frame].any() for frame in range(1, 12))


def test_an_ended_object_is_tracked_again_behind_its_next_seed(a_blind_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_blind_model, frames, stop_after_empty=1)
    session.set_prompts(with_masks(masks, (1, 0), (1, 6)))
    ended = {result.frame: result.scores[0].ended for result in session.propagate("forward")}
    assert [frame for frame, is_over in ended.items() if not is_over] == [0, 1, 6, 7]


def test_scores_are_probabilities_and_prompted_masks_are_certain(a_model, a_scene):
    frames, masks = a_scene
    session = open_session(a_model, frames)
    session.set_prompts(with_masks(masks, (1, 0)))
    scores = [result.scores[0] for result in session.propagate()]
    assert (scores[0].iou, scores[0].object_score) == (1.0, 1.0)
    assert all(0 <= one.iou <= 1 and 0 <= one.object_score <= 1 and 0 <= one.overlap <= 1 for one in scores)


@pytest.mark.parametrize("rule", ["pruned", "split_pruned", "diverse", "confident"])
def test_every_memory_rule_runs_with_several_objects(a_model, a_scene, rule):
    frames, masks = a_scene
    session = open_session(a_model, frames, memory_rule=rule)
    session.set_prompts(with_masks(masks, (1, 0), (2, 0)))
    assert len(collect(session.propagate())) == 24


def test_bfloat16_gives_nearly_the_same_masks_and_leaves_the_model_alone(a_model, a_scene):
    frames, masks = a_scene
    results = []
    for precision in ("fp32", "bf16"):
        session = open_session(a_model, frames[:4], precision=precision, mask_prior=True)
        session.set_prompts(with_masks(masks, (1, 0), (2, 0)))
        results.append(np.stack([mask for result in session.propagate() for mask in result.masks]))
    assert (results[0] == results[1]).mean() > 0.97
    assert all(parameter.dtype == torch.float32 for parameter in a_model.parameters())


def test_zoom_follows_a_small_object_and_masks_land_where_the_object_is(a_model):
    frames, masks = draw_frames(8, 256)
    session = open_session(a_model, frames, zoom=True, min_crop_px=32, mask_prior=True)
    session.set_prompts(with_masks(masks, (3, 0)))
    results = list(session.propagate())
    rows, columns = np.nonzero(masks[0, 2])
    crop = results[1].crop
    assert crop.width < 128
    assert crop.x <= columns.min() <= columns.max() < crop.x + crop.width
    assert crop.y <= rows.min() <= rows.max() < crop.y + crop.height
    outside = results[1].masks[0].copy()
    outside[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width] = False
    assert not outside.any()


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
