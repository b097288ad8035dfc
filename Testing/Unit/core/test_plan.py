"""Plans: which frames are reached from where, what locks and ends keep out, and what a correction touches."""

import pytest

from DDSAM2SlicerLib.core.errors import PromptError, SettingsError
from DDSAM2SlicerLib.core.plan import (
    Direction,
    FrameRange,
    Pass,
    affected_frames,
    count_repeats,
    nearness,
    plan_passes,
    restrict_passes,
)

TEN = FrameRange(0, 10)


@pytest.mark.parametrize(
    ("seed", "expected"),
    [
        (2, [3, 4, 1, 0]),
        (0, [1, 2, 3, 4]),  # first frame: nothing lies behind it
        (4, [3, 2, 1, 0]),  # last frame: nothing lies ahead of it
    ],
)
def test_order_runs_forwards_then_backwards(seed, expected):
    assert FrameRange(0, 5).order_from(seed) == expected


def test_seed_outside_the_range_is_refused_and_both_are_named():
    with pytest.raises(SettingsError, match=r"frame 7 is outside \[0, 5\)"):
        FrameRange(0, 5).order_from(7)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (4, 3)])
def test_range_without_frames_is_refused(start, stop):
    with pytest.raises(SettingsError, match="0 <= start < stop"):
        FrameRange(start, stop)


def test_inclusive_range_holds_both_ends_and_prints_them():
    frames = FrameRange.from_inclusive(3, 5)
    assert list(frames) == [3, 4, 5]
    assert len(frames) == 3
    assert 5 in frames
    assert 6 not in frames
    assert f"{frames}" == "3 to 5"


@pytest.mark.parametrize(
    ("seeds", "forward", "backward"),
    [
        ((0,), (1, 2, 3, 4, 5, 6, 7, 8, 9), None),
        ((9,), None, (8, 7, 6, 5, 4, 3, 2, 1, 0)),
        ((3,), (4, 5, 6, 7, 8, 9), (2, 1, 0)),
        ((0, 9), (1, 2, 3, 4, 5, 6, 7, 8), (8, 7, 6, 5, 4, 3, 2, 1)),
        ((2, 3), (4, 5, 6, 7, 8, 9), (1, 0)),
        ((1, 5, 8), (2, 3, 4, 6, 7, 9), (7, 6, 4, 3, 2, 0)),
    ],
)
def test_both_directions_reach_what_lies_between_two_seeds_from_either_of_them(seeds, forward, backward):
    passes = plan_passes({1: seeds}, TEN)
    expected = [Pass((1,), forward, False)] if forward else []
    expected += [Pass((1,), backward, True)] if backward else []
    assert list(passes) == expected


def test_forward_runs_from_the_first_seed_through_all_later_ones():
    assert plan_passes({1: (5, 2)}, TEN, Direction.FORWARD) == (Pass((1,), (3, 4, 6, 7, 8, 9), False),)


def test_backward_runs_from_the_last_seed_through_all_earlier_ones():
    assert plan_passes({1: (2, 5)}, TEN, "backward") == (Pass((1,), (4, 3, 1, 0), True),)


def test_every_frame_is_visited_and_what_lies_between_two_seeds_twice():
    for seeds in ((0,), (4,), (0, 9), (2, 3, 7), tuple(range(10))):
        passes = plan_passes({1: seeds}, TEN)
        visited = [frame for one in passes for frame in one.frames]
        between = [frame for frame in range(min(seeds), max(seeds)) if frame not in seeds]
        assert sorted([*visited, *seeds]) == sorted([*range(10), *between])
        assert count_repeats(passes) == len(between)


def test_what_objects_visit_together_is_repeated_only_by_the_other_direction():
    assert count_repeats(plan_passes({1: (0,), 2: (0, 9), 3: (0,)}, TEN)) == 8
    assert count_repeats(plan_passes({1: (2,), 2: (5,)}, TEN)) == 2  # frames 3 and 4


def test_nearness_falls_from_the_earlier_anchor_to_the_later_one():
    assert [nearness((0, 2, 6, 9), frame) for frame in (3, 4, 5)] == [0.75, 0.5, 0.25]


def test_range_limits_both_ends():
    assert plan_passes({1: (5,)}, FrameRange(3, 7)) == (Pass((1,), (6,), False), Pass((1,), (4, 3), True))


