"""Prompts that are no marks, or many at once: a segment's mask, a lasso, a brush stroke (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..core.errors import DDSAM2Error, PromptError
from ..core.prompts import Point, PromptSet
from ..mrml import markups
from .i18n import _
from .mark_parts import grid_of, is_inside, place_of, places_along
from .notebook import Notebook
from .stacks import Stack

if TYPE_CHECKING:
    from .targets import Target

STROKE_GAP_PX = 4.0
"""Points of a stroke are at least so far apart; nearer ones tell the network nothing new."""
STROKE_POINTS = 8
"""A stroke gives no more points than this; SAM's networks were trained with few."""


class Seeds:
    """Each method makes one change of the prompts, or says in a sentence why it cannot."""

    def __init__(
        self,
        stack: Stack,
        notes: Notebook,
        target: Target,
        frame_of: Callable[[str | None, list[float]], int | None],
        on_change: Callable[[PromptSet], object],
        on_error: Callable[[str], object],
    ) -> None:
        """Change nothing yet.

        Args:
            stack: The input.
            notes: Prompts and objects.
            target: Segments with names and masks.
            frame_of: Frame of a place in RAS, or None if no frame is there.
            on_change: Given the new prompts.
            on_error: Given a sentence.
        """
        self._stack, self._notes, self._target, self._frame_of = stack, notes, target, frame_of
        self._on_change, self._on_error = on_change, on_error

    def from_segment(self, object_id: int, frame: int) -> None:
        """Make what an object's segment shows on a frame, painted by hand for example, the prompt of that frame."""
        with self._telling():
            name = self._notes.segment_ids[object_id]
            mask = self._target.read(name, frame)
            if not mask.any():
                shown = self._target.node.GetSegmentation().GetSegment(name).GetName()
                text = _("Segment {name!r} is empty on frame {frame}. Paint it there, or choose a frame where it is.")
                raise PromptError(text.format(name=shown, frame=frame))
            self._on_change(self._notes.prompts.with_mask(object_id, frame, mask))

    def from_lasso(self, object_id: int, curve) -> None:
        """Make what a closed curve encloses the prompt of the frame on which it is drawn (time: the current one)."""
        with self._telling():
            if curve.GetNumberOfControlPoints() < 3:
                msg = _("The lasso encloses nothing. Hold the left mouse button and draw around the object.")
                raise PromptError(msg)
            frame = self._frame_below(curve)
            source, index = self._stack.source_of(frame)
            mask = markups.mask_of_curve(curve, source, index)[1]
            self._on_change(self._notes.prompts.with_mask(object_id, frame, mask))

    def from_stroke(self, object_id: int, curve, is_positive: bool) -> None:
        """Add points along a line, evenly spaced; a thin mask would say that the line is the whole object."""
        with self._telling():
            frame = self._frame_below(curve)
            source, index = self._stack.source_of(frame)
            line = [row[:2] for row in grid_of(source, index).map_ras_to_ijk(_places_of(curve)).round(6).tolist()]
            line = [place for place in line if is_inside(source, *place)]
            if not line:
                msg = _("The stroke is outside of the image. Draw it on a frame.")
                raise PromptError(msg)
            prompts = self._notes.prompts
            for x, y in places_along(line, STROKE_GAP_PX, STROKE_POINTS):
                prompts = prompts.with_point(object_id, frame, Point(x, y, is_positive))
            self._on_change(prompts)

    def _frame_below(self, curve) -> int:
        """The one frame on which a curve is drawn."""
        frames = {self._frame_of(None, place) for place in _places_of(curve)}
        if not frames or None in frames:
            msg = _("The {line} is outside of the image. Draw it on a frame.").format(line=curve.GetName())
            raise PromptError(msg)
        if len(frames) > 1:
            text = _("The {line} crosses {count} frames. Draw it in a slice view that shows one frame.")
            raise PromptError(text.format(line=curve.GetName(), count=len(frames)))
        return frames.pop()

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn errors into sentences."""
        try:
            yield
        except DDSAM2Error as error:
            self._on_error(str(error))


def _places_of(curve) -> list[list[float]]:
    """Control points in RAS."""
    return [place_of(curve, index) for index in range(curve.GetNumberOfControlPoints())]
