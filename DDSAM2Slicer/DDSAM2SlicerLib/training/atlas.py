"""Real anatomy: label maps from files, with or without the images they belong to (layer: training).

A label map alone lends its shapes; what they look like is drawn as for every scene (related idea: SynthSeg, Billot et
al. 2023). With its image beside it, ``NAME_labels.nii.gz`` and ``NAME_image.nii.gz``, it is shown as it was recorded.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from ..core.errors import SettingsError
from .fields import Draws, rotation, smooth_field

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
LABELS, IMAGE = "_labels.", "_image."
"""What tells the two files of a pair apart, in front of the suffix."""
CACHED_MAPS = 600
"""Kept in memory by every process that draws clips, at two bytes a voxel of the labelled part, four with the image."""
MARGIN, MIN_MARGIN = 0.75, 8
"""Of an image, so much of the labelled part's size and so many voxels more are kept on each side of it."""
IMAGE_LEVELS = 4095
"""Images are kept in so many levels."""
MIN_VOXELS = 200
"""Smaller structures are drawn, but not aimed at."""
MIN_SIDE_VOXELS = 24
"""Narrower views would show single voxels."""
THICK = 1.8
"""Voxels that are so many times as long as wide are thick."""
SMOOTH_ABOVE = 0.7
"""From this many pixels for a voxel on, borders are interpolated between voxels, which takes longer."""


class LabelMap(NamedTuple):
    """The labelled part of a volume; labels are counted from 1 on without gaps, 0 is what has no name."""

    values: torch.Tensor  # (Z, Y, X) int16
    spacing: torch.Tensor  # (3,) x, y, z in mm
    boxes: dict[int, tuple[slice, slice, slice]]
    """Where the structures lie that are large enough to aim at, by their label."""
    image: torch.Tensor | None = None  # (Z, Y, X) int16
    """The image that was labelled, if there is one."""
    is_series: bool = False
    """Whether Z is time: a file of one slice in four dimensions."""

    @property
    def is_flat(self) -> bool:
        """Whether there is but one plane to look at: a photograph, an X-ray, or a series of one slice."""
        return self.is_series or len(self.values) == 1

    @property
    def is_thick(self) -> bool:
        """Whether voxels are so much longer than wide that the volume is only looked at in its own slices."""
        return bool(self.spacing.max() > THICK * self.spacing.min())


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
def find_label_maps(folder: str) -> tuple[tuple[Path, ...], ...]:
    """List the label maps of a folder and of each folder below it that has any, in the order of their names.

    Raises:
        SettingsError: If there are none.
    """
    folders: dict[Path, list[Path]] = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.name.endswith(SUFFIXES) and IMAGE not in path.name:
            folders.setdefault(path.parent, []).append(path)
    if not folders:
        msg = f"There are no label maps in {folder}; give a folder with files of these kinds: {', '.join(SUFFIXES)}."
        raise SettingsError(msg)
    return tuple(map(tuple, folders.values()))


@lru_cache(maxsize=CACHED_MAPS)
def load_label_map(path: Path) -> LabelMap:
    """Read a label map, and the image beside it if its name ends in ``_labels``.

    Raises:
        SettingsError: If one cannot be read, is no single volume or series of one slice, shows no structure of some
            size, or if the two differ in size.
    """
    values, spacing, is_series = _read(path)
    values = values.astype(np.int64).clip(0)
    is_used = np.bincount(values.ravel()) > 0
    is_used[0] = False
    values = (is_used.cumsum() * is_used).astype(np.int16)[values]
    image_path = image_beside(path)
    image = None if image_path is None else _read(image_path)[0]
    if image is not None and image.shape != values.shape:
        msg = f"{path} has {values.shape} voxels and its image {image.shape}; resample one to the other."
        raise SettingsError(msg)
    if is_used.any():
        (labelled,) = ndimage.find_objects((values > 0).astype(np.int8))
        if image is not None:
            labelled = tuple(map(_widened, labelled, values.shape))
            image = _in_levels(image[labelled])
        values = values[labelled].copy()
    boxes = {
        label: box
        for label, box in enumerate(ndimage.find_objects(values), start=1)
        if int((values[box] == label).sum()) >= MIN_VOXELS
    }
    if not boxes:
        msg = f"No structure in {path} has {MIN_VOXELS} voxels; take this file out of its folder."
        raise SettingsError(msg)
    return LabelMap(torch.from_numpy(values), torch.tensor(spacing), boxes, image, is_series)


def image_beside(path: Path) -> Path | None:
    """Find the image of a label map, if it lies beside it."""
    image_path = path.with_name(path.name.replace(LABELS, IMAGE))
    return image_path if LABELS in path.name and image_path.exists() else None


def _read(path: Path) -> tuple[np.ndarray, tuple[float, ...], bool]:
    """Read voxels (Z, Y, X) and spacing (x, y, z) of a volume or, with time as Z, of a series of one slice."""
    import SimpleITK as sitk  # only who trains on label maps needs it

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        msg = f"{path} cannot be read; take this file out of its folder. ({error})"
        raise SettingsError(msg) from error
    is_series = image.GetDimension() == 4 and image.GetSize()[2] == 1
    if (image.GetDimension() != 3 and not is_series) or image.GetNumberOfComponentsPerPixel() != 1:
        msg = f"{path} is not a volume of labels, nor its image, nor a series of one slice; take it out of its folder."
        raise SettingsError(msg)
    values = sitk.GetArrayFromImage(image)
    return (values[:, 0] if is_series else values), image.GetSpacing()[:3], is_series


def _widened(side: slice, size: int) -> slice:
    """Add the margin on both sides, as far as the volume goes."""
    margin = round(MARGIN * (side.stop - side.start)) + MIN_MARGIN
    return slice(max(side.start - margin, 0), min(side.stop + margin, size))


