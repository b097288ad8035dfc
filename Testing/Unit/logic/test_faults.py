"""Whatever happens to worker, image, segmentation or scene: one sentence, finished frames stay, the next run works."""

import os
import random
import signal

import numpy as np
import pytest

from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic.runs import RunOptions  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.logic.state import Action, Phase  # noqa: E402

SEED = 8
UPDATE = RunOptions(is_update=True)


@pytest.fixture
def start(make_loop, a_volume, a_phantom):
    """Start a slow run, or one with a fault, and let some frames come."""

    def start(model="fake?delay_s=0.02", num_frames=3):
        loop = make_loop(model)
        coordinator = loop.coordinator
        coordinator.choose_volume(a_volume, "k")
        one = coordinator.add_object("organ")
        coordinator.set_prompts(PromptSet.empty().with_mask(one, SEED, a_phantom.labels[SEED] == 1))
        coordinator.propagate()
        loop.until(
            lambda: coordinator.state.phase is not Phase.RUNNING or coordinator.state.progress.done >= num_frames
        )
        return loop, one

    return start


def worker_pid(coordinator):
    return coordinator._transport._client._link.process.pid


def test_a_killed_worker_leaves_its_frames_and_the_next_run_completes_them(start, a_phantom, masks_of):
    loop, one = start()
    coordinator = loop.coordinator
    os.kill(worker_pid(coordinator), signal.SIGKILL)
    loop.until_idle()
    assert "The worker stopped unexpectedly" in coordinator.state.error
    done = coordinator.notes.results.done
    assert 3 <= len(done) < 16
    coordinator.propagate(UPDATE)
    loop.until_idle()
    assert coordinator.state.error == ""
    assert dice(masks_of(coordinator, one), a_phantom.labels == 1) > 0.95


def test_memory_running_out_is_one_sentence_and_frames_stay(start):
    loop, _ = start("fake?memory_at=4")
    loop.until_idle()
    assert "memory" in loop.coordinator.state.error
    assert loop.coordinator.state.notice == "Ended after 4 of 16 frames."
    assert len(loop.coordinator.notes.results.done) == 4


def test_a_model_that_is_not_there_is_named_and_another_one_can_be_chosen(start):
    loop, _ = start("no_such_model")
    coordinator = loop.coordinator
    loop.until_idle()
    assert "There is no model file no_such_model" in coordinator.state.error
    coordinator.choose_model("fake")
    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    assert len(coordinator.notes.results.done) == 16


def test_a_preview_that_fails_takes_the_one_before_from_the_view(loop, a_volume):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(SEED)
    coordinator.set_prompts(PromptSet.empty().with_box(one, SEED, Box(8.0, 8.0, 20.0, 20.0)))
    loop.until_idle()
    assert coordinator.preview.node is not None
    coordinator.choose_model("no_such_model")
    coordinator.set_prompts(coordinator.notes.prompts.with_point(one, SEED, Point(12.0, 12.0)))
    loop.until_idle()
    assert "no_such_model" in coordinator.state.error
    assert coordinator.preview.node is None
    assert coordinator.preview.masks == {}


def test_a_worker_command_that_cannot_start_is_named(make_loop, a_volume):
    loop = make_loop(command=("/no/such/program",))
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.set_prompts(PromptSet.empty().with_point(one, SEED, Point(10, 10)))
    coordinator.propagate()
    loop.until_idle()
    assert "'/no/such/program'" in coordinator.state.error


def test_a_deleted_volume_ends_the_run_and_the_segmentation_stays(start, a_volume):
    loop, _ = start()
    coordinator = loop.coordinator
    segmentation = coordinator.segmentation
    slicer.mrmlScene.RemoveNode(a_volume)
    assert coordinator.state.phase is Phase.EMPTY
    assert "image was removed from the scene" in coordinator.state.error
    assert slicer.mrmlScene.IsNodePresent(segmentation)
    for _ in range(10):
        loop.turn()
    assert coordinator.state.why_not(Action.PROPAGATE) == "Choose a volume or a sequence first."


def test_a_deleted_segmentation_ends_the_run(start):
    loop, _ = start()
    slicer.mrmlScene.RemoveNode(loop.coordinator.segmentation)
    assert "segmentation was removed" in loop.coordinator.state.error


def test_a_deleted_segment_ends_the_run_with_a_sentence(start):
    loop, one = start()
    coordinator = loop.coordinator
    coordinator.segmentation.GetSegmentation().RemoveSegment(coordinator.notes.segment_ids[one])
    loop.until_idle()
    assert "has no segment" in coordinator.state.error


@pytest.mark.parametrize("change", ["voxels", "placement"])
def test_an_image_changed_during_a_run_ends_it_and_the_next_run_sees_the_change(start, a_volume, change):
    loop, _ = start()
    coordinator = loop.coordinator
    before = coordinator.stack
    if change == "voxels":
        slicer.util.arrayFromVolume(a_volume)[:] = 0
        slicer.util.arrayFromVolumeModified(a_volume)
    else:
        a_volume.SetOrigin(5, 5, 5)
    loop.until_idle()
    assert "image was changed" in coordinator.state.error
    assert len(coordinator.notes.results.done) >= 3
    coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    assert coordinator.stack is not before


