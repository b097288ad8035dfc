"""Panel "Measure": size and place of the objects frame by frame, as table, plot and file (layer: ui)."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

from ..core.errors import DDSAM2Error
from ..logic.measuring import Measurement
from ..logic.state import Action, State
from ..logic.viewing import show_results
from .shared import Shared, enable


class MeasurePanel:
    """Measures when asked to; the numbers are a table node and a chart node of the scene."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets."""
        self._shared, self._ui = shared, shared.ui
        self._measurement: Measurement | None = None
        self._owner: object = None
        self._ui.measureButton.connect("clicked()", self.measure)
        self._ui.csvButton.connect("clicked()", self._on_csv)

    def update(self, state: State) -> None:
        """Draw the state."""
        if self._measurement is not None and self._shared.coordinator.segmentation is not self._owner:
            self._measurement, self._ui.measureLabel.text = None, ""
        tip = _("Area or volume, diameter and displacement of every object on every frame.")
        enable(self._ui.measureButton, state.why_not(Action.MEASURE), tip)
        reason = "" if self._measurement is not None else _("Measure first.")
        enable(self._ui.csvButton, reason, _("Write the numbers into a file."))

    def measure(self, *_args: object) -> None:
        """Begin to measure."""
        self._shared.coordinator.measure(self._on_end)

    def write(self, path: str) -> None:
        """Write the numbers into a file."""
        try:
            self._measurement.write_csv(path)
        except DDSAM2Error as error:
            self._shared.tell(str(error))

    def _on_end(self, measurement: Measurement) -> None:
        self._measurement, self._owner = measurement, self._shared.coordinator.segmentation
        table = measurement.create_table()
        show_results(table, measurement.create_chart(table))
        self._ui.measureLabel.text = "\n".join(
            [*summary(measurement), _("The numbers are in the table {name}.").format(name=table.GetName())]
        )
        self.update(self._shared.coordinator.state)

    def _on_csv(self, *_args: object) -> None:
        title = _("Save measurements")
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, "measurements.csv", "CSV (*.csv)")
        if path:
            self.write(path)


def summary(measurement: Measurement) -> list[str]:
    """One line for each object: its volume, or its ejection fraction and how that was computed."""
    lines = []
    for one, name in measurement.objects.items():
        volume_ml = measurement.volume_ml(one)
        if volume_ml is not None:
            lines.append(_("{name}: {volume:.2f} ml").format(name=name, volume=volume_ml))
            continue
        try:
            fraction = measurement.ejection_fraction(one)
        except DDSAM2Error as error:
            lines.append(_("{name}: no ejection fraction. {reason}").format(name=name, reason=error))
            continue
        text = _("{name}: ejection fraction {percent:.0f} %, {method}")
        lines.append(text.format(name=name, percent=fraction.percent, method=fraction.method))
    return lines
