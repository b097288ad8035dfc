"""Panel "Objects and prompts": segments, what is placed with the next click, and all prompts (layer: ui)."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..core.prompts import FramePrompt
from ..logic.placing import KINDS, call_later
from ..logic.state import Action, Phase, State
from .shared import Shared, enable, set_silently


class PromptsPanel:
    """Draws objects and prompts, and lets the user place some."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets."""
        self._shared, self._ui = shared, shared.ui
        self._keys: list[tuple[int, int]] = []
        self._drawn: object = None
        self._ui.segmentsTable.setMRMLScene(slicer.mrmlScene)
        self._ui.segmentsTable.connect("selectionChanged(QItemSelection,QItemSelection)", self._on_selection)
        self._ui.addObjectButton.connect("clicked()", self.add_object)
        self._ui.seedButton.connect("clicked()", self.seed)
        for kind in KINDS:
            self._button(kind).connect("clicked()", lambda *_args, kind=kind: self.place(kind))
        self._ui.promptList.connect("currentRowChanged(int)", self._on_change)
        self._ui.promptList.connect("itemClicked(QListWidgetItem*)", self._on_prompt)
        self._ui.removeButton.connect("clicked()", self.remove)
        self._ui.removeAllButton.connect("clicked()", self.remove_all)
        self._ui.takeBackButton.connect("clicked()", self.take_back)
        self._ui.applyButton.connect("clicked()", self._on_apply)

    def update(self, state: State) -> None:
        """Draw the state."""
        segmentation = self._shared.coordinator.segmentation
        if self._ui.segmentsTable.segmentationNode() is not segmentation:
            self._ui.segmentsTable.setSegmentationNode(segmentation)
        self._update_list()
        self._update_placing(state)
        self._update_buttons(state)

    def add_object(self, *_args: object) -> None:
        """Add a segment and select it."""
        self._shared.add_object()
        self.update(self._shared.coordinator.state)

    def place(self, kind: str) -> None:
        """Begin or end to place prompts of a kind."""
        if not self._button(kind).enabled:
            return
        placing = self._shared.placing
        if placing.kind == kind:
            placing.end()
        elif self._shared.ensure_ready():
            placing.begin(kind, self._shared.segment_id)
        self._update_placing(self._shared.coordinator.state)

    def seed(self, *_args: object) -> None:
        """Make the selected segment on the current frame a prompt."""
        if self._shared.ensure_ready():
            coordinator = self._shared.coordinator
            one = coordinator.object_of(self._shared.segment_id)
            coordinator.marks.seeds.from_segment(one, coordinator.state.frame)

    def remove(self, *_args: object) -> None:
        """Remove the selected prompts."""
        row = self._ui.promptList.currentRow
        if 0 <= row < len(self._keys):
            self._shared.coordinator.set_prompts(self._shared.coordinator.notes.prompts.without(*self._keys[row]))

    def remove_all(self, *_args: object) -> None:
        """Remove all prompts."""
        self._shared.coordinator.set_prompts(self._shared.coordinator.notes.prompts.without())

    def take_back(self, *_args: object) -> None:
        """Make the prompts what they were before the last step."""
        notes = self._shared.coordinator.notes
        if notes is not None and notes.history.last is not None:
            self._shared.coordinator.set_prompts(notes.history.last)

    def _button(self, kind: str):
        return getattr(self._ui, f"{kind}Button")

    def _on_change(self, *_args: object) -> None:
        self.update(self._shared.coordinator.state)

    def _on_selection(self, *_args: object) -> None:
        """What is being placed is for the newly selected segment; prompts of deleted ones go."""
        placing, chosen = self._shared.placing, self._shared.segment_id
        if placing.kind and not chosen:
            placing.end()
        elif placing.kind and placing.segment_id != chosen:
            placing.begin(placing.kind, chosen)
        call_later(self._forget_deleted)  # while a table is being filled, segments may seem to be missing
        self._on_change()

    def _forget_deleted(self) -> None:
        coordinator = self._shared.coordinator
        if coordinator.segmentation is None or coordinator.state.phase is not Phase.IDLE:
            return
        segmentation = coordinator.segmentation.GetSegmentation()
        if any(segmentation.GetSegment(known) is None for known in coordinator.notes.segment_ids.values()):
            coordinator.show_frame(coordinator.state.frame)
            self.update(coordinator.state)

    def _on_prompt(self, *_args: object) -> None:
        row = self._ui.promptList.currentRow
        if 0 <= row < len(self._keys):
            self._shared.viewing.show(self._keys[row][1])

    def _on_apply(self, *_args: object) -> None:
        self._shared.coordinator.apply_preview()

    def _update_list(self) -> None:
        notes = self._shared.coordinator.notes
        prompts = notes.prompts if notes is not None else None
        if prompts is self._drawn:
            return
        self._drawn, row = prompts, self._ui.promptList.currentRow
        self._keys = list(prompts.prompts) if prompts is not None else []
        was_blocked = self._ui.promptList.blockSignals(True)
        self._ui.promptList.clear()
        for one, frame in self._keys:
            name, place = self._shared.segment_name(one), self._shared.frame_text(frame)
            self._ui.promptList.addItem(f"{name}, {place}: {describe(prompts.get(one, frame))}")
        self._ui.promptList.currentRow = min(row, len(self._keys) - 1)
        self._ui.promptList.blockSignals(was_blocked)

    def _update_placing(self, state: State) -> None:
        reason = state.why_not(Action.PROMPT) or self._segment_reason()
        tips = {
            "positive": _("Click on the object, as often as you like (key 1)."),
            "negative": _("Click beside the object, where the preview is wrong (key 2)."),
            "box": _("Click on two corners around the object; replaces its box on this frame (key 3)."),
            "lasso": _("Hold the left button and draw around the object: exactly this is it on this frame (key 4)."),
            "stroke": _("Hold the left button and draw over the object; the stroke becomes points (key 5)."),
            "negativeStroke": _("Hold the left button and draw over what is not the object (key 6)."),
        }
        for kind in KINDS:
            enable(self._button(kind), reason, tips[kind])
            set_silently(self._button(kind), checked=self._shared.placing.kind == kind)

    def _update_buttons(self, state: State) -> None:
        ui = self._ui
        no_input = "" if self._shared.coordinator.stack is not None else state.why_not(Action.PROMPT)
        busy = _("Wait for the propagation to end, or stop it.") if state.phase is Phase.RUNNING else ""
        enable(ui.addObjectButton, no_input or busy, _("Add a segment for another object."))
        reason = state.why_not(Action.PROMPT) or self._segment_reason()
        enable(ui.seedButton, reason, _("Take what this segment shows on this frame as a prompt."))
        nothing = "" if self._keys else _("There is no prompt.")
        row = ui.promptList.currentRow
        no_row = "" if 0 <= row < len(self._keys) else _("Select a prompt in the list.")
        enable(ui.removeButton, nothing or no_row, _("Remove what the selected line of the list says."))
        notes = self._shared.coordinator.notes
        no_step = "" if notes is not None and notes.history.last is not None else _("There is no step to take back.")
        enable(ui.takeBackButton, no_step, _("Take the last change of the prompts back (key X)."))
        enable(ui.removeAllButton, nothing, _("Remove all prompts of all objects."))
        preview = self._shared.coordinator.preview
        has_preview = preview is not None and preview.result is not None
        no_preview = "" if has_preview else _("There is no preview on this frame.")
        enable(ui.applyButton, busy or no_preview, _("Write the preview into the segments, on this frame only."))

    def _segment_reason(self) -> str:
        if self._shared.segment_id:
            return ""
        node = self._shared.coordinator.segmentation
        has_none = node is None or node.GetSegmentation().GetNumberOfSegments() == 0
        return _("Add an object first.") if has_none else _("Select a segment in the table.")


def describe(prompt: FramePrompt) -> str:
    """What a prompt is made of, for the list."""
    if prompt.mask is not None:
        return _("mask")
    positive = sum(point.positive for point in prompt.points)
    negative = len(prompt.points) - positive
    parts = [_("box")] if prompt.box is not None else []
    parts += [f"+{positive}"] if positive else []
    parts += [f"-{negative}"] if negative else []
    return " ".join(parts)
