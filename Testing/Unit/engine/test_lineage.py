"""Which earlier frame the next one of a time series follows from, and what is kept for it."""

import pytest
import torch

from DDSAM2SlicerLib.engine import lineage
from DDSAM2SlicerLib.engine.crop import Crop
from DDSAM2SlicerLib.engine.lineage import Lineage, Sketch, differences
from DDSAM2SlicerLib.engine.memory_bank import Entry

CROP = Crop(0, 0, 64, 64)


def make_entry(frame, num_objects=2):
    logits = torch.arange(num_objects * 16.0).view(num_objects, 1, 4, 4)
    return Entry(
        frame,
        Crop(0, 0, 4, 4),
        low_res=logits,
        object_score=torch.ones(num_objects, 1),
        iou=torch.ones(num_objects),
        pointer=torch.ones(num_objects, 8),
        tokens=torch.ones(num_objects, 4, 8),
        trend=logits,
        carried=logits.expand(-1, 3, -1, -1),
    )


def choose(line, frame, images, anchors=(0,)):
    """Show a lineage one frame after the other; returns what the last one follows from."""
    for one in range(1, frame + 1):
        found = line.choose(one, one - 1, anchors, CROP, lambda index: images[index])
        line.add(make_entry(one))
    return found


def flat(*greys):
    return [torch.full((1, 1, 64, 64), grey) for grey in greys]


def test_what_never_comes_again_follows_from_its_neighbour():
    assert choose(Lineage(), 3, flat(0.0, 0.1, 0.2, 0.3)) == 2


def test_what_comes_again_follows_from_what_looks_at_least_as_much_like_it_as_the_neighbour_does():
    line = Lineage()
    assert choose(line, 5, flat(0.0, 0.3, 0.5, 0.9, 0.5, 0.3)) == 1
    assert line.lengths == pytest.approx({1: 0.09, 2: 0.13, 3: 0.29, 4: 0.13, 5: 0.09})


def test_of_several_such_frames_the_one_nearest_to_a_given_mask_is_followed():
    assert choose(Lineage(), 4, flat(0.0, 0.4, 0.45, 0.0, 0.42)) == 1
    assert choose(Lineage(), 4, flat(0.0, 0.4, 0.45, 0.0, 0.42, 0.42), anchors=(0, 5)) == 5


def test_frames_are_compared_where_both_windows_show_them():
    """Columns grow brighter; two windows that show the same ones agree wherever they stand."""
    column = torch.arange(64.0).expand(1, 1, 64, 64) / 255
    one, shifted = Sketch(Crop(0, 0, 64, 64), column), Sketch(Crop(16, 0, 64, 64), column + 16 / 255)
    closer = Sketch(Crop(16, 16, 32, 32), (column / 2) + 15.75 / 255)
    far = Sketch(Crop(40, 0, 64, 64), column)
    near_zero = pytest.approx([0.0, 0.0], abs=1e-5)
    assert differences(one, [shifted, one]) == near_zero
    assert differences(closer, [one, shifted]) == near_zero
    assert differences(one, [far, closer]) == [torch.inf, torch.inf]
    assert differences(shifted, [Sketch(one.crop, column + 0.5)]) == pytest.approx([0.25], abs=1e-4)


def test_a_mask_is_kept_without_what_only_the_network_and_the_next_frame_read():
    line, entry = Lineage(), make_entry(3)
    line.add(entry)
    kept = line.recall(3)
    assert kept.tokens is kept.pointer is kept.trend is None
    assert (kept.low_res == entry.low_res.clamp_max(127 / 8)).all()
    assert (kept.carried == entry.carried.clamp_max(127 / 8)).all()
    assert entry.tokens is not None


def test_of_very_long_series_the_latest_masks_are_kept(monkeypatch):
    monkeypatch.setattr(lineage, "MAX_MASKS", 5)
    line = Lineage()
    images = flat(0.0, 0.1, 0.2, 0.3, 0.4)
    for frame in range(1, 5):
        line.choose(frame, frame - 1, (), CROP, lambda index: images[index])
        line.add(make_entry(frame))
    assert list(line.entries) == list(line.lengths) == [3, 4]


def test_with_more_objects_than_masks_are_kept_each_frame_follows_from_the_one_before_it(monkeypatch):
    images = flat(0.9, 0.3, 0.5, 0.3)
    assert choose(Lineage(), 3, images) == 1
    monkeypatch.setattr(lineage, "MAX_MASKS", 1)
    assert choose(Lineage(), 3, images) == 2
