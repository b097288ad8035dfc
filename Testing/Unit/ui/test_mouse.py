"""A mouse in a real slice view: what it places, draws and drags changes prompts, list, preview and overlay."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from slice_view import Layout, SliceView  # noqa: E402 (needs slicer)
from vtk.util.numpy_support import vtk_to_numpy  # noqa: E402

from DDSAM2SlicerLib.core.prompts import Box, Point  # noqa: E402
from DDSAM2SlicerLib.testing.phantoms import create_ellipsoids  # noqa: E402

FRAME = 8


@pytest.fixture
def at_work(make_panel, booted, make, monkeypatch):
    """A panel with a volume, an object, and a slice view with a mouse."""
    view = SliceView(booted)
    phantom = create_ellipsoids((16, 128, 144))
    volume = make.volume(phantom.array, phantom.geometry)
    volume.CreateDefaultDisplayNodes()
    view.show(volume)
    panel = make_panel()
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: Layout([view]))
    panel.ui.viewSelector.setCurrentNode(view.node)
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.beginButton.click()
    panel.shared.viewing.show(FRAME)
    view.picture()
    panel.slice_view, panel.phantom = view, phantom
    return panel


def xy_of(panel, x, y, frame=FRAME):
    """Where in the window a pixel of a frame is."""
    source, index = panel.coordinator.stack.source_of(frame)
    return panel.slice_view.xy_of((source.pixel_to_ras(index) @ [x, y, 0, 1])[:3])


def prompt_of(panel, frame=FRAME):
    return panel.coordinator.notes.prompts.get(1, frame)


def rows_of(panel):
    count = panel.ui.promptList.count
    return [panel.ui.promptList.item(row).text() for row in range(count)]


def middle_of(mask):
    rows, columns = np.nonzero(mask)
    return columns.mean(), rows.mean()


def test_clicks_place_points_one_after_the_other_and_the_preview_follows(at_work, stand_in):
    at_work.ui.positiveButton.click()
    x, y = middle_of(at_work.phantom.labels[FRAME] == 1)
    at_work.slice_view.click(xy_of(at_work, x, y))
    at_work.slice_view.click(xy_of(at_work, x + 9, y))
    places = [(point.x, point.y, point.positive) for point in prompt_of(at_work).points]
    assert places == [pytest.approx((x, y, True), abs=0.5), pytest.approx((x + 9, y, True), abs=0.5)]
    assert stand_in.bare(at_work.ui.promptList).item(0).text() == "Object 1, 8: +2"
    at_work.loop.until_idle()
    assert at_work.coordinator.preview.masks[1].any()
    at_work.ui.positiveButton.click()
    at_work.slice_view.click(xy_of(at_work, 20, 20))
    assert len(prompt_of(at_work).points) == 2


def test_a_box_is_placed_with_two_clicks_and_lies_on_its_frame_only(at_work):
    at_work.ui.boxButton.click()
    for x, y in ((30, 40), (70, 90)):
        at_work.slice_view.click(xy_of(at_work, x, y))
    box = prompt_of(at_work).box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((30, 40, 70, 90), abs=0.5)
    assert not at_work.ui.boxButton.checked
    (roi,) = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    assert roi.GetSize()[2] == 0.5 * at_work.phantom.geometry.spacing_mm[2]
    assert at_work.coordinator.state.error == ""


def test_another_box_on_the_same_frame_replaces_the_first_when_it_is_finished(at_work, stand_in):
    first = Box(30, 40, 70, 90)
    at_work.coordinator.set_prompts(at_work.coordinator.notes.prompts.with_box(1, FRAME, first))
    at_work.ui.boxButton.click()
    at_work.slice_view.click(xy_of(at_work, 10, 10))
    at_work.ui.boxButton.click()  # given up
    stand_in.application.processEvents()
    assert prompt_of(at_work).box == first
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")) == 1
    at_work.ui.boxButton.click()
    for x, y in ((20, 20), (50, 60)):
        at_work.slice_view.click(xy_of(at_work, x, y))
    box = prompt_of(at_work).box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((20, 20, 50, 60), abs=0.5)
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")) == 1


def test_a_point_is_dragged_to_another_place(at_work):
    prompts = at_work.coordinator.notes.prompts.with_point(1, FRAME, Point(40, 40))
    at_work.coordinator.set_prompts(prompts.with_point(1, FRAME, Point(90, 40, positive=False)))
    at_work.slice_view.picture()
    at_work.slice_view.drag(*(xy_of(at_work, x, 40) for x in (40, 44, 50, 56)))
    assert sorted(point.x for point in prompt_of(at_work).points) == pytest.approx([56, 90], abs=0.5)


def test_points_on_several_frames_are_placed_in_any_order(at_work):
    at_work.ui.negativeButton.click()
    for frame in (FRAME, FRAME - 3):
        at_work.shared.viewing.show(frame)
        at_work.slice_view.picture()
        at_work.slice_view.click(xy_of(at_work, 60, 50, frame))
    assert at_work.coordinator.notes.prompts.frames() == (FRAME - 3, FRAME)


def draw(panel, *places, frame=FRAME):
    panel.slice_view.drag(*(xy_of(panel, x, y, frame) for x, y in places))


def curves():
    return slicer.util.getNodesByClass("vtkMRMLMarkupsCurveNode")


def test_a_stroke_becomes_points_along_it_and_another_one_adds_to_them(at_work):
    at_work.ui.strokeButton.click()
    draw(at_work, (30, 60), (40, 60), (50, 60), (70, 60))
    points = prompt_of(at_work).points
    assert [point.x for point in points] == pytest.approx([32.5, 37.5, 42.5, 47.5, 52.5, 57.5, 62.5, 67.5], abs=0.5)
    assert [point.y for point in points] == pytest.approx([60] * 8, abs=0.5)
    assert all(point.positive for point in points)
    assert at_work.ui.strokeButton.checked
    at_work.ui.negativeStrokeButton.click()
    draw(at_work, (10, 100), (10, 110))
    assert rows_of(at_work) == ["Object 1, 8: +8 -2"]
    assert at_work.coordinator.preview.is_pending
    at_work.ui.negativeStrokeButton.click()
    draw(at_work, (10, 20), (30, 20))
    assert rows_of(at_work) == ["Object 1, 8: +8 -2"]
    assert curves() == []


def test_a_lasso_becomes_a_mask_prompt_on_its_frame(at_work):
    at_work.ui.lassoButton.click()
    draw(at_work, (20, 20), (60, 20), (60, 70), (20, 70))
    mask = prompt_of(at_work).mask
    assert mask[21:70, 21:60].all()
    assert not mask[:19].any()
    assert not mask[:, 62:].any()
    assert rows_of(at_work) == ["Object 1, 8: mask"]
    draw(at_work, (5, 5))
    assert at_work.ui.statusLabel.text == (
        "The lasso encloses nothing. Hold the left mouse button and draw around the object."
    )
    assert prompt_of(at_work).mask is mask


def test_while_a_line_is_drawn_it_is_shown_in_the_colour_of_its_segment_and_the_view_stays_as_it_is(at_work):
    view, segment = at_work.slice_view, at_work.coordinator.segmentation.GetSegmentation().GetNthSegment(0)
    segment.SetColor(1.0, 0.3, 0.0)
    before, passed = view.node.GetXYToRAS().MultiplyPoint((0, 0, 0, 1)), []
    view.mouse.AddObserver("LeftButtonPressEvent", lambda *_: passed.append("press"))
    at_work.ui.strokeButton.click()
    for event, place in (
        ("LeftButtonPressEvent", (30, 60)),
        ("MouseMoveEvent", (50, 60)),
        ("MouseMoveEvent", (90, 60)),
    ):
        view.happen(event, xy_of(at_work, *place))
    (curve,) = curves()
    assert curve.GetNumberOfControlPoints() == 3
    assert not curve.GetSaveWithScene()
    assert num_orange(view.picture()) > 100
    view.happen("LeftButtonReleaseEvent", xy_of(at_work, 90, 60))
    assert curves() == []
    assert passed == []
    assert view.node.GetXYToRAS().MultiplyPoint((0, 0, 0, 1)) == before
    view.happen("LeftButtonPressEvent", xy_of(at_work, 30, 60), shift=1)  # with Shift the view pans, as always
    assert passed == ["press"]


def num_orange(picture):
    width, height, _ = picture.GetDimensions()
    pixels = vtk_to_numpy(picture.GetPointData().GetScalars()).reshape(height, width, -1).astype(int)
    return int((pixels[..., 0] - pixels[..., 2] > 100).sum())


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("stroke", "The stroke is outside of the image. Draw it on a frame."),
        ("lasso", "Curve 'lasso' encloses no pixel of frame 8. Draw it larger, or inside of the image."),
    ],
)
def test_a_line_outside_of_the_image_is_a_sentence(at_work, kind, sentence):
    getattr(at_work.ui, f"{kind}Button").click()
    draw(at_work, (-30, 10), (-20, 10), (-20, 40))
    assert at_work.ui.statusLabel.text == sentence
    assert prompt_of(at_work) is None


def test_a_stroke_that_leaves_the_image_gives_the_points_inside(at_work):
    at_work.ui.strokeButton.click()
    draw(at_work, (-20, 10), (10, 10), (12, 10))
    assert [point.positive for point in prompt_of(at_work).points] == [True]


def test_a_line_across_frames_is_a_sentence(at_work):
    at_work.ui.strokeButton.click()
    view = at_work.slice_view
    view.happen("LeftButtonPressEvent", xy_of(at_work, 30, 60))
    at_work.shared.viewing.show(FRAME + 1)
    view.happen("MouseMoveEvent", xy_of(at_work, 60, 60))
    view.happen("LeftButtonReleaseEvent", xy_of(at_work, 60, 60))
    assert "crosses 2 frames" in at_work.ui.statusLabel.text


def test_another_selected_segment_gets_what_is_placed_from_then_on(at_work):
    at_work.ui.strokeButton.click()
    at_work.ui.addObjectButton.click()  # it is selected
    assert at_work.ui.strokeButton.checked
    draw(at_work, (30, 60), (70, 60))
    assert at_work.coordinator.notes.prompts.object_ids == (2,)
    at_work.ui.positiveButton.click()
    at_work.ui.segmentsTable.setSelectedSegmentIDs([at_work.coordinator.notes.segment_ids[1]])
    at_work.slice_view.click(xy_of(at_work, 60, 50))
    assert at_work.coordinator.notes.prompts.object_ids == (1, 2)


def test_placing_goes_on_when_the_image_is_read_again(at_work):
    at_work.ui.positiveButton.click()
    at_work.slice_view.click(xy_of(at_work, 60, 50))
    display = at_work.ui.inputSelector.currentNode().GetDisplayNode()
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(100, 50)
    at_work.shared.viewing.show(FRAME + 1)
    at_work.slice_view.picture()
    at_work.slice_view.click(xy_of(at_work, 60, 50, FRAME + 1))
    assert at_work.coordinator.notes.prompts.frames() == (FRAME, FRAME + 1)


def test_marks_are_hidden_with_their_segment_and_placing_shows_it_again(at_work):
    at_work.coordinator.set_prompts(at_work.coordinator.notes.prompts.with_box(1, FRAME, Box(30, 40, 70, 90)))
    (roi,) = slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")
    display = at_work.coordinator.segmentation.GetDisplayNode()
    segment_id = at_work.coordinator.notes.segment_ids[1]
    display.SetSegmentVisibility(segment_id, False)
    assert not roi.GetDisplayVisibility()
    at_work.ui.positiveButton.click()
    assert display.GetSegmentVisibility(segment_id)
    assert roi.GetDisplayVisibility()


def test_prompts_of_a_deleted_segment_go(at_work, stand_in):
    at_work.ui.addObjectButton.click()
    prompts = at_work.coordinator.notes.prompts
    at_work.coordinator.set_prompts(prompts.with_point(1, FRAME, Point(40, 40)).with_point(2, FRAME, Point(60, 60)))
    at_work.ui.negativeButton.click()
    at_work.coordinator.segmentation.GetSegmentation().RemoveSegment(at_work.coordinator.notes.segment_ids[2])
    hidden = [node for node in slicer.util.getNodesByClass("vtkMRMLMarkupsNode") if not node.GetDisplayVisibility()]
    assert [node.GetName() for node in hidden] == ["Object 2 positive", "Object 2 negative"]
    at_work.ui.segmentsTable.setSelectedSegmentIDs([])  # as the table does
    stand_in.application.processEvents()
    assert rows_of(at_work) == ["Object 1, 8: +1"]
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLMarkupsNode")] == [
        "Object 1 positive",
        "Object 1 negative",
    ]


def test_drawing_ends_with_the_module_and_with_another_way_of_placing(at_work):
    for end in (at_work.exit, lambda: at_work.ui.boxButton.click()):
        at_work.ui.lassoButton.click()
        assert at_work.shared.placing.kind == "lasso"
        end()
        draw(at_work, (20, 20), (60, 20), (60, 70), (20, 70))
        assert prompt_of(at_work) is None or prompt_of(at_work).mask is None
        assert not at_work.ui.lassoButton.checked


def test_a_side_of_the_box_is_dragged(at_work):
    at_work.coordinator.set_prompts(at_work.coordinator.notes.prompts.with_box(1, FRAME, Box(20, 30, 70, 90)))
    at_work.slice_view.picture()
    at_work.slice_view.drag(*(xy_of(at_work, x, 60) for x in (70, 75, 80)))
    box = prompt_of(at_work).box
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((20, 30, 80, 90), abs=0.5)


def test_the_answer_is_drawn_where_the_point_was_placed(at_work):
    at_work.coordinator.segmentation.GetSegmentation().GetNthSegment(0).SetColor(1.0, 0.3, 0.0)
    at_work.ui.positiveButton.click()
    at_work.slice_view.click(xy_of(at_work, *middle_of(at_work.phantom.labels[FRAME] == 1)))
    with_point = num_orange(at_work.slice_view.picture())
    assert with_point > 0
    at_work.loop.until_idle()
    assert num_orange(at_work.slice_view.picture()) > with_point + 20
    at_work.ui.takeBackButton.click()
    assert num_orange(at_work.slice_view.picture()) < with_point


def test_points_on_and_beside_the_object_differ_in_more_than_colour(at_work):
    prompts = at_work.coordinator.notes.prompts.with_point(1, FRAME, Point(40, 40))
    at_work.coordinator.set_prompts(prompts.with_point(1, FRAME, Point(60, 40, positive=False)))
    displays = [node.GetDisplayNode() for node in slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode")]
    assert sorted(display.GetGlyphTypeAsString(display.GetGlyphType()) for display in displays) == [
        "Dash2D",
        "ThickCross2D",
    ]