def test_objects_with_equal_schedules_share_a_pass():
    passes = plan_passes({3: (0,), 1: (0,), 2: (7,)}, FrameRange(0, 9))
    assert passes == (
        Pass((1, 3), (1, 2, 3, 4, 5, 6, 7, 8), False),
        Pass((2,), (8,), False),
        Pass((2,), (6, 5, 4, 3, 2, 1, 0), True),
    )


def test_locked_frames_are_not_visited_and_reach_their_neighbours():
    passes = plan_passes({1: (0,)}, TEN, locked={1: frozenset({6})})
    assert passes == (Pass((1,), (1, 2, 3, 4, 5, 7, 8, 9), False), Pass((1,), (5, 4, 3, 2, 1), True))


def test_locks_of_one_object_leave_another_alone():
    passes = plan_passes({1: (0,), 2: (0,)}, FrameRange(0, 4), locked={1: {2}})
    assert passes == (Pass((1,), (1, 3), False), Pass((2,), (1, 2, 3), False), Pass((1,), (1,), True))


def test_locked_frame_behind_the_first_seed_does_not_start_a_forward_run():
    assert plan_passes({1: (5,)}, TEN, "forward", locked={1: {2, 7}}) == (Pass((1,), (6, 8, 9), False),)


def test_object_without_seed_starts_from_its_locked_frames():
    assert plan_passes({1: ()}, FrameRange(0, 4), "forward", locked={1: {1}}) == (Pass((1,), (2, 3), False),)


def test_locked_frames_outside_of_the_range_do_not_count():
    assert plan_passes({1: (4,)}, FrameRange(2, 5), locked={1: {0}}) == (Pass((1,), (3, 2), True),)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((3, 6), (Pass((1,), (6,), False), Pass((1,), (4, 3), True))),
        ((None, 6), (Pass((1,), (6,), False), Pass((1,), (4, 3, 2, 1, 0), True))),
        ((4, None), (Pass((1,), (6, 7, 8, 9), False), Pass((1,), (4,), True))),
        ((5, 5), ()),
    ],
)
def test_frames_beyond_the_ends_of_an_object_are_not_visited(ends, expected):
    assert plan_passes({1: (5,)}, TEN, ends={1: ends}) == expected


@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ({1: (0,), 2: ()}, {}, "Object 2 has no prompt"),
        ({1: (12,)}, {}, "Object 1: the prompt on frame 12 is outside of frames 0 to 9"),
        ({1: (5,)}, {"ends": {1: (None, 4)}}, "frame 5 lies beyond the end"),
    ],
)
def test_plan_without_a_usable_start_is_refused(seeds, options, message):
    with pytest.raises(PromptError, match=message):
        plan_passes(seeds, TEN, **options)


@pytest.mark.parametrize(
    ("seeds", "locked", "frame", "expected"),
    [
        ((5,), (), 5, range(0, 10)),  # the only prompt: everything follows from it
        ((0, 2, 5, 8, 9), (), 5, range(3, 8)),
        ((2, 8), (), 5, range(3, 8)),  # the prompt on frame 5 was removed
        ((5,), (3, 9), 5, range(4, 9)),
        ((5,), (4, 6), 5, range(5, 6)),
        ((0, 5), (), 0, range(0, 5)),
    ],
)
def test_correction_touches_frames_up_to_the_nearest_anchors(seeds, locked, frame, expected):
    assert affected_frames({1: seeds, 2: (4, 6)}, (1, frame), TEN, {1: frozenset(locked)}) == expected


def test_correction_stays_within_the_range():
    assert affected_frames({1: (5,)}, (1, 5), FrameRange(3, 7)) == range(3, 7)
    assert affected_frames({1: (5, 9)}, (1, 5), FrameRange(3, 7)) == range(3, 7)


def test_restricted_plan_keeps_only_what_a_correction_touches():
    passes = plan_passes({1: (0, 9), 2: (0, 9)}, TEN)
    assert restrict_passes(passes, {1: range(3, 7)}) == (
        Pass((1,), (3, 4, 5, 6), False),
        Pass((1,), (6, 5, 4, 3), True),
    )
    assert restrict_passes(passes, {1: range(10), 2: range(10)}) == passes
    assert restrict_passes(passes, {}) == ()
