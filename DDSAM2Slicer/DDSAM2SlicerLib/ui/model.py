"""Panel "Model": which model, whether it is here, and where it runs (layer: ui)."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..logic.model_list import ModelRow
from ..logic.state import Phase, State
from .shared import Shared, enable, set_silently

FILE_FILTER = "*.pt *.pth *.safetensors"
ADAPTER_FILTER = "*.safetensors"


class ModelPanel:
    """Lists the models; a choice counts at once, loading waits until the model is needed."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets and choose the default model."""
        self._shared, self._ui, self._models = shared, shared.ui, shared.models
        self._names = [row.name for row in self._models.rows()]
        self._adapters = ""
        self._is_running: bool | None = None
        self._ui.modelCombo.clear()
        for name in self._names:
            self._ui.modelCombo.addItem(name)
        self._ui.modelCombo.connect("currentIndexChanged(int)", self._on_choice)
        self._ui.deviceCombo.connect("currentTextChanged(QString)", self._on_choice)
        self._ui.fileButton.connect("clicked()", self._on_file)
        self._ui.adaptersButton.connect("clicked()", self._on_adapters)
        self._ui.noAdaptersButton.connect("clicked()", lambda *_args: self.use_adapters(""))
        self._ui.downloadButton.connect("clicked()", self._on_download)
        self._ui.deleteButton.connect("clicked()", self._on_delete)
        self._models.changed.connect(self.refresh)
        self.recall()

    @property
    def chosen(self) -> str:
        """Name of the chosen model, or path of the chosen file."""
        return self._names[max(self._ui.modelCombo.currentIndex, 0)]

    def update(self, state: State) -> None:
        """Draw the state."""
        is_running = state.phase in (Phase.RUNNING, Phase.STOPPING)
        if is_running != self._is_running:
            self._is_running = is_running
            self._draw_choices()

    def refresh(self) -> None:
        """Draw the state of the chosen model and of a download."""
        percent = self._models.percent
        self._ui.downloadBar.visible = percent is not None
        if percent is not None:
            self._ui.downloadBar.value = percent
        if self._models.error:
            self._shared.tell(self._models.error)
        if self.chosen not in [row.name for row in self._models.rows()]:
            self._ui.modelInfoLabel.text = _("Your own file: {path}").format(path=self.chosen)
            enable(self._ui.downloadButton, _("This is a file of your own."), "")
            enable(self._ui.deleteButton, _("Files of your own are not deleted here."), "")
            return
        row = self._models.row(self.chosen)
        self._ui.modelInfoLabel.text = describe(row)
        if percent is not None:
            self._ui.downloadButton.text = _("Cancel download")
            enable(self._ui.downloadButton, "", _("Stop; what has arrived is kept for the next try."))
        else:
            self._ui.downloadButton.text = _("Download")
            reason = "" if row.state == "missing" else _("The model is on this computer.")
            enable(self._ui.downloadButton, reason, _("Download this model ({size} MB).").format(size=row.size_mib))
        reasons = {"shipped": _("This model is part of the extension."), "ready": ""}
        reason = reasons.get(row.state, _("The model is not on this computer."))
        enable(self._ui.deleteButton, reason, _("Delete the downloaded file."))

    def choose(self) -> None:
        """Use model, device, adapters and settings as they are shown."""
        device = self._ui.deviceCombo.currentText or "auto"
        self._shared.coordinator.choose_model(self.chosen, device, self._shared.settings, self._adapters)
        self._shared.remember(model=self.chosen, device=device, adapterFile=self._adapters)

    def add_file(self, path: str) -> None:
        """Offer a file in the list and choose it."""
        self._offer(path)
        self._ui.modelCombo.currentIndex = self._names.index(path)

    def use_adapters(self, path: str) -> None:
        """Use the adapters of a file with whatever model is chosen; an empty path ends that."""
        self._adapters = path
        self._on_choice()

    def recall(self) -> None:
        """Show what the scene remembers."""
        parameters = self._shared.parameters
        if parameters is not None:
            name = parameters.model or self.chosen
            self._offer(name)
            set_silently(self._ui.modelCombo, currentIndex=self._names.index(name))
            set_silently(self._ui.deviceCombo, currentText=parameters.device or "auto")
            self._adapters = parameters.adapterFile
        self._on_choice()

    def _offer(self, path: str) -> None:
        if path not in self._names:
            self._names.append(path)
            self._ui.modelCombo.addItem(Path(path).name)

    def _draw_choices(self) -> None:
        """Draw what can be chosen now, and the adapters."""
        ui, busy = self._ui, _("Wait for the propagation to end, or stop it.") if self._is_running else ""
        enable(ui.modelCombo, busy, _("Small models are quick; larger ones want a graphics card."))
        enable(ui.deviceCombo, busy, _('Where the model runs; "auto" takes a graphics card if there is one.'))
        enable(ui.fileButton, busy, _("Use a model file of your own: SAM 2, MedSAM2, DD-SAM2 or one you have trained."))
        enable(ui.adaptersButton, busy, _("Use adapters that were saved after fine-tuning the chosen model."))
        none = "" if self._adapters else _("No adapter file is chosen.")
        enable(ui.noAdaptersButton, busy or none, _("Use the model with the adapters of its own, if it has any."))
        ui.adaptersLabel.text = Path(self._adapters).name or _("none")
        ui.adaptersLabel.toolTip = self._adapters or _("The model is used as it is.")

    def _on_choice(self, *_args: object) -> None:
        self.choose()
        self._draw_choices()
        self.refresh()

    def _on_file(self, *_args: object) -> None:
        title = _("Choose a model file")
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", f"{_('Models')} ({FILE_FILTER})")
        if path:
            self.add_file(path)

    def _on_adapters(self, *_args: object) -> None:
        title, kind = _("Choose an adapter file"), _("Adapters")
        path = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", f"{kind} ({ADAPTER_FILTER})")
        if path:
            self.use_adapters(path)

    def _on_download(self, *_args: object) -> None:
        if self._models.percent is not None:
            self._models.cancel()
        else:
            self._models.download(self.chosen)

    def _on_delete(self, *_args: object) -> None:
        question = _("Delete the downloaded model {name}?").format(name=self.chosen)
        if slicer.util.confirmYesNoDisplay(question):
            self._models.delete(self.chosen)


def describe(row: ModelRow) -> str:
    """Size, input size, licence and state of a model, as one line."""
    states = {
        "shipped": _("part of the extension"),
        "ready": _("downloaded"),
        "missing": _("not on this computer"),
        "downloading": _("being downloaded"),
    }
    size = f"{row.size_mib} MB, " if row.size_mib else ""
    return f"{size}{row.input_size} px, {row.licence}; {states[row.state]}"
