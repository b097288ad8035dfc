"""What comes out of a segmentation session, and what such a session can do (layer: core).

The engine in this process, the worker in another one and the fake of the tests all look like this to their users.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from .plan import Direction, FrameRange
    from .prompts import PromptSet


@dataclass(frozen=True)
class FrameScore:
    """How sure the mask of one object on one frame is.

    Attributes:
        iou: Predicted IoU with the truth, 0 to 1; 1 for a mask given by the user.
        object_score: Probability that the object is in the frame.
        overlap: IoU with the mask of the neighbouring frame it came from; 1 where there is none, or both are empty.
        ended: Whether the object had ended before this frame, so that the network was not asked.
        area: Pixels of the mask.
    """

    iou: float
    object_score: float
    overlap: float
    ended: bool = False
    area: int = 0


@dataclass(frozen=True, eq=False)
class FrameResult:
    """Masks of some objects on one frame.

    Attributes:
        frame: Index in the stack.
        object_ids: Objects, in the order of the arrays.
        masks: (N, H, W) bool.
        scores: One for each object.
    """

    frame: int
    object_ids: tuple[int, ...]
    masks: NDArray[np.bool_]
    scores: tuple[FrameScore, ...]

    def take(self, rows: Sequence[int]) -> Self:
        """The same for some of the objects only."""
        ids, scores = (tuple(values[row] for row in rows) for values in (self.object_ids, self.scores))
        return replace(self, object_ids=ids, masks=self.masks[list(rows)], scores=scores)


class EngineSession(Protocol):
    """Segments the objects of one stack."""

    def set_prompts(self, prompts: PromptSet) -> None:
        """Take all prompts as they are now; raise PromptError if they do not fit the stack."""

    def preview(self, frame: int) -> FrameResult:
        """Segment the objects prompted on a frame, there only; raise PromptError if there is none."""

    def propagate(
        self,
        direction: Direction | str = "both",
        frame_range: FrameRange | None = None,
        locked: Mapping[int, Mapping[int, NDArray]] | None = None,
        ends: Mapping[int, tuple[int | None, int | None]] | None = None,
        changed: tuple[int, int] | Iterable[tuple[int, int]] | None = None,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Iterator[FrameResult]:
        """Yield masks as they are found, prompted frames included, locked ones (object, frame, mask) left out.

        A frame can come again, with other objects, or with better masks where it lies between two given frames.

        Args:
            direction: Where to run from the prompts.
            frame_range: Frames to visit; all if None.
            locked: Accepted masks, {object: {frame: (H, W)}}; they condition the others and stay what they are.
            ends: First and last frame on which an object exists.
            changed: (object, frame) of one changed prompt, or several: only what they affect is computed.
            cancel: Asked between frames; when true, the iteration ends.

        Raises:
            PromptError: If the prompts do not fit the range.
            DeviceError: If memory runs out.
        """
