"""``ddsam2 demo``: a real chest CT and a real heart ultrasound, both from installed packages, no network (layer: cli).

The CT and its reference segmentation come with slicerio, the ultrasound with pydicom. The model sees two boxes on one
slice of the CT and one box on one frame of the ultrasound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import InputError
from ..core.metrics import dice
from ..core.plan import FrameRange
from ..core.prompts import Box, PromptSet
from . import console
from .evaluate import tight_box
from .labels import Labels
from .readers import read_image
from .report import write_report
from .stack import make_stack
from .tracking import Outcome, Plan, track
from .writers import prepare_output

LUNG_WINDOW = (1600.0, -400.0)
"""Width and level in HU, as one would display it: from air to bone."""
LUNGS = ("right lung", "left lung")
VENTRICLE = "left ventricle"
VENTRICLE_BOX = Box(154, 73, 203, 131)
"""Around the cavity on the first frame, where the mitral valve is closed."""


def demo(output: str | Path, load: Callable[[], Any]) -> dict[str, float]:
    """Segment both examples into a folder, print what was found; returns the Dice of each lung.

    Args:
        output: Folder for the results.
        load: Gives the predictor.

    Raises:
        InputError: If an example is not where its package keeps it.
        OutputError: If the folder cannot be written.
    """
    output = Path(output)
    predictor = load()
    scores = _segment_lungs(output, predictor)
    _segment_ventricle(output, predictor)
    return scores


def find_chest() -> tuple[Path, Path]:
    """Paths of the chest CT and of its reference segmentation."""
    import slicerio

    folder = Path(slicerio.__file__).parent / "data"
    return _existing(folder / "CTChest4.nrrd", "slicerio"), _existing(folder / "Segmentation.seg.nrrd", "slicerio")


def find_heart() -> Path:
    """Path of the heart ultrasound."""
    import pydicom.data

    return _existing(Path(pydicom.data.get_testdata_file("examples_ybr_color.dcm", download=False) or ""), "pydicom")


def _segment_lungs(output: Path, predictor: Any) -> dict[str, float]:
    """Box both lungs on the slice where they are largest, and compare the volume with the reference."""
    import slicerio

    ct_path, reference_path = find_chest()
    stack = replace(make_stack(read_image(ct_path), "k"), window=LUNG_WINDOW)
    values = slicerio.extract_segments(
        slicerio.read_segmentation(str(reference_path)), [(name, n) for n, name in enumerate(LUNGS, start=1)]
    )["voxels"].transpose(2, 1, 0)
    references = {n: values == n for n in range(1, len(LUNGS) + 1)}
    given = int(np.argmax((values > 0).sum(axis=(1, 2))))
    prompts = PromptSet.empty()
    for object_id, reference in references.items():
        prompts = prompts.with_box(object_id, given, tight_box(reference[given]))
    console.say(f"Chest CT: {stack.describe()}; one box per lung on slice {given}")
    outcome = track(stack, Plan(prompts, FrameRange(0, stack.source().num_frames)), predictor)
    outcome = _write(outcome, output, "chest_ct", dict(enumerate(LUNGS, start=1)))
    scores = {}
    for object_id, reference in references.items():
        scores[LUNGS[object_id - 1]] = dice(outcome.labels.masks[object_id][0], reference)
    for name, score in scores.items():
        console.say(f"  Dice of the {name}: {score:.3f} (all slices, against the reference)")
    return scores


def _segment_ventricle(output: Path, predictor: Any) -> None:
    """Box the left ventricle on the first frame and follow it through the heart beat."""
    stack = make_stack(read_image(find_heart()))
    prompts = PromptSet.empty().with_box(1, 0, VENTRICLE_BOX)
    console.say(f"Heart ultrasound: {stack.describe()}; one box on frame 0")
    outcome = track(stack, Plan(prompts, FrameRange(0, stack.source().num_frames)), predictor)
    outcome = _write(outcome, output, "heart_ultrasound", {1: VENTRICLE})
    column_mm, row_mm = stack.source().pixel_spacing_mm
    areas_cm2 = [one.score.area * column_mm * row_mm / 100 for one in outcome.measured]
    console.say(f"  Area of the {VENTRICLE}: {min(areas_cm2):.1f} to {max(areas_cm2):.1f} cm² over the clip")


def _write(outcome: Outcome, output: Path, stem: str, names: dict[int, str]) -> Outcome:
    """Write segmentation, table, curve and montage; returns the outcome with named objects."""
    labels = Labels(outcome.stack.image, outcome.labels.masks, names)
    outcome = Outcome(outcome.stack, outcome.plan, labels, outcome.measured)
    path = output / f"{stem}.seg.nrrd"
    prepare_output(path, outcome.stack.image)(path, labels)
    for written in (path, *write_report(outcome, output, stem)):
        console.say(f"  wrote {written}")
    return outcome


def _existing(path: Path, package: str) -> Path:
    """The path, if there is such a file.

    Raises:
        InputError: If the package does not bring it.
    """
    if not path.is_file():
        msg = f"The demo image {path.name} did not come with {package}. Install the command line's extras again."
        raise InputError(msg)
    return path
