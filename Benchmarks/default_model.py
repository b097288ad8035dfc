"""Everything that Docs/default_model.md shows: figures of an evaluation as a table, training curves, montages.

    ddsam2 evaluate ../shared/data --jobs 2 --json report.json
    python Benchmarks/default_model.py ../shared/data --report report.json

Prints the table and writes ``Docs/default_model/``: ``worst.jpg`` (the tasks of lowest Dice, truth beside result),
``curves.png`` (from ``log.csv`` there, which a training run leaves) and one montage per real time series.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "DDSAM2Slicer"))

from DDSAM2SlicerLib.cli.demo import VENTRICLE_BOX, find_heart  # noqa: E402
from DDSAM2SlicerLib.cli.evaluate import summarise  # noqa: E402
from DDSAM2SlicerLib.cli.readers import read_image  # noqa: E402
from DDSAM2SlicerLib.cli.report import draw_montage  # noqa: E402
from DDSAM2SlicerLib.cli.stack import make_stack  # noqa: E402
from DDSAM2SlicerLib.cli.tasks import Task, iter_tasks  # noqa: E402
from DDSAM2SlicerLib.cli.tracking import Plan, track  # noqa: E402
from DDSAM2SlicerLib.core.frames import VolumeFrames  # noqa: E402
from DDSAM2SlicerLib.core.geometry import Axis  # noqa: E402
from DDSAM2SlicerLib.core.plan import Direction, FrameRange  # noqa: E402
from DDSAM2SlicerLib.core.prompts import Box, PromptSet  # noqa: E402
from DDSAM2SlicerLib.engine.predictor import load_predictor  # noqa: E402

FOLDER = REPOSITORY / "Docs" / "default_model"
COLUMNS = (
    ("mask", "model"),
    ("mask", "copy"),
    ("mask", "demons"),
    ("mask", "growcut"),
    ("box", "model_prompted_slice"),
    ("box", "model"),
    ("click", "model_prompted_slice"),
    ("click", "model"),
    ("clicks", "model_prompted_slice"),
    ("clicks", "model"),
)
HEADER = "mask | copied | demons | grow-cut | box, given | box | click, given | click | 3 clicks, given | 3 clicks"
SEQUENCES = {
    "heart_ultrasound": (None, 0, VENTRICLE_BOX),
    "bone_ultrasound": ("timeseries_us/BoneUltrasound_L14.igs.mha", 0, Box(180, 262, 530, 600)),
    "prostate_ultrasound": ("timeseries_us/Prostate10_video.igs.mhd", 0, Box(360, 118, 500, 366)),
    "breast_dce": ("breast_dce/UCSF-BR-06_crop_half_4d.nrrd", 27, Box(3, 8, 54, 62)),
}
"""File, prompted frame (of the first time point) and box; the heart comes with pydicom."""
NUM_WORST = 5
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Where in an object's range the slices of a failure are taken."""
JPEG = {"dpi": 80, "pil_kwargs": {"quality": 85}}


