"""Images from files: NRRD, NIfTI, MetaImage, DICOM and video become one value object (layer: cli).

Every reader returns time points of (K, J, I) or (K, J, I, 3) voxels on one grid; a clip has one slice per time point.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DDSAM2Error, GeometryError, InputError
from ..core.geometry import LPS_TO_RAS, VolumeGeometry

ITK_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".hdr", ".img.gz", ".png", ".jpg", ".tif", ".tiff")
NRRD_SUFFIXES = (".nrrd", ".nhdr")
VIDEO_SUFFIXES = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".gif")
TRACKED_SEQUENCE = re.compile(r"\.igs\.\w+$")
"""Plus toolkit's sequence files: their third axis counts frames."""

TIME_KINDS = frozenset({"list", "time"})
COLOUR_KINDS = frozenset({"RGB-color", "3-color", "vector", "RGBA-color", "4-color"})


@dataclass(frozen=True, eq=False)
class Image:
    """What was read.

    Attributes:
        path: File or folder it came from.
        arrays: One (K, J, I) or RGB (K, J, I, 3) array per time point, all of one shape.
        geometry: Placement of every time point.
        times_s: Time of each time point, if the file says so.
        is_calibrated: Whether pixels have a size in mm; videos do not.
        sources: DICOM only: (file, frame in the file) of each slice of the first time point, in order of k.
    """

    path: Path
    arrays: tuple[NDArray, ...]
    geometry: VolumeGeometry
    times_s: tuple[float, ...] | None = None
    is_calibrated: bool = True
    sources: tuple[tuple[Path, int], ...] = ()

    @property
    def num_times(self) -> int:
        """Number of time points."""
        return len(self.arrays)

    @property
    def is_clip(self) -> bool:
        """Whether this is 2D+t: several times, one slice."""
        return self.num_times > 1 and self.geometry.shape_kji[0] == 1

    @property
    def is_series(self) -> bool:
        """Whether this is 3D+t: several times, several slices."""
        return self.num_times > 1 and self.geometry.shape_kji[0] > 1

    def slices_as_times(self) -> Image:
        """Return a volume whose slices along k are frames of a clip."""
        arrays = tuple(self.arrays[0][k : k + 1] for k in range(self.geometry.shape_kji[0]))
        geometry = VolumeGeometry((1, *self.geometry.shape_kji[1:]), self.geometry.ijk_to_ras)
        return Image(self.path, arrays, geometry, is_calibrated=self.is_calibrated)


def read_image(path: str | Path) -> Image:
    """Read an image file, or a folder of DICOM files.

    Raises:
        InputError: If there is nothing, the file is damaged, empty, of an unknown type, or has more than four axes.
        GeometryError: If the grid is sheared.
    """
    path = Path(path)
    if not path.exists():
        msg = f"There is no file or folder {path}."
        raise InputError(msg)
    if path.is_file() and path.stat().st_size == 0:
        msg = f"{path} is empty (0 bytes). Copy or export it again."
        raise InputError(msg)
    try:
        return _choose_reader(path)(path)
    except DDSAM2Error:
        raise
    except MemoryError as error:
        msg = f"{path} does not fit into memory. Crop it, or use a machine with more."
        raise InputError(msg) from error
    except Exception as error:  # (readers of six packages raise whatever they like on damaged files)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        msg = f"{path} cannot be read; it is damaged or not what its name says ({reason[-1].strip()[:200]})."
        raise InputError(msg) from error


def _choose_reader(path: Path):
    """Pick by ending; no ending or .dcm means DICOM."""
    name = path.name.lower()
    if name.endswith(NRRD_SUFFIXES):
        return read_nrrd
    if path.is_file() and name.endswith(ITK_SUFFIXES):
        return read_itk
    if path.is_file() and name.endswith(VIDEO_SUFFIXES):
        return read_video
    if path.is_dir() or name.endswith((".dcm", ".ima")) or _has_dicom_mark(path):
        from .dicom import read_dicom

        return read_dicom
    msg = (
        f"{path} is of an unknown type. Accepted: NRRD, NIfTI, MHA/MHD, DICOM (file or folder) and AVI/MP4, "
        "each with its usual file ending."
    )
    raise InputError(msg)


