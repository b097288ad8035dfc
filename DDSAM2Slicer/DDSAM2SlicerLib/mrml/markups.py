"""Markups drawn in the views to prompts on one frame: points, ROI, closed curve (layer: mrml)."""

from __future__ import annotations

import itertools

import numpy as np
import vtk
from numpy.typing import NDArray

from ..core.errors import PromptError
from ..core.frames import FrameSource
from ..core.geometry import map_points
from ..core.prompts import Box, Point, PromptSet
from .segmentations import read_frame_mask
from .transforms import matrix_from_vtk
from .volumes import nearest_frame

POLARITY_ATTRIBUTE = "DDSAM2.Polarity"
OBJECT_ATTRIBUTE = "DDSAM2.Object"


def label_point_node(node, object_id: int, positive: bool) -> None:
    """Write on a point list which object it is about and whether its points are on it or beside it."""
    node.SetAttribute(OBJECT_ATTRIBUTE, str(object_id))
    node.SetAttribute(POLARITY_ATTRIBUTE, "positive" if positive else "negative")


def is_positive(node) -> bool:
    """Whether the points of a list are on the object; a list that does not say so is positive."""
    return node.GetAttribute(POLARITY_ATTRIBUTE) != "negative"


def add_points(prompts: PromptSet, object_id: int, node, frames: FrameSource, frame: int | None = None) -> PromptSet:
    """Add every point of a fiducial list to the prompts.

    Args:
        prompts: What is known so far; not changed.
        object_id: The object.
        node: Point list; its positions may be under a transform.
        frames: Frames the points refer to.
        frame: Frame of all points; needed for a time series, else each point belongs to the nearest frame.

    Raises:
        PromptError: If a point is outside of the frames.
    """
    positive = is_positive(node)
    for index in range(node.GetNumberOfControlPoints()):
        if node.GetNthControlPointPositionStatus(index) != node.PositionDefined:
            continue  # still being placed, or skipped
        position = np.zeros(3)
        node.GetNthControlPointPositionWorld(index, position)
        name = f"Point {node.GetNthControlPointLabel(index)!r}"
        found = _frame_for(name, position, frames, frame)
        x, y = _pixels(position[None], frames, found)[0, :2]
        if not (-0.5 <= x <= frames.width - 0.5 and -0.5 <= y <= frames.height - 0.5):
            msg = f"{name} is outside of the image (pixel {x:.1f}, {y:.1f} of {frames.width} x {frames.height})."
            raise PromptError(msg)
        prompts = prompts.with_point(object_id, found, Point(float(x), float(y), positive))
    return prompts


def box_of_roi(roi, frames: FrameSource, frame: int | None = None) -> tuple[int, Box]:
    """The rectangle in which a ROI cuts a frame.

    The ROI is taken with its own orientation and transforms; where it is turned against the frame, the box is the
    smallest upright one around the cut.

    Args:
        roi: vtkMRMLMarkupsROINode.
        frames: Frames the ROI was drawn on.
        frame: The frame; by default the one nearest to the ROI's centre (needed for a time series).

    Returns:
        Frame and box.

    Raises:
        PromptError: If the ROI does not reach the frame, or is outside of the image.
    """
    name = f"ROI {roi.GetName()!r}"
    to_world = matrix_from_vtk(roi.GetObjectToWorldMatrix())
    half = np.array(roi.GetSize()) / 2
    corners = map_points(to_world, np.array(list(itertools.product(*((-size, size) for size in half)))))
    index = _frame_for(name, to_world[:3, 3], frames, frame)
    cut = _cut_box(_pixels(corners, frames, index))
    if cut is None:
        msg = f"{name} does not reach frame {index}. Move it there, or choose a frame that it crosses."
        raise PromptError(msg)
    low = np.maximum(cut.min(axis=0), 0)
    high = np.minimum(cut.max(axis=0), [frames.width - 1, frames.height - 1])
    if (low >= high).any():
        msg = f"{name} is outside of the image on frame {index}, or has no area there."
        raise PromptError(msg)
    return index, Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def mask_of_curve(curve, frames: FrameSource, frame: int | None = None) -> tuple[int, NDArray[np.bool_]]:
    """The pixels whose centres a closed curve encloses, as it is drawn (interpolated), projected onto the frame.

    Args:
        curve: vtkMRMLMarkupsClosedCurveNode.
        frames: Frames the curve was drawn on.
        frame: The frame; by default the one nearest to the curve's centre (needed for a time series).

    Returns:
        Frame and mask (H, W).

    Raises:
        PromptError: If the curve has fewer than three points or encloses no pixel.
    """
    name = f"Curve {curve.GetName()!r}"
    points = vtk.vtkPoints()
    drawn = curve.GetCurvePointsWorld()
    if drawn is not None:
        points.DeepCopy(drawn)
    if curve.GetNumberOfDefinedControlPoints() < 3:
        msg = (
            f"{name} has {curve.GetNumberOfDefinedControlPoints()} points; three or more are needed to enclose an area."
        )
        raise PromptError(msg)
    outline_ras = np.array([points.GetPoint(index) for index in range(points.GetNumberOfPoints())])
    index = _frame_for(name, outline_ras.mean(axis=0), frames, frame)
    mask = fill_polygon(_pixels(outline_ras, frames, index)[:, :2], frames.height, frames.width)
    if not mask.any():
        msg = f"{name} encloses no pixel of frame {index}. Draw it larger, or inside of the image."
        raise PromptError(msg)
    return index, mask


