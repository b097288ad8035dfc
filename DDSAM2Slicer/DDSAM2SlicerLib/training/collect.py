"""Collect labelled images from the public repositories that hold them, to train on (layer: training).

What is where stands in a table, see ``real_images.toml``. Repositories are read as bare git clones, file by
file; nothing of them is run. Every pair is written as ``NAME_labels.nii.gz`` beside ``NAME_image.nii.gz``, as
``atlas`` reads them, and kept only if it can be read there.
"""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from fnmatch import filter as match_names
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..core.errors import DDSAM2Error, InputError, SettingsError
from .atlas import load_label_map

if TYPE_CHECKING:
    import SimpleITK as sitk

LOG = logging.getLogger(__name__)
TABLE = Path(__file__).with_name("real_images.toml")
HOST = "https://github.com/{repository}.git"
WHITE = 127
"""Pictures of masks are white above this grey value; stored as JPEG they are not quite black and white."""
MIN_PIECE_PX = 60
KBP_SIDE = 128
ODD_FILE = (DDSAM2Error, RuntimeError, OSError, ValueError, KeyError, MatReadError)
"""What a file that is missing, damaged or not as expected raises."""


@dataclass(frozen=True)
class Source:
    """Where images of one kind are.

    Attributes:
        repository: Owner and name.
        folder: Where they are collected.
        licence: As the repository, or the publisher of the set, states it.
        images: Regular expression of the whole path of an image.
        labels: Paths of its label files; ``{0}`` is the image's path, ``{1}`` the expression's first group, ``*`` any
            text. The first must be there; the labels of further ones are counted on. None: the image is a label map.
        reader: How they are read: ``volume``, ``picture``, ``matlab`` or ``kbp``.
        labels_in: Another repository that holds the labels.
        pieces: Every connected piece of a mask is a structure: "inside", or those that its lines part: "outside".
        every: Only every n-th image.
        limit: No more than so many; 0 = all.
    """

    repository: str
    folder: str
    licence: str
    images: str
    labels: tuple[str, ...] = ()
    reader: str = "volume"
    labels_in: str = ""
    pieces: str = ""
    every: int = 1
    limit: int = 0


class Pair(NamedTuple):
    """An image and its labels, as they are written."""

    image: NDArray | None  # (Z, Y, X); None where there are labels only
    labels: NDArray  # (Z, Y, X)
    spacing_mm: tuple[float, ...]  # x, y, z


class Clone:
    """A bare git repository."""

    def __init__(self, repository: str, host: str, folder: Path) -> None:
        """Open ``host``, a path or address with ``{repository}``, ``{owner}`` or ``{name}``; clone what is no path.

        Raises:
            SettingsError: If git is not installed.
            InputError: If the repository cannot be reached.
        """
        owner, _, name = repository.partition("/")
        place = host.format(repository=repository, owner=owner, name=name)
        self._path = Path(place)
        if not self._path.is_dir():
            self._path = folder / f"{owner}+{name}.git"
            _git("clone", "--quiet", "--bare", "--depth=1", "--filter=blob:none", place, str(self._path))
        self.paths = [
            path.decode() for path in self._run("ls-tree", "-r", "-z", "--name-only", "HEAD").split(b"\0")[:-1]
        ]
        self._known = set(self.paths)

    def find(self, pattern: str) -> list[str]:
        """Paths that a pattern means: one with ``*`` any number, another itself."""
        return sorted(match_names(self.paths, pattern)) if "*" in pattern else [pattern] * (pattern in self._known)

    def read(self, path: str) -> bytes:
        """Content of a file."""
        return self._run("show", f"HEAD:{path}")

    def read_image(self, path: str) -> sitk.Image:
        """A volume in any format of SimpleITK."""
        import SimpleITK as sitk

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            file.write_bytes(self.read(path))
            return sitk.ReadImage(str(file))

    def read_picture(self, path: str) -> NDArray:
        """Grey values (Y, X) of a picture; colours are averaged."""
        picture = np.asarray(Image.open(BytesIO(self.read(path))))
        if picture.dtype == bool:
            return picture * np.uint8(255)
        return picture[..., :3].mean(-1).astype(np.uint8) if picture.ndim == 3 else picture

    def _run(self, *arguments: str) -> bytes:
        return _git("-C", str(self._path), *arguments)


class Item(NamedTuple):
    """An image of a source and where its labels are."""

    source: Source
    name: str
    images: Clone
    path: str
    labels: Clone
    label_paths: list[str]


