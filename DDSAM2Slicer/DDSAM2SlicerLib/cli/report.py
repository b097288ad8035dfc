"""Reports: a table of area, volume and score per frame, a curve, and a montage of overlays (layer: cli)."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.files import replace_when_done, write_text
from ..core.review import certainty
from .tracking import Measured, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = (
    "object",
    "name",
    "time",
    "frame",
    "prompted",
    "area_px",
    "area_mm2",
    "volume_mm3",
    "score",
    "iou",
    "object_score",
    "overlap",
    "ended",
)
MONTAGE_COLUMNS = 6
MONTAGE_ROWS = 3
MONTAGE_MARGIN = 0.3
"""Space around the objects, as a fraction of their size."""
DPI = 110


def write_report(outcome: Outcome, folder: str | Path, stem: str = "report") -> list[Path]:
    """Write ``<stem>.csv``, ``<stem>_curve.png`` and ``<stem>_montage.png``; returns their paths.

    Raises:
        OutputError: If the folder cannot be written.
    """
    folder = Path(folder)
    table, curve, montage = (folder / f"{stem}{ending}" for ending in (".csv", "_curve.png", "_montage.png"))
    write_text(table, to_csv(outcome))
    for path, draw in ((curve, draw_curve), (montage, draw_montage)):
        figure = draw(outcome)
        with replace_when_done(path) as temporary:
            figure.savefig(temporary, dpi=DPI)
    return [table, curve, montage]


def to_csv(outcome: Outcome) -> str:
    """One row per object, time point and frame; columns in mm are empty where pixels have no size."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    pixel_mm2, step_mm = _pixel_size(outcome)
    for one in outcome.measured:
        score = one.score
        area_mm2 = None if pixel_mm2 is None else score.area * pixel_mm2
        volume_mm3 = None if area_mm2 is None or step_mm is None else area_mm2 * step_mm
        writer.writerow(
            [
                one.object_id,
                outcome.labels.name(one.object_id),
                _time(outcome, one.time),
                one.frame,
                int(outcome.is_prompted(one.time, one.frame, one.object_id)),
                score.area,
                *("" if value is None else f"{value:.3f}" for value in (area_mm2, volume_mm3)),
                *(f"{value:.4f}" for value in (certainty(score), score.iou, score.object_score, score.overlap)),
                int(score.ended),
            ]
        )
    return text.getvalue()


def draw_curve(outcome: Outcome) -> Figure:
    """Area per frame and, below, the score; for 3D+t the volume per time point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for object_id in outcome.labels.masks:
        rows = [one for one in outcome.measured if one.object_id == object_id]
        style = {"color": outcome.labels.colour(object_id), "marker": ".", "label": outcome.labels.name(object_id)}
        positions, sizes, scores = _curve_of(outcome, rows)
        upper.plot(positions, sizes, **style)
        lower.plot(positions, scores, **style)
    upper.set_ylabel(_size_label(outcome))
    upper.set_ylim(bottom=0)
    upper.legend(loc="best", frameon=False)
    lower.set(ylabel="score", ylim=(0, 1.05), xlabel=_position_label(outcome))
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_montage(outcome: Outcome) -> Figure:
    """Frames spread over the range of the objects, with their outlines; prompted frames have a white title."""
    from matplotlib.figure import Figure

    shown = _choose_frames(outcome)
    columns = min(MONTAGE_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    column_mm, row_mm = outcome.stack.source().pixel_spacing_mm
    window = _find_window(outcome)
    shape = (window[3] - window[2]) * row_mm / ((window[1] - window[0]) * column_mm)
    figure = Figure(figsize=(2.2 * columns, (2.2 * shape + 0.25) * rows), layout="constrained", facecolor="black")
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
        if shown:
            _draw_frame(axes, outcome, *shown.pop(0), window)
            axes.set_aspect(row_mm / column_mm)
    return figure


def _draw_frame(axes: Axes, outcome: Outcome, time: int, frame: int, window: tuple[float, ...]) -> None:
    """One picture with the outline of every object."""
    axes.imshow(outcome.stack.picture(time, frame), cmap="gray", vmin=0, vmax=255)
    for object_id, masks in outcome.labels.masks.items():
        mask = outcome.stack.view(masks, time, frame)
        if mask.any():
            # A frame of zeros around it closes the outline of an object that touches the border.
            rows, columns = np.arange(-1, mask.shape[0] + 1), np.arange(-1, mask.shape[1] + 1)
            axes.contour(
                columns, rows, np.pad(mask, 1), [0.5], colors=[outcome.labels.colour(object_id)], linewidths=1.2
            )
    flip_columns, flip_rows = _display_flips(outcome)
    columns, rows = window[:2], window[3:1:-1]
    axes.set(xlim=columns[::-1] if flip_columns else columns, ylim=rows[::-1] if flip_rows else rows)
    is_prompted = outcome.is_prompted(time, frame)
    title = f"frame {frame}" if not outcome.stack.image.is_series else f"time {time}, slice {frame}"
    axes.set_title(f"{title} (prompt)" if is_prompted else title, fontsize=8, color="white" if is_prompted else "0.65")


def _find_window(outcome: Outcome) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the part of the frames to show: all objects on all frames, and a margin."""
    source = outcome.stack.source()
    seen = np.zeros((source.height, source.width), bool)
    for one in outcome.measured:
        seen |= outcome.stack.view(outcome.labels.masks[one.object_id], one.time, one.frame)
    bounds = []
    for size, used in (
        (source.width, np.flatnonzero(seen.any(axis=0))),
        (source.height, np.flatnonzero(seen.any(axis=1))),
    ):
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, size - 1)
        margin = MONTAGE_MARGIN * (last - first + 1)
        bounds += [max(-0.5, first - margin), min(size - 0.5, last + margin)]
    return tuple(bounds)


