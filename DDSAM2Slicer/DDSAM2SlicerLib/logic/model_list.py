"""The models a user can choose from, and a download that runs beside Slicer (layer: logic)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DDSAM2Error
from ..weights.catalog import DEFAULT_MODEL, CatalogEntry, find_entry
from ..weights.store import FOLDER_VARIABLE, Store
from .i18n import _
from .process_transport import QtTicker, Ticker, worker_command
from .signal import Signal

MIB = 2**20
POLL_MS = 300
PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
# A process of its own: Slicer's event loop is not held up, and ending it keeps what has arrived for the next try.
PROGRAM = """
import sys
from DDSAM2SlicerLib.core.errors import DDSAM2Error
from DDSAM2SlicerLib.weights.catalog import find_entry
from DDSAM2SlicerLib.weights.download import download
from DDSAM2SlicerLib.weights.store import Store
try:
    download(find_entry(sys.argv[1]), Store())
except DDSAM2Error as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class ModelRow:
    """What a list shows of a model.

    Attributes:
        name: Its name.
        state: "shipped", "ready", "missing" or "downloading".
        size_mib: Of its file; 0 if it is part of the extension.
        input_size: Side of what the network sees, in pixels.
        licence: Of the weights.
    """

    name: str
    state: str
    size_mib: int
    input_size: int
    licence: str


class ModelList:
    """Models with their state; one download at a time.

    Attributes:
        changed: Emits nothing when states or progress change.
        error: One sentence about the last download or deletion; empty if all went well.
    """

    def __init__(
        self,
        store: Store | None = None,
        ticker: Ticker | None = None,
        popen: Callable[..., subprocess.Popen] = subprocess.Popen,
    ) -> None:
        """Look at the model folder; nothing is loaded or downloaded.

        Args:
            store: The model files.
            ticker: Asks how far a download is; a QTimer by default.
            popen: Starts a process.
        """
        self.changed = Signal()
        self.error = ""
        self._store = store or Store()
        self._ticker, self._popen = ticker, popen
        self._child: subprocess.Popen | None = None
        self._entry: CatalogEntry | None = None

    def rows(self) -> list[ModelRow]:
        """All models, the default one first."""
        entries = sorted(self._store.catalog.values(), key=lambda entry: entry.name != DEFAULT_MODEL)
        return [
            ModelRow(
                entry.name,
                "downloading" if entry is self._entry else self._store.state(entry),
                (entry.size_bytes or 0) // MIB,
                entry.input_size,
                entry.licence,
            )
            for entry in entries
        ]

    def row(self, name: str) -> ModelRow:
        """One model."""
        return next(row for row in self.rows() if row.name == name)

    @property
    def percent(self) -> int | None:
        """How far the download is; None if there is none."""
        if self._entry is None:
            return None
        part = self._store.part_path(self._entry)
        done = part.stat().st_size if part.is_file() else 0
        return min(100, 100 * done // (self._entry.size_bytes or 1))

    def download(self, name: str) -> None:
        """Begin or continue to download a model."""
        if self._child is not None:
            return
        self._entry, self.error = find_entry(name, self._store.catalog), ""
        environment = {**os.environ, FOLDER_VARIABLE: str(self._store.folder), "PYTHONPATH": PACKAGE_PARENT}
        command = [worker_command()[0], "-c", PROGRAM, name]
        flags = 0x08000000 if sys.platform == "win32" else 0  # no console window
        try:
            self._child = self._popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, creationflags=flags
            )
        except OSError as error:
            text = _("The download cannot be started ({reason}). Check the installation of Slicer.")
            self._end(text.format(reason=error.strerror or error))
            return
        if self._ticker is None:
            self._ticker = QtTicker()
        self._ticker.start(POLL_MS, self.poll)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop the download; what has arrived is kept for the next try."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._end("")

    def delete(self, name: str) -> None:
        """Remove a downloaded model."""
        self.error = ""
        try:
            self._store.delete(find_entry(name, self._store.catalog))
        except DDSAM2Error as error:
            self.error = str(error)
        self.changed.emit()

    def poll(self) -> None:
        """Look how far the download is."""
        if self._child is None or self._child.poll() is None:
            self.changed.emit()
            return
        log = self._child.communicate()[1].decode(errors="replace").strip().splitlines()
        reason = log[-1] if log else _("no reason was given")
        self._end("" if self._child.returncode == 0 else reason)

    def _end(self, error: str) -> None:
        self._child = self._entry = None
        self.error = error
        if self._ticker is not None:
            self._ticker.stop()
        self.changed.emit()
