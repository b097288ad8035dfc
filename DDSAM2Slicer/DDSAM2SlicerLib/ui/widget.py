"""The module's panel: loads the form, hands it to the panels, and draws the state (layer: ui)."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..logic.coordinator import Coordinator
from ..logic.install import Installer
from ..logic.model_list import ModelList
from ..logic.placing import Placing
from ..logic.process_transport import ProcessTransport
from ..logic.state import Phase, State
from ..logic.viewing import Viewing
from .inputs import InputsPanel
from .measure import MeasurePanel
from .model import ModelPanel
from .prompts import PromptsPanel
from .propagate import PropagatePanel
from .review import ReviewPanel
from .settings import SettingsPanel
from .shared import Shared

KEYS = {
    "1": "positiveButton",
    "2": "negativeButton",
    "3": "boxButton",
    "4": "lassoButton",
    "5": "strokeButton",
    "6": "negativeStrokeButton",
    "X": "takeBackButton",
    "P": "propagateButton",
    "U": "updateButton",
    "N": "nextButton",
    "L": "lockButton",
    "Escape": "stopButton",
    "Z": "undoButton",
    "Y": "redoButton",
}
"""Plain keys only: Ctrl+Z and Ctrl+Y are Slicer's own."""


def ask(question: str) -> bool:
    """Ask the user, in a window."""
    return bool(slicer.util.confirmOkCancelDisplay(question, windowTitle="DDSAM2Slicer"))


class Panel:
    """All panels together; built when the module is opened, active while it is shown."""

    def __init__(
        self,
        ui: Any,
        parameters: Any = None,
        coordinator: Coordinator | None = None,
        installer: Installer | None = None,
        models: ModelList | None = None,
    ) -> None:
        """Connect everything; nothing is installed, loaded or started.

        Args:
            ui: Widgets of the form by name.
            parameters: The module's parameter node, or None.
            coordinator: Does the work.
            installer: Installs what is missing when it is first needed.
            models: Models to choose from.
        """
        self.ui = ui
        self._installer, self._is_ready = installer or Installer(ask), False
        self.coordinator = coordinator or Coordinator(ProcessTransport(prepare=self.why_not_ready))
        self._told = ""
        self._shortcuts: list = []
        viewing, placing = Viewing(self.coordinator), Placing(self.coordinator, self._on_placing)
        models = models or ModelList()
        self.shared = Shared(ui, self.coordinator, viewing, placing, models, self.tell, self.ensure_ready, parameters)
        self.inputs, self.model = InputsPanel(self.shared), ModelPanel(self.shared)
        self.settings = SettingsPanel(self.shared, self.model.choose)
        self.prompts, self.propagate = PromptsPanel(self.shared), PropagatePanel(self.shared)
        self.review, self.measure = ReviewPanel(self.shared), MeasurePanel(self.shared)
        self._panels = self.inputs, self.model, self.settings, self.prompts, self.propagate, self.review, self.measure
        self._leave = self.coordinator.state_changed.connect(self.update)
        self.update(self.coordinator.state)

    def update(self, state: State) -> None:
        """Draw the state."""
        if state.notice or state.error or state.phase is Phase.RUNNING:
            self._told = state.notice  # a notice stays until there is other news: previews come and go
        self.ui.statusLabel.text = state.error or self._told
        for panel in self._panels:
            panel.update(state)

    def tell(self, sentence: str) -> None:
        """Show a sentence until there is other news."""
        self._told = sentence
        self.ui.statusLabel.text = sentence

    def ensure_ready(self) -> bool:
        """Whether everything needed is installed; asks once to install what is missing."""
        if self.coordinator.is_elsewhere:
            return True
        if not self._is_ready:
            outcome = self._installer.ensure()
            self._is_ready = outcome.is_ready
            self.tell(outcome.sentence)
        return self._is_ready

    def why_not_ready(self) -> str:
        """Why no worker can be started now; previews of a saved scene must not open a window by themselves."""
        if self._is_ready or not self._installer.missing():
            return ""
        return _("Python packages are missing. Place a prompt or press Propagate to install them.")

    def recall(self, parameters: Any) -> None:
        """Select what another scene remembers."""
        self.shared.parameters = parameters
        for panel in (self.inputs, self.model, self.settings, self.propagate, self.measure):
            panel.recall()

    def enter(self) -> None:
        """The module is shown: its keys work now.

        They belong to the main window, because the mouse is over a slice view when they are wanted. Text fields, spin
        boxes and the Python console come first while one types there: Qt offers them each plain key beforehand
        (ShortcutOverride), and they take it.
        """
        self.exit()
        window = slicer.util.mainWindow()
        for key, name in KEYS.items() if window is not None else ():
            button = getattr(self.ui, name)
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", lambda button=button: self._press(button))
            self._shortcuts.append(shortcut)
        self.inputs.suggest()
        self.shared.viewing.update()
        self.update(self.coordinator.state)  # segments may have been added or removed elsewhere

    def exit(self) -> None:
        """Another module is shown: the keys are given back."""
        self.shared.placing.end()
        for shortcut in self._shortcuts:
            shortcut.disconnect("activated()")
            shortcut.setParent(None)
        self._shortcuts = []

    def close(self) -> None:
        """End everything, the worker too."""
        self.exit()
        self._leave()
        self.shared.models.cancel()
        self.shared.placing.close()
        self.shared.viewing.close()
        self.coordinator.close()

    def _press(self, button: Any) -> None:
        """A key was pressed; that of the button Stop ends placing before it ends anything else."""
        if button is self.ui.stopButton and self.shared.placing.kind:
            self.shared.placing.end()
        else:
            button.click()  # a disabled button does nothing

    def _on_placing(self) -> None:
        self.prompts.update(self.coordinator.state)
