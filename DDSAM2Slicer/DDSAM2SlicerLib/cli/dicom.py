"""DICOM folders and files to images: slices sorted in space and time, odd series refused with a reason (layer: cli)."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from ..core.geometry import LPS_TO_RAS, VolumeGeometry
from .readers import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom import Dataset

POSITION_TOLERANCE_MM = 0.01
"""Slices closer than this lie at the same position."""
STEP_TOLERANCE = 0.05
"""Largest deviation of a slice distance from the usual one, as a fraction of it."""
ORIENTATION_TOLERANCE = 1e-3
"""Largest difference between direction cosines of slices that count as parallel."""
CENTIMETRES = 3
"""Code of the unit cm in ultrasound regions."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame with its place in space and time, before its pixels are read."""

    path: Path
    frame: int
    uid: str
    shape: tuple[int, int]
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    spacing: tuple[float, float]
    time_key: tuple

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice (LPS)."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def offset_mm(self) -> float:
        """Position along the normal."""
        return float(self.normal @ np.array(self.position))


def read_dicom(path: Path) -> Image:
    """Read a folder of DICOM files, or one file with one or many frames.

    Raises:
        InputError: If there is no image, or the slices do not form one volume, series of volumes, or clip.
        GeometryError: If the slices are sheared against each other (tilted gantry).
    """
    with warnings.catch_warnings():
        # pydicom comments on every value that bends the standard; what matters here is checked below.
        warnings.filterwarnings("ignore", module="pydicom")
        return _read(path)


def _read(path: Path) -> Image:
    """Read what ``read_dicom`` promises."""
    headers = dict(_read_headers(path))
    if not headers:
        msg = f"{path} holds no DICOM image. Give a folder with the files of one series."
        raise InputError(msg)
    if len(headers) == 1:
        (file, header), *_ = headers.items()
        if int(header.get("NumberOfFrames") or 1) > 1 and "PerFrameFunctionalGroupsSequence" not in header:
            return _read_clip(file, header)
    slices = [slice_ for file, header in headers.items() for slice_ in _list_slices(file, header)]
    _check_series(path, headers, slices)
    return _assemble(path, _arrange(path, slices))