def add_segment_seed(
    prompts: PromptSet, object_id: int, segmentation, segment_id: str, frames: FrameSource, frame: int
) -> PromptSet:
    """Make what a segment shows on a frame the mask prompt of that frame.

    Raises:
        PromptError: If the segment shows nothing there.
    """
    mask = read_frame_mask(segmentation, segment_id, frames, frame)
    if not mask.any():
        name = segmentation.GetSegmentation().GetSegment(segment_id).GetName()
        msg = f"Segment {name!r} is empty on frame {frame}. Paint it there, or choose a frame where it is."
        raise PromptError(msg)
    return prompts.with_mask(object_id, frame, mask)


def fill_polygon(outline_xy: NDArray, height: int, width: int) -> NDArray[np.bool_]:
    """Pixels (H, W) whose centres are inside of a closed polygon (even-odd rule)."""
    start = np.asarray(outline_xy, dtype=np.float64)
    stop = np.roll(start, -1, axis=0)
    columns = np.arange(width)
    mask = np.zeros((height, width), bool)
    for row in range(height):
        is_crossing = (start[:, 1] <= row) != (stop[:, 1] <= row)
        a, b = start[is_crossing], stop[is_crossing]
        crossings = np.sort(a[:, 0] + (row - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0]))
        mask[row] = np.searchsorted(crossings, columns) % 2 == 1
    return mask


def _frame_for(name: str, position: NDArray, frames: FrameSource, frame: int | None) -> int:
    """The given frame, or the one nearest to a position."""
    if frame is not None:
        return frame
    if frames.frame_step_mm is None and frames.num_frames > 1:
        msg = f"{name} does not say which frame of the time series it belongs to; give the frame."
        raise PromptError(msg)
    index = nearest_frame(frames, position)
    if index is None:
        msg = f"{name} is before the first or behind the last of {frames.num_frames} frames. Move it into the image."
        raise PromptError(msg)
    return index


def _pixels(points_ras: NDArray, frames: FrameSource, index: int) -> NDArray[np.float64]:
    """(N, 3): column, row and distance from the frame (in frames) of points in the world."""
    return map_points(np.linalg.inv(frames.pixel_to_ras(index)), points_ras).round(6)


def _cut_box(corners: NDArray) -> NDArray | None:
    """Points (N, 2) in which the plane of the frame meets the edges of a box; None if it passes the box by.

    A flat box that lies between two frames counts as lying on the nearest one.
    """
    away = corners[:, 2]
    plane = float(np.clip(0.0, away.min(), away.max()))
    if abs(plane) > 0.5:
        return None
    points = [corners[away == plane][:, :2]]
    for first, second in itertools.combinations(range(len(corners)), 2):
        is_edge = bin(first ^ second).count("1") == 1  # corners are in the order of itertools.product
        if is_edge and (away[first] - plane) * (away[second] - plane) < 0:
            share = (plane - away[first]) / (away[second] - away[first])
            points.append((corners[first] + share * (corners[second] - corners[first]))[None, :2])
    return np.concatenate(points)
