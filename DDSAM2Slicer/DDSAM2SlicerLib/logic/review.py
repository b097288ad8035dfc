"""What the user says about finished masks, and which frame needs an eye next (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..core.results import FrameScore
from .notebook import Notebook

if TYPE_CHECKING:
    from .workspace import Workspace


class Review:
    """Locks, end marks and scores of the current input; without an input nothing happens."""

    def __init__(self, find_space: Callable[[], Workspace | None], on_change: Callable[[], object]) -> None:
        """Say where the input is found, and who is told of changes."""
        self._find_space, self._on_change = find_space, on_change

    def set_locked(self, frame: int, is_locked: bool = True, object_ids: Iterable[int] | None = None) -> None:
        """Accept the masks of a frame (of all objects by default), or take that back.

        A mask that was changed by hand, in Segment Editor for example, becomes a seed for its neighbours this way.
        """
        space = self._find_space()
        if space is None:
            return
        for one in sorted(space.notes.segment_ids) if object_ids is None else object_ids:
            if is_locked:
                space.notes.lock((one, frame), space.read_mask(one, frame))
            else:
                space.notes.unlock((one, frame))
        space.notes.save()
        self._on_change()

    def set_ends(self, object_id: int, first: int | None, last: int | None) -> None:
        """Say where an object begins and ends (slices in 3D+t); the next run clears it beyond."""
        space = self._find_space()
        if space is not None:
            space.notes.ends[object_id] = first, last
            space.notes.save()
            self._on_change()

    def scores(self) -> dict[int, float]:
        """Certainty of each frame with masks, 0 to 1."""
        space = self._find_space()
        return frame_scores(space.notes) if space is not None else {}

    def next_to_check(self, current: int | None = None) -> int | None:
        """The frame, other than the current one, whose masks are least sure and not accepted yet."""
        space = self._find_space()
        return next_to_check(space.notes, current) if space is not None else None


def certainty(score: FrameScore) -> float:
    """How sure a mask is, 0 to 1.

    Predicted IoU, lowered where the model is unsure whether the object is there at all, and where the mask differs
    much from its neighbour's; a frame that is surely empty is sure.
    """
    if score.ended:
        return 1.0
    decided = abs(2 * score.object_score - 1)
    if score.object_score < 0.5:
        return decided
    return score.iou * decided * (0.5 + 0.5 * score.overlap)


def frame_scores(notes: Notebook) -> dict[int, float]:
    """Certainty of each frame with masks: that of its least sure object; accepted and prompted masks are sure."""
    scores: dict[int, float] = {}
    for (one, frame), score in notes.results.scores.items():
        if (one, frame) not in notes.results.done:
            continue
        is_sure = (one, frame) in notes.locked or notes.prompts.get(one, frame) is not None
        scores[frame] = min(scores.get(frame, 1.0), 1.0 if is_sure else certainty(score))
    return scores


def next_to_check(notes: Notebook, current: int | None = None) -> int | None:
    """The least sure frame that holds a mask neither accepted nor prompted; None if there is none but the current."""
    scores = frame_scores(notes)
    open_frames = {frame for one, frame in notes.results.done if not _is_settled(notes, one, frame)} & scores.keys()
    return min(open_frames - {current}, key=lambda frame: (scores[frame], frame), default=None)


def _is_settled(notes: Notebook, one: int, frame: int) -> bool:
    return (one, frame) in notes.locked or notes.prompts.get(one, frame) is not None
