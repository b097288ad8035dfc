"""Where model files lie on this computer: find, verify, adopt, delete (layer: weights).

Downloaded files lie in one folder of the user's cache, each beside a ``<file>.sha256`` that records what arrived.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ..core.errors import WeightsError
from .catalog import CATALOG, CatalogEntry, find_entry

FOLDER_VARIABLE = "DDSAM2_MODELS"
"""Environment variable that moves the folder of downloaded models."""

SHIPPED_FOLDERS = (
    Path(__file__).resolve().parents[2] / "Resources" / "Models",  # source tree and Slicer: beside the package
    Path(sys.prefix) / "share" / "ddsam2slicer" / "Models",  # installed from a wheel
)

MODEL_SUFFIXES = (".pt", ".pth", ".safetensors")

State = Literal["shipped", "ready", "missing"]

_BLOCK_BYTES = 1 << 20


def default_folder() -> Path:
    """Folder of downloaded models: ``$DDSAM2_MODELS``, else the platform's per-user cache."""
    if override := os.environ.get(FOLDER_VARIABLE):
        return Path(override).expanduser()
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ddsam2slicer" / "models"


def hash_file(path: Path) -> str:
    """Compute the SHA-256 of a file in blocks; lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def readable_disk_errors(doing: str, folder: Path) -> Iterator[None]:
    """Turn what the file system refuses into one sentence with the folder and a way out.

    Args:
        doing: What was being done, as in "keep the model 'nano'".
        folder: The folder it was done in.

    Raises:
        WeightsError: For every OSError inside the block.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full. Free some space"
        else:
            reason = f"the folder cannot be used ({error.strerror or error}). Allow writing there"
        msg = f"Cannot {doing} in {folder}: {reason}, or name another folder in the variable {FOLDER_VARIABLE}."
        raise WeightsError(msg) from error


