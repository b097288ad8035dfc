"""Files that are written whole or not at all (layer: core)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


@contextmanager
def replace_when_done(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside the target, of the same ending; it becomes the target if the block succeeds.

    Raises:
        OutputError: If the folder is not there or not writable, or the disk is full; nothing is left half written.
    """
    path = Path(path)
    temporary = temporary_path(path)
    with readable_disk_errors(path):
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


def temporary_path(path: Path) -> Path:
    """A hidden name beside the target with the same ending."""
    return path.with_name(f".writing-{os.getpid()}-{path.name}")


@contextmanager
def readable_disk_errors(path: Path) -> Iterator[None]:
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
