"""Real anatomy for generated images: label maps from files, seen closely and from any side (layer: training).

Only their shapes are used; what they look like is drawn as for every scene. Related idea: SynthSeg (Billot et al.
2023).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..core.errors import SettingsError
from .fields import Draws, rotation, smooth_field

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
CACHED_MAPS = 64
"""Kept in memory by every process that draws clips, at two bytes a voxel of the labelled part."""
MIN_VOXELS = 200
"""Smaller structures are drawn, but not aimed at."""
MIN_SIDE_VOXELS = 24
"""Narrower views would show single voxels."""
SMOOTH_ABOVE = 0.7
"""From this many pixels for a voxel on, borders are interpolated between voxels, which takes longer."""


class LabelMap(NamedTuple):
    """The labelled part of a volume; labels are counted from 1 on without gaps, 0 is what has no name."""

    values: torch.Tensor  # (Z, Y, X) int16
    spacing: torch.Tensor  # (3,) x, y, z in mm
    boxes: dict[int, tuple[slice, slice, slice]]
    """Where the structures lie that are large enough to aim at, by their label."""


class View(NamedTuple):
    """A structure of a label map, and from where it is looked at."""

    label_map: LabelMap
    label: int
    middle: torch.Tensor  # (3,) x, y, z in voxels
    half_side: torch.Tensor  # () in mm
    turn: torch.Tensor  # (3, 3) rows: the scene's axes; columns: the volume's
    depth: float
    """Half the structure's length across the scene's slices, in half sides."""


@lru_cache
def find_label_maps(folder: str) -> tuple[Path, ...]:
    """List the label maps in a folder and below it, in the order of their names.

    Raises:
        SettingsError: If there are none.
    """
    found = tuple(sorted(path for path in Path(folder).rglob("*") if path.name.endswith(SUFFIXES)))
    if not found:
        msg = f"There are no label maps in {folder}; give a folder with files of these kinds: {', '.join(SUFFIXES)}."
        raise SettingsError(msg)
    return found


@lru_cache(maxsize=CACHED_MAPS)
def load_label_map(path: Path) -> LabelMap:
    """Read a label map.

    Raises:
        SettingsError: If it cannot be read, is no single volume, or shows no structure of some size.
    """
    import SimpleITK as sitk  # only who trains on label maps needs it

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        msg = f"The label map {path} cannot be read; take this file out of its folder. ({error})"
        raise SettingsError(msg) from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        msg = f"{path} is not a volume of labels; take this file out of its folder."
        raise SettingsError(msg)
    values = sitk.GetArrayViewFromImage(image).astype(np.int64).clip(0)
    is_used = np.bincount(values.ravel()) > 0
    is_used[0] = False
    values = (is_used.cumsum() * is_used).astype(np.int16)[values]
    if is_used.any():
        (labelled,) = ndimage.find_objects((values > 0).astype(np.int8))
        values = values[labelled].copy()
    boxes = {
        label: box
        for label, box in enumerate(ndimage.find_objects(values), start=1)
        if int((values[box] == label).sum()) >= MIN_VOXELS
    }
    if not boxes:
        msg = f"No structure in {path} has {MIN_VOXELS} voxels; take this file out of its folder."
        raise SettingsError(msg)
    return LabelMap(torch.from_numpy(values), torch.tensor(image.GetSpacing()), boxes)


def aim(draws: Draws, path: Path) -> View:
    """Choose a structure of a label map, and how closely and from where to look at it."""
    label_map = load_label_map(path)
    label = draws.choice(tuple(label_map.boxes))
    box = label_map.boxes[label]
    inside = (label_map.values[box] == label).nonzero()
    somewhere = inside[draws.integer(0, len(inside) - 1)].flip(0).float()  # x, y, z from here on
    corner = torch.tensor([side.start for side in reversed(box)])
    shape = torch.tensor([side.stop - side.start for side in reversed(box)])
    middle = corner + torch.lerp(somewhere, shape / 2, draws.uniform(0, 1))
    turn = torch.eye(3)[torch.randperm(3, generator=draws.generator)]
    width, height, depth = turn @ (shape * label_map.spacing)
    volume = torch.tensor(label_map.values.shape).flip(0) * label_map.spacing
    side = torch.minimum(torch.maximum(width, height) * draws.log_uniform(1.3, 5), volume.max())
    side = torch.maximum(side, MIN_SIDE_VOXELS * label_map.spacing.min())
    turn = rotation(draws) if draws.chance(0.15) else turn @ _tilt(draws)
    return View(label_map, label, middle, side / 2, turn, float(depth / side))


def labels_in_view(draws: Draws, view: View, points: torch.Tensor, size: int) -> torch.Tensor:
    """Labels (T, size, size), int64, 0 where nothing has a name, as a scene sees them.

    Args:
        draws: Source of randomness: no two patients have the same shape.
        view: What is looked at.
        points: (T, h, w, 3) where each coarse pixel lies in the scene.
        size: Width of the frames in pixels.
    """
    spacing = view.label_map.spacing
    bend = smooth_field(draws, 3, draws.uniform(1, 4), points).permute(1, 2, 3, 0)
    bent = points + draws.uniform(0, 0.08) * bend
    places = view.middle + view.half_side * (bent @ view.turn) / spacing
    places = F.interpolate(places.permute(0, 3, 1, 2), size=(size, size), mode="bilinear", align_corners=False)
    pixels_per_voxel = size * spacing.max() / (2 * view.half_side)
    look_up = interpolated_labels if pixels_per_voxel > SMOOTH_ABOVE else nearest_labels
    return look_up(view.label_map.values, places.permute(0, 2, 3, 1))


def _tilt(draws: Draws) -> torch.Tensor:
    """Draw a small (3, 3) rotation: patients lie askew."""
    x, y, z = (draws.uniform(0, 0.25) * draws.normal(3)).tolist()
    return torch.linalg.matrix_exp(torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]))


def nearest_labels(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Labels of (Z, Y, X) ``values`` at ``places`` (..., 3), x, y, z in voxels; 0 beyond the volume."""
    shape = torch.tensor(values.shape).flip(0)
    nearest = places.round().long()
    is_inside = ((nearest >= 0) & (nearest < shape)).all(-1)
    x, y, z = torch.where(is_inside[..., None], nearest, 0).unbind(-1)
    return torch.where(is_inside, values[z, y, x].long(), 0)


def interpolated_labels(values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """As ``nearest_labels`` for places (T, H, W, 3), but each place belongs where most of its eight voxels do."""
    low, high = (edge.flip(0).tolist() for edge in places.flatten(0, -2).aminmax(dim=0))
    box = [
        slice(max(int(first) - 1, 0), min(int(last) + 3, size))
        for first, last, size in zip(low, high, values.shape, strict=True)
    ]
    near = values[tuple(box)]  # the neighbourhood alone, so that memberships stay small
    if not near.numel():
        return torch.zeros(places.shape[:-1], dtype=torch.int64)
    corner = torch.tensor([side.start for side in reversed(box)])
    grid = ((places - corner + 0.5) * 2 / torch.tensor(near.shape).flip(0) - 1)[None]
    best, labels = torch.full(places.shape[:-1], 1e-3), torch.zeros(places.shape[:-1], dtype=torch.int64)
    for label in nearest_labels(values, places).unique().tolist():  # one by one, as there can be dozens
        member = F.grid_sample((near == label).float()[None, None], grid, align_corners=False)[0, 0]
        is_larger = member > best
        best, labels = torch.where(is_larger, member, best), labels.masked_fill_(is_larger, label)
    return labels