class Store:
    """The model files of one user: those shipped with the extension and those in one folder."""

    def __init__(
        self,
        folder: Path | None = None,
        catalog: Mapping[str, CatalogEntry] = CATALOG,
        shipped_folders: Sequence[Path] = SHIPPED_FOLDERS,
    ) -> None:
        """Name the folders; nothing is created before something is kept.

        Args:
            folder: Where downloaded files are kept; the user's cache if None.
            catalog: The models that can be named.
            shipped_folders: Where files of the extension itself are looked for, in this order.
        """
        self.folder = Path(folder) if folder is not None else default_folder()
        self.catalog = catalog
        self.shipped_folders = tuple(shipped_folders)

    def path(self, entry: CatalogEntry) -> Path:
        """Where the file of an entry is, or would be."""
        if not entry.is_shipped:
            return self.folder / entry.filename
        candidates = [folder / entry.filename for folder in self.shipped_folders]
        return next((path for path in candidates if path.is_file()), candidates[0])

    def state(self, entry: CatalogEntry) -> State:
        """Whether the model came with the extension, was downloaded, or is not on this computer."""
        if not self.path(entry).is_file():
            return "missing"
        return "shipped" if entry.is_shipped else "ready"

    def resolve(self, name_or_path: str | Path) -> Path:
        """Turn what the user gave into an existing, verified file: a catalog name or the path of any file.

        Raises:
            WeightsError: If there is no such name or file, the model is not here yet, or its file has changed.
        """
        name, given = str(name_or_path), Path(name_or_path)
        if name not in self.catalog and given.is_file():
            return given
        if given.name != name or given.suffix in MODEL_SUFFIXES:
            msg = f"There is no model file {given}. Give the path of an existing file, or a name of the model list."
            raise WeightsError(msg)
        return self.verified_path(find_entry(name, self.catalog))

    def verified_path(self, entry: CatalogEntry) -> Path:
        """Where the file of an entry is, after a look at its hash.

        Raises:
            WeightsError: If the model is not here yet, or its file has changed.
        """
        path = self.path(entry)
        if not path.is_file():
            raise WeightsError(_explain_missing(entry, path))
        expected = entry.sha256 or self.recorded_sha256(entry)
        if expected is not None and hash_file(path) != expected:
            msg = (
                f"The model file {path} has changed since it was published or arrived (its SHA-256 differs). "
                f"Delete the model '{entry.name}' and download it again."
            )
            raise WeightsError(msg)
        return path

    def accept(self, entry: CatalogEntry, arrived: Path) -> Path:
        """Verify a complete file inside the store's folder, record its hash and move it to its place.

        A file with another hash than the published one is removed.

        Raises:
            WeightsError: If the hash is not the published one.
        """
        actual = hash_file(arrived)
        if entry.sha256 is not None and actual != entry.sha256:
            arrived.unlink()
            msg = (
                f"The file that arrived for '{entry.name}' is not the published one (SHA-256 {actual}, expected "
                f"{entry.sha256}). It was removed; try again, and if this repeats, something alters your downloads."
            )
            raise WeightsError(msg)
        target = self.path(entry)
        _record_path(target).write_text(f"{actual}  {target.name}\n", encoding="utf-8")
        arrived.replace(target)
        return target

    def adopt(self, file: str | Path, name: str | None = None) -> CatalogEntry:
        """Copy a file the user already has into the store, so that it is found by name without a network.

        Args:
            file: The file; it is left as it is.
            name: The model it is; if None, the entry with the file's hash, else the one with the file's name.

        Returns:
            The entry the file now stands for.

        Raises:
            WeightsError: If the file is not there, belongs to no entry, or is not what its name says.
        """
        file = Path(file)
        if not file.is_file():
            msg = f"There is no file {file} to take into the model folder."
            raise WeightsError(msg)
        actual = hash_file(file)
        entry = find_entry(name, self.catalog) if name is not None else self._recognise(file, actual)
        if entry.is_shipped or entry.sha256 not in (None, actual):
            msg = (
                f"{file} is not the published '{entry.name}' (its SHA-256 is {actual}). "
                "If you trust the file, use it by its path instead of a name."
            )
            raise WeightsError(msg)
        with readable_disk_errors(f"keep the model '{entry.name}'", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            copy = self.part_path(entry)
            shutil.copyfile(file, copy)
            self.accept(entry, copy)
        return entry

    def delete(self, entry: CatalogEntry) -> int:
        """Remove a downloaded model, a part of it, and its record.

        Returns:
            Bytes freed; 0 if nothing was there.

        Raises:
            WeightsError: If the model is part of the extension, or the file cannot be removed.
        """
        if entry.is_shipped:
            msg = f"The model '{entry.name}' is part of the extension and cannot be deleted."
            raise WeightsError(msg)
        freed = 0
        with readable_disk_errors(f"delete the model '{entry.name}'", self.folder):
            for path in (self.path(entry), self.part_path(entry), _record_path(self.path(entry))):
                if path.is_file():
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def part_path(self, entry: CatalogEntry) -> Path:
        """Where an unfinished download of an entry lies."""
        path = self.path(entry)
        return path.with_name(path.name + ".part")

    def recorded_sha256(self, entry: CatalogEntry) -> str | None:
        """Hash of the file when it arrived; None for shipped or missing files and files put there by hand."""
        record = _record_path(self.path(entry))
        return record.read_text(encoding="utf-8").split()[0] if record.is_file() else None

    def _recognise(self, file: Path, actual: str) -> CatalogEntry:
        for entry in self.catalog.values():
            if entry.sha256 == actual:
                return entry
        return find_entry(file.stem, self.catalog)


def _record_path(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _explain_missing(entry: CatalogEntry, path: Path) -> str:
    if entry.is_shipped:
        return f"The model '{entry.name}' should be at {path} but is not there. Install the extension again."
    return f"The model '{entry.name}' is not on this computer. Download it first, or add its file from a folder."
