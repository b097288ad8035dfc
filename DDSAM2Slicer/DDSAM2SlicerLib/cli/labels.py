"""What a propagation found, on the grid of its input: one mask per object, with name and colour (layer: cli)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import OutputError
from .readers import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLOURS = (
    (0.90, 0.30, 0.24),
    (0.20, 0.63, 0.86),
    (0.36, 0.76, 0.35),
    (0.95, 0.73, 0.20),
    (0.62, 0.42, 0.80),
    (0.10, 0.70, 0.65),
    (0.95, 0.50, 0.65),
    (0.60, 0.45, 0.30),
)
"""Colours of objects 1, 2, ...; they repeat."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Masks of all objects.

    Attributes:
        image: The image they belong to.
        masks: Object to bool (T, K, J, I).
        names: Object to name, where one is known.
        colours: Object to RGB from 0 to 1, where one is known.
    """

    image: Image
    masks: dict[int, NDArray[np.bool_]]
    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, tuple[float, float, float]] = field(default_factory=dict)

    def name(self, object_id: int) -> str:
        """Name of an object for people."""
        return self.names.get(object_id, f"Object {object_id}")

    def colour(self, object_id: int) -> tuple[float, float, float]:
        """RGB of an object, from 0 to 1."""
        return self.colours.get(object_id, COLOURS[(object_id - 1) % len(COLOURS)])

    def moved_to(self, image: Image) -> Labels:
        """Return the same masks on the grid of the volume whose slices were taken as times; else unchanged."""
        if image.num_times == self.image.num_times:
            return self
        masks = {object_id: mask.swapaxes(0, 1) for object_id, mask in self.masks.items()}
        return Labels(image, masks, self.names, self.colours)

    @property
    def has_overlap(self) -> bool:
        """Whether a voxel belongs to more than one object."""
        seen = np.zeros(self._shape, bool)
        for mask in self.masks.values():
            if (seen & mask).any():
                return True
            seen |= mask
        return False

    def merge(self) -> NDArray:
        """One label map (T, K, J, I), 0 where no object is; where objects overlap the higher number wins.

        Raises:
            OutputError: If an object's number does not fit.
        """
        highest = max(self.masks, default=0)
        if highest > np.iinfo(np.uint16).max:
            msg = f"Object {highest} does not fit into a label map; use numbers up to 65535."
            raise OutputError(msg)
        labels = np.zeros(self._shape, np.uint8 if highest < 256 else np.uint16)
        for object_id in sorted(self.masks):
            labels[self.masks[object_id]] = object_id
        return labels

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        """Time points, slices, rows, columns."""
        return (self.image.num_times, *self.image.geometry.shape_kji)
