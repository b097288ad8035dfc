"""Markups in the views and prompts stay equal, whichever of them changes."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.prompts import Box, Point, PromptSet

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.logic.mark_parts import MarkKind, places_along  # noqa: E402 (needs slicer)

EMPTY = PromptSet.empty()


def points_of(kind):
    nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")
    return [node for node in nodes if node.GetName().endswith(kind)]


def ras_of(coordinator, frame, x, y):
    source, index = coordinator.stack.source_of(frame)
    return (source.pixel_to_ras(index) @ [x, y, 0, 1])[:3].tolist()


@pytest.fixture
def on_volume(loop, a_volume):
    loop.coordinator.choose_volume(a_volume, "k")
    loop.coordinator.add_object("organ", (1, 0, 0))
    loop.coordinator.show_frame(8)
    return loop.coordinator


@pytest.fixture
def on_clip(loop, a_clip):
    loop.coordinator.choose_sequence(a_clip[1])
    loop.coordinator.add_object("organ")
    loop.coordinator.show_frame(4)
    return loop.coordinator


@pytest.fixture
def on_series(loop, a_series):
    loop.coordinator.choose_sequence(a_series[1])
    loop.coordinator.add_object("organ")
    loop.coordinator.show_frame(2 * 6 + 3)
    return loop.coordinator


@pytest.mark.parametrize(
    ("input_name", "frame", "expected"),
    [
        ("on_volume", 5, 5),  # the slice on which it lies, whatever is current
        ("on_clip", 4, 4),  # the current time
        ("on_series", 2 * 6 + 1, 2 * 6 + 1),  # the current time, the slice on which it lies
    ],
)
def test_a_placed_point_becomes_a_prompt_on_its_frame(request, input_name, frame, expected):
    coordinator = request.getfixturevalue(input_name)
    coordinator.marks.place(1, MarkKind.NEGATIVE)
    node = points_of("negative")[0]
    assert slicer.modules.markups.logic().GetActiveListID() == node.GetID()
    node.AddControlPointWorld(*ras_of(coordinator, frame, 11, 7))
    assert coordinator.notes.prompts == EMPTY.with_point(1, expected, Point(11, 7, positive=False))


def test_moving_and_deleting_a_point_changes_its_prompt(on_volume):
    on_volume.set_prompts(EMPTY.with_point(1, 8, Point(3, 4)).with_point(1, 8, Point(9, 9)))
    node = points_of("positive")[0]
    node.SetNthControlPointPositionWorld(0, *ras_of(on_volume, 6, 5, 5))
    assert on_volume.notes.prompts == EMPTY.with_point(1, 6, Point(5, 5)).with_point(1, 8, Point(9, 9))
    node.RemoveNthControlPoint(0)
    assert on_volume.notes.prompts == EMPTY.with_point(1, 8, Point(9, 9))


def test_prompts_are_shown_once_and_reading_them_back_changes_nothing(on_volume):
    prompts = EMPTY.with_point(1, 8, Point(3.25, 4)).with_point(1, 8, Point(9, 9, positive=False))
    prompts = prompts.with_point(1, 8, Point(1, 2)).with_box(1, 4, Box(2, 3, 20, 21))
    prompts = prompts.with_mask(1, 2, np.ones((32, 36), bool))
    on_volume.set_prompts(prompts)
    assert [node.GetNumberOfControlPoints() for node in points_of("positive") + points_of("negative")] == [2, 1]
    assert on_volume.marks.read() == prompts
    assert on_volume.notes.prompts == prompts
    on_volume.set_prompts(EMPTY)
    assert points_of("positive")[0].GetNumberOfControlPoints() == 0
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") == []


@pytest.mark.parametrize("input_name", ["on_volume", "on_clip", "on_series"])
def test_a_box_is_drawn_on_its_frame_and_resizing_it_changes_the_prompt(request, input_name):
    coordinator = request.getfixturevalue(input_name)
    frame = 4
    coordinator.set_prompts(EMPTY.with_box(1, frame, Box(4, 6, 20, 22)))
    roi = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")[0]
    assert coordinator.marks.read() == coordinator.notes.prompts
    size = np.array(roi.GetSize())
    roi.SetSize(size[0] / 2, size[1], size[2])
    roi.InvokeEvent(roi.PointModifiedEvent)
    box = coordinator.notes.prompts.get(1, frame).box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((8, 6, 16, 22), abs=1e-4)


def test_marks_of_other_times_are_hidden(on_clip):
    on_clip.set_prompts(
        EMPTY.with_point(1, 4, Point(3, 4)).with_point(1, 6, Point(5, 5)).with_box(1, 6, Box(1, 1, 9, 9))
    )
    node, roi = points_of("positive")[0], slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")[0]
    assert [node.GetNthControlPointVisibility(index) for index in (0, 1)] == [True, False]
    assert not roi.GetDisplayVisibility()
    on_clip.show_frame(6)
    assert [node.GetNthControlPointVisibility(index) for index in (0, 1)] == [False, True]
    assert roi.GetDisplayVisibility()


def test_a_point_beside_the_image_is_a_sentence_and_the_prompts_stay(on_volume):
    on_volume.set_prompts(EMPTY.with_point(1, 8, Point(3, 4)))
    points_of("positive")[0].AddControlPointWorld(*ras_of(on_volume, 8, 300, 4))
    assert "outside of the image" in on_volume.state.error
    assert on_volume.notes.prompts == EMPTY.with_point(1, 8, Point(3, 4))


def test_marks_follow_the_saved_prompts_and_are_not_saved_themselves(on_volume, make, tmp_path):
    prompts = EMPTY.with_point(1, 8, Point(3, 4)).with_box(1, 8, Box(2, 3, 20, 21))
    on_volume.set_prompts(prompts)
    make.reload(tmp_path)
    assert points_of("positive") == []
    on_volume.choose_volume(slicer.util.getNode("image"), "k")
    assert on_volume.notes.prompts == prompts
    assert points_of("positive")[0].GetNumberOfControlPoints() == 1
    on_volume.release_input()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsNode") == []


def test_a_painted_frame_becomes_a_mask_prompt(on_clip):
    space = on_clip._space
    painted = np.zeros((40, 40), bool)
    painted[5:9, 6:12] = True
    space.target.begin(space.notes.segment_ids)
    space.target.write(4, {1: painted})
    on_clip.marks.seeds.from_segment(1, 4)
    assert on_clip.notes.prompts == EMPTY.with_mask(1, 4, painted)
    on_clip.marks.seeds.from_segment(1, 5)
    assert "is empty on frame 5" in on_clip.state.error


@pytest.mark.parametrize(("input_name", "frame"), [("on_volume", 5), ("on_clip", 4), ("on_series", 2 * 6 + 1)])
def test_a_lasso_becomes_a_mask_prompt_on_its_frame(request, input_name, frame):
    coordinator = request.getfixturevalue(input_name)
    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "lasso")
    coordinator.marks.seeds.from_lasso(1, curve)
    assert "The lasso encloses nothing. Hold the left mouse button" in coordinator.state.error
    curve.SetCurveTypeToLinear()
    for x, y in [(4.5, 6.5), (12.5, 6.5), (12.5, 10.5), (4.5, 10.5)]:
        curve.AddControlPointWorld(*ras_of(coordinator, frame, x, y))
    coordinator.marks.seeds.from_lasso(1, curve)
    mask = coordinator.notes.prompts.get(1, frame).mask
    expected = np.zeros(mask.shape, bool)
    expected[7:11, 5:13] = True
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(("input_name", "frame"), [("on_volume", 5), ("on_clip", 7), ("on_series", 4 * 6 + 1)])
def test_a_new_box_belongs_to_the_frame_on_which_it_is_finished(request, input_name, frame):
    coordinator = request.getfixturevalue(input_name)
    coordinator.marks.place(1, MarkKind.BOX)
    (roi,) = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    coordinator.show_frame(frame)  # the user scrolls before clicking
    roi.AddControlPointWorld(*ras_of(coordinator, frame, 12, 14))
    assert coordinator.notes.prompts == EMPTY
    with_one_corner = coordinator.state.error
    roi.SetSize(8, 8, 8)
    roi.InvokeEvent(roi.PointPositionDefinedEvent)
    assert coordinator.notes.prompts.frames() == (frame,)
    assert with_one_corner == ""
    coordinator.show_frame(frame)
    assert roi.GetDisplayVisibility()


@pytest.mark.parametrize("input_name", ["on_volume", "on_clip", "on_series"])
def test_a_stroke_becomes_points_on_the_frame_shown(request, input_name):
    coordinator = request.getfixturevalue(input_name)
    frame = coordinator.state.frame
    curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsCurveNode", "stroke")
    for x in (4, 10, 16):
        curve.AddControlPointWorld(*ras_of(coordinator, frame, x, 9))
    coordinator.marks.seeds.from_stroke(1, curve, is_positive=True)
    assert coordinator.notes.prompts.frames() == (frame,)
    places = [(point.x, point.y) for point in coordinator.notes.prompts.get(1, frame).points]
    np.testing.assert_allclose(places, [(6, 9), (10, 9), (14, 9)], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ([(5, 5)], [(5, 5)]),  # a click
        ([(0, 0), (3, 0)], [(1.5, 0)]),  # too short for two
        ([(0, 0), (4, 0), (4, 4)], [(2, 0), (4, 2)]),  # round a corner
        ([(0, 0), (0, 80)], [(0, 5 + 10 * part) for part in range(8)]),  # no more than eight
        ([(1, 1), (1, 1), (1, 1)], [(1, 1)]),  # the mouse stood still
    ],
)
def test_points_of_a_stroke_are_evenly_spaced(line, expected):
    assert places_along(line, gap=4, most=8) == expected


def test_a_box_that_is_moved_to_another_frame_stays_the_same_mark(on_volume):
    on_volume.set_prompts(EMPTY.with_box(1, 4, Box(4, 6, 20, 22)).with_box(1, 6, Box(1, 1, 3, 3)))
    moved, _ = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    moved.SetCenterWorld(*ras_of(on_volume, 6, 12, 14))
    moved.InvokeEvent(moved.PointModifiedEvent)
    box = on_volume.notes.prompts.get(1, 6).box
    assert on_volume.notes.prompts.frames() == (6,)
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((4, 6, 20, 22), abs=1e-4)
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsROINode") == [moved]
