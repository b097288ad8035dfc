"""A volume from the first box to the saved scene, through real MRML and a real worker process."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.plan import Direction
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic.runs import RunOptions  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.logic.state import Action, Phase  # noqa: E402
from DDSAM2SlicerLib.mrml import segmentations  # noqa: E402
from DDSAM2SlicerLib.mrml.editing import EditRules, Overwrite  # noqa: E402

SEED = 8
UPDATE = RunOptions(is_update=True)


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return Box(float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))


@pytest.fixture
def a_story(loop, a_volume, a_phantom):
    """Volume chosen, one object with a mask prompt on one slice, and a neighbour that must not be touched."""
    loop.coordinator.choose_volume(a_volume, "k")
    coordinator = loop.coordinator
    neighbour = segmentations.add_segment(coordinator.segmentation, "neighbour")
    writer = segmentations.SegmentWriter(coordinator.segmentation, a_volume, {1: neighbour})
    writer.write_volume({1: a_phantom.labels == 2})
    one = coordinator.add_object("organ", (1, 0, 0))
    coordinator.show_frame(SEED)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, SEED, a_phantom.labels[SEED] == 1))
    yield loop, one
    if coordinator.segmentation is not None:
        kept = segmentations.read_volume_mask(coordinator.segmentation, neighbour, coordinator.stack.owner)
        np.testing.assert_array_equal(kept, a_phantom.labels == 2)


def test_box_on_one_slice_is_previewed_beside_the_segments(loop, a_volume, a_phantom, masks_of):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume, "k")
    one = coordinator.add_object("organ")
    coordinator.show_frame(SEED)
    box = box_of(a_phantom.labels[SEED] == 1)
    coordinator.set_prompts(coordinator.notes.prompts.with_box(one, SEED, box))
    assert coordinator.state.is_previewing
    loop.until_idle()
    assert dice(coordinator.preview.masks[one], a_phantom.labels[SEED] == 1) > 0.8
    assert not masks_of(coordinator, one).any()
    node, segment_id = coordinator.preview.node, coordinator.notes.segment_ids[one]
    shown = segmentations.read_frame_mask(node, segment_id, coordinator.stack.frames, SEED)
    np.testing.assert_array_equal(shown, coordinator.preview.masks[one])
    coordinator.show_frame(SEED + 1)
    assert coordinator.preview.node is None


def test_prompts_in_quick_succession_are_answered_once(a_story):
    loop, one = a_story
    coordinator = loop.coordinator
    asked = []
    start = coordinator.preview._ask
    coordinator.preview._ask = lambda: (asked.append(1), start())
    for x in range(5):
        coordinator.set_prompts(coordinator.notes.prompts.with_point(one, SEED, Point(10.0 + x, 10.0)))
        loop.turn()
    loop.until_idle()
    assert len(asked) == 1


def test_propagation_finds_the_object_and_one_undo_takes_all_of_it_back(a_story, a_phantom, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    assert "no propagation" in coordinator.state.why_not(Action.UNDO)
    coordinator.propagate()
    assert coordinator.state.phase is Phase.RUNNING
    loop.until_idle()
    assert coordinator.state.error == ""
    found = masks_of(coordinator, one)
    assert dice(found, a_phantom.labels == 1) > 0.95
    coordinator.undo()
    assert not masks_of(coordinator, one).any()
    assert coordinator.notes.results.done == frozenset()
    coordinator.redo()
    np.testing.assert_array_equal(masks_of(coordinator, one), found)
    assert len(coordinator.notes.results.done) == 16


def test_stop_keeps_what_has_come_and_update_goes_on_from_there(make_loop, a_volume, a_phantom, masks_of):
    loop = make_loop("fake?delay_s=0.02")
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume, "k")
    one = coordinator.add_object("organ")
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, SEED, a_phantom.labels[SEED] == 1))
    coordinator.propagate()
    loop.until(lambda: coordinator.state.progress.done >= 4)
    coordinator.stop()
    loop.until_idle()
    done = coordinator.notes.results.done
    assert 4 <= len(done) < 16
    assert coordinator.state.notice == f"Stopped after {len(done)} of 16 frames."
    before = masks_of(coordinator, one)
    written = []
    coordinator.frames_changed.connect(lambda pairs: written.extend(frame for frame, _ in pairs))
    coordinator.propagate(UPDATE)
    assert coordinator.state.progress.total == 16 - len(done)
    loop.until_idle()
    assert sorted(written) == sorted(set(range(16)) - {frame for _, frame in done})
    after = masks_of(coordinator, one)
    for _, frame in done:
        np.testing.assert_array_equal(after[frame], before[frame])
    assert dice(after, a_phantom.labels == 1) > 0.95
    assert coordinator.state.why_not(Action.UPDATE) == "All masks are up to date."


def test_a_correction_changes_only_its_span_and_locked_frames_never(a_story, a_phantom, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    coordinator.review.set_locked(11)
    before = masks_of(coordinator, one)
    other = np.roll(a_phantom.labels[13] == 1, 2, axis=1)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, 13, other))
    assert coordinator.state.can(Action.UPDATE)
    coordinator.propagate(UPDATE)
    loop.until_idle()
    after = masks_of(coordinator, one)
    changed = {frame for frame in range(16) if not np.array_equal(before[frame], after[frame])}
    assert 13 in changed
    assert changed <= set(range(12, 16))
    np.testing.assert_array_equal(after[13], other)
    coordinator.undo()
    np.testing.assert_array_equal(masks_of(coordinator, one), before)
    assert coordinator.state.can(Action.UPDATE)


def test_a_frame_corrected_by_hand_and_locked_changes_its_neighbours(a_story, a_phantom, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    coordinator.review.set_locked(11)
    assert not coordinator.state.can(Action.UPDATE)
    segment_id = coordinator.notes.segment_ids[one]
    by_hand = np.roll(a_phantom.labels[13] == 1, 1, axis=0)
    writer = segmentations.SegmentWriter(coordinator.segmentation, coordinator.stack.owner, {one: segment_id})
    writer.write_frame(coordinator.stack.frames, 13, {one: by_hand})
    coordinator.review.set_locked(13)
    before = masks_of(coordinator, one)
    coordinator.propagate(UPDATE)
    loop.until_idle()
    after = masks_of(coordinator, one)
    np.testing.assert_array_equal(after[13], by_hand)
    assert {frame for _, frame in coordinator.notes.results.pending} == set()
    changed = {frame for frame in range(16) if not np.array_equal(before[frame], after[frame])}
    assert changed <= {12, 14, 15}


def test_from_here_on_starts_from_the_mask_of_the_first_frame(a_story, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    before = masks_of(coordinator, one)
    written = []
    coordinator.frames_changed.connect(lambda pairs: written.extend(frame for frame, _ in pairs))
    coordinator.propagate(RunOptions(Direction.FORWARD, first=11))
    loop.until_idle()
    assert coordinator.state.error == ""
    assert sorted(written) == [12, 13, 14, 15]
    np.testing.assert_array_equal(masks_of(coordinator, one)[:12], before[:12])


def test_end_marks_clear_what_lies_beyond_and_undo_brings_it_back(a_story, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    before = masks_of(coordinator, one)
    coordinator.review.set_ends(one, 5, 10)
    coordinator.propagate()
    loop.until_idle()
    has_mask = masks_of(coordinator, one).any(axis=(1, 2))
    assert np.flatnonzero(has_mask).tolist() == [5, 6, 7, 8, 9, 10]
    coordinator.undo()
    np.testing.assert_array_equal(masks_of(coordinator, one), before)


def test_a_saved_scene_brings_back_prompts_locks_scores_and_what_is_done(a_story, make, tmp_path, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    coordinator.propagate()
    loop.until_idle()
    coordinator.review.set_locked(11)
    coordinator.review.set_ends(one, 2, None)
    coordinator.show_frame(SEED)
    loop.until_idle()
    before, masks = coordinator.notes, masks_of(coordinator, one)
    make.reload(tmp_path)
    assert coordinator.state.phase is Phase.EMPTY
    assert "removed from the scene" in coordinator.state.error
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    coordinator.choose_volume(slicer.util.getNode("image"), "k")
    notes = coordinator.notes
    assert notes.prompts == before.prompts
    assert (notes.locked, notes.ends, notes.segment_ids) == (before.locked, before.ends, before.segment_ids)
    assert (notes.results.done, notes.results.pending) == (before.results.done, before.results.pending)
    assert notes.results.scores[one, 3].iou == pytest.approx(before.results.scores[one, 3].iou, abs=1e-3)
    np.testing.assert_array_equal(masks_of(coordinator, one), masks)
    coordinator.choose_volume(slicer.util.getNode("image"), "i")
    assert notes.prompts.prompts
    assert not coordinator.notes.prompts.prompts


def test_a_preview_can_be_taken_over_on_its_frame_and_undone(a_story, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    loop.until_idle()
    preview = coordinator.preview.masks[one]
    coordinator.apply_preview()
    expected = np.zeros((16, 32, 36), bool)
    expected[SEED] = preview
    np.testing.assert_array_equal(masks_of(coordinator, one), expected)
    assert coordinator.notes.results.done == {(one, SEED)}
    coordinator.undo()
    assert not masks_of(coordinator, one).any()
    assert coordinator.notes.results.done == frozenset()
    assert coordinator.notes.results.scores == {}


def make_view(rotation, position):
    """A slice view that looks along the third column of a rotation."""
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = position
    view.GetSliceToRAS().DeepCopy(matrix.ravel().tolist())
    view.UpdateMatrices()
    return view


@pytest.mark.parametrize("angle_deg", [0, 25])
def test_an_orientation_of_a_slice_view_is_known_again_wherever_it_is_scrolled_to(
    loop, make, a_phantom, masks_of, tmp_path, angle_deg
):
    coordinator = loop.coordinator
    volume = make.volume(a_phantom.array)
    sine, cosine = np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))
    rotation = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    view = make_view(rotation, [18, 16, 8])
    coordinator.choose_volume(volume, slice_node=view)
    assert coordinator.state.error == ""
    assert (coordinator.stack.slice_to_ras is None) == (angle_deg == 0)
    one = coordinator.add_object("organ")
    frame = coordinator.stack.frame_shown(view)
    source, index = coordinator.stack.source_of(frame)
    prompts = PromptSet.empty().with_mask(one, frame, source.frame(index) > 200)
    coordinator.set_prompts(prompts)
    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    assert len(coordinator.notes.results.done) == coordinator.stack.num_frames
    coordinator.stack.show(frame + 1, view)
    assert coordinator.stack.frame_shown(view) == frame + 1
    found = masks_of(coordinator, one)
    make.reload(tmp_path)
    coordinator.choose_volume(slicer.util.getNode("image"), slice_node=make_view(rotation, [10, 12, 9.3]))
    assert coordinator.notes.prompts == prompts
    np.testing.assert_array_equal(masks_of(coordinator, one), found)


def test_progress_counts_what_is_reached_from_two_sides_twice(make_loop, a_volume, a_phantom):
    loop = make_loop("fake?delay_s=0.02")
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume, "k")
    one, truth = coordinator.add_object("organ"), a_phantom.labels == 1
    coordinator.set_prompts(PromptSet.empty().with_mask(one, 8, truth[8]).with_mask(one, 12, truth[12]))
    coordinator.propagate()
    seen = []
    loop.until(lambda: seen.append(coordinator.state.progress) or coordinator.state.phase is Phase.IDLE)
    steps = [progress for progress in seen if progress is not None]
    assert {progress.total for progress in steps if progress.done} == {16 + 3}
    assert 16 < max(progress.done for progress in steps) <= 16 + 3


@pytest.mark.parametrize("overwrite", [Overwrite.NONE, Overwrite.ALL])
def test_what_a_stopped_run_has_reached_from_one_side_only_is_done_again(make_loop, make, masks_of, overwrite):
    loop = make_loop("fake?delay_s=0.01")
    coordinator = loop.coordinator
    coordinator.choose_volume(make.volume(np.full((9, 32, 32), 100, np.uint8)), "k")  # without edges, masks grow
    coordinator.rules = EditRules(overwrite=overwrite)
    one = coordinator.add_object("organ")
    large, small = np.zeros((2, 32, 32), bool)
    large[8:24, 8:24], small[15:17, 15:17] = True, True
    coordinator.set_prompts(PromptSet.empty().with_mask(one, 0, large).with_mask(one, 8, small))
    coordinator.propagate()
    loop.until(lambda: coordinator.state.progress.done >= 11)
    coordinator.stop()
    loop.until_idle()
    done = {frame for _, frame in coordinator.notes.results.done}
    assert {0, 8} < done < set(range(9))
    assert masks_of(coordinator, one)[1:8].any(axis=(1, 2)).all()
    coordinator.propagate(UPDATE)
    loop.until_idle()
    stopped = masks_of(coordinator, one)
    assert len(coordinator.notes.results.done) == 9
    coordinator.propagate()
    loop.until_idle()
    np.testing.assert_array_equal(stopped, masks_of(coordinator, one))


@pytest.mark.parametrize("stop_early", [False, True])
def test_masks_that_overwrite_others_take_no_voxels_for_what_is_not_final(make_loop, make, masks_of, stop_early):
    loop = make_loop("fake?delay_s=0.01")
    coordinator = loop.coordinator
    coordinator.choose_volume(make.volume(np.full((9, 32, 32), 100, np.uint8)), "k")  # without edges, masks grow
    neighbour, one = coordinator.add_object("neighbour"), coordinator.add_object("organ")
    whole, large, small = np.zeros((3, 32, 32), bool)
    whole[:], large[8:24, 8:24], small[15:17, 15:17] = True, True, True
    coordinator.set_prompts(PromptSet.empty().with_mask(neighbour, 0, whole))
    coordinator.propagate()
    loop.until_idle()
    coordinator.rules = EditRules(overwrite=Overwrite.ALL)
    prompts = PromptSet.empty().with_mask(one, 0, large).with_mask(one, 8, small)
    coordinator.set_prompts(prompts)
    coordinator.propagate()
    if stop_early:
        loop.until(lambda: coordinator.state.progress.done >= 11)
        coordinator.stop()
    loop.until_idle()
    taken, left = masks_of(coordinator, one), masks_of(coordinator, neighbour)
    assert taken[1:8].any(axis=(1, 2)).all()
    assert taken[7].sum() < large.sum() or stop_early
    np.testing.assert_array_equal(taken, ~left)


def test_masks_that_overwrite_others_leave_accepted_masks_of_other_objects_alone(loop, make, a_phantom, masks_of):
    coordinator = loop.coordinator
    coordinator.choose_volume(make.volume(a_phantom.array))
    one, two = coordinator.add_object("organ"), coordinator.add_object("greedy")
    truth = a_phantom.labels == 1
    coordinator.set_prompts(PromptSet.empty().with_mask(one, SEED, truth[SEED]))
    coordinator.propagate()
    loop.until_idle()
    coordinator.review.set_locked(6, object_ids=[one])
    before = masks_of(coordinator, one)
    coordinator.rules = EditRules(overwrite=Overwrite.ALL)
    coordinator.set_prompts(PromptSet.empty().with_mask(two, SEED, truth[SEED]))
    coordinator.propagate()
    loop.until_idle()
    after = masks_of(coordinator, one)
    np.testing.assert_array_equal(after[6], before[6])
    assert not after[7].any()
    assert masks_of(coordinator, two)[7].any()
    coordinator.undo()
    np.testing.assert_array_equal(masks_of(coordinator, one), before)


def test_the_frame_to_check_next_is_one_that_nobody_has_looked_at(a_story, masks_of):
    loop, one = a_story
    coordinator = loop.coordinator
    assert coordinator.review.next_to_check() is None
    coordinator.propagate()
    loop.until_idle()
    frame = coordinator.review.next_to_check()
    assert frame != SEED
    assert masks_of(coordinator, one)[frame].any()
    assert coordinator.review.scores()[SEED] == 1
    assert coordinator.review.scores()[frame] < 1
    coordinator.review.set_locked(frame, object_ids=[one])
    assert coordinator.review.scores()[frame] == 1
    assert coordinator.review.next_to_check() not in (None, SEED, frame)
    coordinator.review.set_locked(frame, is_locked=False, object_ids=[one])
    assert coordinator.review.next_to_check() == frame
    assert coordinator.review.next_to_check(current=frame) != frame
