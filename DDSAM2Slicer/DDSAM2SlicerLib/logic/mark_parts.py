"""Small parts of marks: their kinds, how they look, and when two of them say the same (layer: logic)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from enum import StrEnum
from itertools import accumulate, pairwise
from math import dist

from ..core.frames import FrameSource
from ..core.geometry import VolumeGeometry
from ..core.prompts import FramePrompt, Point

SAME_PLACE = 1e-3
"""Marks nearer to each other than this, in mm or pixels, are at the same place."""
BOX_GLYPH_SCALE, BOX_LINE_THICKNESS, BOX_HANDLE_SCALE = 1.0, 0.6, 1.5
"""The middle of a box must not look like a point on the object, nor its handles hide the image."""


class MarkKind(StrEnum):
    """What can be placed."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    BOX = "box"


def prefer_old(old: FramePrompt | None, new: FramePrompt) -> FramePrompt:
    """The old prompt if the new one says the same, but for rounding and the order of points."""
    if old is None or old.mask is not None or new.mask is not None:
        return new
    return old if are_close(coordinates_of(old), coordinates_of(new)) else new


def coordinates_of(prompt: FramePrompt) -> list[float]:
    """All coordinates, in an order of their own."""
    points = sorted((point.positive, point.x, point.y) for point in prompt.points)
    box = prompt.box
    corners = [] if box is None else [box.x0, box.y0, box.x1, box.y1]
    return [*corners, *(float(value) for point in points for value in point)]


def are_close(one, other) -> bool:
    """Whether two rows of coordinates are the same for all practical purposes."""
    return len(one) == len(other) and all(abs(a - b) < SAME_PLACE for a, b in zip(one, other, strict=True))


def place_of(node, index: int) -> list[float]:
    """Position of a control point in RAS."""
    position = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(index, position)
    return position


def kind_of(point: Point) -> str:
    """Kind of mark that shows a point."""
    return MarkKind.POSITIVE.value if point.positive else MarkKind.NEGATIVE.value


def grid_of(source: FrameSource, index: int) -> VolumeGeometry:
    """One frame as a grid: (column, row, 0) to RAS."""
    return VolumeGeometry((1, source.height, source.width), source.pixel_to_ras(index))


def is_inside(source: FrameSource, x: float, y: float) -> bool:
    """Whether a place is on the pixels of a frame."""
    return -0.5 <= x <= source.width - 0.5 and -0.5 <= y <= source.height - 0.5


def places_along(line: Sequence[Sequence[float]], gap: float, most: int) -> list[tuple[float, ...]]:
    """Places in the middle of equal parts of a line: as many as keep the gap, but one at least and not too many."""
    lengths = [0.0, *accumulate(dist(a, b) for a, b in pairwise(line))]
    number = min(max(int(lengths[-1] / gap), 1), most)
    places = []
    for part in range(number):
        wanted = (part + 0.5) / number * lengths[-1]
        after = min(bisect_right(lengths, wanted), len(line) - 1)
        before = max(after - 1, 0)
        share = (wanted - lengths[before]) / ((lengths[after] - lengths[before]) or 1.0)
        places.append(tuple(a + share * (b - a) for a, b in zip(line[before], line[after], strict=True)))
    return places


def color_display(display, color: tuple[float, float, float]) -> None:
    """Show a mark in the colour of its segment."""
    display.SetColor(*color)
    display.SetSelectedColor(*color)


def style_display(display, kind: str) -> None:
    """A plus on the object, a minus beside it, an outline around it, so that colour is not needed."""
    display.SetPointLabelsVisibility(False)
    if kind.startswith(MarkKind.BOX):
        display.SetPropertiesLabelVisibility(False)
        display.SetFillVisibility(False)
        display.SetGlyphScale(BOX_GLYPH_SCALE)
        display.SetLineThickness(BOX_LINE_THICKNESS)
        display.SetInteractionHandleScale(BOX_HANDLE_SCALE)
    else:
        display.SetGlyphType(display.ThickCross2D if kind == MarkKind.POSITIVE else display.Dash2D)
