"""Which frame the user looks at: follows a slice view and the sequence browser, and leads them (layer: logic)."""

from __future__ import annotations

import slicer

from .coordinator import Coordinator

MODIFIED_EVENT = "ModifiedEvent"


class Viewing:
    """Tells the coordinator which frame is current, and shows a frame when asked to."""

    def __init__(self, coordinator: Coordinator, slice_node=None) -> None:
        """Follow a slice view from now on."""
        self._coordinator = coordinator
        self._observed: dict[object, int] = {}
        self.slice_node = slice_node
        self._leave = coordinator.state_changed.connect(lambda _: self._observe())
        self._observe()

    def follow(self, slice_node) -> None:
        """Follow another slice view."""
        self.slice_node = slice_node
        self._observe()
        self.update()

    def update(self) -> None:
        """Look which frame is shown now."""
        stack = self._coordinator.stack
        if stack is None or not stack.is_present() or self.slice_node is None:
            return
        frame = stack.frame_shown(self.slice_node)
        if frame != self._coordinator.state.frame:
            self._coordinator.show_frame(frame)

    def show(self, frame: int) -> None:
        """Move slice view and browser to a frame."""
        if self._coordinator.stack is not None and self.slice_node is not None:
            self._coordinator.stack.show(frame, self.slice_node)
            self.update()

    def close(self) -> None:
        """Follow nothing any more."""
        self._leave()
        for node, tag in self._observed.items():
            node.RemoveObserver(tag)
        self._observed = {}

    def _observe(self) -> None:
        """Watch the slice view and the browser of the present input, and nothing else."""
        wanted = [node for node in (self.slice_node, getattr(self._coordinator.stack, "browser", None)) if node]
        for node in [node for node in self._observed if node not in wanted]:
            node.RemoveObserver(self._observed.pop(node))
        for node in wanted:
            if node not in self._observed:
                self._observed[node] = node.AddObserver(MODIFIED_EVENT, lambda *_: self.update())


def find_slice_node():
    """The red slice view, else the first there is; None without views."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    return next((node for node in nodes if node.GetName() == "Red"), nodes[0] if nodes else None)


def find_input():
    """The image on display, or the sequence browser that shows it; None without an image."""
    selection = slicer.app.applicationLogic().GetSelectionNode()
    volume = slicer.mrmlScene.GetNodeByID(selection.GetActiveVolumeID() or "")
    if volume is None or volume.IsA("vtkMRMLLabelMapVolumeNode"):
        return None
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volume) or volume


def show_results(table, chart) -> None:
    """Show a chart, in a layout that has room for it, and choose a table for the table views."""
    logic = slicer.app.applicationLogic()
    logic.GetSelectionNode().SetActiveTableID(table.GetID())
    logic.PropagateTableSelection()
    slicer.modules.plots.logic().ShowChartInLayout(chart)
