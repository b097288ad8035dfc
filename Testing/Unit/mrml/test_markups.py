"""What is drawn in the views becomes prompts at the right pixels of the right frame."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.errors import PromptError
from DDSAM2SlicerLib.core.frames import TimeFrames
from DDSAM2SlicerLib.core.geometry import Axis
from DDSAM2SlicerLib.core.prompts import PromptSet
from DDSAM2SlicerLib.testing.phantoms import create_geometry

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.mrml import markups, segmentations, volumes  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.mrml.transforms import matrix_to_vtk  # noqa: E402

SHAPE = (12, 24, 28)


@pytest.fixture
def a_volume(make):
    """Oblique, under a transform."""
    return make.volume(
        np.zeros(SHAPE, np.uint8), create_geometry(SHAPE, seed=3), transform=make.transform(make.random_matrix(4))
    )


@pytest.fixture(params=list(Axis))
def frames(a_volume, request):
    return volumes.frames_along_axis(a_volume, request.param)


@pytest.mark.parametrize("positive", [True, False])
def test_points_land_on_their_pixel_and_frame(scene, frames, positive):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    markups.label_point_node(node, 2, positive)
    for frame, x, y in ((1, 5.0, 7.25), (4, 0.0, 9.0)):
        node.AddControlPointWorld(_world(frames, frame, x, y))
    prompts = markups.add_points(PromptSet.empty(), 2, node, frames)
    assert prompts.frames(2) == (1, 4)
    point = prompts.get(2, 1).points[0]
    assert (point.x, point.y, point.positive) == (pytest.approx(5), pytest.approx(7.25), positive)


def test_points_under_a_transform_of_their_own_are_taken_where_they_are_seen(make, scene, frames):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.SetAndObserveTransformNodeID(make.transform(make.random_matrix(8)).GetID())
    node.AddControlPointWorld(_world(frames, 3, 4, 5))
    point = markups.add_points(PromptSet.empty(), 1, node, frames).get(1, 3).points[0]
    assert (point.x, point.y) == pytest.approx((4, 5))


def test_a_point_that_is_still_being_placed_is_left_out(scene, frames):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPointWorld(_world(frames, 3, 4, 5))
    node.AddControlPointWorld(_world(frames, 3, 6, 5))
    node.SetNthControlPointPositionMissing(1)
    assert len(markups.add_points(PromptSet.empty(), 1, node, frames).get(1, 3).points) == 1


def test_a_point_beside_the_image_is_refused(scene, frames):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPointWorld(_world(frames, 2, -0.6, 3))
    with pytest.raises(PromptError, match="is outside of the image"):
        markups.add_points(PromptSet.empty(), 1, node, frames)


def test_a_point_behind_the_last_frame_is_refused(scene, frames):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPointWorld(_world(frames, frames.num_frames - 1, 3, 3, away=0.6))
    with pytest.raises(PromptError, match="behind the last"):
        markups.add_points(PromptSet.empty(), 1, node, frames)


def test_points_on_a_time_series_need_their_frame(scene):
    frames = TimeFrames(np.zeros((5, 10, 12), np.uint8), np.diag([2.0, 2.0, 1.0, 1.0]))
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "points")
    node.AddControlPointWorld(6, 8, 0)
    with pytest.raises(PromptError, match="which frame of the time series"):
        markups.add_points(PromptSet.empty(), 1, node, frames)
    point = markups.add_points(PromptSet.empty(), 1, node, frames, frame=4).get(1, 4).points[0]
    assert (point.x, point.y) == (3, 4)


def test_a_roi_drawn_along_the_slice_gives_its_rectangle(scene, frames):
    roi = _roi(scene, frames, frame=4, center=(10, 6), size=(8, 4, 3))
    frame, box = markups.box_of_roi(roi, frames)
    assert frame == 4
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((6, 4, 14, 8))


def test_trap_7_a_turned_roi_is_taken_with_its_own_matrix(scene, frames):
    roi = _roi(scene, frames, frame=4, center=(10, 6), size=(6, 6, 3), angle_deg=30)
    _, box = markups.box_of_roi(roi, frames)
    spacing = np.array(frames.pixel_spacing_mm)
    half_mm = np.array([3, 3]) * spacing
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    reach = np.array([cos * half_mm[0] + sin * half_mm[1], sin * half_mm[0] + cos * half_mm[1]]) / spacing
    low, high = np.maximum(np.array([10, 6]) - reach, 0), np.array([10, 6]) + reach
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((*low, *high), abs=1e-4)


def test_trap_7_a_roi_aligned_to_the_world_is_not_aligned_to_an_oblique_frame(scene, a_volume):
    frames = volumes.frames_along_axis(a_volume, Axis.K)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenterWorld(*_world(frames, 5, 14, 12))
    roi.SetSize(6, 6, 6)
    _, box = markups.box_of_roi(roi, frames)
    # A cube of 6 mm cut at an angle: its cut is larger than a side, and nothing of it lies outside of the box.
    grid = np.stack(np.meshgrid(*[np.linspace(-3, 3, 61)] * 3), axis=-1).reshape(-1, 3) + _world(frames, 5, 14, 12)
    local = np.linalg.inv(frames.pixel_to_ras(5)) @ np.c_[grid, np.ones(len(grid))].T
    cut = local[:2, np.abs(local[2]) < 0.02]
    assert (box.x0, box.y0) == pytest.approx(cut.min(axis=1), abs=0.3)
    assert (box.x1, box.y1) == pytest.approx(cut.max(axis=1), abs=0.3)


def test_a_roi_under_a_transform_is_taken_where_it_is_seen(make, scene, frames):
    roi = _roi(scene, frames, frame=4, center=(10, 6), size=(8, 4, 3))
    matrix = make.random_matrix(11)
    roi.ApplyTransformMatrix(matrix_to_vtk(np.linalg.inv(matrix)))
    roi.SetAndObserveTransformNodeID(make.transform(matrix).GetID())
    _, box = markups.box_of_roi(roi, frames)
    assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((6, 4, 14, 8))


def test_a_flat_roi_between_two_frames_counts_for_the_nearer_one(scene, frames):
    roi = _roi(scene, frames, frame=4, center=(10, 6), size=(8, 4, 0), away=0.3)
    frame, box = markups.box_of_roi(roi, frames)
    assert (frame, box.x0, box.y1) == (4, pytest.approx(6), pytest.approx(8))


def test_a_roi_is_cropped_to_the_image(scene, frames):
    _, box = markups.box_of_roi(_roi(scene, frames, frame=4, center=(1, 6), size=(8, 4, 3)), frames)
    assert (box.x0, box.x1) == (0, pytest.approx(5))


def test_a_roi_elsewhere_is_refused(scene, frames):
    roi = _roi(scene, frames, frame=4, center=(10, 6), size=(8, 4, 1))
    with pytest.raises(PromptError, match="does not reach frame 7"):
        markups.box_of_roi(roi, frames, frame=7)
    outside = _roi(scene, frames, frame=4, center=(-20, 6), size=(8, 4, 3))
    with pytest.raises(PromptError, match="outside of the image on frame 4"):
        markups.box_of_roi(outside, frames)


def test_a_closed_curve_becomes_the_pixels_it_encloses(scene, frames):
    curve = scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "lasso")
    curve.SetCurveTypeToLinear()
    for x, y in ((3.5, 2.5), (9.5, 2.5), (9.5, 7.5), (3.5, 7.5)):
        curve.AddControlPointWorld(_world(frames, 6, x, y))
    frame, mask = markups.mask_of_curve(curve, frames)
    expected = np.zeros((frames.height, frames.width), bool)
    expected[3:8, 4:10] = True
    assert frame == 6
    np.testing.assert_array_equal(mask, expected)


def test_a_curve_without_area_is_refused(scene, frames):
    curve = scene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "lasso")
    for x, y in ((3, 3), (4, 4)):
        curve.AddControlPointWorld(_world(frames, 6, x, y))
    with pytest.raises(PromptError, match="has 2 points"):
        markups.mask_of_curve(curve, frames)
    curve.AddControlPointWorld(_world(frames, 6, 3.2, 3.1))
    curve.SetCurveTypeToLinear()
    curve.SetNthControlPointPositionWorld(1, _world(frames, 6, 3.3, 3.4))
    curve.SetNthControlPointPositionWorld(0, _world(frames, 6, 3.1, 3.4))
    with pytest.raises(PromptError, match="encloses no pixel"):
        markups.mask_of_curve(curve, frames)


def test_a_hole_of_a_self_crossing_outline_stays_open():
    outer = [(0.5, 0.5), (8.5, 0.5), (8.5, 8.5), (0.5, 8.5), (0.5, 0.5)]
    inner = [(3.5, 3.5), (3.5, 5.5), (5.5, 5.5), (5.5, 3.5), (3.5, 3.5)]
    outline = np.array(outer + inner)
    mask = markups.fill_polygon(outline, 10, 10)
    assert mask[2, 2]
    assert not mask[4, 4]
    assert mask.sum() == 64 - 4


def test_a_segment_on_a_frame_becomes_a_mask_seed(a_volume, frames):
    node = segmentations.create_segmentation(a_volume, "drawn")
    segment_id = segmentations.add_segment(node, "liver")
    drawn = np.zeros((frames.height, frames.width), bool)
    drawn[4:9, 3:7] = True
    segmentations.SegmentWriter(node, a_volume, {1: segment_id}).write_frame(frames, 5, {1: drawn})
    prompts = markups.add_segment_seed(PromptSet.empty(), 1, node, segment_id, frames, 5)
    np.testing.assert_array_equal(prompts.get(1, 5).mask, drawn)
    with pytest.raises(PromptError, match="'liver' is empty on frame 6"):
        markups.add_segment_seed(prompts, 1, node, segment_id, frames, 6)


def _world(frames, frame, x, y, away=0.0):
    """Position of a pixel in the world; the third step is scaled to the distance between frames."""
    matrix = frames.pixel_to_ras(frame)
    normal = matrix[:3, 2] / np.linalg.norm(matrix[:3, 2]) * (frames.frame_step_mm or 1)
    return matrix[:3] @ [x, y, 0, 1] + away * normal


def _roi(scene, frames, frame, center, size, angle_deg=0.0, away=0.0):
    """ROI along the frame's axes, turned in its plane; size in pixels and frames."""
    matrix = frames.pixel_to_ras(frame)
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    to_world = np.eye(4)
    to_world[:3, :3] = axes @ turn
    to_world[:3, 3] = _world(frames, frame, *center, away=away)
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetSize(*np.array(size) * (*frames.pixel_spacing_mm, frames.frame_step_mm))
    roi.SetAndObserveObjectToNodeMatrix(matrix_to_vtk(to_world))
    return roi
