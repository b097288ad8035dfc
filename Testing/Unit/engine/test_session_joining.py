"""Sessions: what lies between two given frames follows from both."""

from dataclasses import replace

import numpy as np
import pytest
from sessions import collect, open_session, with_masks

from DDSAM2SlicerLib.core.plan import Direction
from DDSAM2SlicerLib.engine.joining import TRUST
from DDSAM2SlicerLib.engine.propagate import Sweep


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
