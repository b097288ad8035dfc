"""Prompts from the command line: seed masks, boxes, points and prompt files (layer: cli)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import InputError, PromptError, SettingsError
from ..core.plan import FrameRange
from ..core.prompts import Box, Point, PromptSet
from .readers import Image, read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .stack import Stack

SIGNS = {"+": True, "-": False}


@dataclass(frozen=True, eq=False)
class SeedMask:
    """A label map on the grid of the image: label n is object n.

    Attributes:
        labels_tkji: Labels (T, K, J, I); T is 1 if the mask holds for one time point.
        names: Object to name, where the file has names.
        colours: Object to RGB, where the file has colours.
    """

    labels_tkji: NDArray
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, tuple[float, float, float]] = field(default_factory=dict)


def read_seed_mask(path: str | Path, image: Image) -> SeedMask:
    """Read a label map and check that it fits the image.

    Raises:
        InputError: If it lies on another grid or does not hold labels.
        PromptError: If it is empty.
    """
    path = Path(path)
    read = read_image(path)
    labels = np.stack(read.arrays)
    if not _fits(read, image):
        msg = (
            f"The seed mask {path} lies on another grid than the image ({_size(read)}, the image has {_size(image)}; "
            "or another place). Resample it onto the image first."
        )
        raise InputError(msg)
    if labels.ndim != 4 or not np.isfinite(labels).all() or (labels != np.rint(labels)).any() or labels.min() < 0:
        msg = f"The seed mask {path} does not hold labels: each voxel must be 0 or the number of an object."
        raise InputError(msg)
    if not labels.any():
        msg = f"The seed mask {path} is empty: no voxel is labelled. Paint each object on at least one frame."
        raise PromptError(msg)
    return SeedMask(labels.astype(np.int64), *_read_names(path))


def collect_prompts(
    stack: Stack,
    seed: SeedMask | None,
    boxes: Sequence[Sequence[str]] = (),
    points: Sequence[Sequence[str]] = (),
    file: str | Path | None = None,
) -> tuple[PromptSet, int]:
    """Put all prompts together; boxes and points are (object, frame, numbers ...) as typed.

    Returns:
        The prompts and the time point they belong to (0 unless a 4D seed mask says otherwise).

    Raises:
        PromptError: If one cannot be understood, or there is none.
    """
    prompts = PromptSet.empty() if file is None else PromptSet.from_json(_read_text(file))
    time = 0
    if seed is not None:
        prompts, time = _add_seed(prompts, stack, seed)
    for words in boxes:
        object_id, frame, *corners = _to_numbers("--box", words)
        prompts = prompts.with_box(object_id, frame, Box(*corners))
    for *words, sign in points:
        if sign not in SIGNS:
            msg = f"--point {' '.join([*words, sign])} must end with + (part of the object) or - (not part of it)."
            raise PromptError(msg)
        object_id, frame, x, y = _to_numbers("--point", words)
        prompts = prompts.with_point(object_id, frame, Point(x, y, SIGNS[sign]))
    if not prompts.prompts:
        msg = "There is no prompt. Give --seed-mask, --box, --point or --prompts."
        raise PromptError(msg)
    return prompts, time


def parse_range(text: str | None, num_frames: int) -> FrameRange:
    """Read ``A:B``, both part of the range; None means all frames.

    Raises:
        SettingsError: If it is not a range, or leaves the stack.
    """
    if text is None:
        return FrameRange(0, num_frames)
    first, _, last = text.partition(":")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last) < num_frames):
        msg = f"--frames {text} is not usable: give FIRST:LAST, both included, within 0:{num_frames - 1}."
        raise SettingsError(msg)
    return FrameRange.from_inclusive(int(first), int(last))


def _add_seed(prompts: PromptSet, stack: Stack, seed: SeedMask) -> tuple[PromptSet, int]:
    """Every labelled frame becomes a prompt; of a 3D+t mask the first labelled time point counts."""
    labels = seed.labels_tkji
    if stack.axis is None:
        if len(labels) == 1 and labels.shape[1] == stack.image.num_times:
            labels = labels[0][:, np.newaxis]  # frames stacked as slices
        elif len(labels) == 1:
            labels = np.concatenate([labels, np.zeros((stack.image.num_times - 1, *labels.shape[1:]), labels.dtype)])
        time = 0
    else:
        time = int(np.flatnonzero(labels.any(axis=(1, 2, 3)))[0])
    for frame in range(stack.source().num_frames):
        plane = stack.view(labels, time, frame)
        for object_id in np.unique(plane[plane > 0]):
            prompts = prompts.with_mask(int(object_id), frame, plane == object_id)
    return prompts, time


def _fits(read: Image, image: Image) -> bool:
    """Whether a label map lies on the image's grid: all its time points, one of them, or a clip's frames as slices."""
    if read.num_times in (1, image.num_times) and read.geometry.same_grid_as(image.geometry):
        return True
    shape = (image.num_times, *image.geometry.shape_kji[1:])
    return image.is_clip and read.num_times == 1 and read.geometry.shape_kji == shape


def _size(image: Image) -> str:
    """Number of voxels along i, j, k and t."""
    times = [image.num_times] if image.num_times > 1 else []
    return " x ".join(str(size) for size in [*image.geometry.shape_kji[::-1], *times])


def _read_names(path: Path) -> tuple[dict[int, str], dict[int, tuple[float, float, float]]]:
    """Names and colours of a .seg.nrrd file; empty for anything else."""
    if not path.name.lower().endswith(".seg.nrrd"):
        return {}, {}
    import slicerio

    segments = slicerio.read_segmentation(str(path), skip_voxels=True).get("segments", [])
    names = {part["labelValue"]: part["name"] for part in segments if {"labelValue", "name"} <= part.keys()}
    colours = {part["labelValue"]: tuple(part["color"]) for part in segments if {"labelValue", "color"} <= part.keys()}
    return names, colours


def _read_text(path: str | Path) -> str:
    """Text of a prompt file."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The prompt file {path} cannot be read ({getattr(error, 'strerror', None) or 'it is not text'})."
        raise InputError(msg) from error


def _to_numbers(option: str, words: Sequence[str]) -> list:
    """Object and frame as integers, the rest as pixels."""
    try:
        return [int(words[0]), int(words[1]), *(float(word) for word in words[2:])]
    except ValueError as error:
        msg = f"{option} {' '.join(words)} is not usable: object and frame are whole numbers, the rest are pixels."
        raise PromptError(msg) from error
