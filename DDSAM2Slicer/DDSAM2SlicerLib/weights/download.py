"""Fetch a model file with progress, resume and verification (layer: weights; standard library only).

An unfinished file keeps the ending ``.part`` and is continued by the next call with an HTTP Range request.
"""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ..core.errors import WeightsError
from .catalog import CatalogEntry
from .store import Store, readable_disk_errors

BLOCK_BYTES = 1 << 18
TIMEOUT_S = 30

_HTTP_PARTIAL = 206
_HTTP_RANGE_NOT_SATISFIABLE = 416
_NETWORK_ERRORS = (URLError, HTTPException, TimeoutError, ConnectionError, ssl.SSLError)

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all; the second is 0 while it is not known."""


class Response(Protocol):
    """What an opened address offers: the part of ``http.client.HTTPResponse`` used here."""

    status: int
    headers: Any

    def read(self, amount: int, /) -> bytes:
        """Read at most so many bytes; empty at the end."""


Opener = Callable[[Request], AbstractContextManager[Response]]

open_url: Opener = partial(urlopen, timeout=TIMEOUT_S)


def download(
    entry: CatalogEntry,
    store: Store,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    opener: Opener = open_url,
) -> Path | None:
    """Bring the file of an entry into the store, continuing an unfinished one.

    Args:
        entry: What to fetch.
        store: Where to keep it.
        progress: Called after each block, on the calling thread.
        cancel: Asked before each block; answering True stops and keeps what has arrived.
        opener: Opens a request; replaced in tests.

    Returns:
        The verified file, or None if cancelled.

    Raises:
        WeightsError: If the entry cannot be downloaded, the connection fails, the disk refuses, or the hash differs.
    """
    if entry.url is None:
        msg = f"The model '{entry.name}' is part of the extension; there is nothing to download."
        raise WeightsError(msg)
    if store.state(entry) == "ready":
        return store.verified_path(entry)
    part = store.part_path(entry)
    with readable_disk_errors(f"download the model '{entry.name}'", store.folder):
        store.folder.mkdir(parents=True, exist_ok=True)
        is_complete = _fetch(entry, part, progress or _ignore_progress, cancel or _never, opener)
        return store.accept(entry, part) if is_complete else None


def _fetch(entry: CatalogEntry, part: Path, progress: Progress, cancel: Callable[[], bool], opener: Opener) -> bool:
    """Append what is missing to the part file; False if cancelled."""
    have = part.stat().st_size if part.is_file() else 0
    request = Request(entry.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with opener(request) as response:
            done, total = _receive(entry, response, part, have, progress, cancel)
    except HTTPError as error:
        if error.code == _HTTP_RANGE_NOT_SATISFIABLE and have:
            return _keep_if_whole(entry, part, have, error)
        msg = f"The server refused '{entry.name}' (HTTP {error.code}, {entry.url}). Try later, or add the file by hand."
        raise WeightsError(msg) from error
    except _NETWORK_ERRORS as error:
        msg = f"The connection for '{entry.name}' failed ({error}). Download again to continue where it stopped."
        raise WeightsError(msg) from error
    if cancel():
        return False
    if done < total:
        msg = f"The connection for '{entry.name}' ended after {done} of {total} bytes. Download again to continue."
        raise WeightsError(msg)
    return True


def _receive(
    entry: CatalogEntry, response: Response, part: Path, have: int, progress: Progress, cancel: Callable[[], bool]
) -> tuple[int, int]:
    """Write the answer behind the bytes already there; returns bytes done and bytes in all (0 if not announced)."""
    done = have if response.status == _HTTP_PARTIAL else 0  # any other answer is the whole file, whatever was asked for
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else 0
    _require_space(entry, part.parent, total - done)
    shown_total = total or entry.size_bytes or 0
    with part.open("ab" if done else "wb") as file:
        progress(done, shown_total)
        while not cancel() and (block := response.read(BLOCK_BYTES)):
            file.write(block)
            done += len(block)
            progress(done, shown_total)
    return done, total


def _keep_if_whole(entry: CatalogEntry, part: Path, have: int, error: HTTPError) -> bool:
    """True if nothing was missing from the part file; otherwise it belongs to another file and is removed."""
    total = str(error.headers.get("Content-Range", "")).rpartition("/")[2]
    if total.isdigit() and int(total) != have:
        part.unlink()
        msg = f"The unfinished file of '{entry.name}' did not belong to {entry.url} and was removed. Download again."
        raise WeightsError(msg)
    return True


def _require_space(entry: CatalogEntry, folder: Path, missing_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if missing_bytes > free:
        msg = (
            f"'{entry.name}' needs {missing_bytes / 1e6:.0f} MB more in {folder}, where {free / 1e6:.0f} MB are free. "
            "Free some space or choose another folder."
        )
        raise WeightsError(msg)


def _ignore_progress(done: int, total: int) -> None:
    pass


def _never() -> bool:
    return False
