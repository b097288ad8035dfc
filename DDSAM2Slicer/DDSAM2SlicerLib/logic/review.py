"""What the user says about finished masks, and which frame needs an eye next (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..core.review import Track, best_correction, certainty
from .notebook import Key, Notebook

if TYPE_CHECKING:
    from .stacks import Stack
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
        """The frame, other than the current one, whose correction would help most."""
        space = self._find_space()
        return next_to_check(space.stack, space.notes, current) if space is not None else None


def frame_scores(notes: Notebook) -> dict[int, float]:
    """Certainty of each frame with masks: that of its least sure object; accepted and prompted masks are sure."""
    scores: dict[int, float] = {}
    for key, score in notes.results.scores.items():
        if key in notes.results.done:
            sure = 1.0 if _is_settled(notes, key) else certainty(score)
            scores[key[1]] = min(scores.get(key[1], 1.0), sure)
    return scores


def next_to_check(stack: Stack, notes: Notebook, current: int | None = None) -> int | None:
    """The frame whose correction would help most; None if all but the current are accepted or prompted."""
    known = notes.results.done & notes.results.scores.keys()
    return best_correction(_tracks(stack, notes), {key[1] for key in known if not _is_settled(notes, key)} - {current})


def _tracks(stack: Stack, notes: Notebook) -> list[Track]:
    """The masks of every object; those of a series follow one another through time, and slice by slice where spread."""
    results, tracks = notes.results, []
    for one in {key[0] for key in results.done}:
        scores = {key[1]: score for key, score in results.scores.items() if key[0] == one and key in results.done}
        given = {frame for frame in scores if _is_settled(notes, (one, frame))}
        rows = [range(stack.num_frames)]
        if (slices := stack.num_slices) is not None:
            rows = [range(index, stack.num_frames, slices) for index in range(slices)]
            rows += [range(time * slices, (time + 1) * slices) for time in results.spread.get(one, ())]
        tracks.append(Track(scores, given, rows))
    return tracks


def _is_settled(notes: Notebook, key: Key) -> bool:
    """Whether the user has accepted or prompted a mask."""
    return key in notes.locked or notes.prompts.get(*key) is not None