def test_an_image_of_another_size_forgets_masks_and_locks_but_not_prompts(loop, a_volume, a_phantom, make):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.set_prompts(PromptSet.empty().with_mask(one, SEED, a_phantom.labels[SEED] == 1))
    coordinator.review.set_locked(2)
    make.volume(create_ellipsoids((5, 10, 12)).array, node=a_volume)
    coordinator.propagate()
    assert f"frame {SEED}" in coordinator.state.error
    assert coordinator.notes.locked == frozenset()
    assert coordinator.notes.prompts.frames() == (SEED,)


def test_scrolling_windowing_and_moving_another_node_do_not_disturb_a_run(start, a_volume, make):
    loop, _ = start()
    coordinator = loop.coordinator
    a_volume.CreateDefaultDisplayNodes()
    a_volume.GetDisplayNode().SetAutoWindowLevel(False)
    a_volume.GetDisplayNode().SetWindowLevel(50, 150)
    make.transform(np.eye(4))
    coordinator.show_frame(3)
    coordinator.add_object("another")
    loop.until_idle()
    assert coordinator.state.error == ""
    assert len(coordinator.notes.results.done) == 16


def test_closing_the_scene_ends_everything_and_a_second_scene_works(start, make, a_phantom):
    loop, _ = start()
    coordinator = loop.coordinator
    slicer.mrmlScene.Clear(0)
    assert coordinator.state.phase is Phase.EMPTY
    coordinator.choose_volume(make.volume(a_phantom.array))
    one = coordinator.add_object("organ")
    assert coordinator.notes.results.done == frozenset()
    coordinator.set_prompts(PromptSet.empty().with_mask(one, SEED, a_phantom.labels[SEED] == 1))
    coordinator.propagate()
    loop.until_idle()
    assert (coordinator.state.error, len(coordinator.notes.results.done)) == ("", 16)


def test_prompts_that_do_not_fit_are_a_sentence_and_nothing_runs(loop, a_volume):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    coordinator.propagate()
    assert "There is no prompt" in coordinator.state.error
    one = coordinator.add_object("organ")
    coordinator.set_prompts(PromptSet.empty().with_point(one, SEED, Point(10, 10, positive=False)))
    coordinator.propagate()
    assert "has no prompt that shows it" in coordinator.state.error
    assert coordinator.state.phase is Phase.IDLE


def test_prompts_of_an_object_that_does_not_exist_are_a_sentence_and_change_nothing(loop, a_volume):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one = coordinator.add_object("organ")
    coordinator.show_frame(SEED)
    coordinator.set_prompts(PromptSet.empty().with_point(one, SEED, Point(12.0, 12.0)))
    before = coordinator.notes.prompts
    coordinator.set_prompts(before.with_point(7, SEED, Point(3.0, 3.0)))
    assert coordinator.state.error == "Object 7 has no segment. Add it first; nothing was changed."
    assert coordinator.notes.prompts == before
    loop.until_idle()


def test_an_input_without_voxels_is_a_sentence(loop):
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    loop.coordinator.choose_volume(empty)
    assert "holds no voxels" in loop.coordinator.state.error
    assert loop.coordinator.state.phase is Phase.EMPTY


def test_the_worker_ends_with_the_coordinator_and_no_tick_follows(start):
    loop, _ = start()
    pid = worker_pid(loop.coordinator)
    loop.coordinator.close()
    assert loop._ticker.interval_ms == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_object_whose_segment_was_deleted_is_forgotten_with_its_marks(loop, a_volume):
    coordinator = loop.coordinator
    coordinator.choose_volume(a_volume)
    one, two = coordinator.add_object("organ"), coordinator.add_object("other")
    prompts = PromptSet.empty().with_point(one, SEED, Point(9, 9)).with_point(two, SEED, Point(12, 9))
    coordinator.set_prompts(prompts)
    coordinator.segmentation.GetSegmentation().RemoveSegment(coordinator.notes.segment_ids[one])
    coordinator.review.set_locked(SEED)
    assert coordinator.notes.locked == {(two, SEED)}
    assert coordinator.notes.prompts.object_ids == (two,)
    assert coordinator.state.error == ""


def test_a_non_linear_transform_during_a_run_ends_it_with_a_sentence(start, a_volume):
    loop, _ = start()
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "warp")
    a_volume.SetAndObserveTransformNodeID(warp.GetID())
    loop.until_idle()
    assert "non-linear transform 'warp'" in loop.coordinator.state.error


@pytest.mark.slow
def test_a_worker_killed_twenty_times_at_random_loses_no_finished_frame(start, a_phantom, masks_of):
    loop, one = start("fake?delay_s=0.005", num_frames=0)
    coordinator = loop.coordinator
    generator = random.Random(4)
    for _ in range(20):
        limit = generator.randrange(1, 16)
        loop.until(lambda: coordinator.state.phase is Phase.IDLE or coordinator.state.progress.done >= limit)  # noqa: B023
        if coordinator.state.phase is Phase.RUNNING:
            os.kill(worker_pid(coordinator), signal.SIGKILL)
        loop.until_idle()
        done = coordinator.notes.results.done
        masks = masks_of(coordinator, one)
        assert all(masks[frame].any() == (a_phantom.labels[frame] == 1).any() for _, frame in done)
        coordinator.propagate()
    loop.until_idle()
    assert coordinator.state.error == ""
    assert dice(masks_of(coordinator, one), a_phantom.labels == 1) > 0.95