def _display_flips(outcome: Outcome) -> tuple[bool, bool]:
    """Whether to mirror columns and rows of a volume, so that right (or anterior) is left and superior is up."""
    if outcome.stack.axis is None:
        return False, False
    steps = outcome.stack.source().pixel_to_ras(0)[:3, :2]
    column, row = (float(step[np.abs(step).argmax()]) for step in steps.T)
    return column > 0, row > 0


def _choose_frames(outcome: Outcome) -> list[tuple[int, int]]:
    """(time, frame) pairs to show: evenly spread where objects are, the first prompted frame among them."""
    frames = sorted({(one.time, one.frame) for one in outcome.measured if one.score.area})
    prompted = (outcome.plan.time, outcome.plan.prompts.frames()[0])
    if outcome.stack.axis is None:
        prompted = (prompted[1], prompted[1])
    if outcome.stack.image.is_series:
        frames = [pair for pair in frames if pair[1] == prompted[1]]
    if not frames:
        return [prompted]
    number = min(len(frames), MONTAGE_COLUMNS * MONTAGE_ROWS)
    spread = {frames[round(index)] for index in np.linspace(0, len(frames) - 1, number)}
    nearest = min(spread, key=lambda pair: abs(pair[0] - prompted[0]) + abs(pair[1] - prompted[1]))
    return sorted(spread - {nearest} | {prompted})


def _pixel_size(outcome: Outcome) -> tuple[float | None, float | None]:
    """Area of a pixel and distance of frames; None where unknown."""
    if not outcome.stack.image.is_calibrated:
        return None, None
    source = outcome.stack.source()
    column_mm, row_mm = source.pixel_spacing_mm
    return column_mm * row_mm, source.frame_step_mm


def _time(outcome: Outcome, time: int) -> str:
    """Time in seconds where it is known, else its number."""
    times = outcome.stack.image.times_s
    return f"{times[time]:.6g}" if times else str(time)


def _curve_of(outcome: Outcome, rows: list[Measured]) -> tuple[list[float], list[float], list[float]]:
    """Positions, sizes and scores of one object's curve."""
    pixel_mm2, step_mm = _pixel_size(outcome)
    unit = pixel_mm2 or 1.0
    if not outcome.stack.image.is_series:
        areas, scores = [one.score.area * unit for one in rows], [certainty(one.score) for one in rows]
        return [one.frame for one in rows], areas, scores
    times = sorted({one.time for one in rows})
    by_time = [[one for one in rows if one.time == time] for time in times]
    volumes = [sum(one.score.area for one in group) * unit * (step_mm or 1.0) / 1000 for group in by_time]
    scores = [float(np.mean([certainty(one.score) for one in group])) for group in by_time]
    return [float(_time(outcome, time)) for time in times], volumes, scores


def _size_label(outcome: Outcome) -> str:
    """What the upper curve shows."""
    if outcome.stack.image.is_series:
        return "volume (ml)"
    return "area (mm²)" if outcome.stack.image.is_calibrated else "area (pixels)"


def _position_label(outcome: Outcome) -> str:
    """What the curves run along."""
    if not outcome.stack.image.is_series:
        return "frame"
    return "time (s)" if outcome.stack.image.times_s else "time point"
