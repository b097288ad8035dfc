"""What the panels share: the loaded form, the logic, and small helpers (layer: ui)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from ..core.settings import EngineSettings
from ..logic.coordinator import Coordinator
from ..logic.model_list import ModelList
from ..logic.placing import Placing
from ..logic.viewing import Viewing


@dataclass
class Shared:
    """One desk with everything on it.

    Attributes:
        ui: Widgets of the form by name.
        coordinator: Does the work; its state is drawn.
        viewing: Knows the frame on display.
        placing: Knows what the next click places.
        models: Models to choose from.
        tell: Shows a sentence.
        ensure_ready: Whether everything is installed; asks once to install what is missing.
        parameters: What the scene remembers of the panel, or None.
        settings: Of the engine, as chosen in the panel.
    """

    ui: Any
    coordinator: Coordinator
    viewing: Viewing
    placing: Placing
    models: ModelList
    tell: Callable[[str], object]
    ensure_ready: Callable[[], bool]
    parameters: Any = None
    settings: EngineSettings = field(default_factory=EngineSettings)

    def remember(self, **choices: object) -> None:
        """Keep choices in the scene, under their names in the parameter node."""
        for name, value in choices.items() if self.parameters is not None else ():
            setattr(self.parameters, name, value)

    @property
    def segment_id(self) -> str:
        """The selected segment, the only one if there is but one, else nothing."""
        selected = list(self.ui.segmentsTable.selectedSegmentIDs())
        node = self.coordinator.segmentation
        if node is None:
            return ""
        known = list(node.GetSegmentation().GetSegmentIDs())
        chosen = [one for one in selected if one in known] or (known if len(known) == 1 else [])
        return chosen[0] if chosen else ""

    def add_object(self) -> None:
        """Add a segment and select it."""
        count = self.coordinator.segmentation.GetSegmentation().GetNumberOfSegments()
        one = self.coordinator.add_object(_("Object {number}").format(number=count + 1))
        if self.ui.segmentsTable.segmentationNode() is not self.coordinator.segmentation:
            self.ui.segmentsTable.setSegmentationNode(self.coordinator.segmentation)
        self.ui.segmentsTable.setSelectedSegmentIDs([self.coordinator.notes.segment_ids[one]])

    def segment_name(self, object_id: int) -> str:
        """Name of the segment that shows an object."""
        segment = self.coordinator.segmentation.GetSegmentation().GetSegment(
            self.coordinator.notes.segment_ids.get(object_id, "")
        )
        return segment.GetName() if segment is not None else str(object_id)

    def frame_text(self, frame: int) -> str:
        """A frame as users count it: number, in 3D+t time point and slice."""
        slices = self.coordinator.stack.num_slices
        return str(frame) if slices is None else f"{frame // slices}, {frame % slices}"


def enable(button: Any, reason: str, tip: str) -> None:
    """Enable a button, or disable it and let its tool tip say why."""
    button.enabled = not reason
    button.toolTip = reason or tip


def set_silently(widget: Any, **properties: object) -> None:
    """Set properties of a widget without it telling anybody."""
    was_blocked = widget.blockSignals(True)
    for name, value in properties.items():
        setattr(widget, name, value)
    widget.blockSignals(was_blocked)
