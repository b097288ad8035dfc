"""One intensity mapping per stack: voxels to 8 bits, the same for preview, run and every time point (layer: core)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError, NonFiniteVoxelsWarning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ROBUST_PERCENTILES = (0.5, 99.5)
"""Percentiles of the finite voxels that become black and white when no window is given."""

MAX_SAMPLES = 2_000_000
"""Percentiles of larger images are taken on a regular subset of about this many voxels."""

WORTH_A_TABLE = 4096
"""So many values of 8 or 16 bits are looked up in a table: the same greys, many times as fast."""
NUM_TONES = 256
"""Bins of the histogram that a stretched mapping follows."""

TONE_SAMPLES = 200_000
"""Voxels that are counted for it: few, because Slicer's own process counts them, too."""

CONTRAST_LIMITS = (0.5, 3.0)
"""Counts are clipped to these multiples of the mean count before they become slopes."""

SMOOTHED_TONES = 5
"""Bins that are averaged, so that single grey values of integer images make no steps."""


@dataclass(frozen=True)
class IntensityMapping:
    """Monotone map of [low, high] to [0, 255], clipped at both ends.

    It is linear, or follows ``tones``: the grey values, not rounded, at equally spaced places from low to high. NaN is
    treated as ``low``, infinities as the ends. ``num_nonfinite`` counts such voxels (None: not counted yet).
    """

    low: float
    high: float
    invert: bool = False
    tones: tuple[float, ...] | None = None
    num_nonfinite: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse windows that are not finite or upside down."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            msg = f"An intensity window from {self.low} to {self.high} is not usable: it needs finite low <= high."
            raise InputError(msg)

    @property
    def is_constant(self) -> bool:
        """Whether every voxel becomes the same grey value, so that nothing can be seen."""
        return self.low == self.high

    @classmethod
    def from_window(cls, window: float, level: float) -> IntensityMapping:
        """Build from a displayed window width and level; a negative width means inverted grey values, as in VTK."""
        half = abs(window) / 2
        return cls(level - half, level + half, invert=window < 0)

    @classmethod
    def from_array(cls, array: NDArray) -> IntensityMapping:
        """Build from robust percentiles of the finite voxels, stretched; a constant image gives a constant mapping.

        Warns:
            NonFiniteVoxelsWarning: If there are NaN or infinite voxels.

        Raises:
            InputError: If no voxel is finite.
        """
        return cls.from_arrays([array])

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray]) -> IntensityMapping:
        """Build one mapping for several arrays together, as ``from_array`` does for one."""
        num_nonfinite = _count_and_warn(arrays)
        samples = np.concatenate([_sample(array, MAX_SAMPLES // len(arrays)) for array in arrays])
        samples = samples[np.isfinite(samples)]
        low, high = np.percentile(samples, ROBUST_PERCENTILES) if samples.size else (0.0, 0.0)
        if low == high:  # constant, or all but a few voxels are: only the full range can tell
            low, high = _finite_range(arrays)
        return cls(float(low), float(high), num_nonfinite=num_nonfinite).stretched_on(arrays)

    def stretched_on(self, arrays: Sequence[NDArray]) -> IntensityMapping:
        """Return this mapping with more grey values where many voxels lie, within CONTRAST_LIMITS.

        In CT, air and bone take most of the range and soft tissues a few grey values of it: contrast-limited histogram
        equalisation (Pizer et al. 1987), over all frames at once so that a tissue keeps its grey, tells them apart.
        """
        if self.is_constant:
            return self
        samples = np.concatenate([_sample(array, TONE_SAMPLES // len(arrays)) for array in arrays])
        counts = np.histogram(samples, NUM_TONES, (self.low, self.high))[0].astype(np.float64)
        padded = np.pad(counts, SMOOTHED_TONES // 2, mode="edge")
        smooth = np.convolve(padded, np.full(SMOOTHED_TONES, 1 / SMOOTHED_TONES), mode="valid")
        slopes = np.clip(smooth / max(smooth.mean(), 1e-12), *CONTRAST_LIMITS)
        tones = np.concatenate([[0.0], np.cumsum(slopes)]) * (255 / slopes.sum())
        return replace(self, tones=tuple(tones.tolist()))

    def counted_on(self, arrays: Sequence[NDArray]) -> IntensityMapping:
        """Return this mapping with the non-finite voxels counted, and warned about, unless that was done before."""
        if self.num_nonfinite is not None:
            return self
        return replace(self, num_nonfinite=_count_and_warn(arrays))

    def apply(self, array: NDArray) -> NDArray[np.uint8]:
        """Map values of any shape to uint8; the result is a new array in row-major order."""
        if self.is_constant:
            return np.zeros(array.shape, np.uint8)
        if array.dtype.kind in "iu" and array.dtype.itemsize <= 2 and array.size >= WORTH_A_TABLE:
            native = array.astype(array.dtype.newbyteorder("="), copy=False)
            return np.ascontiguousarray(_make_table(self, native.dtype)[native.view(f"u{native.itemsize}")])
        return self._compute(array)

    def _compute(self, array: NDArray) -> NDArray[np.uint8]:
        """Map each value by itself."""
        # Always 64 bits: the same value must give the same grey whatever type it is stored in.
        values = np.array(array, dtype=np.float64, order="C")
        if array.dtype.kind == "f":
            values[np.isnan(values)] = self.low
        np.clip(values, self.low, self.high, out=values)
        values -= self.low
        values *= 255 if self.tones is None else NUM_TONES
        values /= self.high - self.low
        if self.tones is not None:
            values = np.interp(values, np.arange(NUM_TONES + 1), self.tones)
        np.rint(values, out=values)
        grey = values.astype(np.uint8)
        return 255 - grey if self.invert else grey


@lru_cache(maxsize=16)
def _make_table(mapping: IntensityMapping, dtype: np.dtype) -> NDArray[np.uint8]:
    """Grey of every value of an integer type of 8 or 16 bits, in the order of its bits read as unsigned."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    return mapping._compute(np.arange(np.iinfo(unsigned).max + 1).astype(unsigned).view(dtype))


def choose_mapping(arrays: Sequence[NDArray], mapping: IntensityMapping | None, has_colour: bool) -> IntensityMapping:
    """Return the given mapping, or the stack's own: 8-bit colour stays as it is, all else by percentiles.

    Other colours are mapped linearly: to stretch them would change their hue.
    """
    if mapping is not None:
        return mapping.counted_on(arrays)
    if has_colour and all(array.dtype == np.uint8 for array in arrays):
        return IntensityMapping(0.0, 255.0, num_nonfinite=0)
    own = IntensityMapping.from_arrays(arrays)
    return replace(own, tones=None) if has_colour else own


def _sample(array: NDArray, max_samples: int) -> NDArray[np.float64]:
    """Take a regular, deterministic subset along every axis, as a flat array of float64."""
    step = max(1, math.ceil((array.size / max(1, max_samples)) ** (1 / array.ndim)))
    return array[(slice(None, None, step),) * array.ndim].astype(np.float64).ravel()


def _finite_range(arrays: Sequence[NDArray]) -> tuple[float, float]:
    """Smallest and largest finite value of all arrays."""
    ends = []
    for array in arrays:
        values = array[np.isfinite(array)] if array.dtype.kind == "f" else array
        if values.size:
            ends += [float(values.min()), float(values.max())]
    if not ends:
        msg = "The image has no finite voxel: all are NaN or infinite. Choose another image."
        raise InputError(msg)
    return min(ends), max(ends)


def _count_and_warn(arrays: Sequence[NDArray]) -> int:
    """Count NaN and infinite voxels, slice by slice to save memory, and warn once if there are any."""
    number = sum(
        int(np.count_nonzero(~np.isfinite(part))) for array in arrays if array.dtype.kind == "f" for part in array
    )
    if number:
        msg = f"{number} voxels are NaN or infinite; they are shown as black (NaN, -inf) or white (+inf)."
        warnings.warn(msg, NonFiniteVoxelsWarning, stacklevel=4)
    return number
