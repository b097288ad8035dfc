"""Sessions: how a mask gets from frame to frame, with and without the network's memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sessions import SIZE, collect, count_encoder_calls, follow_slices, open_session, with_masks
from upstream import build_lively_model, draw_frames

from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.prompts import Point
from DDSAM2SlicerLib.engine.network import Network
from DDSAM2SlicerLib.engine.propagate import Sweep
from DDSAM2SlicerLib.engine.session import ROOM
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES


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


@pytest.mark.parametrize(("use", "encoded"), [("auto", 0), ("always", 12), ("never", 0)])
def test_by_default_the_refiner_follows_alone(a_model, a_scene, monkeypatch, use, encoded):
    frames, masks = a_scene
    calls = count_encoder_calls(monkeypatch)
    session = open_session(a_model, frames, mask_prior=True, memory_use=use)
    session.set_prompts(with_masks(masks, (1, 0)))
    list(session.propagate())
    assert len(calls) == encoded
    calls.clear()
    follow_slices(a_model, frames, with_masks(masks, (1, 0)), memory_use=use)
    assert len(calls) == encoded


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


@pytest.fixture
def steps(monkeypatch):
    """Frames that masks were moved from and to, in order."""
    taken, move = [], Sweep._move

    def note(self, entry, seen):
        taken.append((entry.frame, seen.index))
        return move(self, entry, seen)

    monkeypatch.setattr(Sweep, "_move", note)
    return taken


@pytest.mark.parametrize("use", ["auto", "always"])
def test_in_time_what_was_seen_before_is_followed_from_there(a_model, a_scene, steps, use):
    """A beat of four frames, three times over: nothing lies more than three steps from the prompted frame."""
    frames, masks = np.tile(a_scene[0][:4], (3, 1, 1)), np.tile(a_scene[1][:4], (3, 1, 1, 1))
    session = open_session(a_model, frames, mask_prior=True, memory_use=use)
    session.set_prompts(with_masks(masks, (1, 0)))
    list(session.propagate())
    assert steps[:4] == [(0, 1), (1, 2), (2, 3), (0, 4)]
    away = {0: 0}
    for source, frame in steps:
        away[frame] = away[source] + 1
    assert max(away.values()) <= 3


def test_slices_always_follow_from_their_neighbours(a_model, a_scene, steps):
    frames, masks = np.tile(a_scene[0][:2], (2, 1, 1)), np.tile(a_scene[1][:2], (2, 1, 1, 1))
    follow_slices(a_model, frames, with_masks(masks, (1, 0)))
    assert steps == [(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)]


def test_frames_between_two_given_ones_follow_from_nothing_beyond_them(a_model, a_scene, steps):
    """So that a correction changes nothing but what lies next to it."""
    frames, masks = np.tile(a_scene[0][:3], (3, 1, 1)), np.tile(a_scene[1][:3], (3, 1, 1, 1))
    session = open_session(a_model, frames, mask_prior=True)
    session.set_prompts(with_masks(masks, (1, 0), (1, 4)))
    whole = collect(session.propagate())
    assert all((source <= 4) == (frame < 4) or source == 4 for source, frame in steps)
    again = collect(session.propagate(changed=(1, 4)))
    assert again.keys() == {(1, frame) for frame in range(1, 9)}
    assert all((whole[key] == again[key]).all() for key in again)


def test_a_series_is_followed_alike_with_and_without_a_helper(a_model):
    """Whatever is prepared ahead, also where the window moves."""
    frames, masks = draw_frames(4, 256)
    frames, masks = (np.concatenate([one, np.roll(one, 25, axis=-1), one]) for one in (frames, masks))
    found, count = [], torch.get_num_threads()
    for threads in (1, 2):
        settings = {"zoom": True, "min_crop_px": 32, "mask_prior": True, "threads": threads}
        session = open_session(a_model, frames, **settings)
        session.set_prompts(with_masks(masks, (3, 0)))
        found.append(collect(session.propagate()))
    torch.set_num_threads(count)
    assert all(dice(found[0][key], found[1][key]) > 0.99 for key in found[0])


def test_from_slice_to_slice_more_around_the_object_is_in_view_than_in_time(a_model):
    frames, masks = draw_frames(3, 256)
    settings = {"zoom": True, "min_crop_px": 32, "mask_prior": True}
    session = open_session(a_model, frames, **settings)
    session.set_prompts(with_masks(masks, (3, 0)))
    in_time = list(session.propagate())[1].crop
    between = follow_slices(a_model, frames, with_masks(masks, (3, 0)), **settings)[1].crop
    assert between.width == pytest.approx(ROOM * in_time.width, abs=2)
    assert between.width > in_time.width


def test_without_memory_masks_clicks_and_corrections_need_the_refiner_only(a_model, a_scene, monkeypatch):
    frames, masks = a_scene
    calls = count_encoder_calls(monkeypatch)
    session = open_session(a_model, frames, mask_prior=True, memory_use="never")
    prompts = with_masks(masks, (1, 0), (2, 0))
    session.set_prompts(prompts.with_point(3, 0, Point(10, 10)))
    session.preview(0)
    session.set_prompts(prompts)
    found = collect(session.propagate())
    session.set_prompts(prompts.with_point(1, 7, Point(20, 20, positive=False)))
    corrected = collect(session.propagate())
    assert not calls
    assert found.keys() == corrected.keys()
    assert not corrected[1, 7][20, 20]
    assert all((found[2, frame] == corrected[2, frame]).all() for frame in range(12))
    assert all(dice(found[one, 3], masks[3, one - 1]) > 0.5 for one in (1, 2))


@pytest.fixture
def a_runaway():
    """A small disc on a ground that moves with it, 5 pixels a frame: 20 frames and masks."""
    (frame,), (mask,) = draw_frames(1, 256)
    return [np.stack([np.roll(one, 5 * step, axis=-1) for step in range(20)]) for one in (frame, mask)]


def follow_runaway(model, a_runaway):
    frames, masks = a_runaway
    session = open_session(model, frames, zoom=True, min_crop_px=32, mask_prior=True)
    session.set_prompts(with_masks(masks, (3, 0)))
    return list(session.propagate())


def test_a_small_object_is_followed_by_the_window_too(a_model, a_runaway):
    results = follow_runaway(a_model, a_runaway)
    assert len({result.crop for result in results[1:]}) > 1
    assert dice(results[-1].masks[0], a_runaway[1][-1, 2]) > 0.5


def test_what_an_object_looked_like_is_known_wherever_the_window_has_moved(a_model, a_runaway, monkeypatch):
    shown, glance = [], Network.glance
    monkeypatch.setattr(Network, "glance", lambda self, clues: shown.append(clues.anchor_logits) or glance(self, clues))
    follow_runaway(a_model, a_runaway)
    assert (shown[-1] > 0).sum() > 100
    assert all((one == shown[-1]).all() for one in shown)


def test_in_time_what_is_gone_is_looked_for_wherever_it_has_been(a_model, a_runaway, monkeypatch):
    found, to_masks = [], Sweep.to_masks

    def lose(self, crop, low_res):
        found.append(to_masks(self, crop, low_res))
        return found[-1] & (len(found) < 16)

    monkeypatch.setattr(Sweep, "to_masks", lose)
    window = follow_runaway(a_model, a_runaway)[-1].crop
    _, columns = np.nonzero(a_runaway[1][:15, 2].any(axis=0))
    assert window.x <= columns.min() < columns.max() < window.x + window.width


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
    view = Sweep._view_anchor
    strange = torch.tensor([True, False])
    monkeypatch.setattr(Sweep, "_view_anchor", lambda *parts: replace(view(*parts), is_familiar=strange))
    found = follow()
    assert not found[1, 3].any()
    assert dice(found[2, 3], masks[3, 1]) > 0.8


@pytest.mark.parametrize("rule", ["pruned", "split_pruned", "diverse", "confident"])
def test_every_memory_rule_runs_with_several_objects(a_model, a_scene, rule):
    frames, masks = a_scene
    session = open_session(a_model, frames, memory_rule=rule)
    session.set_prompts(with_masks(masks, (1, 0), (2, 0)))
    assert len(collect(session.propagate())) == 24


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