def _read_headers(path: Path) -> Iterator[tuple[Path, Dataset]]:
    """Headers of all image files; other files are passed over."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if not file.is_file() or file.name == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
        except (InvalidDicomError, EOFError):
            if file == path:
                raise
            continue
        if "Rows" in header and "Columns" in header and header.get("Modality") != "SEG":
            yield file, header


def _list_slices(path: Path, header: Dataset) -> Iterator[Slice]:
    """The slices of one file: one, or one for each frame of an enhanced file."""
    if "MOSAIC" in (header.get("ImageType") or ()):
        msg = f"{path} is a Siemens mosaic (many slices tiled in one picture). Convert the series to NIfTI first."
        raise InputError(msg)
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        yield _make_slice(path, 0, header, [header], _time_key(header))
        return
    shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0]
    for index, group in enumerate(groups):
        parts = [
            item[0]
            for source in (group, shared)
            for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
            if (item := source.get(name))
        ]
        content = (group.get("FrameContentSequence") or [{}])[0]
        time = (
            int(content.get("TemporalPositionIndex") or 0),
            str(content.get("FrameAcquisitionDateTime") or ""),
            index,
        )
        yield _make_slice(path, index, header, parts, time)


def _make_slice(path: Path, frame: int, header: Dataset, parts: Sequence[Any], time_key: tuple) -> Slice:
    """Collect place and size of a slice from the parts of a header that may hold them."""
    found = {}
    for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
        value = next((part.get(name) for part in parts if part.get(name)), None)
        if value is None:
            msg = f"{path} does not say where its slices lie ({name} is missing), so that they cannot be stacked."
            raise InputError(msg)
        found[name] = tuple(float(number) for number in value)
    return Slice(
        path,
        frame,
        f"{header.get('SOPInstanceUID')}/{frame}",
        (int(header.Rows), int(header.Columns)),
        found["ImageOrientationPatient"],
        found["ImagePositionPatient"],
        (found["PixelSpacing"][1], found["PixelSpacing"][0]),
        time_key,
    )


def _time_key(header: Dataset) -> tuple:
    """What orders slices at one place in time; the instance number decides where times are missing or equal."""
    date_time = f"{header.get('AcquisitionDate') or ''}{header.get('AcquisitionTime') or ''}"
    return (
        int(header.get("TemporalPositionIdentifier") or 0),
        date_time,
        float(header.get("TriggerTime") or 0),
        int(header.get("InstanceNumber") or 0),
    )


def _check_series(path: Path, headers: dict[Path, Dataset], slices: list[Slice]) -> None:
    """Refuse slices that do not belong to one stack, before any is compared by position."""
    first = slices[0]
    for other in slices:
        if not np.allclose(other.orientation, first.orientation, atol=ORIENTATION_TOLERANCE):
            msg = (
                f"{path} mixes slices of different orientation (first in {first.path.name} and {other.path.name}); "
                "a localizer does this. Keep slices of one orientation in the folder."
            )
            raise InputError(msg)
        if other.shape != first.shape or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            msg = (
                f"{path} mixes slices of different size or pixel spacing (first in {first.path.name} and "
                f"{other.path.name}). Keep one series in the folder."
            )
            raise InputError(msg)
    if len({slice_.uid for slice_ in slices}) < len(slices):
        msg = f"{path} holds copies of the same slice. Remove the duplicate files."
        raise InputError(msg)
    by_series = defaultdict(set)
    for slice_ in slices:
        by_series[headers[slice_.path].get("SeriesInstanceUID")].add(round(slice_.offset_mm / POSITION_TOLERANCE_MM))
    # Several series on the very same slices are the time points of one examination.
    if len({frozenset(offsets) for offsets in by_series.values()}) > 1:
        msg = f"{path} holds {len(by_series)} different series. Give a folder with the files of one."
        raise InputError(msg)


def _arrange(path: Path, slices: list[Slice]) -> list[list[Slice]]:
    """Sort slices into time points; each is a list of slices in ascending position along the normal."""
    slices = sorted(slices, key=lambda slice_: slice_.offset_mm)
    groups = [[slices[0]]]
    for slice_ in slices[1:]:
        if slice_.offset_mm - groups[-1][0].offset_mm <= POSITION_TOLERANCE_MM:
            groups[-1].append(slice_)
        else:
            groups.append([slice_])
    counts = [len(group) for group in groups]
    if len(set(counts)) > 1:
        odd = groups[counts.index(min(counts))][0]
        msg = (
            f"{path} is incomplete or has duplicate slices: most positions hold {max(counts)} and "
            f"{odd.path.name} stands with {min(counts)}. Export the whole series again."
        )
        raise InputError(msg)
    ordered = [sorted(group, key=lambda slice_: slice_.time_key) for group in groups]
    return [[group[time] for group in ordered] for time in range(counts[0])]


def _assemble(path: Path, times: list[list[Slice]]) -> Image:
    """Check the distances, read the pixels and put them on one grid."""
    first = times[0]
    geometry = VolumeGeometry((len(first), *first[0].shape), LPS_TO_RAS @ _ijk_to_lps(path, first))
    offsets = [slice_.offset_mm for slice_ in first]
    _check_steps(path, first, np.diff(offsets))
    cache: dict[Path, NDArray] = {}
    arrays = tuple(np.stack([_read_pixels(slice_, cache) for slice_ in time]) for time in times)
    return Image(path, arrays, geometry, sources=tuple((slice_.path, slice_.frame) for slice_ in first))


def _ijk_to_lps(path: Path, slices: list[Slice]) -> NDArray[np.float64]:
    """Index-to-LPS matrix, with the true direction from slice to slice: a tilted gantry shows as shear."""
    first, last = slices[0], slices[-1]
    matrix = np.eye(4)
    matrix[:3, 0] = np.array(first.orientation[:3]) * first.spacing[0]
    matrix[:3, 1] = np.array(first.orientation[3:]) * first.spacing[1]
    matrix[:3, 2] = first.normal
    if len(slices) > 1:
        matrix[:3, 2] = (np.array(last.position) - np.array(first.position)) / (len(slices) - 1)
    matrix[:3, 3] = first.position
    if not np.isfinite(matrix).all() or math.isclose(abs(np.linalg.det(matrix)), 0.0, abs_tol=1e-12):
        msg = f"{path} has a damaged header: position, orientation or pixel spacing are not usable."
        raise InputError(msg)
    return matrix


def _check_steps(path: Path, slices: list[Slice], steps_mm: NDArray[np.float64]) -> None:
    """Refuse gaps and irregular distances."""
    if not steps_mm.size:
        return
    usual = float(np.median(steps_mm))
    worst = int(np.abs(steps_mm - usual).argmax())
    if abs(steps_mm[worst] - usual) <= max(STEP_TOLERANCE * usual, POSITION_TOLERANCE_MM):
        return
    ratio = steps_mm[worst] / usual
    guess = f"{round(ratio) - 1} missing there" if ratio > 1.5 and abs(ratio - round(ratio)) < 0.1 else "irregular"
    msg = (
        f"{path} is not evenly spaced: {steps_mm[worst]:.2f} mm between {slices[worst].path.name} and "
        f"{slices[worst + 1].path.name} instead of {usual:.2f} mm ({guess}). Export the whole series, "
        "or keep an evenly spaced part."
    )
    raise InputError(msg)


def _read_pixels(slice_: Slice, cache: dict[Path, NDArray]) -> NDArray:
    """Pixels of one slice, rescaled to the modality's units; multi-frame files are decoded once."""
    if slice_.path not in cache:
        cache.clear()
        cache[slice_.path] = _decode(slice_.path)
    frames = cache[slice_.path]
    return frames[slice_.frame]


