"""The whole way on a CT, a clip and a moving volume: box, preview, propagate, stop, go on, correct, undo, save, reload.

A neighbouring segment lies in the same segmentation; it stays identical to the bit throughout.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from DDSAM2SlicerLib.core.prompts import Box, PromptSet

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic.runs import RunOptions  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.logic.state import Action, Phase  # noqa: E402
from DDSAM2SlicerLib.mrml.volumes import volume_array  # noqa: E402

UPDATE = RunOptions(is_update=True)
LIVER = 5
SLICES = 6


@dataclass
class Case:
    """One input and what is done to it.

    Attributes:
        loop: Event loop and coordinator.
        choose: Chooses the input, as it is in the scene by then.
        seed: Frame of the box.
        box: The box.
        stop_at: Frames after which the first run is stopped.
        locked: Frame that is accepted; a correction goes no further.
        corrected: Frame that is corrected.
        span: Frames that the correction may change.
    """

    loop: object
    choose: Callable[[], None]
    seed: int
    box: Box
    stop_at: int
    locked: int
    corrected: int
    span: set[int]


@pytest.fixture
def a_ct(make_loop, scene, shared_data):
    """A real CT with the default model in a real worker: the liver."""
    pytest.importorskip("torch", reason="the real engine needs torch")
    loop = make_loop("nano", (sys.executable, "-m", "DDSAM2SlicerLib.worker"))
    load, folder = slicer.modules.volumes.logic().AddArchetypeVolume, shared_data / "totalsegmentator"
    load(str(folder / "example_ct_sm.nii.gz"), "image", 0)
    label = load(str(folder / "example_seg.nii.gz"), "label", 0)
    box = Box.around(volume_array(label)[15] == LIVER)
    slicer.mrmlScene.RemoveNode(label)
    choose = lambda: loop.coordinator.choose_volume(slicer.util.getNode("image"), "k")  # noqa: E731
    return Case(loop, choose, 15, box, stop_at=5, locked=20, corrected=25, span=set(range(21, 30)))


@pytest.fixture
def a_clip_case(make_loop, a_clip):
    """2D+t."""
    phantom, _ = a_clip
    loop = make_loop("fake?delay_s=0.02")
    choose = lambda: loop.coordinator.choose_sequence(slicer.util.getNode("browser"))  # noqa: E731
    return Case(
        loop, choose, 3, Box.around(phantom.labels[3] == 1), stop_at=3, locked=5, corrected=7, span={6, 7, 8, 9}
    )


@pytest.fixture
def a_series_case(make_loop, a_series):
    """3D+t; frames are numbered through, a correction stays on its slice position."""
    phantom, _ = a_series
    loop = make_loop("fake?delay_s=0.01")
    choose = lambda: loop.coordinator.choose_sequence(slicer.util.getNode("browser"))  # noqa: E731
    box, at_two = Box.around(phantom.labels[1, 3] == 1), [time * SLICES + 2 for time in range(5)]
    return Case(loop, choose, SLICES + 3, box, 8, locked=at_two[2], corrected=at_two[3], span=set(at_two[3:]))


@pytest.mark.parametrize("case_name", ["a_ct", "a_clip_case", "a_series_case"])
def test_the_whole_way(case_name, request, make, masks_of, tmp_path):
    case = request.getfixturevalue(case_name)
    loop, coordinator = case.loop, case.loop.coordinator
    case.choose()
    one, neighbour = coordinator.add_object("organ"), coordinator.add_object("neighbour")
    beside = paint_neighbour(coordinator, neighbour)

    # A box is previewed on its frame, and nothing else changes.
    coordinator.show_frame(case.seed)
    coordinator.set_prompts(PromptSet.empty().with_box(one, case.seed, case.box))
    loop.until_idle()
    assert coordinator.preview.masks[one].any()
    assert not masks_of(coordinator, one).any()

    # Stopped midway, what was found stays, and the rest follows.
    coordinator.propagate()
    loop.until(lambda: coordinator.state.progress.done >= case.stop_at)
    coordinator.stop()
    loop.until_idle()
    found_first = {frame for _, frame in coordinator.notes.results.done}
    assert case.stop_at <= len(found_first) < coordinator.stack.num_frames
    half = masks_of(coordinator, one)
    coordinator.propagate(UPDATE)
    loop.until_idle()
    assert coordinator.state.error == ""
    first = masks_of(coordinator, one)
    assert frames_that_differ(half, first).isdisjoint(found_first)
    assert coordinator.state.why_not(Action.UPDATE) == "All masks are up to date."

    # A correction changes its span only, as one step.
    coordinator.review.set_locked(case.locked, object_ids=[one])
    wanted = np.roll(first[case.corrected] | first[case.seed], 2, axis=1)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, case.corrected, wanted))
    coordinator.propagate(UPDATE)
    loop.until_idle()
    assert coordinator.state.error == ""
    second = masks_of(coordinator, one)
    np.testing.assert_array_equal(second[case.corrected], wanted)
    assert frames_that_differ(first, second) <= case.span
    coordinator.undo()
    np.testing.assert_array_equal(masks_of(coordinator, one), first)
    coordinator.redo()
    np.testing.assert_array_equal(masks_of(coordinator, one), second)

    # A saved scene brings everything back.
    prompts, locked, done = coordinator.notes.prompts, coordinator.notes.locked, coordinator.notes.results.done
    np.testing.assert_array_equal(masks_of(coordinator, neighbour), beside)
    make.reload(tmp_path)
    assert coordinator.state.phase is Phase.EMPTY
    case.choose()
    assert coordinator.state.error == ""
    assert (coordinator.notes.prompts, coordinator.notes.locked) == (prompts, locked)
    assert coordinator.notes.results.done == done
    np.testing.assert_array_equal(masks_of(coordinator, one), second)
    np.testing.assert_array_equal(masks_of(coordinator, neighbour), beside)


def paint_neighbour(coordinator, object_id):
    """Fill a block of every frame; returns the masks."""
    target, source = coordinator._space.target, coordinator.stack.source_of(0)[0]
    mask = np.zeros((source.height, source.width), bool)
    mask[source.height // 3 :, source.width // 2 :] = True
    target.begin(coordinator.notes.segment_ids)
    for frame in range(coordinator.stack.num_frames):
        target.write(frame, {object_id: mask})
    target.finish()
    return np.stack([mask] * coordinator.stack.num_frames)


def frames_that_differ(before, after):
    return {frame for frame in range(len(before)) if not np.array_equal(before[frame], after[frame])}
