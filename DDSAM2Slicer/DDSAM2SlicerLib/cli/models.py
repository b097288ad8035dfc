"""``ddsam2 models``: list, download, adopt and delete model files (layer: cli)."""

from __future__ import annotations

from pathlib import Path

from ..weights.catalog import CATALOG, DEFAULT_MODEL, find_entry
from ..weights.download import download
from ..weights.store import Store
from . import console

MIB = 2**20


def list_models(store: Store) -> None:
    """Print every known model and whether it is here."""
    rows = []
    for entry in CATALOG.values():
        path = store.path(entry)
        size = path.stat().st_size if path.is_file() else entry.size_bytes
        mark = " (default)" if entry.name == DEFAULT_MODEL else ""
        size_mib = f"{size / MIB:.0f} MiB" if size else "-"
        rows.append([entry.name + mark, store.state(entry), size_mib, f"{entry.input_size} px", entry.licence])
    console.say_table(["model", "state", "size", "input", "licence"], rows)
    console.say(f"\nDownloaded models lie in {store.folder}")


def download_model(store: Store, name: str) -> None:
    """Download one model with a progress line.

    Raises:
        WeightsError: If it is unknown, cannot be downloaded, or is not what was published.
    """
    entry = find_entry(name)
    if store.state(entry) != "missing":
        console.say(f"{entry.name} is already at {store.path(entry)}")
        return
    console.note(f"{entry.name}: {entry.licence}")
    if not entry.is_verifiable:
        console.note("No hash of this file is published: what arrives cannot be verified; its hash is recorded.")
    progress = console.Progress((entry.size_bytes or 0) // MIB, "MiB")

    def show(done: int, total: int) -> None:
        progress.total = total // MIB
        progress.advance(done // MIB - progress.done)

    download(entry, store, show)
    progress.finish()
    console.say(f"Wrote {store.path(entry)}")


def adopt_model(store: Store, file: str | Path) -> None:
    """Copy a file the user has into the model folder, without a network."""
    entry = store.adopt(file)
    console.say(f"{entry.name} is now at {store.path(entry)}")


def delete_model(store: Store, name: str) -> None:
    """Delete a downloaded model."""
    freed = store.delete(find_entry(name))
    console.say(f"Freed {freed / MIB:.0f} MiB")
