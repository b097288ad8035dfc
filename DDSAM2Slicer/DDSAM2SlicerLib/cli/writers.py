"""Label maps, segmentations and sequences to files, whole or not at all (layer: cli).

The frames of a clip (2D+t) become slices 1 mm apart in formats that know no time.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import OutputError
from ..core.geometry import LPS_TO_RAS, VolumeGeometry
from .labels import Labels
from .readers import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SERIES_SUFFIXES = (".nii", ".nii.gz", ".mha")
"""Plain label maps that can hold 3D+t."""
ENDINGS = ".seg.nrrd, .seq.nrrd, .nrrd, .nii.gz, .mha, .dcm"

Writer = Callable[[Path, Labels], None]


def prepare_output(path: str | Path, image: Image) -> Writer:
    """Choose the writer for a file ending and check, before any work, that it can hold the result and be written.

    Raises:
        OutputError: If the ending is unknown or does not suit the image, or the folder cannot be written.
    """
    path = Path(path)
    writer = _choose_writer(path.name.lower(), image)
    with _readable_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = _temporary_path(path)
        probe.touch()
        probe.unlink()
    return writer


def _choose_writer(name: str, image: Image) -> Writer:
    """Pick by ending.

    Raises:
        OutputError: If the ending is unknown, or cannot hold a result of this image.
    """
    if name.endswith(".seq.nrrd"):
        if image.num_times > 1:
            return write_sequence
        msg = "A .seq.nrrd sequence is for images with several time points; write .seg.nrrd for a single volume."
    elif name.endswith(".seg.nrrd"):
        if not image.is_series:
            return write_segmentation
        msg = "A .seg.nrrd segmentation holds one time point, the image has more; write .seq.nrrd or .nii.gz."
    elif name.endswith(".dcm"):
        if image.sources and image.num_times == 1:
            return _write_dicom
        msg = "DICOM segmentations (.dcm) can only be written for a DICOM volume of one time point; write .seg.nrrd."
    elif name.endswith(SERIES_SUFFIXES):
        return write_label_map
    elif name.endswith(".nrrd"):
        return write_sequence if image.is_series else write_label_map
    else:
        msg = f"The ending of {name} is unknown. Accepted: {ENDINGS}."
    raise OutputError(msg)


@contextmanager
def replace_when_done(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside the target, of the same ending; it becomes the target if the block succeeds.

    Raises:
        OutputError: If the folder is not there or not writable, or the disk is full; nothing is left half written.
    """
    path = Path(path)
    temporary = _temporary_path(path)
    with _readable_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8."""
    with replace_when_done(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_label_map(path: str | Path, labels: Labels) -> None:
    """Write one label map; label n is object n."""
    import SimpleITK as sitk

    array, geometry = _stacked(labels.merge(), labels.image)
    volumes = []
    for volume in array:
        itk_image = sitk.GetImageFromArray(volume)
        origin, spacing, direction = geometry.to_lps()
        itk_image.SetOrigin(origin)
        itk_image.SetSpacing(spacing)
        itk_image.SetDirection(direction)
        volumes.append(itk_image)
    with replace_when_done(path) as temporary, _itk_errors(path):
        sitk.WriteImage(sitk.JoinSeries(volumes) if len(volumes) > 1 else volumes[0], str(temporary), True)


def write_segmentation(path: str | Path, labels: Labels) -> None:
    """Write Slicer's segmentation format with names and colours; overlapping objects get a layer each."""
    import slicerio

    if labels.has_overlap:
        layers = [_stacked(mask, labels.image)[0][0].astype(np.uint8) for mask in labels.masks.values()]
        voxels = np.stack(layers).transpose(0, 3, 2, 1)
        geometry = _stacked(next(iter(labels.masks.values())), labels.image)[1]
    else:
        array, geometry = _stacked(labels.merge(), labels.image)
        voxels = array[0].transpose(2, 1, 0)
    extent = [bound for size in geometry.shape_kji[::-1] for bound in (0, size - 1)]
    segments = [
        {
            "id": f"Segment_{object_id}",
            "name": labels.name(object_id),
            "color": list(labels.colour(object_id)),
            "labelValue": 1 if labels.has_overlap else object_id,
            "layer": layer if labels.has_overlap else 0,
            "extent": extent,
            "nameAutoGenerated": False,
            "colorAutoGenerated": False,
            "status": "inprogress",
        }
        for layer, object_id in enumerate(labels.masks)
    ]
    segmentation = {
        "voxels": voxels,
        "ijkToLPS": LPS_TO_RAS @ geometry.ijk_to_ras,
        "containedRepresentationNames": ["Binary labelmap"],
        "conversionParameters": [_reference_geometry(geometry)],
        "segments": segments,
    }
    with replace_when_done(path) as temporary:
        slicerio.write_segmentation(str(temporary), segmentation, compression_level=4)


