"""Panel "Measure": size and place of the objects frame by frame, as table, plot and file (layer: ui)."""

from __future__ import annotations

import math

import qt
import slicer
from slicer.i18n import tr as _

from ..core.errors import DDSAM2Error
from ..logic.curves import Curves
from ..logic.measuring import Measurement, Quantity
from ..logic.state import Action, State
from ..logic.viewing import show_results
from .shared import Shared, enable

QUANTITIES = (Quantity.SIZE, Quantity.DIAMETER, Quantity.DISPLACEMENT)  # as in the form


class MeasurePanel:
    """Measures when asked to; the numbers are a table node and a chart node of the scene, which follow the views."""

    def __init__(self, shared: Shared) -> None:
        """Connect the widgets."""
        self._shared, self._ui = shared, shared.ui
        self._curves: Curves | None = None
        self._owner: object = None
        self._summary = ""
        self._ui.measureButton.connect("clicked()", self.measure)
        self._ui.csvButton.connect("clicked()", self._on_csv)
        self._ui.quantityCombo.connect("currentIndexChanged(int)", self._on_quantity)
        self.recall()

    def update(self, state: State) -> None:
        """Draw the state."""
        if self._curves is not None and self._shared.coordinator.notes is not self._owner:
            self._forget()  # another input, or none: the numbers say nothing about it
        tip = _("Area or volume, diameter and displacement of every object on every frame.")
        enable(self._ui.measureButton, state.why_not(Action.MEASURE), tip)
        reason = "" if self._curves is not None else _("Measure first.")
        enable(self._ui.csvButton, reason, _("Write the numbers into a file."))
        enable(self._ui.quantityCombo, reason, _("What the chart shows."))
        if self._curves is not None and self._curves.show_frame(state.frame):
            self._show_numbers()

    def recall(self) -> None:
        """A scene was loaded, perhaps with marks of measurements that were made in it."""
        Curves.clean_up(self._curves)

    def measure(self, *_args: object) -> None:
        """Begin to measure."""
        self._shared.coordinator.measure(self._on_end)

    def write(self, path: str) -> None:
        """Write the numbers into a file."""
        try:
            self._curves.measurement.write_csv(path)
        except DDSAM2Error as error:
            self._shared.tell(str(error))

    def _on_end(self, measurement: Measurement) -> None:
        self._forget()
        self._curves, self._owner = Curves(measurement), self._shared.coordinator.notes
        self._on_quantity()
        table = self._curves.table
        show_results(table, self._curves.chart)
        where = _("The numbers are in the table {name}.").format(name=table.GetName())
        self._summary = "\n".join([*summary(measurement), where])
        self._show_numbers()
        self.update(self._shared.coordinator.state)

    def _forget(self) -> None:
        """Marks of an older measurement would not move any more."""
        if self._curves is not None:
            self._curves.close()
        self._curves, self._owner = None, None
        self._ui.measureLabel.text = ""

    def _show_numbers(self) -> None:
        self._ui.measureLabel.text = "\n".join([self._summary, *describe_row(self._curves)])

    def _on_quantity(self, *_args: object) -> None:
        if self._curves is not None:
            self._curves.show_quantity(QUANTITIES[self._ui.quantityCombo.currentIndex])

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


def describe_row(curves: Curves) -> list[str]:
    """What was measured on the frame on display: which one it is, then one line for each object."""
    if curves.row is None:
        return []
    title = _("Time point {row}") if curves.measurement.is_series else _("Frame {row}")
    time_s = curves.time_s()
    title += "" if time_s is None else _(" ({time:.2f} s)").format(time=time_s)
    lines = [title.format(row=curves.row) + ":"]
    for one, name in curves.measurement.objects.items():
        texts = []
        for quantity in QUANTITIES:
            value, (what, unit) = curves.number(one, quantity), curves.measurement.name_and_unit(quantity)
            texts += [] if math.isnan(value) else [f"{what} {value:.2f} {unit}"]
        is_here = curves.number(one, Quantity.SIZE) > 0
        lines.append(f"{name}: " + (", ".join(texts) if is_here else _("not on this frame")))
    return lines