def _in_levels(image: np.ndarray) -> torch.Tensor:
    """Spread an image over the levels that are kept, without its few brightest voxels: int16."""
    low, high = np.percentile(image[:: max(len(image) // 32, 1)], [0.05, 99.95])
    levels = (image.astype(np.float32) - low) * (IMAGE_LEVELS / max(high - low, 1e-6))
    return torch.from_numpy(levels.clip(0, IMAGE_LEVELS).astype(np.int16))


def aim(draws: Draws, label_map: LabelMap) -> View:
    """Choose a structure of a label map, and how closely and from where to look at it; images are not tilted."""
    label = draws.choice(tuple(label_map.boxes))
    box = label_map.boxes[label]
    inside = (label_map.values[box] == label).nonzero()
    somewhere = inside[draws.integer(0, len(inside) - 1)].flip(0).float()  # x, y, z from here on
    corner = torch.tensor([side.start for side in reversed(box)])
    shape = torch.tensor([side.stop - side.start for side in reversed(box)])
    middle = corner + torch.lerp(somewhere, shape / 2, draws.uniform(0, 1))
    turn = torch.eye(3)[_axes(draws, label_map)]
    volume = turn @ (torch.tensor(label_map.values.shape).flip(0) * label_map.spacing)
    width, height, depth = turn @ (shape * label_map.spacing)
    widest = volume.max() if label_map.image is None else volume[:2].max()
    side = torch.minimum(torch.maximum(width, height) * draws.log_uniform(1.3, 5), widest)
    side = torch.maximum(side, MIN_SIDE_VOXELS * label_map.spacing.min())
    if label_map.image is None:
        turn = rotation(draws) if draws.chance(0.15) else turn @ _tilt(draws)
    return View(label_map, label, middle, side / 2, turn, float(depth / side))


def _axes(draws: Draws, label_map: LabelMap) -> torch.Tensor:
    """Choose which axes of the volume are the scene's x, y and z; images are seen in the plane they are sharp in."""
    order = torch.randperm(3, generator=draws.generator)
    if label_map.image is None or not (label_map.is_flat or label_map.is_thick):
        return order
    through = 2 if label_map.is_flat else int(label_map.spacing.argmax())
    return torch.cat([order[order != through], torch.tensor([through])])


def labels_in_view(draws: Draws, view: View, points: torch.Tensor, size: int) -> torch.Tensor:
    """Labels (T, size, size), int64, 0 where nothing has a name, as a scene sees them.

    Args:
        draws: Source of randomness: no two patients have the same shape.
        view: What is looked at.
        points: (T, h, w, 3) where each coarse pixel lies in the scene.
        size: Width of the frames in pixels.
    """
    bend = smooth_field(draws, 3, draws.uniform(1, 4), points).permute(1, 2, 3, 0)
    places = places_in_view(view, points + draws.uniform(0, 0.08) * bend, size)
    return labels_at(view, places)


def places_in_view(view: View, points: torch.Tensor, size: int) -> torch.Tensor:
    """Where in the volume the pixels of a scene lie: (T, size, size, 3), x, y, z in voxels.

    Args:
        view: What is looked at.
        points: (T, h, w, 3) where each coarse pixel lies in the scene.
        size: Width of the frames in pixels.
    """
    places = view.middle + view.half_side * (points @ view.turn) / view.label_map.spacing
    places = F.interpolate(places.permute(0, 3, 1, 2), size=(size, size), mode="bilinear", align_corners=False)
    return places.permute(0, 2, 3, 1)


def labels_at(view: View, places: torch.Tensor) -> torch.Tensor:
    """Labels (T, S, S), int64, at places (T, S, S, 3), with smooth borders where single voxels would show."""
    pixels_per_voxel = places.shape[1] * view.label_map.spacing.max() / (2 * view.half_side)
    look_up = interpolated_labels if pixels_per_voxel > SMOOTH_ABOVE else nearest_labels
    return look_up(view.label_map.values, places)


def image_at(view: View, places: torch.Tensor) -> torch.Tensor:
    """Grey values (T, S, S), in levels, at places (T, S, S, 3); 0 beyond the volume."""
    image = view.label_map.image
    low, high = (edge.flip(0).tolist() for edge in places.flatten(0, -2).aminmax(dim=0))
    box = [
        slice(max(int(first) - 1, 0), min(int(last) + 3, size))
        for first, last, size in zip(low, high, image.shape, strict=True)
    ]
    near = image[tuple(box)]  # so that not all of it is converted
    if not near.numel():
        return torch.zeros(places.shape[:-1])
    corner = torch.tensor([side.start for side in reversed(box)])
    grid = ((places - corner + 0.5) * 2 / torch.tensor(near.shape).flip(0) - 1)[None]
    return F.grid_sample(near[None, None].float(), grid, align_corners=False)[0, 0]


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
    """As ``nearest_labels``, but each place belongs where most of its eight voxels do, the nearer the more."""
    low = places.floor()
    below, above = (1 - (places - low)).unbind(-1), (places - low).unbind(-1)
    voxels = []
    for corner in product((0, 1), repeat=3):
        x, y, z = (above[axis] if side else below[axis] for axis, side in enumerate(corner))
        voxels.append((nearest_labels(values, low + torch.tensor(corner)), x * y * z))
    best, labels = torch.zeros(places.shape[:-1]), torch.zeros(places.shape[:-1], dtype=torch.int64)
    for label, _ in voxels:
        share = sum(weight * (other == label) for other, weight in voxels)
        is_larger = share > best
        best, labels = torch.where(is_larger, share, best), torch.where(is_larger, label, labels)
    return labels
