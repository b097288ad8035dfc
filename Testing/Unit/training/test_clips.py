"""Generated clips: reproducible, cut around a visible object, varied without losing it."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from DDSAM2SlicerLib.training.appearance import _average_neighbours, _tissue_image
from DDSAM2SlicerLib.training.clips import MIN_PROMPT_PX, ClipSettings, make_clips
from DDSAM2SlicerLib.training.config import Stage
from DDSAM2SlicerLib.training.data import Pool, scene_batches
from DDSAM2SlicerLib.training.fields import Draws
from DDSAM2SlicerLib.training.scenes import _repeat, make_scene

SMALL = ClipSettings(num_frames=3, size=64, scene_size=64, min_object_px=30)


@pytest.fixture(scope="module")
def some_clips():
    return [clip for seed in range(12) for clip in make_clips(seed, SMALL)]


def test_the_same_seed_gives_the_same_clips_and_another_seed_others():
    first, again = ([clip for seed in range(5) for clip in make_clips(seed, SMALL)] for _ in range(2))
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(first, again, strict=True))
    assert all(torch.equal(one.masks, other.masks) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0].frames, first[-1].frames)


def test_every_clip_shows_its_object_on_the_prompted_frame(some_clips):
    assert len(some_clips) > 12
    for clip in some_clips:
        assert clip.frames.shape == clip.masks.shape == (3, 64, 64)
        assert clip.frames.dtype == torch.uint8
        assert int(clip.masks[0].sum()) >= MIN_PROMPT_PX


def test_objects_move_and_fill_the_crop_like_the_engine_s(some_clips):
    changed = sum(not torch.equal(clip.masks[0], clip.masks[-1]) for clip in some_clips)
    share = torch.stack([clip.masks[0].float().mean() for clip in some_clips])
    assert changed > 0.8 * len(some_clips)
    assert 0.03 < share.median() < 0.5


def test_most_clips_through_slices_begin_where_the_object_is_largest_and_many_end():
    slices = ClipSettings(num_frames=6, size=64, scene_size=64, time_share=0.0, peak_share=1.0, distant=0.0)
    areas = torch.stack([clip.masks.sum(dim=(1, 2)) for seed in range(20) for clip in make_clips(seed, slices)])
    assert float((areas[:, 0] >= 0.9 * areas.amax(1)).float().mean()) > 0.9  # the crop may cut some of it off
    assert 0.05 < float((areas[:, -1] == 0).float().mean()) < 0.7


def test_the_step_between_slices_is_a_share_of_the_frame_and_nothing_in_time():
    whole = ClipSettings(num_frames=3, size=64, scene_size=64, time_share=0.0, distant=1.0)
    closer = replace(whole, distant=0.0, share_low=0.8)
    pairs = [(make_clips(seed, whole), make_clips(seed, closer)) for seed in range(6)]
    steps = [(one[0].step, other[0].step) for one, other in pairs if one and other]
    assert all(0 < far < near < 0.5 for far, near in steps)
    assert {clip.step for seed in range(3) for clip in make_clips(seed, replace(whole, time_share=1.0))} == {0.0}


def test_a_thick_slice_mixes_its_neighbours_and_keeps_the_mean():
    image = torch.tensor([0.0, 0.0, 1.0, 0.0])[:, None, None].expand(-1, 2, 2)
    mixed = _average_neighbours(image, 0.25)
    assert mixed[:, 0, 0].tolist() == [0.0, 0.25, 0.5, 0.25]


def test_a_scene_has_labels_at_every_frame_and_no_label_beyond_its_count():
    scene = make_scene(Draws(5), num_frames=4, size=48, is_time=False)
    assert scene.labels.shape == (4, 48, 48)
    assert int(scene.labels.max()) < scene.num_labels


def test_image_batches_hold_single_frames_that_show_their_object():
    stage = Stage("s", steps=1, clips_per_step=2, fresh_per_step=1, pool=8, image_share=1.0, clip=SMALL)
    batch = Pool(stage, seed=3, first_scene=0, num_workers=0).draw()
    assert batch.frames.shape == (6, 1, 64, 64)
    assert batch.kind in stage.image_prompts
    assert int(batch.masks.sum(dim=(1, 2, 3)).min()) >= MIN_PROMPT_PX
    fewer = Pool(replace(stage, images_per_step=5), seed=3, first_scene=0, num_workers=0).draw()
    assert len(fewer.frames) == len(fewer.steps) == 5


def test_a_pool_takes_new_clips_in_and_forgets_the_oldest():
    stage = Stage("s", steps=1, clips_per_step=2, fresh_per_step=3, pool=8, clip=SMALL)
    pool = Pool(stage, seed=3, first_scene=0, num_workers=0)
    pool.draw()
    early = pool._taken
    for _ in range(4):
        pool.draw()
    assert pool._taken >= early + 12 > stage.pool
    assert len(pool._frames) == 8
    assert int(pool._masks[:, 0].sum(dim=(1, 2)).min()) >= MIN_PROMPT_PX


def test_scenes_are_the_same_however_many_processes_draw_them():
    alone, together = (
        [batch.frames for batch in islice(scene_batches(SMALL, seed=5, num_workers=count), 4)] for count in (0, 2)
    )
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_organs_that_repeat_lie_at_equal_distances():
    points = torch.zeros(1, 1, 200, 3)
    points[..., 0] = torch.linspace(-1, 1, 200)
    folded = _repeat(Draws(2), points, torch.zeros(3), 0.2)
    assert float(folded.norm(dim=-1).min()) < 0.02
    direction = (points - folded)[0, 0, 0] / (points - folded)[0, 0, 0].norm()
    numbers = ((points - folded) @ direction / 0.2).flatten()
    assert torch.allclose(numbers, numbers.round(), atol=1e-4)
    assert len(numbers.round().unique()) > 2


def test_air_around_a_body_is_the_darkest_and_has_no_texture():
    draws = Draws(0)
    scene = next(
        scene for scene in (make_scene(draws, 2, 64, is_time=False) for _ in range(40)) if scene.air is not None
    )
    image = _tissue_image(draws, scene, "ct")
    is_air = scene.labels == scene.air
    assert float(image[is_air].std()) < 1e-5
    assert float(image[is_air].mean()) <= float(image[~is_air].mean())