def main() -> int:
    """Write all that the arguments allow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the public images")
    parser.add_argument("--report", type=Path, required=True, help="JSON of ddsam2 evaluate")
    parser.add_argument("--model", default="nano")
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    report = json.loads(options.report.read_text())
    sys.stdout.write(make_table(report["tasks"]))
    draw_curves(FOLDER / "log.csv", FOLDER / "curves.png")
    predictor = load_predictor(options.model)
    for name in SEQUENCES:
        draw_sequence(predictor, options.data, name)
    draw_worst(predictor, options.data, report["tasks"])
    return 0


def make_table(rows: list[dict[str, Any]]) -> str:
    """Mean Dice per modality and data set, and on how many tasks the model beats demons, as Markdown."""
    lines = [f"| | tasks | better than demons | {HEADER} |", "|---" * (len(COLUMNS) + 3) + "|"]
    groups = [("**all**", rows)]
    for key in ("modality", "dataset"):
        groups += [(name, [row for row in rows if row[key] == name]) for name in sorted({row[key] for row in rows})]
    for name, members in groups:
        summary = summarise(members)
        wins = sum(row["mask"]["model"] > row["mask"]["demons"] for row in members)
        figures = " | ".join(f"{summary[kind][method]:.3f}" for kind, method in COLUMNS)
        lines.append(f"| {name} | {len(members)} | {wins} | {figures} |")
    return "\n".join(lines) + "\n"


def draw_curves(log: Path, path: Path) -> None:
    """Validation figures over the steps of the training run."""
    from matplotlib.figure import Figure

    with log.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    steps = [int(row["step"]) for row in rows]
    for name in ("box", "click", "clicks", "mask", "moved", "copy", "empty"):
        axes.plot(
            steps, [float(row[name]) for row in rows], marker=".", label=name, ls="--" if name == "empty" else "-"
        )
    axes.set(xlabel="step", ylabel="mean Dice (empty: share)", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, ncols=2, loc="lower right")
    figure.savefig(path, dpi=80)


def draw_sequence(predictor: Any, data: Path, name: str) -> None:
    """Follow one box through a real time series."""
    file, frame, box = SEQUENCES[name]
    stack = make_stack(read_image(find_heart() if file is None else data / file))
    prompts = PromptSet.empty().with_box(1, frame, box)
    outcome = track(stack, Plan(prompts, FrameRange(0, stack.source().num_frames)), predictor)
    draw_montage(outcome).savefig(FOLDER / f"{name}.jpg", **JPEG)


def draw_worst(predictor: Any, data: Path, rows: list[dict[str, Any]]) -> None:
    """The tasks that the model, given a mask, follows worst: truth in green, result in red."""
    from matplotlib.figure import Figure

    names = [row["name"] for row in sorted(rows, key=lambda row: row["mask"]["model"])[:NUM_WORST]]
    tasks = {task.name: task for task in iter_tasks(data) if task.name in names}
    figure = Figure(figsize=(2 * len(SHOWN), 2.1 * len(names)), layout="constrained")
    for line, name in zip(figure.subplots(len(names), len(SHOWN)), names, strict=True):
        task = tasks[name]
        found = follow_task(predictor, task)
        dice = next(row["mask"]["model"] for row in rows if row["name"] == name)
        line[0].set_ylabel(f"{task.dataset}\n{name.split(':')[1]}: Dice {dice:.2f}", fontsize=7)
        for axes, share in zip(line, SHOWN, strict=True):
            draw_slice(axes, task, found, round(task.frame_range.start + share * (len(task.frame_range) - 1)))
    figure.savefig(FOLDER / "worst.jpg", **JPEG)


def follow_task(predictor: Any, task: Task) -> dict[int, np.ndarray]:
    """Masks by slice, from the mask of the prompted one."""
    session = predictor.open(VolumeFrames(task.array_kji, task.geometry, Axis.K))
    session.set_prompts(PromptSet.empty().with_mask(1, task.prompted, task.mask_kji[task.prompted]))
    return {result.frame: result.masks[0] for result in session.propagate(Direction.BOTH, task.frame_range)}


def draw_slice(axes: Any, task: Task, found: dict[int, np.ndarray], index: int) -> None:
    """One slice with both outlines."""
    low, high = np.percentile(task.array_kji[task.frame_range.start : task.frame_range.stop], (1, 99))
    axes.imshow(task.array_kji[index], cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    for mask, colour in ((task.mask_kji[index], "lime"), (found.get(index), "red")):
        if mask is not None and mask.any():
            axes.contour(mask, [0.5], colors=[colour], linewidths=0.9)
    rows, columns = np.nonzero(task.mask_kji.any(axis=0))
    margin = 8 + 0.3 * max(np.ptp(rows), np.ptp(columns))
    axes.set(xlim=(columns.min() - margin, columns.max() + margin), ylim=(rows.max() + margin, rows.min() - margin))
    axes.set(xticks=[], yticks=[])
    axes.set_title(f"slice {index}{' (given)' if index == task.prompted else ''}", fontsize=7)


if __name__ == "__main__":
    sys.exit(main())
