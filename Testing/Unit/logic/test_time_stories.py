"""Clips and 3D+t series: masks go into the segmentation sequence of the same browser."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.prompts import PromptSet

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic.runs import RunOptions  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.logic.state import Action, Phase  # noqa: E402

UPDATE = RunOptions(is_update=True)
SLICES = 6


@pytest.fixture
def a_clip_story(loop, a_clip):
    """Clip chosen, blood prompted on frame 3, and a neighbour."""
    phantom, browser = a_clip
    loop.coordinator.choose_sequence(browser)
    one, neighbour = loop.coordinator.add_object("blood"), loop.coordinator.add_object("neighbour")
    paint(loop.coordinator, neighbour, phantom.labels == 2)
    loop.coordinator.set_prompts(PromptSet.empty().with_mask(one, 3, phantom.labels[3] == 1))
    return loop, phantom, one, neighbour


@pytest.fixture
def a_series_story(loop, a_series):
    """Series chosen, blood prompted on slice 3 of time 1, and a neighbour."""
    phantom, browser = a_series
    loop.coordinator.choose_sequence(browser)
    one, neighbour = loop.coordinator.add_object("blood"), loop.coordinator.add_object("neighbour")
    truth = (phantom.labels == 1).reshape(-1, 32, 32)
    paint(loop.coordinator, neighbour, ~truth)
    frame = SLICES + 3
    loop.coordinator.set_prompts(PromptSet.empty().with_mask(one, frame, truth[frame]))
    return loop, truth, one, neighbour


def paint(coordinator, object_id, masks):
    paint_at(coordinator, object_id, dict(enumerate(masks)))


def paint_at(coordinator, object_id, masks):
    target, notes = coordinator._space.target, coordinator.notes
    target.begin(notes.segment_ids)
    for frame, mask in masks.items():
        target.write(frame, {object_id: mask})
    target.finish()


def frames_that_differ(before, after):
    return {frame for frame in range(len(before)) if not np.array_equal(before[frame], after[frame])}


def test_clip_from_prompt_to_saved_scene(a_clip_story, make, masks_of, tmp_path):
    loop, phantom, one, neighbour = a_clip_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    first = masks_of(coordinator, one)
    assert dice(first, phantom.labels == 1) > 0.95
    np.testing.assert_array_equal(masks_of(coordinator, neighbour), phantom.labels == 2)
    browser = coordinator.stack.browser
    for item in (0, 7):
        browser.SetSelectedItemNumber(item)
        assert coordinator.stack.frame_shown() == item

    coordinator.review.set_locked(6)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, 8, np.roll(first[8], 1, axis=0)))
    coordinator.propagate(UPDATE)
    loop.until_idle()
    second = masks_of(coordinator, one)
    assert frames_that_differ(first, second) <= {7, 8, 9}
    coordinator.undo()
    np.testing.assert_array_equal(masks_of(coordinator, one), first)
    coordinator.redo()
    np.testing.assert_array_equal(masks_of(coordinator, one), second)
    prompts = coordinator.notes.prompts
    make.reload(tmp_path)
    coordinator.choose_sequence(slicer.util.getNode("browser"))
    assert coordinator.state.error == ""
    assert coordinator.notes.prompts == prompts
    assert coordinator.notes.locked == {(one, 6), (neighbour, 6)}
    np.testing.assert_array_equal(masks_of(coordinator, one), second)
    np.testing.assert_array_equal(masks_of(coordinator, neighbour), phantom.labels == 2)


def test_series_spreads_through_slices_and_then_through_time(a_series_story, masks_of):
    loop, truth, one, neighbour = a_series_story
    coordinator = loop.coordinator
    coordinator.propagate()
    assert coordinator.state.progress.total == 30
    loop.until_idle()
    assert coordinator.state.error == ""
    assert dice(masks_of(coordinator, one), truth) > 0.9
    np.testing.assert_array_equal(masks_of(coordinator, neighbour), ~truth)
    coordinator.undo()
    assert not masks_of(coordinator, one).any()


def test_the_time_point_that_all_others_come_from_is_checked_first(a_series_story):
    loop, *_ = a_series_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    frame = coordinator.review.next_to_check()
    assert frame // SLICES == 1
    assert frame % SLICES != 3
    coordinator.review.set_locked(frame)
    assert coordinator.review.next_to_check() not in (None, frame)


def test_correction_in_a_series_changes_its_slice_position_only(a_series_story, make, masks_of, tmp_path):
    loop, truth, one, _ = a_series_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    before = masks_of(coordinator, one)
    frame = 3 * SLICES + 2
    coordinator.review.set_locked(4 * SLICES + 2, object_ids=[one])
    wrong = np.roll(truth[frame], 3, axis=1)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, frame, wrong))
    coordinator.propagate(UPDATE)
    loop.until_idle()
    after = masks_of(coordinator, one)
    assert frame in frames_that_differ(before, after)
    assert frames_that_differ(before, after) <= {2 * SLICES + 2, frame}
    np.testing.assert_array_equal(after[frame], wrong)
    assert coordinator.state.why_not(Action.UPDATE) == "All masks are up to date."
    locked, spread = coordinator.notes.locked, coordinator.notes.results.spread
    make.reload(tmp_path)
    coordinator.choose_sequence(slicer.util.getNode("browser"))
    assert (coordinator.notes.locked, coordinator.notes.results.spread) == (locked, spread)
    np.testing.assert_array_equal(masks_of(coordinator, one), after)


def test_series_stopped_midway_goes_on_where_it_was(make_loop, a_series, masks_of):
    phantom, browser = a_series
    loop = make_loop("fake?delay_s=0.01")
    coordinator = loop.coordinator
    coordinator.choose_sequence(browser)
    one = coordinator.add_object("blood")
    truth = (phantom.labels == 1).reshape(-1, 32, 32)
    coordinator.set_prompts(PromptSet.empty().with_mask(one, SLICES + 3, truth[SLICES + 3]))
    coordinator.propagate()
    loop.until(lambda: coordinator.state.phase is Phase.RUNNING and coordinator.state.progress.done >= 12)
    coordinator.stop()
    loop.until_idle()
    done = {frame for _, frame in coordinator.notes.results.done}
    assert 12 <= len(done) < 30
    written = []
    coordinator.frames_changed.connect(lambda pairs: written.extend(frame for frame, _ in pairs))
    coordinator.propagate(UPDATE)
    loop.until_idle()
    assert coordinator.state.error == ""
    assert not set(written) & done
    assert dice(masks_of(coordinator, one), truth) > 0.9


def test_end_marks_of_a_series_are_slices(a_series_story, masks_of):
    loop, _, one, _ = a_series_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    assert masks_of(coordinator, one)[1::SLICES].any()
    coordinator.review.set_ends(one, 2, None)
    coordinator.propagate()
    loop.until_idle()
    masks = masks_of(coordinator, one).reshape(5, SLICES, 32, 32)
    assert not masks[:, :2].any()
    assert masks[:, 3].any()


def test_masks_of_an_earlier_run_on_slices_the_object_left_are_cleared(a_series_story, masks_of):
    loop, _, one, _ = a_series_story
    coordinator = loop.coordinator
    outdated = {frame: np.ones((32, 32), bool) for frame in range(0, 30, SLICES)}
    paint_at(coordinator, one, outdated)
    for frame, mask in outdated.items():
        coordinator.notes.record(frame, {one: mask}, {})
    coordinator.propagate()
    loop.until_idle()
    assert not masks_of(coordinator, one)[::SLICES].any()


def test_a_segment_painted_in_segment_editor_on_one_item_becomes_an_object_of_all_items(a_clip_story, masks_of):
    loop, phantom, one, _ = a_clip_story
    coordinator = loop.coordinator
    coordinator.stack.show(3)
    segment_id = coordinator.segmentation.GetSegmentation().AddEmptySegment("", "by hand", (0, 0, 1))
    wall = coordinator.object_of(segment_id)
    assert wall not in (one, 2)
    assert not masks_of(coordinator, wall).any()
    prompts = coordinator.notes.prompts.with_mask(wall, 3, phantom.labels[3] == 2)
    coordinator.set_prompts(prompts)
    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    assert dice(masks_of(coordinator, wall), phantom.labels == 2) > 0.9
    segment = coordinator.segmentation.GetSegmentation().GetSegment(segment_id)
    assert (segment.GetName(), segment.GetColor()) == ("by hand", (0, 0, 1))


def test_a_new_name_and_colour_count_at_every_time(a_clip_story):
    loop, _, one, _ = a_clip_story
    coordinator = loop.coordinator
    coordinator.stack.show(3)
    segment_id = coordinator.notes.segment_ids[one]
    segment = coordinator.segmentation.GetSegmentation().GetSegment(segment_id)
    elsewhere = coordinator._space.target._sequence.GetNthDataNode(7).GetSegmentation().GetSegment(segment_id)
    elsewhere.SetLabelValue(5)
    segment.SetName("left ventricle")
    segment.SetColor(0.2, 0.4, 0.6)
    for item in (7, 0, 3):
        coordinator.stack.show(item)
        shown = coordinator.segmentation.GetSegmentation().GetSegment(segment_id)
        assert (shown.GetName(), shown.GetColor()) == ("left ventricle", (0.2, 0.4, 0.6))
    assert elsewhere.GetLabelValue() == 5
