"""Size and place of every object, frame by frame or time by time, as table, plot and CSV file (layer: logic).

Volumes and clips are measured per frame, series per time point. A volume is the sum of the areas of its slices times
their distance. Displacement is the distance of the centre of mass from where it was when the object first appeared,
within the plane for frames.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ..core.errors import InputError
from ..core.files import replace_when_done
from ..mrml import sequences, tables
from .i18n import _
from .notebook import Notebook
from .stacks import ClipStack, SeriesStack, Stack
from .state import Progress
from .targets import Target

MM3_PER_ML = 1000.0
CLOSED_CYCLE_GAP = 0.5
"""A cycle counts as closed if its two ends differ by at most this fraction of the stroke."""


class Quantity(StrEnum):
    """What is measured of every object in every row."""

    SIZE = "size"  # area of a frame, volume at a time point
    DIAMETER = "diameter"
    DISPLACEMENT = "displacement"


@dataclass
class _Sums:
    """What has been seen of one object in one row of the table."""

    area_mm2: float = 0.0
    weighted: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, area_mm2: float, centre: tuple[float, float, float]) -> None:
        """Add one mask."""
        self.area_mm2 += area_mm2
        self.weighted = [old + area_mm2 * value for old, value in zip(self.weighted, centre, strict=True)]

    @property
    def centre(self) -> tuple[float, ...] | None:
        """Centre of mass, or None if there is nothing."""
        return tuple(value / self.area_mm2 for value in self.weighted) if self.area_mm2 else None


@dataclass(frozen=True)
class EjectionFraction:
    """How much of its largest content an object ejects.

    Attributes:
        percent: (largest - smallest) / largest x 100.
        method: How it was computed, to be shown with it.
    """

    percent: float
    method: str


class Measurement:
    """Reads masks a few at a time; when all are read, the numbers are there."""

    def __init__(self, stack: Stack, notes: Notebook, target: Target, on_end: Callable[[Measurement], object]) -> None:
        """Begin; nothing is read yet.

        Args:
            stack: The input.
            notes: Knows the objects.
            target: Holds the masks.
            on_end: Told when all is measured.
        """
        self._stack, self._target, self._on_end = stack, target, on_end
        segmentation = target.node.GetSegmentation()
        self.objects = {
            one: segmentation.GetSegment(segment_id).GetName() for one, segment_id in sorted(notes.segment_ids.items())
        }
        self.colors = {one: segmentation.GetSegment(notes.segment_ids[one]).GetColor() for one in self.objects}
        self._segment_ids = dict(notes.segment_ids)
        self.is_series = isinstance(stack, SeriesStack)
        self.num_rows = stack.num_times if self.is_series else stack.num_frames
        self._sums = {(one, row): _Sums() for one in self.objects for row in range(self.num_rows)}
        self._total = stack.num_frames * len(self.objects)
        self._num_read = 0
        self._reader = self._read()

    @property
    def progress(self) -> Progress:
        """How far it is, in masks."""
        return Progress(self._num_read, self._total, 0.0, None)

    def work(self, deadline_s: float, clock: Callable[[], float]) -> bool:
        """Read masks until a time, at least one; whether all are read."""
        for _mask in self._reader:
            if clock() >= deadline_s:
                return False
        self._on_end(self)
        return True

    def run(self) -> Measurement:
        """Read all masks at once, for scripts."""
        for _mask in self._reader:
            pass
        return self

    def areas_mm2(self, object_id: int) -> list[float]:
        """Area in each row; for series the sum over the slices."""
        return [self._sums[object_id, row].area_mm2 for row in range(self.num_rows)]

    def volumes_ml(self, object_id: int) -> list[float]:
        """Volume at each time point of a series."""
        step_mm = self._stack.source_of(0)[0].frame_step_mm
        return [area * step_mm / MM3_PER_ML for area in self.areas_mm2(object_id)]

    def volume_ml(self, object_id: int) -> float | None:
        """Volume of an object in a volume; None for sequences."""
        if self.is_series or isinstance(self._stack, ClipStack):
            return None
        return sum(self.areas_mm2(object_id)) * self._stack.frames.frame_step_mm / MM3_PER_ML

    def diameters_mm(self, object_id: int) -> list[float]:
        """Diameter of the disc, for series of the ball, of the same size."""
        if self.is_series:
            return [(6 * MM3_PER_ML * volume / math.pi) ** (1 / 3) for volume in self.volumes_ml(object_id)]
        return [2 * math.sqrt(area / math.pi) for area in self.areas_mm2(object_id)]

    def displacements_mm(self, object_id: int) -> list[float]:
        """Distance of the centre from its first place; not a number where there is no mask."""
        centres = [self._sums[object_id, row].centre for row in range(self.num_rows)]
        first = next((centre for centre in centres if centre is not None), None)
        return [math.nan if centre is None else math.dist(centre, first) for centre in centres]

    def name_and_unit(self, quantity: Quantity) -> tuple[str, str]:
        """What users read for a quantity here, and its unit."""
        if quantity is Quantity.SIZE:
            return (_("volume"), "ml") if self.is_series else (_("area"), "mm2")
        return _("diameter") if quantity is Quantity.DIAMETER else _("displacement"), "mm"

    def axis_title(self, quantity: Quantity) -> str:
        """Name and unit as a chart shows them."""
        what, unit = self.name_and_unit(quantity)
        return f"{what} [{unit}]"

    def title(self, object_id: int, quantity: Quantity) -> str:
        """Title of the column of an object; charts and scripts look it up, so it is the same in every language."""
        what, unit = quantity.value, "mm"
        if quantity is Quantity.SIZE:
            what, unit = ("volume", "ml") if self.is_series else ("area", "mm2")
        return f"{self.objects[object_id]} {what} [{unit}]"

    def values(self, object_id: int, quantity: Quantity) -> list[float]:
        """One number for each row."""
        if quantity is Quantity.SIZE:
            return self.volumes_ml(object_id) if self.is_series else self.areas_mm2(object_id)
        return self.diameters_mm(object_id) if quantity is Quantity.DIAMETER else self.displacements_mm(object_id)

    def columns(self) -> dict[str, list[float]]:
        """All numbers by title, with units."""
        return {self.title(one, quantity): self.values(one, quantity) for one in self.objects for quantity in Quantity}

    def row_of(self, frame: int | None) -> int | None:
        """Row of a frame: the frame itself, in a series its time point; None if nothing of it was measured."""
        row = frame if frame is None or not self.is_series else frame // self._stack.num_slices
        return row if row is not None and 0 <= row < self.num_rows else None

    def ejection_fraction(self, object_id: int) -> EjectionFraction:
        """Stroke over largest content of one closed cycle.

        Raises:
            InputError: If the input has no time, the object is never there, or the cycle is not closed.
        """
        name = self.objects[object_id]
        if not (self.is_series or isinstance(self._stack, ClipStack)):
            msg = _("An ejection fraction needs a time series; this is a single volume.")
            raise InputError(msg)
        content = self.values(object_id, Quantity.SIZE)
        largest, smallest = max(content), min(content)
        if largest == 0:
            msg = _("{name!r} is empty on all frames. Propagate it first.").format(name=name)
            raise InputError(msg)
        if abs(content[0] - content[-1]) > CLOSED_CYCLE_GAP * (largest - smallest):
            msg = _(
                "{name!r} does not come back to its first size, so this is not one closed cycle. "
                "Use a sequence of one heart beat."
            ).format(name=name)
            raise InputError(msg)
        if self.is_series:
            text = _(
                "(largest - smallest) / largest volume (sum of slice areas times slice distance) "
                "over {count} time points"
            )
        else:
            text = _("(largest - smallest) / largest area of this one slice over {count} time points")
        return EjectionFraction(100 * (largest - smallest) / largest, text.format(count=self.num_rows))

    def index(self) -> tuple[str, list[float]] | None:
        """Title and values of the time axis, if times are known."""
        sequence = getattr(self._stack, "sequence", None)
        times_s = sequences.item_times_s(sequence) if sequence is not None else None
        return None if times_s is None else ("time [s]", list(times_s))

    def create_table(self, name: str = ""):
        """Add a table node with all numbers; it gets a name if none is given."""
        name = name or _("DD-SAM2 measurements")
        return tables.create_table(name, self.columns(), list(range(self.num_rows)), self.index())

    def create_chart(self, table):
        """Add a chart of areas, for series of volumes, against time or frame."""
        colors = {self.title(one, Quantity.SIZE): tuple(self.colors[one]) for one in self.objects}
        index = self.index()
        x_title = index[0] if index else tables.FRAME_COLUMN
        return tables.create_chart(table, x_title, colors, self.axis_title(Quantity.SIZE))

    def write_csv(self, path: str | Path) -> None:
        """Write all numbers into a file.

        Raises:
            OutputError: If it cannot be written, on a full disk for example; a file that was there stays as it was.
        """
        columns = {tables.FRAME_COLUMN: list(range(self.num_rows)), **dict([self.index()] if self.index() else [])}
        columns |= self.columns()
        with replace_when_done(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))

    def _read(self) -> Iterator[None]:
        """Read one mask after the other."""
        for frame in range(self._stack.num_frames):
            source, index = self._stack.source_of(frame)
            column_mm, row_mm = source.pixel_spacing_mm
            row = frame // self._stack.num_slices if self.is_series else frame
            depth_mm = index * (source.frame_step_mm or 0.0) if self.is_series else 0.0
            for one in self.objects:
                rows, columns = self._target.read(self._segment_ids[one], frame).nonzero()
                if rows.size:
                    centre = float(columns.mean()) * column_mm, float(rows.mean()) * row_mm, depth_mm
                    self._sums[one, row].add(rows.size * column_mm * row_mm, centre)
                self._num_read += 1
                yield
