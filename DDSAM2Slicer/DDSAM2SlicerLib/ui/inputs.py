"""Panel "Inputs": the image, where its masks go, and which way the frames run (layer: ui)."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..logic.notebook import has_notes
from ..logic.state import Phase, State
from ..logic.viewing import find_input, find_slice_node
from .shared import Shared, enable, set_silently

AXES = ("view", "i", "j", "k")


class InputsPanel:
    """Chooses the input when the user presses the button; by itself only one that a scene brings back with notes."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets."""
        self._shared, self._ui = shared, shared.ui
        for selector in (self._ui.inputSelector, self._ui.segmentationSelector, self._ui.viewSelector):
            selector.setMRMLScene(slicer.mrmlScene)
        self._ui.viewSelector.setCurrentNode(find_slice_node())
        self._on_view()
        self._ui.viewSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_view)
        self._ui.inputSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._on_input)
        self._ui.beginButton.connect("clicked()", self.begin)
        self.recall()

    def update(self, state: State) -> None:
        """Draw the state."""
        node = self._ui.inputSelector.currentNode()
        reason = "" if node is not None else _("Select a volume or a sequence first.")
        if state.phase in (Phase.RUNNING, Phase.STOPPING):
            reason = _("Wait for the propagation to end, or stop it.")
        enable(self._ui.beginButton, reason, _("Start to segment this image. Prompts saved in the scene come back."))

    def suggest(self) -> None:
        """Select the image on display, if none is selected."""
        if self._ui.inputSelector.currentNode() is None:
            self._ui.inputSelector.setCurrentNode(find_input())

    def begin(self, *_args: object) -> None:
        """Use the chosen image; the first object is there to begin with."""
        node = self._ui.inputSelector.currentNode()
        if node is None:
            return
        self._shared.placing.end()
        coordinator = self._shared.coordinator
        axis, segmentation = AXES[self._ui.axisCombo.currentIndex], self._ui.segmentationSelector.currentNode()
        view = self._ui.viewSelector.currentNode()
        if node.IsA("vtkMRMLSequenceBrowserNode"):
            coordinator.choose_sequence(node, "k" if axis == "view" else axis, segmentation)
        elif axis == "view" and view is not None:
            coordinator.choose_volume(node, slice_node=view, segmentation=segmentation)
        else:
            coordinator.choose_volume(node, "k" if axis == "view" else axis, segmentation=segmentation)
        self._shared.viewing.update()
        if coordinator.segmentation is None:
            return
        self._ui.segmentationSelector.setCurrentNode(coordinator.segmentation)
        if coordinator.segmentation.GetSegmentation().GetNumberOfSegments() == 0:
            self._shared.add_object()
        self._remember(node, axis)

    def recall(self) -> None:
        """Select what the scene remembers; if it has notes about that image, go on with them."""
        parameters = self._shared.parameters
        if parameters is None:
            return
        self._ui.inputSelector.setCurrentNode(parameters.inputBrowser or parameters.inputVolume)
        self._ui.segmentationSelector.setCurrentNode(parameters.segmentation)
        set_silently(self._ui.axisCombo, currentIndex=AXES.index(parameters.axis))
        node = self._ui.inputSelector.currentNode()
        if node is not None and self._shared.coordinator.stack is None and has_notes(node):
            self.begin()

    def _remember(self, node, axis: str) -> None:
        parameters = self._shared.parameters
        if parameters is None or self._shared.coordinator.stack is None:
            return
        is_browser = node.IsA("vtkMRMLSequenceBrowserNode")
        parameters.inputVolume, parameters.inputBrowser = (None, node) if is_browser else (node, None)
        parameters.segmentation, parameters.axis = self._shared.coordinator.segmentation, axis

    def _on_input(self, *_args: object) -> None:
        # The segmentation of the image before does not fit this one; the one that the scene remembers is found again.
        self._ui.segmentationSelector.setCurrentNode(None)
        self.update(self._shared.coordinator.state)

    def _on_view(self, *_args: object) -> None:
        self._shared.viewing.follow(self._ui.viewSelector.currentNode())
