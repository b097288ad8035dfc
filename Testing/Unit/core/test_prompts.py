"""Prompts: values that say something, sets that never change, JSON that returns equal, and refusals."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import PromptError
from DDSAM2SlicerLib.core.plan import FrameRange
from DDSAM2SlicerLib.core.prompts import Box, FramePrompt, Point, PromptSet

HEIGHT, WIDTH = 4, 6


@pytest.fixture
def a_mask():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[1:3, 2:5] = True
    return mask


@pytest.fixture
def a_set(a_mask):
    return (
        PromptSet.empty()
        .with_point(1, 3, Point(2, 1))
        .with_point(1, 3, Point(4.5, 2.25, positive=False))
        .with_box(1, 3, Box(1, 0, 5, 3))
        .with_mask(2, 0, a_mask)
        .with_box(2, 7, Box(0, 0, 2.5, 2))
    )


def test_set_answers_who_is_prompted_where(a_set):
    assert a_set.object_ids == (1, 2)
    assert a_set.frames() == (0, 3, 7)
    assert a_set.frames(2) == (0, 7)
    assert a_set.frames(9) == ()
    assert a_set.get(1, 3) == FramePrompt((Point(2, 1), Point(4.5, 2.25, False)), Box(1, 0, 5, 3))
    assert a_set.get(1, 0) is None


def test_changes_give_a_new_set_and_leave_the_old_one(a_set):
    before = a_set.to_json()
    a_set.with_point(1, 3, Point(0, 0))
    a_set.without(1)
    assert a_set.to_json() == before


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        ({"object_id": 2}, [(1, 3)]),
        ({"frame": 3}, [(2, 0), (2, 7)]),
        ({"object_id": 2, "frame": 7}, [(1, 3), (2, 0)]),
        ({"object_id": 1, "frame": 7}, [(1, 3), (2, 0), (2, 7)]),
        ({}, []),
    ],
)
def test_removal_takes_an_object_a_frame_both_or_all(a_set, selection, left):
    assert list(a_set.without(**selection).prompts) == left


def test_point_or_box_replaces_a_mask_and_a_mask_replaces_them(a_set, a_mask):
    assert a_set.with_point(2, 0, Point(1, 1)).get(2, 0) == FramePrompt((Point(1, 1),))
    assert a_set.with_box(2, 0, Box(0, 0, 1, 1)).get(2, 0) == FramePrompt(box=Box(0, 0, 1, 1))
    assert a_set.with_mask(1, 3, a_mask).get(1, 3) == FramePrompt(mask=a_mask)


def test_json_round_trip_is_equal(a_set):
    again = PromptSet.from_json(a_set.to_json())
    assert again == a_set
    assert hash(again) == hash(a_set)
    assert PromptSet.from_json(PromptSet.empty().to_json()) == PromptSet.empty()


def test_sets_that_differ_in_one_detail_are_not_equal(a_set, a_mask):
    other_mask = a_mask.copy()
    other_mask[0, 0] = True
    assert a_set != a_set.with_mask(2, 0, other_mask)
    assert a_set != a_set.with_box(1, 3, Box(1, 0, 5, 2.5))
    assert a_set != a_set.without(frame=7)
    assert a_set.without(frame=3).with_point(1, 3, Point(2, 1)) != a_set.without(frame=3).with_point(
        1, 3, Point(2, 1, positive=False)
    )


def test_masks_of_equal_bytes_but_other_shape_are_not_equal():
    assert FramePrompt(mask=np.ones((2, 3), bool)) != FramePrompt(mask=np.ones((3, 2), bool))


def test_set_survives_copying_and_pickling(a_set):
    assert copy.deepcopy(a_set) == a_set
    assert pickle.loads(pickle.dumps(a_set)) == a_set  # noqa: S301 (our own bytes)


def test_order_of_building_does_not_matter():
    one = PromptSet.empty().with_point(1, 0, Point(1, 1)).with_point(2, 5, Point(2, 2))
    other = PromptSet.empty().with_point(2, 5, Point(2, 2)).with_point(1, 0, Point(1, 1))
    assert one == other
    assert one.to_json() == other.to_json()


def test_changes_since_another_set_are_added_removed_and_altered_prompts(a_set):
    later = a_set.without(2, 7).with_point(1, 3, Point(0, 0)).with_point(3, 1, Point(1, 1))
    assert later.changed_since(a_set) == {(2, 7), (1, 3), (3, 1)}
    assert a_set.changed_since(a_set) == set()


@pytest.mark.parametrize(("field", "value"), [("prompts", {}), ("object_ids", ())])
def test_set_cannot_be_changed(a_set, field, value):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(a_set, field, value)
    with pytest.raises(TypeError, match="does not support item assignment"):
        a_set.prompts[1, 1] = None


def test_mask_is_a_read_only_copy(a_mask):
    prompt = FramePrompt(mask=a_mask)
    a_mask[0, 0] = True
    assert not prompt.mask[0, 0]
    with pytest.raises(ValueError, match="read-only"):
        prompt.mask[0, 0] = True


def test_box_around_a_mask_is_tight_and_never_empty(a_mask):
    assert Box.around(a_mask) == Box(2, 1, 4, 2)
    single = np.zeros((HEIGHT, WIDTH), bool)
    single[3, 2] = True
    assert Box.around(single) == Box(1.5, 2.5, 2.5, 3.5)
    with pytest.raises(PromptError, match="empty mask has no box"):
        Box.around(np.zeros((HEIGHT, WIDTH)))


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (lambda: Point(np.nan, 0), "Coordinate x is nan"),
        (lambda: Box(0, 0, np.inf, 1), "Coordinate x1 is inf"),
        (lambda: Box(3, 0, 3, 2), "is empty"),
        (lambda: Box(0, 2, 3, 1), "is empty"),
        (FramePrompt, "says nothing"),
        (lambda: FramePrompt(mask=np.zeros((HEIGHT, WIDTH))), "empty or not a frame"),
        (lambda: FramePrompt(mask=np.ones((2, HEIGHT, WIDTH))), "empty or not a frame"),
        (lambda: FramePrompt((Point(0, 0),), mask=np.ones((HEIGHT, WIDTH))), "stands alone"),
        (lambda: FramePrompt(box=Box(0, 0, 1, 1), mask=np.ones((HEIGHT, WIDTH))), "stands alone"),
        (lambda: PromptSet.empty().with_point(0, 0, Point(0, 0)), "objects count from 1"),
        (lambda: PromptSet.empty().with_point(1, -1, Point(0, 0)), "frames from 0"),
    ],
)
def test_prompt_that_cannot_mean_anything_is_refused(create, message):
    with pytest.raises(PromptError, match=message):
        create()


def test_valid_set_passes_up_to_the_outer_pixel_edges(a_set):
    a_set.with_point(1, 4, Point(-0.5, HEIGHT - 0.5)).validate(8, HEIGHT, WIDTH, FrameRange(0, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda prompts: prompts.with_point(1, 8, Point(0, 0)), "Object 1, frame 8: the stack has frames 0 to 7"),
        (lambda prompts: prompts.with_point(1, 3, Point(5.6, 0)), r"\(5.6, 0\) is outside of the frame of 6 columns"),
        (lambda prompts: prompts.with_point(1, 3, Point(0, -0.6)), r"\(0, -0.6\) is outside"),
        (lambda prompts: prompts.with_box(1, 3, Box(0, 0, 5, 4)), r"\(5, 4\) is outside"),
        (lambda prompts: prompts.with_mask(2, 0, np.ones((WIDTH, HEIGHT))), r"mask has shape \(6, 4\), the frames"),
        (lambda prompts: prompts.with_point(3, 1, Point(0, 0, False)), "Object 3 has no prompt that shows it"),
        (lambda prompts: prompts.without(), "There is no prompt"),
    ],
)
def test_prompts_that_do_not_fit_the_stack_are_refused(a_set, change, message):
    with pytest.raises(PromptError, match=message):
        change(a_set).validate(8, HEIGHT, WIDTH)


def test_prompt_outside_of_the_range_is_refused_and_the_range_is_named(a_set):
    with pytest.raises(PromptError, match="Object 2, frame 7: the prompt is outside of frames 0 to 5"):
        a_set.validate(8, HEIGHT, WIDTH, FrameRange.from_inclusive(0, 5))


def test_expected_object_without_a_prompt_is_refused(a_set):
    with pytest.raises(PromptError, match="Object 5 has no prompt"):
        a_set.validate(8, HEIGHT, WIDTH, object_ids=[1, 5])


def test_negative_points_alone_are_fine_where_another_frame_shows_the_object(a_set):
    a_set.with_point(1, 5, Point(0, 0, positive=False)).validate(8, HEIGHT, WIDTH)


def entry_text(**entry):
    return json.dumps({"format": "ddsam2-prompts", "version": 1, "prompts": [{"object": 1, "frame": 0, **entry}]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a prompt file"),
        ('{"format": "ddsam2-prompts", "version": 2, "prompts": []}', "not a prompt file"),
        ('{"format": "ddsam2-prompts", "version": 1}', 'no list named "prompts"'),
        ('{"format": "ddsam2-prompts", "version": 1, "prompts": [3]}', "Entry 1 .* cannot be used"),
        (entry_text(), "says nothing"),
        (entry_text(point=[[1, 2]]), "unknown key 'point'. Did you mean 'points'"),
        (entry_text(points=[[1]]), "Entry 1 .* cannot be used"),
        (entry_text(points=[["a", 1]]), "Entry 1 .* cannot be used"),
        (entry_text(object="x", points=[[1, 1]]), "Entry 1 .* cannot be used"),
        (entry_text(mask={"height": 2, "width": 2, "counts": [0, 5]}), "5 pixels does not fill a mask of 2 x 2"),
        (entry_text(mask={"height": 2}), "KeyError: 'counts'"),
    ],
)
def test_text_that_is_no_prompt_file_is_refused(text, message):
    with pytest.raises(PromptError, match=message):
        PromptSet.from_json(text)


def test_two_entries_for_one_object_and_frame_are_refused(a_set):
    content = json.loads(a_set.to_json())
    content["prompts"].append(content["prompts"][0])
    with pytest.raises(PromptError, match="Object 1, frame 3 appears twice"):
        PromptSet.from_json(json.dumps(content))
