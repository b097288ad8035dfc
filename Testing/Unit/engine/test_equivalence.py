"""Our streaming engine gives what sam2's own video predictor gives: same random weights, same frames, same prompts.

Upstream runs one object after the other, so one upstream run with an object per kind of prompt is the reference for
single objects and for batches alike.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from upstream import as_stack, build_lively_model, build_upstream, draw_frames, start_upstream

from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine.predictor import Predictor
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES

TOLERANCE = 1e-3
MASK, BOX, POINT, CORRECTED = 1, 2, 3, 4
SETTINGS = EngineSettings(zoom=False, precision="fp32", stop_after_empty=0, mask_prior=False)


@dataclass
class Scene:
    """Frames, a model, and upstream's logits {reverse: {frame: (object, H, W)}}."""

    model: torch.nn.Module
    frames: np.ndarray
    masks: np.ndarray
    upstream: dict

    def prompts(self, object_ids, frame):
        mask, scale = self.masks[frame], self.frames.shape[1] / 256
        rows, columns = np.nonzero(mask[1])
        box = Box(columns.min(), rows.min(), columns.max(), rows.max())
        prompts = PromptSet.empty()
        for object_id in object_ids:
            if object_id == MASK:
                prompts = prompts.with_mask(MASK, frame, mask[0])
            elif object_id == BOX:
                prompts = prompts.with_box(BOX, frame, box)
            else:
                prompts = prompts.with_point(object_id, frame, Point(64 * scale, 190 * scale))
            if object_id == CORRECTED:
                prompts = prompts.with_point(CORRECTED, frame, Point(150 * scale, 170 * scale, positive=False))
        return prompts

    def results(self, object_ids, reverse, settings=SETTINGS):
        """Our results with upstream's logits (N, H, W) beside them."""
        session = Predictor(self.model, settings, "cpu").open(as_stack(self.frames))
        session.set_prompts(self.prompts(object_ids, self.seed(reverse)))
        for result in session.propagate("backward" if reverse else "forward"):
            yield result, self.upstream[reverse][result.frame][[one - 1 for one in result.object_ids]]

    def seed(self, reverse):
        return len(self.frames) - 1 if reverse else 0


def difference(result, expected):
    logits = result.crop.to_pixels(torch.from_numpy(result.logits)[:, None]).numpy()
    return np.abs(logits - expected).max()


def check_equality(scene, object_ids, reverse):
    num_tracked = 0
    for result, expected in scene.results(object_ids, reverse):
        rows = range(len(object_ids))
        if result.frame == scene.seed(reverse):
            # a given mask comes back as given, where upstream shows what is left of it at a quarter of the resolution
            rows = [row for row in rows if result.object_ids[row] != MASK]
        else:
            num_tracked += 1
            assert difference(result, expected) < TOLERANCE
        is_sure = np.abs(expected[rows]) > TOLERANCE
        assert ((expected[rows] > 0) == result.masks[rows])[is_sure].all()
    assert num_tracked == len(scene.frames) - 1


def run_upstream(predictor, scene, reverse, object_ids):
    seed = scene.seed(reverse)
    state = start_upstream(predictor, scene.frames)
    for (object_id, frame), prompt in scene.prompts(object_ids, seed).prompts.items():
        if prompt.mask is not None:
            predictor.add_new_mask(state, frame, object_id, prompt.mask)
            continue
        box = prompt.box and [prompt.box.x0, prompt.box.y0, prompt.box.x1, prompt.box.y1]
        if box:
            predictor.add_new_points_or_box(state, frame, object_id, box=box)
        for number, point in enumerate(prompt.points):
            predictor.add_new_points_or_box(
                state,
                frame,
                object_id,
                points=[[point.x, point.y]],
                labels=[int(point.positive)],
                clear_old_points=number == 0,
            )
    return {
        frame: logits[:, 0].numpy()
        for frame, _, logits in predictor.propagate_in_video(state, start_frame_idx=seed, reverse=reverse)
    }


def make_scene(size, num_frames):
    model = build_lively_model(ARCHITECTURES["hiera_tiny"].with_image_size(size))
    frames, masks = draw_frames(num_frames, size)
    scene = Scene(model, frames, masks, {})
    predictor = build_upstream(model)
    for reverse in (False, True):
        scene.upstream[reverse] = run_upstream(predictor, scene, reverse, (MASK, BOX, POINT, CORRECTED))
    return scene


@pytest.fixture(scope="module")
def a_small_scene():
    return make_scene(size=128, num_frames=12)


@pytest.fixture(scope="module")
def a_full_scene():
    return make_scene(size=512, num_frames=12)


SINGLE = [(MASK,), (BOX,), (POINT,), (CORRECTED,)]
BATCHES = [(MASK, BOX, POINT), (BOX, POINT, CORRECTED)]


@pytest.mark.parametrize("object_ids", [*SINGLE, BATCHES[0]])
def test_forward_logits_equal_upstreams_on_small_frames(a_small_scene, object_ids):
    check_equality(a_small_scene, object_ids, reverse=False)


@pytest.mark.parametrize("object_ids", [(POINT,), BATCHES[1]])
def test_backward_logits_equal_upstreams_on_small_frames(a_small_scene, object_ids):
    check_equality(a_small_scene, object_ids, reverse=True)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("object_ids", [*SINGLE, *BATCHES])
def test_logits_equal_upstreams_at_512_pixels(a_full_scene, object_ids, reverse):
    check_equality(a_full_scene, object_ids, reverse)


def test_the_comparison_notices_two_missing_memories(a_small_scene):
    settings = EngineSettings(**{**SETTINGS.to_dict(), "memory_rule": "pruned"})
    results = a_small_scene.results((MASK,), False, settings)
    assert max(difference(result, expected) for result, expected in results if result.frame) > 10 * TOLERANCE


def test_masks_with_their_own_prompt_frame_are_returned_as_given(a_small_scene):
    session = Predictor(a_small_scene.model, SETTINGS, "cpu").open(as_stack(a_small_scene.frames))
    session.set_prompts(a_small_scene.prompts((MASK,), 0))
    result = session.preview(0)
    assert (result.masks[0] == a_small_scene.masks[0, 0]).all()
    assert result.scores[0].iou == 1.0
