"""What the next click in a view places: points, a box, or a lasso that becomes a mask when it ends (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from .coordinator import Coordinator
from .mark_parts import MarkKind

LASSO = "lasso"
KINDS = (*(kind.value for kind in MarkKind), LASSO)


def call_later(function: Callable[[], object]) -> None:
    """Call a function when the event loop comes round: a node cannot be removed inside of its own events."""
    import qt

    qt.QTimer.singleShot(0, function)


class Placing:
    """One kind at a time; the view's own way to end placing counts as well."""

    def __init__(
        self,
        coordinator: Coordinator,
        on_change: Callable[[], object],
        later: Callable[[Callable[[], object]], None] = call_later,
    ) -> None:
        """Place nothing yet.

        Args:
            coordinator: Takes the prompts.
            on_change: Told that placing began or ended.
            later: Calls a function outside of the present event.
        """
        self._coordinator, self._on_change, self._later = coordinator, on_change, later
        self._kind = ""
        self._lasso: tuple[int, object] | None = None
        self._interaction = slicer.app.applicationLogic().GetInteractionNode()
        event = self._interaction.InteractionModeChangedEvent
        self._tag = self._interaction.AddObserver(event, lambda *_: self._on_mode())

    @property
    def kind(self) -> str:
        """What is being placed, one of KINDS, or nothing."""
        return self._kind

    def begin(self, kind: str, segment_id: str) -> None:
        """Let the user place something for a segment."""
        self.end()
        one = self._coordinator.object_of(segment_id)
        if kind == LASSO:
            self._begin_lasso(one, segment_id)
        else:
            self._coordinator.marks.place(one, kind, is_persistent=kind != MarkKind.BOX)
        self._kind = kind
        self._on_change()

    def end(self) -> None:
        """Give the mouse back to the views; a lasso is closed as it is."""
        self._interaction.SetCurrentInteractionMode(self._interaction.ViewTransform)

    def close(self) -> None:
        """Watch nothing any more."""
        self._interaction.RemoveObserver(self._tag)
        if self._lasso is not None:
            slicer.mrmlScene.RemoveNode(self._lasso[1])
            self._lasso = None

    def _begin_lasso(self, one: int, segment_id: str) -> None:
        curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", LASSO)
        curve.SetSaveWithScene(False)
        curve.CreateDefaultDisplayNodes()
        color = self._coordinator.segmentation.GetSegmentation().GetSegment(segment_id).GetColor()
        curve.GetDisplayNode().SetSelectedColor(*color)
        self._lasso = one, curve
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(curve)
        logic.StartPlaceMode(False)

    def _on_mode(self) -> None:
        if not self._kind or self._interaction.GetCurrentInteractionMode() == self._interaction.Place:
            return
        self._kind = ""
        lasso, self._lasso = self._lasso, None
        if lasso is not None:
            self._later(lambda: self._finish(*lasso))
        self._on_change()

    def _finish(self, one: int, curve) -> None:
        if not slicer.mrmlScene.IsNodePresent(curve):
            return
        if self._coordinator.marks is not None and curve.GetNumberOfDefinedControlPoints() > 0:
            self._coordinator.marks.seed_from_curve(one, curve)
        slicer.mrmlScene.RemoveNode(curve)
        self._on_change()