def write_sequence(path: str | Path, labels: Labels) -> None:
    """Write a sequence of label maps as Slicer's .seq.nrrd: the time axis is a list, first in the file."""
    import nrrd

    geometry = labels.image.geometry
    ijk_to_lps = LPS_TO_RAS @ geometry.ijk_to_ras
    times = labels.image.times_s or range(labels.image.num_times)
    header = {
        "space": "left-posterior-superior",
        "kinds": ["list", "domain", "domain", "domain"],
        "labels": ["time" if labels.image.times_s else "frame", "", "", ""],
        "space directions": np.vstack([np.full(3, np.nan), ijk_to_lps[:3, :3].T]),
        "space origin": ijk_to_lps[:3, 3],
        "encoding": "gzip",
        "axis 0 index type": "numeric",
        "axis 0 index values": " ".join(f"{time:g}" for time in times),
        "DataNodeClassName": "vtkMRMLLabelMapVolumeNode",
    }
    with replace_when_done(path) as temporary:
        nrrd.write(str(temporary), labels.merge().transpose(0, 3, 2, 1), header, compression_level=4)


def _write_dicom(path: Path, labels: Labels) -> None:
    """Write a DICOM segmentation; imported late."""
    from .dicom_seg import write_dicom_segmentation

    write_dicom_segmentation(path, labels)


def _stacked(array_tkji: NDArray, image: Image) -> tuple[NDArray, VolumeGeometry]:
    """Return the frames of a clip as slices of one volume (1, T, J, I) with their grid; anything else as it is."""
    if not image.is_clip:
        return array_tkji, image.geometry
    matrix = image.geometry.ijk_to_ras.copy()
    matrix[:, 2] /= np.linalg.norm(matrix[:, 2])
    return array_tkji[:, 0][np.newaxis], VolumeGeometry((image.num_times, *image.geometry.shape_kji[1:]), matrix)


def _reference_geometry(geometry: VolumeGeometry) -> dict[str, str]:
    """The conversion parameter by which Slicer knows the grid of the source image: matrix to RAS, then extent."""
    numbers = [*geometry.ijk_to_ras.ravel().tolist()]
    numbers += [bound for size in geometry.shape_kji[::-1] for bound in (0, size - 1)]
    return {
        "name": "Reference image geometry",
        "value": "".join(f"{number!r};" for number in numbers),
        "description": "Image geometry description string determining the geometry of the labelmap.",
    }


def _temporary_path(path: Path) -> Path:
    """A hidden name beside the target with the same ending."""
    return path.with_name(f".writing-{os.getpid()}-{path.name}")


@contextmanager
def _readable_disk_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence.

    Raises:
        OutputError: For every OSError inside the block, and if the target is a folder.
    """
    if path.is_dir():
        msg = f"{path} is a folder; the output must be a file."
        raise OutputError(msg)
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full. Free some space" if is_full else f"{error.strerror or error}. Choose another place"
        msg = f"Cannot write {path}: {reason}; nothing was left half written."
        raise OutputError(msg) from error


@contextmanager
def _itk_errors(path: str | Path) -> Iterator[None]:
    """Turn ITK's writing errors, which name no reason, into one sentence."""
    try:
        yield
    except RuntimeError as error:
        msg = f"Cannot write {path}: the disk is full or the folder cannot be written. Choose another place."
        raise OutputError(msg) from error