def collect(folder: Path, host: str = HOST, table: Path = TABLE, only: str = "") -> dict[str, int]:
    """Fill a folder with labelled images; what lies there already is written anew.

    Args:
        folder: Each kind of images gets a folder in it.
        host: Where repositories are, see ``Clone``.
        table: What to collect.
        only: Only the sources whose folder has this name.

    Returns:
        How many pairs each folder got.

    Raises:
        SettingsError: If the table cannot be used, or git is not installed.
    """
    counts: dict[str, int] = {}
    sources = [source for source in read_table(table) if only in ("", source.folder)]
    if not sources:
        msg = f"{table} lists no folder {only}. Give one of {sorted({one.folder for one in read_table(table)})}."
        raise SettingsError(msg)
    with tempfile.TemporaryDirectory() as clones:
        open_clone = lru_cache(lambda repository: Clone(repository, host, Path(clones)))
        for source in sources:
            try:
                images, labels = open_clone(source.repository), open_clone(source.labels_in or source.repository)
            except InputError as error:
                LOG.warning("%s: %s", source.repository, error)
                continue
            number = 0
            for item in _find_items(source, images, labels):
                try:
                    number += sum(_write(folder / source.folder, item.name, READERS[source.reader](item)))
                except ODD_FILE as error:  # one of many
                    LOG.warning("%s, %s: %s", source.repository, item.path, " ".join(str(error).split()))
            counts[source.folder] = counts.get(source.folder, 0) + number
            LOG.info("%s: %d from %s (%s)", source.folder, number, source.repository, source.licence)
    return counts


def read_table(path: Path) -> list[Source]:
    """Read the table of sources.

    Raises:
        SettingsError: If it is not TOML or an entry is not usable.
    """
    known = {entry.name for entry in fields(Source)}
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["source"]
        for entry in entries:
            unknown = sorted(set(entry) - known)
            if unknown or entry.get("reader", "volume") not in READERS:
                msg = (
                    f"{path}: {unknown or entry['reader']} is not known; known are {sorted(known)} and {list(READERS)}."
                )
                raise SettingsError(msg)
        return [Source(**{**entry, "labels": tuple(entry.get("labels", ()))}) for entry in entries]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        msg = f"The table of images {path} cannot be used: {error}."
        raise SettingsError(msg) from error


def _find_items(source: Source, images: Clone, labels: Clone) -> list[Item]:
    """List the images of a source that have labels."""
    found = []
    for path in images.paths:
        match = re.fullmatch(source.images, path)
        if match is None:
            continue
        own = [labels.find(pattern.format(path, *match.groups())) for pattern in source.labels]
        if not own or own[0]:
            name = re.sub(r"\W+", "_", "_".join((source.repository.partition("/")[0], *match.groups())))
            found.append(Item(source, name, images, path, labels, [one for paths in own for one in paths]))
    return found[:: source.every][: source.limit or None]


def _read_volumes(item: Item) -> Iterator[Pair]:
    """A volume and its label maps, or a series of volumes, one by one."""
    import SimpleITK as sitk

    image = item.images.read_image(item.path)
    if not item.label_paths:
        yield Pair(None, sitk.GetArrayFromImage(image), image.GetSpacing())
        return
    maps = [item.labels.read_image(one) for one in item.label_paths]
    if image.GetDimension() == 3:
        maps = [_on_grid_of(image, one) for one in maps]
    values = _counted_on([np.rint(sitk.GetArrayFromImage(one)).astype(np.int64).clip(0) for one in maps])
    pixels = sitk.GetArrayFromImage(image)
    if image.GetDimension() == 3:
        yield Pair(pixels, values, image.GetSpacing())
        return
    for moment, present in zip(pixels, values, strict=True):
        if present.any():
            yield Pair(moment, present, image.GetSpacing()[:3])