def _decode(path: Path) -> NDArray:
    """All frames of a file: (frames, rows, columns) in the modality's units, or RGB."""
    import pydicom
    from pydicom.pixels import apply_modality_lut, pixel_array

    dataset = pydicom.dcmread(path)
    try:
        pixels = pixel_array(dataset)  # turns YBR colours to RGB
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, ValueError) as error:
        msg = f"The pixels of {path} cannot be decoded ({str(error).splitlines()[0][:150]}). Export it uncompressed."
        raise InputError(msg) from error
    if dataset.get("SamplesPerPixel", 1) > 1:
        return pixels if pixels.ndim == 4 else pixels[np.newaxis]
    pixels = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    scaled = apply_modality_lut(pixels, dataset)
    if scaled.dtype.kind != "f":
        return scaled
    is_integer = (scaled == np.rint(scaled)).all() and np.abs(scaled).max() < 2**15
    return scaled.astype(np.int16 if is_integer else np.float32)


def _read_clip(path: Path, header: Dataset) -> Image:
    """Read a cine file: frames in time, with pixel size where the file or its ultrasound region gives one."""
    frames = _decode(path)
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    regions = header.get("SequenceOfUltrasoundRegions")
    size_mm = None
    if spacing:
        size_mm = (float(spacing[1]), float(spacing[0]))
    elif regions and regions[0].get("PhysicalUnitsXDirection") == CENTIMETRES:
        size_mm = (abs(float(regions[0].PhysicalDeltaX)) * 10, abs(float(regions[0].PhysicalDeltaY)) * 10)
    matrix = np.diag([*(size_mm or (1.0, 1.0)), 1.0, 1.0])
    step_s = float(header.get("FrameTime") or 0) / 1000
    times = tuple(index * step_s for index in range(len(frames))) if step_s else None
    geometry = VolumeGeometry((1, *frames.shape[1:3]), LPS_TO_RAS @ matrix)
    return Image(path, tuple(frames[:, np.newaxis]), geometry, times, is_calibrated=size_mm is not None)
