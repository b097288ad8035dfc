"""Lines drawn by dragging the mouse in a slice view: brush strokes and lassos (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import dist

import slicer

View = tuple[object, object]  # slice node, interactor

PRIORITY = 10.0
"""Above the view's own, so that it does not change the window or pan while a line is drawn."""
STEP_PX = 2.0
"""The mouse has to move this far to add to the line."""
GLYPH_SCALE, LINE_THICKNESS = 0.8, 1.0
"""The line is wanted, not its many points: they are as wide as it is (relative to them, who are in % of the view)."""


def slice_views() -> Iterator[View]:
    """Every slice view of the application."""
    layout = slicer.app.layoutManager()
    for name in layout.sliceViewNames() if layout is not None else ():
        widget = layout.sliceWidget(name)
        yield widget.mrmlSliceNode(), widget.sliceView().interactor()


class Drawing:
    """While it is active the left button draws lines, one after the other; with Shift or Ctrl it does as always."""

    def __init__(self, views: Callable[[], Iterable[View]] = slice_views) -> None:
        """Draw nothing yet.

        Args:
            views: Where can be drawn: slice nodes and their interactors.
        """
        self._views = views
        self._slice_nodes: dict[object, object] = {}
        self._tags: dict[tuple[object, str], int] = {}
        self._look: tuple[str, bool, tuple[float, float, float]] | None = None
        self._on_line: Callable[[object], object] | None = None
        self._curve = self._drawn_in = self._last_xy = None

    def begin(
        self, name: str, color: tuple[float, float, float], is_closed: bool, on_line: Callable[[object], object]
    ) -> None:
        """Draw from now on.

        Args:
            name: What is drawn.
            color: Of the line.
            is_closed: Whether the line leads back to its beginning.
            on_line: Given the curve node of every finished line; the node is removed afterwards.
        """
        self.end()
        self._look, self._on_line = (name, is_closed, color), on_line
        handlers = {
            "LeftButtonPressEvent": self._on_press,
            "MouseMoveEvent": self._on_move,
            "LeftButtonReleaseEvent": self._on_release,
            "LeftButtonDoubleClickEvent": lambda _interactor: True,  # it would change the layout
        }
        for slice_node, interactor in self._views():
            self._slice_nodes[interactor] = slice_node
            for event, handler in handlers.items():
                self._tags[interactor, event] = interactor.AddObserver(event, self._caller(handler), PRIORITY)

    def end(self) -> None:
        """Give the mouse back to the views; an unfinished line is dropped."""
        for (interactor, _), tag in self._tags.items():
            interactor.RemoveObserver(tag)
        self._tags, self._slice_nodes = {}, {}
        self._drop()

    def _caller(self, handler: Callable[[object], bool]) -> Callable[[object, str], None]:
        """What VTK calls: if the handler used the event, nobody else gets it."""

        def call(interactor, event: str) -> None:
            tag = self._tags.get((interactor, event))
            command = interactor.GetCommand(tag) if tag is not None else None
            if handler(interactor) and command is not None:
                command.SetAbortFlag(1)

        return call

    def _on_press(self, interactor) -> bool:
        if interactor.GetShiftKey() or interactor.GetControlKey():
            return False
        self._drop()
        self._curve, self._drawn_in = _create_curve(*self._look), interactor
        self._add(interactor)
        return True

    def _on_move(self, interactor) -> bool:
        if interactor is not self._drawn_in:
            return False
        if dist(interactor.GetEventPosition(), self._last_xy) >= STEP_PX:
            self._add(interactor)
        return True

    def _on_release(self, interactor) -> bool:
        if interactor is not self._drawn_in:
            return False
        self._drawn_in = None
        try:
            if slicer.mrmlScene.IsNodePresent(self._curve):
                self._on_line(self._curve)
        finally:
            self._drop()
        return True

    def _add(self, interactor) -> None:
        self._last_xy = interactor.GetEventPosition()
        xy_to_ras = self._slice_nodes[interactor].GetXYToRAS()
        self._curve.AddControlPointWorld(*xy_to_ras.MultiplyPoint((*self._last_xy, 0.0, 1.0))[:3])

    def _drop(self) -> None:
        """Take the line out of the scene."""
        if self._curve is not None and slicer.mrmlScene.IsNodePresent(self._curve):
            slicer.mrmlScene.RemoveNode(self._curve)
        self._curve = self._drawn_in = None


def _create_curve(name: str, is_closed: bool, color: tuple[float, float, float]):
    """A curve that is neither saved nor touched by the mouse."""
    node_class = "vtkMRMLMarkupsClosedCurveNode" if is_closed else "vtkMRMLMarkupsCurveNode"
    curve = slicer.mrmlScene.AddNewNodeByClass(node_class, name)
    curve.SetName(name)  # as it is called in sentences, without a number
    curve.SetSaveWithScene(False)
    curve.SetCurveTypeToLinear()
    curve.SetLocked(True)
    curve.CreateDefaultDisplayNodes()
    display = curve.GetDisplayNode()
    display.SetSelectedColor(*color)
    display.SetPropertiesLabelVisibility(False)
    display.SetPointLabelsVisibility(False)
    display.SetGlyphScale(GLYPH_SCALE)
    display.SetLineThickness(LINE_THICKNESS)
    return curve
