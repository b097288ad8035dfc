"""Everything that can go wrong with a user's input, each with a sentence a user can act on (layer: core).

A message says what was given, what is accepted and what to do next; the interfaces show it as it is.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class DDSAM2Error(Exception):
    """Base of all errors whose text is meant for the user."""


class GeometryError(DDSAM2Error):
    """A grid that cannot be mapped to the world and back: sheared, singular, not finite."""


class InputError(DDSAM2Error):
    """An image, mask or file that cannot be used."""


class PromptError(DDSAM2Error):
    """A prompt that is empty, contradictory, or outside the frame, the stack or the range."""


class SettingsError(DDSAM2Error):
    """A setting that does not exist or has a value that is not accepted."""


class WeightsError(DDSAM2Error):
    """A model that is unknown, missing, damaged or not safe to read."""


class DeviceError(DDSAM2Error):
    """A computing device that is not there, or ran out of memory."""


class OutputError(DDSAM2Error):
    """A result that cannot be written."""


class WorkerError(DDSAM2Error):
    """A worker process that cannot be started or understood, stopped, or met a fault of its own."""


class NonFiniteVoxelsWarning(UserWarning):
    """An image holds NaN or infinite voxels; they were mapped to the ends of the intensity window."""


def suggest(given: str, accepted: Iterable[str]) -> str:
    """Write the closing sentence of an "unknown name" message: near matches first, else every accepted name."""
    names = sorted(accepted)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(name) for name in near)}?"
    return f"Accepted: {', '.join(names)}."