def _has_dicom_mark(path: Path) -> bool:
    """Whether the file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_nrrd(path: Path) -> Image:
    """Read NRRD of 2 to 4 axes, Slicer sequences (list axis first or last) and RGB."""
    import nrrd

    array, header = nrrd.read(str(path), index_order="C")
    kinds = [*header.get("kinds", ["domain"] * array.ndim)]
    is_placed = np.array([kind not in TIME_KINDS | COLOUR_KINDS for kind in kinds])
    directions = header.get("space directions")
    if directions is not None:
        is_placed &= [row is not None and bool(np.isfinite(row).all()) for row in directions]
    is_placed[np.flatnonzero(is_placed)[3:]] = False  # four plain axes: the slowest is time
    kinds = [
        "domain" if placed else _guess_kind(kind, size)
        for kind, placed, size in zip(kinds, is_placed, array.shape[::-1], strict=True)
    ]
    return _from_tkji(path, _reorder(path, array, kinds[::-1]), _nrrd_matrix(header, is_placed))


def _guess_kind(kind: str, size: int) -> str:
    """Tell colour from time for an axis that has no place in space."""
    return "colour" if kind in COLOUR_KINDS and size in (1, 3, 4) else "time"


def _reorder(path: Path, array: NDArray, kinds: list[str]) -> NDArray:
    """Bring axes into the order T, K, J, I, colour, adding T and K of size 1 where they lack."""
    times = [axis for axis, kind in enumerate(kinds) if kind == "time"]
    colours = [axis for axis, kind in enumerate(kinds) if kind == "colour"]
    domains = [axis for axis, kind in enumerate(kinds) if kind == "domain"]
    if len(times) > 1 or len(colours) > 1 or not 2 <= len(domains) <= 3:
        _refuse_axes(path, array.shape)
    array = array.transpose([*times, *domains, *colours])
    if len(domains) == 2:
        array = np.expand_dims(array, len(times))
    return array if times else array[np.newaxis]


def _nrrd_matrix(header: dict, is_placed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Index-to-RAS matrix (4, 4) of the placed axes."""
    matrix = np.eye(4)
    directions = header.get("space directions")
    if directions is None:
        spacings = np.asarray(header.get("spacings", np.ones(len(is_placed))), dtype=np.float64)[is_placed]
        spacings = np.where(np.isfinite(spacings), spacings, 1.0)
        matrix[range(len(spacings)), range(len(spacings))] = spacings
    else:
        steps = np.array([row for row, placed in zip(directions, is_placed, strict=True) if placed], float)[:, :3]
        matrix[: steps.shape[1], : len(steps)] = steps.T
        origin = np.asarray(header.get("space origin", np.zeros(steps.shape[1])), dtype=np.float64)[:3]
        matrix[: len(origin), 3] = origin
    space = str(header.get("space", "left-posterior-superior")).lower()
    return matrix if space.startswith(("right-anterior", "ras", "scanner")) else LPS_TO_RAS @ matrix


def read_itk(path: Path) -> Image:
    """Read NIfTI, MetaImage and plain pictures with SimpleITK."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        dimension = reader.GetDimension()
        if not 2 <= dimension <= 4:
            _refuse_axes(path, reader.GetSize()[::-1])
        image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error).lower():
            msg = (
                f"{path} has a sheared grid: its axes are not at right angles. Resample it onto a straight grid first."
            )
            raise GeometryError(msg) from error
        raise
    array = SimpleITK.GetArrayFromImage(image)
    if dimension == 2:
        array = array[np.newaxis]
    if dimension < 4:
        array = array[np.newaxis]
    direction = np.reshape(image.GetDirection(), (dimension, dimension))
    matrix, size = np.eye(4), min(dimension, 3)
    matrix[:size, :size] = (direction * image.GetSpacing())[:size, :size]
    matrix[:size, 3] = image.GetOrigin()[:size]
    read = _from_tkji(path, array, LPS_TO_RAS @ matrix)
    return read.slices_as_times() if TRACKED_SEQUENCE.search(path.name) and read.num_times == 1 else read


def read_video(path: Path) -> Image:
    """Read AVI, MP4 and the like; grey if all colours are equal, with the frame rate's times."""
    import imageio.v3 as iio

    try:
        frames = np.stack(list(iio.imiter(path)))[..., :3]
        rate = iio.immeta(path).get("fps")
    except (OSError, ValueError, StopIteration) as error:
        msg = (
            f"{path} cannot be read as a video; it is damaged, or its coding is not known here. Save it as MP4 (H.264)."
        )
        raise InputError(msg) from error
    if frames.ndim == 4 and (frames[..., :1] == frames).all():
        frames = frames[..., 0]
    times = tuple(index / rate for index in range(len(frames))) if rate else None
    geometry = VolumeGeometry((1, *frames.shape[1:3]), np.eye(4))
    return Image(path, tuple(frames[:, np.newaxis]), geometry, times, is_calibrated=False)


def _from_tkji(path: Path, array_tkji: NDArray, ijk_to_ras: NDArray) -> Image:
    """Check (T, K, J, I[, colours]) and wrap it."""
    if array_tkji.ndim not in (4, 5) or min(array_tkji.shape) == 0:
        _refuse_axes(path, array_tkji.shape)
    if array_tkji.ndim == 5 and array_tkji.shape[4] != 3:
        msg = f"{path} has {array_tkji.shape[4]} values per voxel; accepted are 1 (grey) and 3 (RGB)."
        raise InputError(msg)
    if array_tkji.dtype.kind not in "iufb":
        msg = f"{path} holds voxels of type {array_tkji.dtype}; accepted are integers and real numbers."
        raise InputError(msg)
    return Image(path, tuple(array_tkji), VolumeGeometry(array_tkji.shape[1:4], ijk_to_ras))


def _refuse_axes(path: Path, shape: tuple[int, ...]) -> None:
    """Raise for a number of axes that is no image.

    Raises:
        InputError: Always.
    """
    size = " x ".join(str(n) for n in shape)
    msg = f"{path} has {len(shape)} axes ({size}); accepted are 2D+t, 3D and 3D+t images. Save one part of it alone."
    raise InputError(msg)