def _read_pictures(item: Item) -> Iterator[Pair]:
    """A picture and those of its masks."""
    pixels = item.images.read_picture(item.path)
    masks = [item.labels.read_picture(one) > WHITE for one in item.label_paths]
    rows, columns = (np.arange(size) for size in pixels.shape)
    for index, mask in enumerate(masks):  # of another size: the nearest pixel
        row, column = (line * size // len(line) for line, size in zip((rows, columns), mask.shape, strict=True))
        masks[index] = mask[np.ix_(row, column)]
    values = _counted_on([mask.astype(np.int64) for mask in masks])
    if item.source.pieces:
        is_outside = item.source.pieces == "outside"
        values, _ = ndimage.label(~ndimage.binary_dilation(masks[0]) if is_outside else masks[0])
        is_small = np.bincount(values.ravel()) < MIN_PIECE_PX
        values = np.where(is_small[values], 0, values)
    yield Pair(pixels[None], values[None], (1.0, 1.0, 1.0))


def _read_matlab(item: Item) -> Iterator[Pair]:
    """A MATLAB file with an image ``I`` and its labels ``GT``, (Y, X, Z), voxels of 1 mm."""
    content = loadmat(BytesIO(item.images.read(item.path)))
    yield Pair(content["I"].transpose(2, 0, 1), content["GT"].transpose(2, 0, 1).astype(np.int64), (1.0, 1.0, 1.0))


def _read_kbp(item: Item) -> Iterator[Pair]:
    """OpenKBP (Babier et al. 2021): flat voxel indices with CT values, and of each structure, as CSV."""

    def read(clone: Clone, file: str) -> NDArray:
        return np.genfromtxt(BytesIO(clone.read(file)), delimiter=",", skip_header=1)

    pixels, values = np.zeros(KBP_SIDE**3, np.int16), np.zeros(KBP_SIDE**3, np.int64)
    indices, grey = read(item.images, item.path)[:, :2].T
    pixels[indices.astype(int)] = grey.clip(0, 4000)
    for label, file in enumerate(item.label_paths, start=1):
        values[read(item.labels, file)[:, 0].astype(int)] = label
    sizes = item.images.read(str(Path(item.path).with_name("voxel_dimensions.csv")))
    row_mm, column_mm, slice_mm = np.loadtxt(BytesIO(sizes))
    pixels, values = (one.reshape((KBP_SIDE,) * 3).transpose(2, 0, 1) for one in (pixels, values))
    yield Pair(pixels, values, (column_mm, row_mm, slice_mm))


READERS: dict[str, Callable[[Item], Iterator[Pair]]] = {
    "volume": _read_volumes,
    "picture": _read_pictures,
    "matlab": _read_matlab,
    "kbp": _read_kbp,
}


def _on_grid_of(image: sitk.Image, labels: sitk.Image) -> sitk.Image:
    """Labels on the grid of a volume; of a file with several label maps the first."""
    import SimpleITK as sitk

    if labels.GetDimension() > image.GetDimension():
        labels = labels[..., 0]
    if labels.GetSize() == image.GetSize():
        return labels
    return sitk.Resample(labels, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)


def _counted_on(maps: list[NDArray]) -> NDArray:
    """Label maps as one: where an earlier one has nothing, the labels of the next, counted on."""
    values = maps[0]
    for other in maps[1:]:
        values = np.where((values == 0) & (other > 0), other + values.max(), values)
    return values


def _write(folder: Path, name: str, pairs: Iterator[Pair]) -> Iterator[bool]:
    """Write pairs and keep those that can be trained on; whether each was kept."""
    for number, pair in enumerate(pairs):
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{name}_{number}" if number else name
        label_path, image_path = folder / f"{stem}_labels.nii.gz", folder / f"{stem}_image.nii.gz"
        if pair.image is None:
            label_path = folder / f"{stem}.nii.gz"
        else:
            _write_image(pair.image, pair.spacing_mm, image_path)
        _write_image(pair.labels.astype(np.int16), pair.spacing_mm, label_path)
        try:
            load_label_map(label_path)
        except SettingsError as error:
            LOG.warning("%s", error)
            label_path.unlink()
            image_path.unlink(missing_ok=True)
        load_label_map.cache_clear()  # it was only to be seen whether it can be read
        yield label_path.exists()


def _write_image(values: NDArray, spacing_mm: tuple[float, ...], path: Path) -> None:
    """Write (Z, Y, X) values."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    image.SetSpacing([float(one) for one in spacing_mm])
    sitk.WriteImage(image, str(path), useCompression=True)


def _git(*arguments: str) -> bytes:
    """Run git and return what it writes.

    Raises:
        SettingsError: If it is not installed.
        InputError: If it fails.
    """
    try:
        return subprocess.run(["git", *arguments], check=True, capture_output=True).stdout
    except FileNotFoundError as error:
        msg = "git is not installed, but the images lie in git repositories. Install it."
        raise SettingsError(msg) from error
    except subprocess.CalledProcessError as error:
        msg = f"git failed: {' '.join(error.stderr.decode(errors='replace').split())}"
        raise InputError(msg) from error
