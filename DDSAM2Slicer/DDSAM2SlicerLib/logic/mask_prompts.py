"""Masks as prompts: a lasso drawn in a view, or what a segment shows on the current frame (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from ..core.errors import DDSAM2Error
from ..core.prompts import PromptSet
from ..mrml import markups
from .coordinator import Coordinator


def call_later(function: Callable[[], object]) -> None:
    """Call a function when the event loop comes round: a node cannot be removed inside of its own events."""
    import qt

    qt.QTimer.singleShot(0, function)


def seed_from_segment(coordinator: Coordinator, segment_id: str) -> str:
    """Make what a segment shows on the current frame its mask prompt there; returns a sentence if it cannot be."""
    frame = coordinator.state.frame
    source, index = coordinator.stack.source_of(frame)
    one = coordinator.object_of(segment_id)
    try:
        found = markups.add_segment_seed(PromptSet.empty(), one, coordinator.segmentation, segment_id, source, index)
    except DDSAM2Error as error:
        return str(error)
    coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, frame, found.get(one, index).mask))
    return ""


class Placing:
    """Knows what the next click in a view places, and turns a lasso into a mask when its drawing ends."""

    def __init__(
        self,
        coordinator: Coordinator,
        on_change: Callable[[str], object],
        later: Callable[[Callable[[], object]], None] = call_later,
    ) -> None:
        """Place nothing yet.

        Args:
            coordinator: Takes the prompts.
            on_change: Told that placing began or ended, with a sentence if a lasso cannot be used.
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
        """What is being placed: "positive", "negative", "box", "lasso", or nothing."""
        return self._kind

    def begin(self, kind: str, segment_id: str) -> None:
        """Let the user place points, a box or a lasso for a segment."""
        self.end()
        one = self._coordinator.object_of(segment_id)
        if kind == "lasso":
            self._begin_lasso(one, segment_id)
        else:
            self._coordinator.marks.place(one, kind, kind != "box")
        self._kind = kind
        self._on_change("")

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
        curve = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsClosedCurveNode", "lasso")
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
        self._on_change("")

    def _finish(self, one: int, curve) -> None:
        coordinator, problem = self._coordinator, ""
        if not slicer.mrmlScene.IsNodePresent(curve):
            return
        if coordinator.state.frame is not None and curve.GetNumberOfDefinedControlPoints() > 0:
            problem = self._take(one, curve)
        slicer.mrmlScene.RemoveNode(curve)
        self._on_change(problem)

    def _take(self, one: int, curve) -> str:
        coordinator, frame = self._coordinator, self._coordinator.state.frame
        source, index = coordinator.stack.source_of(frame)
        try:
            _, mask = markups.mask_of_curve(curve, source, index)
        except DDSAM2Error as error:
            return str(error)
        coordinator.set_prompts(coordinator.notes.prompts.with_mask(one, frame, mask))
        return ""
