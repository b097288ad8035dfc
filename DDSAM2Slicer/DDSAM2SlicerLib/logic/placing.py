"""What the mouse places in the slice views: points, a box, strokes, or a lasso that becomes a mask (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from .coordinator import Coordinator
from .drawing import Drawing
from .i18n import _
from .mark_parts import MarkKind

LASSO, STROKE, NEGATIVE_STROKE = "lasso", "stroke", "negativeStroke"
DRAWN = (LASSO, STROKE, NEGATIVE_STROKE)
"""What is drawn by dragging."""
KINDS = (*(kind.value for kind in MarkKind), *DRAWN)


def call_later(function: Callable[[], object]) -> None:
    """Call a function when the event loop comes round: a node cannot be removed inside of its own events."""
    import qt

    qt.QTimer.singleShot(0, function)


class Placing:
    """One kind for one segment at a time; the view's own way to end placing counts as well."""

    def __init__(
        self,
        coordinator: Coordinator,
        on_change: Callable[[], object],
        later: Callable[[Callable[[], object]], None] = call_later,
        drawing: Drawing | None = None,
    ) -> None:
        """Place nothing yet.

        Args:
            coordinator: Takes the prompts.
            on_change: Told that placing began or ended.
            later: Calls a function outside of the present event.
            drawing: Draws lines in the slice views.
        """
        self._coordinator, self._on_change, self._later = coordinator, on_change, later
        self._drawing = drawing or Drawing()
        self._kind = self._segment_id = ""
        self._marks: object = None
        self._interaction = slicer.app.applicationLogic().GetInteractionNode()
        event = self._interaction.InteractionModeChangedEvent
        self._tag = self._interaction.AddObserver(event, lambda *_: self._on_mode())
        self._leave = coordinator.state_changed.connect(lambda _: self._follow())

    @property
    def kind(self) -> str:
        """What is being placed, one of KINDS, or nothing."""
        return self._kind

    @property
    def segment_id(self) -> str:
        """The segment it is placed for, or nothing."""
        return self._segment_id

    def begin(self, kind: str, segment_id: str) -> None:
        """Let the user place something for a segment."""
        self.end()
        one = self._coordinator.object_of(segment_id)
        self._marks = self._coordinator.marks
        if kind in DRAWN:
            color = self._coordinator.segmentation.GetSegmentation().GetSegment(segment_id).GetColor()
            name = _("lasso") if kind == LASSO else _("stroke")
            self._drawing.begin(name, color, kind == LASSO, lambda curve: self._take(one, kind, curve))
        else:
            self._marks.place(one, kind, is_persistent=kind != MarkKind.BOX)
        self._kind, self._segment_id = kind, segment_id
        self._on_change()

    def end(self) -> None:
        """Give the mouse back to the views."""
        self._interaction.SetCurrentInteractionMode(self._interaction.ViewTransform)
        if self._kind in DRAWN:
            self._stop()

    def close(self) -> None:
        """Watch nothing any more."""
        self._leave()
        self._interaction.RemoveObserver(self._tag)
        self._drawing.end()

    def _take(self, one: int, kind: str, curve) -> None:
        """A line was drawn."""
        self._follow()
        if self._kind != kind:
            return
        if kind == LASSO:
            self._marks.seeds.from_lasso(one, curve)
        else:
            self._marks.seeds.from_stroke(one, curve, kind == STROKE)

    def _on_mode(self) -> None:
        is_placing = self._interaction.GetCurrentInteractionMode() == self._interaction.Place
        if self._kind and (self._kind in DRAWN or not is_placing):
            self._stop()

    def _stop(self) -> None:
        self._drawing.end()
        self._kind = self._segment_id = ""
        self._later(self._tidy)
        self._on_change()

    def _tidy(self) -> None:
        """Outside of the events of its node, a box that was not finished can go."""
        if self._kind != MarkKind.BOX and self._coordinator.marks is not None:
            self._coordinator.marks.drop_unfinished()

    def _follow(self) -> None:
        """The image was read again, and the marks made anew: placing goes on with the new ones."""
        if not self._kind or self._coordinator.marks is self._marks:
            return
        kind, segment_id, segmentation = self._kind, self._segment_id, self._coordinator.segmentation
        if segmentation is None or segmentation.GetSegmentation().GetSegment(segment_id) is None:
            self.end()
        else:
            self.begin(kind, segment_id)
