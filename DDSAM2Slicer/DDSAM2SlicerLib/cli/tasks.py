"""Labelled 3D cases of a folder as tasks: one object, one prompted slice, all other slices to be found (layer: cli).

Protocol: of each label map the three largest labels with at least 150 voxels and 5 slices; the prompted slice is the
one with the largest area along k; the range is the label's own. File names tell label maps from images: a label map
ends in ``label``, ``msk`` or ``seg`` with an optional prefix or suffix (``t2_gmseg_manual``, ``x_seg_fast``), and its
image is the file beside it on the same grid whose name begins with what stands before that ending.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DDSAM2Error, InputError
from ..core.geometry import VolumeGeometry
from ..core.plan import FrameRange
from .readers import Image, read_image

MAX_LABELS = 3
MIN_VOXELS = 150
MIN_SLICES = 5
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
LABEL_NAME = re.compile(r"[_-](label|msk|(gm|sc_)?seg([-_].*)?)$")
MODALITY_WORDS = {"PET": "PET", "CT/MR": "phantom", "CT": "CT", "MR": "MR", "US": "US"}


@dataclass(frozen=True, eq=False)
class Task:
    """One object of one case.

    Attributes:
        name: Label file and label value, unique within the folder.
        dataset: Name of the folder that holds the files.
        modality: CT, MR, PET, ... where the folder's README says so, else "unknown".
        array_kji: The whole image (K, J, I).
        mask_kji: The object in the whole image, bool (K, J, I).
        prompted: Index of the slice along k that is given.
        frame_range: Slices of the object.
        geometry: Placement of the voxels.
    """

    name: str
    dataset: str
    modality: str
    array_kji: NDArray
    mask_kji: NDArray[np.bool_]
    prompted: int
    frame_range: FrameRange
    geometry: VolumeGeometry

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j and k."""
        return self.geometry.spacing_mm

    @property
    def scored(self) -> list[int]:
        """The slices to be found: the range without the prompted one."""
        return [k for k in self.frame_range if k != self.prompted]


def iter_tasks(folder: str | Path) -> Iterator[Task]:
    """List the tasks of a folder and its subfolders, sorted by file name; files that cannot be read are passed over.

    Raises:
        InputError: If the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"There is no folder {folder}. Give a folder of images with label maps beside them."
        raise InputError(msg)
    modalities = _read_modalities(folder)
    files = sorted(path for path in folder.rglob("*") if path.name.endswith(SUFFIXES))
    for label_path in files:
        match = LABEL_NAME.search(_stem(label_path))
        if match is None:
            continue
        found = _find_image(label_path, _stem(label_path)[: match.start()], files)
        if found is None:
            continue
        image_path, image, labels = found
        modality = modalities.get(image_path.relative_to(folder).as_posix(), "unknown")
        yield from _split_labels(label_path, modality, image, labels.arrays[0])


def _stem(path: Path) -> str:
    """File name without its ending."""
    return re.sub(r"(\.nii)?\.\w+$", "", path.name)


def _find_image(label_path: Path, prefix: str, files: list[Path]) -> tuple[Path, Image, Image] | None:
    """First file beside a label map that is not one, has the prefix, and lies on the same grid."""
    beside = [
        path
        for path in files
        if path.parent == label_path.parent and path.name.startswith(prefix) and not LABEL_NAME.search(_stem(path))
    ]
    labels = _try_read(label_path) if beside else None
    # The shortest name first: "t2" belongs to "t2_seg" rather than "t2_fake_lesion" does.
    for path in sorted(beside, key=lambda path: (len(path.name), path.name)):
        image = _try_read(path)
        if labels is not None and image is not None and image.geometry.same_grid_as(labels.geometry):
            return path, image, labels
    return None


def _try_read(path: Path) -> Image | None:
    """Read a 3D grey image; None for anything else."""
    try:
        image = read_image(path)
    except DDSAM2Error:
        return None
    return image if len(image.arrays) == 1 and image.arrays[0].ndim == 3 else None


def _split_labels(label_path: Path, modality: str, image: Image, labels: NDArray) -> Iterator[Task]:
    """One task for each of the largest labels."""
    sizes = []
    for value in np.unique(labels[labels > 0]):
        mask = labels == value
        num_voxels, num_slices = int(mask.sum()), int(mask.any(axis=(1, 2)).sum())
        if num_voxels >= MIN_VOXELS and num_slices >= MIN_SLICES:
            sizes.append((-num_voxels, int(value)))
    for _, value in sorted(sizes)[:MAX_LABELS]:
        mask = labels == value
        areas = mask.sum(axis=(1, 2))
        slices = np.flatnonzero(areas)
        yield Task(
            name=f"{_stem(label_path)}:{value}",
            dataset=label_path.parent.name,
            modality=modality,
            array_kji=image.arrays[0],
            mask_kji=mask,
            prompted=int(areas.argmax()),
            frame_range=FrameRange.from_inclusive(int(slices[0]), int(slices[-1])),
            geometry=image.geometry,
        )


def _read_modalities(folder: Path) -> dict[str, str]:
    """Modality per file, from the table of the folder's README.md if there is one with such columns."""
    readme = folder / "README.md"
    if not readme.is_file():
        return {}
    rows = [[cell.strip(" `") for cell in line.split("|")] for line in readme.read_text("utf-8").splitlines()]
    header = next((row for row in rows if {"file", "modality"} <= set(row)), None)
    if header is None:
        return {}
    modality, file = header.index("modality"), header.index("file")
    return {row[file]: _shorten(row[modality]) for row in rows if len(row) == len(header) and row[modality]}


def _shorten(description: str) -> str:
    """The modality a description names first in order of MODALITY_WORDS."""
    return next((short for word, short in MODALITY_WORDS.items() if word in description), description or "unknown")
