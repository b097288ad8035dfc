"""What can be said about one object on one frame: points, a box, a mask; immutable values (layer: core).

Coordinates are pixels of the frame, (x = column, y = row); an integer is the centre of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Point:
    """A click on the object (positive) or beside it."""

    x: float
    y: float
    positive: bool = True

    def __post_init__(self) -> None:
        """Convert to plain numbers and refuse what is not finite."""
        _convert_to_floats(self, ("x", "y"))
        object.__setattr__(self, "positive", bool(self.positive))


@dataclass(frozen=True)
class Box:
    """Rectangle around the object; its corners are pixel centres that still belong to it."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        """Convert to plain numbers and refuse boxes without area."""
        _convert_to_floats(self, ("x0", "y0", "x1", "y1"))
        if not (self.x0 < self.x1 and self.y0 < self.y1):
            msg = f"A box from ({self.x0}, {self.y0}) to ({self.x1}, {self.y1}) is empty; it needs x0 < x1 and y0 < y1."
            raise PromptError(msg)

    @classmethod
    def around(cls, mask: NDArray) -> Box:
        """Tight box of a mask (H, W); a mask one pixel wide gets half a pixel on either side.

        Raises:
            PromptError: If the mask is empty.
        """
        rows, columns = np.nonzero(mask)
        if not rows.size:
            msg = "An empty mask has no box. Choose a frame where the object is."
            raise PromptError(msg)
        x0, x1, y0, y1 = columns.min(), columns.max(), rows.min(), rows.max()
        x_extra, y_extra = 0.5 * (x0 == x1), 0.5 * (y0 == y1)
        return cls(x0 - x_extra, y0 - y_extra, x1 + x_extra, y1 + y_extra)


@dataclass(frozen=True, eq=False)
class FramePrompt:
    """Everything said about one object on one frame: points and a box, or a mask alone.

    Attributes:
        points: Clicks in the order they were made.
        box: Rectangle around the object.
        mask: (H, W) bool, a read-only copy of what was given.
    """

    points: tuple[Point, ...] = ()
    box: Box | None = None
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Freeze and refuse prompts that say nothing or two things at once."""
        object.__setattr__(self, "points", tuple(self.points))
        if self.mask is None:
            if not self.points and self.box is None:
                msg = "The prompt says nothing: give at least one point, a box or a mask."
                raise PromptError(msg)
            return
        if self.points or self.box is not None:
            msg = "A mask prompt stands alone: remove the points and the box of this frame, or the mask."
            raise PromptError(msg)
        mask = np.array(self.mask) != 0
        if mask.ndim != 2 or not mask.any():
            msg = f"The mask prompt of shape {mask.shape} is empty or not a frame: mark at least one pixel of (H, W)."
            raise PromptError(msg)
        mask.flags.writeable = False
        object.__setattr__(self, "mask", mask)

    def __eq__(self, other: object) -> bool:
        """Equal when points, box and mask are."""
        if not isinstance(other, FramePrompt):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(self._key())

    @property
    def shows_object(self) -> bool:
        """Whether the prompt says where the object is; negative points alone only say where it is not."""
        return self.box is not None or self.mask is not None or any(point.positive for point in self.points)

    def _key(self) -> tuple:
        """Hashable value."""
        return self.points, self.box, None if self.mask is None else (self.mask.shape, self.mask.tobytes())


def _convert_to_floats(instance: object, names: Iterable[str]) -> None:
    """Make the named coordinates of a frozen object plain floats; refuse NaN and infinity."""
    for name in names:
        value = float(getattr(instance, name))
        if not np.isfinite(value):
            msg = f"Coordinate {name} is {value}; prompts need finite pixel coordinates."
            raise PromptError(msg)
        object.__setattr__(instance, name, value)


def check_inside(where: str, prompt: FramePrompt, height: int, width: int) -> None:
    """Raise PromptError unless points, box and mask fit a frame of this size."""
    if prompt.mask is not None and prompt.mask.shape != (height, width):
        msg = f"{where} the mask has shape {prompt.mask.shape}, the frames have {(height, width)}."
        raise PromptError(msg)
    corners = [(point.x, point.y) for point in prompt.points]
    if prompt.box is not None:
        corners += [(prompt.box.x0, prompt.box.y0), (prompt.box.x1, prompt.box.y1)]
    for x, y in corners:
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            msg = (
                f"{where} ({x:g}, {y:g}) is outside of the frame of {width} columns and {height} rows. Move it inside."
            )
            raise PromptError(msg)
