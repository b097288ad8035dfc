"""Label maps and segmentations to files, whole or not at all (layer: cli)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import OutputError


@contextmanager
def replace_when_done(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside the target, of the same ending; it becomes the target if the block succeeds.

    Raises:
        OutputError: If the folder is not there or not writable, or the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            msg = f"{path} is a folder; the output must be a file."
            raise OutputError(msg)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full. Free some space" if full else f"{error.strerror or error}. Choose another place"
        msg = f"Cannot write {path}: {reason}; nothing was left half written."
        raise OutputError(msg) from error
    finally:
        temporary.unlink(missing_ok=True) if temporary.parent.is_dir() else None


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8."""
    with replace_when_done(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
