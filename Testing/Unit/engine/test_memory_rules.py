"""Memory rules on hand-made memories: two tokens of two channels each."""

import pytest
import torch

from DDSAM2SlicerLib.engine.memory_rules import (
    LongTerm,
    MemoryView,
    confident,
    diverse,
    pruned,
    recent,
    short,
    split_pruned,
    time_position,
    update_long_term,
)


def memory(frame, angle=0.0, iou=0.5, is_conditioning=False, similarity=0.0):
    """A memory whose tokens all point in one direction, given in degrees."""
    radians = torch.deg2rad(torch.tensor([angle]))
    direction = torch.cat([radians.cos(), radians.sin()])
    return MemoryView(frame, direction.expand(2, 2), iou, is_conditioning, similarity)


def seven(angles):
    return [
        memory(0, angles[0], is_conditioning=True),
        *(memory(n, angle) for n, angle in enumerate(angles[1:], start=1)),
    ]


def test_recent_takes_conditioning_frames_and_the_newest_others():
    memories = [memory(0, is_conditioning=True), memory(9, is_conditioning=True), *(memory(n) for n in range(1, 6))]
    assert recent(memories, num_maskmem=4) == (0, 1, 4, 5, 6)
    assert recent(memories[:2], num_maskmem=4) == (0, 1)


def test_short_takes_conditioning_frames_and_the_newest_two():
    assert short(seven([0] * 7), num_maskmem=7) == (0, 5, 6)
    assert short(seven([0] * 7)[:2], num_maskmem=7) == (0, 1)


def test_pruned_drops_the_two_most_like_the_newest():
    assert pruned(seven([0, 80, 10, 60, 5, 40, 0]), 7) == (0, 1, 3, 5, 6)


def test_pruned_keeps_every_conditioning_frame_and_the_newest():
    memories = [memory(0, 0, is_conditioning=True), memory(8, 0, is_conditioning=True)]
    memories += [memory(n, angle) for n, angle in [(2, 70), (3, 60), (4, 50), (5, 40), (6, 30), (7, 0)]]
    assert pruned(memories, 7) == (0, 1, 2, 3, 4, 7)


def test_pruned_leaves_a_bank_that_is_not_full():
    assert pruned(seven([0, 0, 0, 0, 0, 0]), 7) == (0, 1, 2, 3, 4, 5)


def test_split_pruned_drops_one_of_each_half_and_never_the_newest():
    # channels over tokens: vary the tokens, not only the direction
    def varied(frame, first, second, is_conditioning=False):
        return MemoryView(frame, torch.tensor([[first, second], [second, first]]), 0.5, is_conditioning)

    memories = [
        varied(0, 1.0, 0.0, is_conditioning=True),
        varied(1, 1.0, 0.1),  # most like frame 0
        varied(2, 0.2, 1.0),
        varied(3, 1.0, 0.3),
        varied(4, 0.1, 1.0),  # most like frame 6
        varied(5, 1.0, 0.6),
        varied(6, 0.0, 1.0),
    ]
    assert split_pruned(memories, 7) == (0, 2, 3, 5, 6)


def test_diverse_adds_long_term_frames_that_are_not_recent():
    memories = [memory(0, is_conditioning=True), *(memory(n) for n in (2, 5, 8, 9, 10))]
    assert diverse(memories, 4, LongTerm(chosen=(2, 9))) == (0, 1, 3, 4, 5)


def test_a_streak_of_sure_frames_gives_the_candidate_least_like_the_latest_long_term_frame():
    stored = {
        -1: memory(0, 0, is_conditioning=True),
        1: memory(1, 5),
        2: memory(2, 70),
        3: memory(3, 20),
        4: memory(4, 10),
    }
    state = LongTerm()
    for frame in (1, 2, 3, 4):
        state = update_long_term(state, memory(frame, iou=0.99), stored.__getitem__)
    assert state == LongTerm(candidates=(1, 2, 3, 4))
    assert update_long_term(state, memory(5, 15, iou=0.99), stored.__getitem__) == LongTerm(chosen=(2,))


def test_an_unsure_frame_breaks_the_streak_and_keeps_what_was_chosen():
    assert update_long_term(LongTerm((1, 2), (0,)), memory(3, iou=0.9), {}.__getitem__) == LongTerm((), (0,))


def test_the_oldest_long_term_frame_leaves_when_there_are_too_many():
    stored = {frame: memory(frame, 0) for frame in range(10)}
    state = update_long_term(LongTerm((6, 7, 8, 9), (1, 2, 3, 4)), memory(10, 90, iou=0.99), stored.__getitem__)
    assert state.chosen == (2, 3, 4, 10)


def test_confident_prefers_similar_and_sure_frames():
    memories = [
        memory(0, is_conditioning=True),
        memory(1, iou=0.9, similarity=0.8),
        memory(2, iou=0.1, similarity=0.1),
        memory(3, iou=0.9, similarity=-0.9),
        memory(4, iou=0.2, similarity=0.9),
        memory(5, iou=0.0, similarity=0.0),
    ]
    assert confident(memories, num_maskmem=4) == (0, 1, 4, 5)
    assert confident(memories[:1], num_maskmem=4) == (0,)


@pytest.mark.parametrize(("distance", "expected"), [(1, 6), (6, 1), (11, 1)])
def test_the_neighbour_has_the_highest_time_position(distance, expected):
    assert time_position(distance, 7) == expected
