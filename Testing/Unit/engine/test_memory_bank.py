"""The memory bank: bounded, the right distances, nearest anchors."""

import pytest
import torch

from DDSAM2SlicerLib.engine.crop import Crop
from DDSAM2SlicerLib.engine.memory_bank import MAX_CONDITIONING, Entry, MemoryBank, nearest_anchors

SUMMARY = torch.ones(4) / 2


def make_entry(frame, num_objects=2, is_conditioning=False):
    generator = torch.Generator().manual_seed(frame)
    return Entry(
        frame=frame,
        crop=Crop(0, 0, 8, 8),
        low_res=torch.zeros(num_objects, 1, 4, 4),
        object_score=torch.ones(num_objects, 1),
        iou=torch.full((num_objects,), 0.99),
        pointer=torch.full((num_objects, 3), float(frame)),
        tokens=torch.randn(num_objects, 4, 5, generator=generator),
        summary=SUMMARY,
        is_conditioning=is_conditioning,
    )


def make_bank(rule="recent", reverse=False, anchor=0):
    bank = MemoryBank(rule, num_maskmem=7, max_pointers=16, reverse=reverse, num_objects=2)
    bank.select_conditioning([anchor], anchor + 1, lambda frame: make_entry(frame, is_conditioning=True))
    return bank


@pytest.mark.parametrize(
    ("rule", "most"), [("recent", 6), ("pruned", 6), ("split_pruned", 6), ("diverse", 6 + 5 + 4), ("confident", 12)]
)
def test_a_thousand_frames_leave_no_more_than_a_few_memories(rule, most):
    bank = make_bank(rule)
    for frame in range(1, 1001):
        bank.add(make_entry(frame))
        assert len(bank.recent) <= most
        assert len(bank.pointers) <= 15
    assert len(bank.conditioning) == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_recent_frames_have_sam_2s_time_positions_and_distances(reverse):
    bank = make_bank(reverse=reverse, anchor=50)
    step = -1 if reverse else 1
    for distance in range(1, 21):
        bank.add(make_entry(50 + step * distance))
    (selection,) = bank.select_spatial(50 + step * 21, SUMMARY)
    positions = {entry.frame: t_pos for t_pos, entry in selection.spatial}
    assert positions == {50: 0, **{50 + step * n: n - 14 for n in range(15, 21)}}
    pointers = dict(bank.select_pointers(50 + step * 21))
    assert sorted(pointers) == [*range(1, 16), 21]
    assert pointers[21][0, 0] == 50
    assert pointers[3][0, 0] == 50 + step * 18


def test_the_pointer_of_an_anchor_ahead_is_not_read():
    bank = make_bank()
    bank.select_conditioning([0, 9], 5, lambda frame: make_entry(frame, is_conditioning=True))
    assert [distance for distance, _ in bank.select_pointers(5)] == [5]
    (selection,) = bank.select_spatial(5, SUMMARY)
    assert [entry.frame for _, entry in selection.spatial] == [0, 9]


def test_objects_may_attend_to_different_memories():
    bank = make_bank("pruned")
    for frame in range(1, 8):
        bank.add(make_entry(frame))
    selections = bank.select_spatial(8, SUMMARY)
    assert sorted(row for one in selections for row in one.rows) == [0, 1]
    assert all(len(one.spatial) == 5 for one in selections)


def test_an_object_that_leaves_takes_its_rows_with_it():
    bank = make_bank()
    bank.add(make_entry(1))
    bank.recent[1].keys = [torch.arange(2.0)[:, None, None].expand(2, 4, 5)]
    bank.keep_rows([1])
    assert bank.recent[1].keys[0].unique().tolist() == [1.0]
    assert (bank.num_objects, len(bank.recent[1].iou), len(bank.pointers[1])) == (1, 1, 1)
    bank.keep_rows([])
    assert len(bank.recent[1].iou) == 0


def test_the_neighbour_is_the_frame_visited_before():
    bank = make_bank()
    assert bank.neighbour(1).frame == 0
    bank.add(make_entry(1))
    assert bank.neighbour(2).frame == 1
    assert bank.neighbour(5) is None


def test_the_nearest_anchors_on_both_sides_come_first():
    anchors = [0, 10, 20, 30]
    assert nearest_anchors(anchors, 12) == anchors
    many = list(range(0, 200, 10))
    chosen = nearest_anchors(many, 101)
    assert len(chosen) == MAX_CONDITIONING
    assert {100, 110} <= set(chosen)
    assert nearest_anchors([*range(20), 90], 30)[-1] == 90
