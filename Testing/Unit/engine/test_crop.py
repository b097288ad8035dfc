"""Windows of a frame: exact mapping there and back, following an object, sizes."""

import numpy as np
import pytest
import torch

from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine.crop import Crop, CropPolicy, bounding_box, join_boxes

SETTINGS = EngineSettings(zoom_margin=0.5, min_crop_px=32)


def make_policy(height=200, width=300, aspect=1.0, **settings):
    return CropPolicy(height, width, aspect, EngineSettings(**{**SETTINGS.to_dict(), **settings}))


@pytest.mark.parametrize("crop", [Crop(10, 20, 64, 64), Crop(-8, -4, 64, 64), Crop(270, 180, 64, 64)])
def test_a_mask_goes_through_the_network_grid_and_back_unchanged(crop):
    mask = np.zeros((200, 300), bool)
    mask[max(crop.y, 0) + 2 : crop.y + 15, max(crop.x, 0) + 2 : crop.x + 20] = True
    seen = crop.cut_mask(mask, 64)
    back = crop.place((crop.to_pixels(seen * 20 - 10) > 0).numpy(), 200, 300)
    assert (back[0] == mask).all()


def test_a_frame_of_network_size_is_not_resampled():
    frame = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    assert (Crop(0, 0, 64, 64).cut(frame, 64)[0].numpy() == frame).all()


def test_outside_of_the_frame_is_black_and_colours_stay():
    frame = np.full((8, 8, 3), (10, 20, 30), np.uint8)
    seen = Crop(-8, 0, 16, 8).cut(frame, 16)
    assert seen.shape == (1, 16, 16, 3)
    assert seen[0, 0, 0].tolist() == [0, 0, 0]
    assert seen[0, 0, 15].tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("point", "expected"), [((10, 20), (0.5, 0.5)), ((41.5, 51.5), (63.5, 63.5)), ((9.5, 19.5), (-0.5, -0.5))]
)
def test_pixel_centres_map_to_network_pixels(point, expected):
    assert Crop(10, 20, 64, 64).to_network(*point, 128) == expected


def test_logits_move_to_another_window_with_the_object():
    mask = np.zeros((128, 128), bool)
    mask[50:70, 60:90] = True
    old, new = Crop(0, 0, 128, 128), Crop(40, 30, 64, 64)
    logits = old.cut_mask(mask, 128) * 20 - 10
    moved = new.place((new.to_pixels(old.transfer(logits, new, 64)) > 0).numpy(), 128, 128)
    assert (moved[0] == mask).all()


def test_what_the_old_window_did_not_see_is_background():
    everything = torch.full((1, 1, 16, 16), 10.0)
    moved = Crop(0, 0, 64, 64).transfer(everything, Crop(32, 0, 64, 64), 64)
    assert (moved[..., :30] > 0).all()
    assert (moved[..., 34:] == -10).all()


def test_the_object_fills_the_wanted_share_of_its_window():
    crop = make_policy().choose((100, 90, 139, 109))
    assert (crop.width, crop.height) == (80, 80)
    assert crop.x <= 100 < 139 < crop.x + crop.width


def test_windows_never_fall_below_the_smallest_side_nor_exceed_the_frame():
    policy = make_policy()
    assert policy.choose((10, 10, 12, 12)).width == 32
    assert policy.choose((0, 0, 299, 199)) == Crop(0, -50, 300, 300)
    assert make_policy(zoom=False).choose((10, 10, 12, 12)) == Crop(0, 0, 300, 200)


def test_windows_around_a_click_halve_down_to_the_smallest_side():
    windows = make_policy(min_crop_px=80).halve(290, 100, 3)
    assert [window.width for window in windows] == [300, 150]
    assert windows[1].x + windows[1].width == 300
    assert make_policy(zoom=False).halve(290, 100, 3) == [Crop(0, 0, 300, 200)]


def test_windows_are_square_in_millimetres():
    crop = make_policy(aspect=4.0).choose((100, 90, 139, 99))
    assert (crop.width, crop.height) == (80, 20)


def test_the_window_stays_until_the_object_comes_close_to_its_border():
    policy = make_policy()
    crop = policy.choose((100, 90, 139, 109))
    assert policy.follow(crop, (105, 92, 144, 111)) == crop
    assert policy.follow(crop, None) == crop
    moved = policy.follow(crop, (125, 90, 164, 109))
    assert moved != crop
    assert moved == policy.choose((125, 90, 164, 109))


def test_the_window_grows_and_shrinks_with_the_object():
    policy = make_policy()
    crop = policy.choose((100, 90, 139, 109))
    assert policy.follow(crop, (118, 98, 121, 101)).width == 32
    assert policy.follow(crop, (85, 60, 155, 139)).width == 160


def test_boxes_of_masks():
    mask = np.zeros((5, 6), bool)
    assert bounding_box(mask) is None
    mask[1:3, 2:5] = True
    assert bounding_box(mask) == (2, 1, 4, 2)
    assert join_boxes([None, (2, 1, 4, 2), (0, 2, 1, 9)]) == (0, 1, 4, 9)
    assert join_boxes([None]) is None
