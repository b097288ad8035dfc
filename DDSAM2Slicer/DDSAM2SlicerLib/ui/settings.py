"""Panel "Settings": how the engine works and where; a change counts from the next preview or run on (layer: ui)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from slicer.i18n import tr as _

from ..core.settings import EngineSettings
from ..logic.state import Phase, State
from .shared import Shared, enable, set_silently

# type of a setting: property of its widget, and the signal that tells of a change
ACCESS = {
    "bool": ("checked", "toggled(bool)"),
    "int": ("value", "valueChanged(int)"),
    "str": ("currentText", "currentTextChanged(QString)"),
}


class SettingsPanel:
    """Shows settings as their schema declares them, and the command that starts the worker."""

    def __init__(self, shared: Shared, on_change: Callable[[], object]) -> None:
        """Connect the widgets.

        Args:
            shared: Takes the settings.
            on_change: Told that they are others now.
        """
        self._shared, self._ui, self._on_change = shared, shared.ui, on_change
        ui = self._ui
        self._widgets = {
            "zoom": ui.zoomCheck,
            "memory_rule": ui.memoryRuleCombo,
            "stop_after_empty": ui.stopAfterEmptySpin,
            "mask_prior": ui.maskPriorCheck,
            "memory_use": ui.memoryUseCombo,
            "non_overlap": ui.nonOverlapCheck,
            "fill_holes_px": ui.fillHolesSpin,
            "keep_largest": ui.keepLargestCheck,
            "precision": ui.precisionCombo,
        }
        self._declared = {one.name: one for one in fields(EngineSettings) if one.name in self._widgets}
        self._command, self._confirmed = "", {""}
        self._is_running: bool | None = None
        for name, widget in self._widgets.items():
            self._prepare(name, widget)
        ui.commandEdit.connect("editingFinished()", self._on_edited)
        ui.commandEdit.connect("returnPressed()", self._on_command)
        self.recall()

    def update(self, state: State) -> None:
        """Draw the state."""
        is_running = state.phase in (Phase.RUNNING, Phase.STOPPING)
        if is_running != self._is_running:
            self._is_running = is_running
            for name, widget in self._widgets.items():
                enable(widget, self._busy(), self._declared[name].metadata["text"])
            self._draw_command()

    def recall(self) -> None:
        """Show what the scene remembers."""
        parameters = self._shared.parameters
        if parameters is not None:
            for name, widget in self._widgets.items():
                set_silently(widget, **{ACCESS[self._declared[name].type][0]: getattr(parameters, camel_case(name))})
            self._recall_command(parameters.workerCommand)
        self._on_setting()

    def _prepare(self, name: str, widget) -> None:
        """Give a widget the choices, the lower bound and the default of its setting."""
        declared = self._declared[name]
        for choice in declared.metadata["choices"]:
            widget.addItem(choice)
        if declared.type == "int":
            widget.minimum = declared.metadata["low"]
        attribute, signal = ACCESS[declared.type]
        set_silently(widget, **{attribute: declared.default})
        widget.connect(signal, self._on_setting)

    def _on_setting(self, *_args: object) -> None:
        values = {name: getattr(widget, ACCESS[self._declared[name].type][0]) for name, widget in self._widgets.items()}
        self._shared.settings = EngineSettings(**values)
        self._shared.remember(**{camel_case(name): value for name, value in values.items()})
        self._on_change()

    def _on_edited(self, *_args: object) -> None:
        if self._ui.commandEdit.modified:  # to click into the line and away again confirms nothing
            self._on_command()

    def _on_command(self, *_args: object) -> None:
        command = self._ui.commandEdit.text.strip()
        self._ui.commandEdit.modified = False
        self._confirmed.add(command)
        self._use_command(command)
        self._shared.remember(workerCommand=command)

    def _recall_command(self, command: str) -> None:
        """Show a scene's command; a scene may come from anybody, so one that is new here waits for the user."""
        set_silently(self._ui.commandEdit, text=command)
        if command in self._confirmed:
            self._use_command(command)
        else:
            self._draw_command()
            self._shared.tell(_("This scene names a worker command. To use it press Return in its line in Settings."))

    def _use_command(self, command: str) -> None:
        self._command = command
        self._shared.coordinator.choose_worker(command)
        self._draw_command()

    def _draw_command(self) -> None:
        tip = _("Command that starts the worker elsewhere, as ssh HOST ddsam2 worker; empty for this computer.")
        if self._ui.commandEdit.text.strip() != self._command:
            tip = _("Not used yet: press Return to start workers with this command.")
        enable(self._ui.commandEdit, self._busy(), tip)

    def _busy(self) -> str:
        return _("Wait for the propagation to end, or stop it.") if self._is_running else ""


def camel_case(name: str) -> str:
    """Name of a setting in the parameter node."""
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))
