"""Review: how sure masks are, and which frame a correction should go to."""

import pytest

from DDSAM2SlicerLib.core.results import FrameScore
from DDSAM2SlicerLib.core.review import Track, best_correction, certainty, expected_gains


def a_mask(iou=0.5, area=10):
    return FrameScore(iou, object_score=1.0, overlap=1.0, area=area)


ABSENT = FrameScore(iou=0.9, object_score=0.1, overlap=1.0)
HIDDEN = FrameScore(iou=0.6, object_score=1.0, overlap=0.0)
ENDED = FrameScore(iou=0.0, object_score=0.0, overlap=1.0, ended=True)


def a_track(scores, given=(0,), rows=None):
    return Track(dict(enumerate(scores)), given, [range(len(scores))] if rows is None else rows)


def test_a_mask_is_as_sure_as_it_is_right_and_there_and_an_empty_one_as_the_object_is_not():
    assert certainty(FrameScore(0.8, 0.5, 0.3, area=7)) == pytest.approx(0.4)
    assert certainty(ABSENT) == pytest.approx(0.91)
    assert certainty(HIDDEN) == pytest.approx(0.4)
    assert certainty(ENDED) == 1


def test_a_correction_takes_away_its_own_error_and_of_others_as_much_as_it_is_nearer_than_what_was_given():
    gains = expected_gains([a_track([a_mask(1.0), a_mask(0.5), a_mask(0.5), a_mask(0.5)])])
    expected = [0, 1 + 1 / 2 + 1 / 3, 1 + 2 / 3, 1 / 2 + 1]  # times 5 of 40 pixels; nothing helps the given frame
    assert list(gains.values()) == pytest.approx([gain * 5 / 40 for gain in expected])


def test_what_is_large_and_unsure_counts_more_than_what_is_small_or_sure():
    sure, small, large = a_mask(0.99, 100), a_mask(0.5, 10), a_mask(0.7, 100)
    assert best_correction([a_track([sure, small, sure, large, sure])], range(1, 5)) == 3


def test_the_first_suggestion_in_an_evenly_unsure_row_lies_between_its_middle_and_its_end():
    track = a_track([a_mask()] * 17)
    assert 8 <= best_correction([track], range(1, 17)) < 16


def test_what_was_corrected_settles_its_neighbourhood():
    given = {0}
    for _ in range(3):
        given.add(best_correction([a_track([a_mask()] * 17, given)], set(range(17)) - given))
    gaps = [after - before for before, after in zip(sorted(given), [*sorted(given)[1:], 17], strict=True)]
    assert max(gaps) <= 7


def test_objects_count_alike_whatever_their_size():
    large = a_track([a_mask(0.5, 1000), a_mask(0.8, 1000), a_mask(1.0, 1000)])
    small = a_track([a_mask(0.5, 10), a_mask(1.0, 10), a_mask(0.5, 10)])
    assert best_correction([large, small], [1, 2]) == 2


def test_a_frame_that_is_given_for_one_object_can_still_be_unsure_for_another():
    settled, open_ = a_track([a_mask()] * 3, given=(0, 1, 2)), a_track([a_mask(), a_mask(0.2), a_mask(0.9)])
    assert best_correction([settled, open_], [1, 2]) == 1


def test_where_no_mask_is_left_the_least_sure_frame_is_chosen():
    track = a_track([a_mask(), ABSENT, HIDDEN, ENDED])
    assert best_correction([track], [1, 2, 3]) == 2
    assert best_correction([track], []) is None


def test_a_frame_in_two_rows_helps_in_both():
    rows = [range(3), range(3, 6), *(range(index, 6, 3) for index in range(3))]  # two time points of three slices
    track = a_track([a_mask()] * 6, given=(1,), rows=rows)
    gains = expected_gains([track])
    assert gains[0] > expected_gains([a_track([a_mask()] * 6, given=(1,), rows=rows[:1])])[0]
    assert set(gains) == set(range(6))
