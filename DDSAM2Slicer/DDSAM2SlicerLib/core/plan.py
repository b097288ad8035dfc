"""Which frames a propagation visits, in which order, and what a correction changes (layer: core, pure functions).

An anchor of an object is a frame whose mask is given: a prompted frame (seed) or an accepted one (locked).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from .errors import PromptError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class Direction(StrEnum):
    """Where a propagation runs from its anchors."""

    BOTH = "both"
    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True)
class FrameRange:
    """Frames ``start <= index < stop`` of one stack; an existing range is a valid one."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        """Reject ranges that are empty or begin before the first frame."""
        if not 0 <= self.start < self.stop:
            msg = f"Frame range [{self.start}, {self.stop}) is not usable: it needs 0 <= start < stop."
            raise SettingsError(msg)

    @classmethod
    def from_inclusive(cls, first: int, last: int) -> FrameRange:
        """Build from the first and the last frame, both part of the range."""
        return cls(first, last + 1)

    def __contains__(self, index: object) -> bool:
        """Whether the frame is part of the range."""
        return index in range(self.start, self.stop)

    def __iter__(self) -> Iterator[int]:
        """Frames in ascending order."""
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        """Number of frames."""
        return self.stop - self.start

    def __str__(self) -> str:
        """First and last frame, as users give them."""
        return f"{self.start} to {self.stop - 1}"

    def order_from(self, seed: int) -> list[int]:
        """List the frames to predict: forwards from the seed, then backwards; the seed itself is given.

        Raises:
            SettingsError: If the seed lies outside the range.
        """
        if seed not in self:
            msg = f"Seed frame {seed} is outside [{self.start}, {self.stop}). Move the seed or widen the range."
            raise SettingsError(msg)
        return [*range(seed + 1, self.stop), *range(seed - 1, self.start - 1, -1)]


@dataclass(frozen=True)
class Pass:
    """Frames that some objects visit together, in visiting order; anchors are not among them.

    Attributes:
        object_ids: Objects, ascending.
        frames: Ascending, or descending if ``reverse``; gaps are anchors.
        reverse: Whether frames run backwards.
    """

    object_ids: tuple[int, ...]
    frames: tuple[int, ...]
    reverse: bool


def plan_passes(
    seeds: Mapping[int, Iterable[int]],
    frame_range: FrameRange,
    direction: Direction = Direction.BOTH,
    locked: Mapping[int, Iterable[int]] | None = None,
    ends: Mapping[int, tuple[int | None, int | None]] | None = None,
) -> tuple[Pass, ...]:
    """List what to visit: forward passes first; objects with equal schedules share one pass.

    BOTH reaches a frame between two anchors from both of them, first forward, then backward.
    FORWARD runs from the first seed to the end of the range, BACKWARD from the last seed to its start.
    An object without seed starts from its locked frames.

    Args:
        seeds: Prompted frames of each object.
        frame_range: Frames to visit; all seeds must lie inside.
        direction: Where to run.
        locked: Accepted frames of each object: never visited; those in the range act as anchors.
        ends: First and last frame on which an object exists (None: no limit); frames beyond are not visited.

    Raises:
        PromptError: If an object has no anchor, or a seed lies outside the range or beyond its object's ends.
    """
    schedules: dict[tuple[int, bool], list[int]] = {}
    for object_id in sorted(seeds):
        first, last = (ends or {}).get(object_id, (None, None))
        limits = range(
            frame_range.start if first is None else max(first, frame_range.start),
            frame_range.stop if last is None else min(last + 1, frame_range.stop),
        )
        own_seeds = sorted(set(seeds[object_id]))
        own_locked = sorted(frame for frame in (locked or {}).get(object_id, ()) if frame in frame_range)
        _check_seeds(object_id, own_seeds or own_locked, frame_range, limits)
        forward, backward = _split(own_seeds or own_locked, {*own_seeds, *own_locked}, limits, Direction(direction))
        schedules[object_id, False] = forward
        schedules[object_id, True] = backward[::-1]
    return _group(schedules)


def affected_frames(
    seeds: Mapping[int, Iterable[int]],
    changed: tuple[int, int],
    frame_range: FrameRange,
    locked: Mapping[int, Iterable[int]] | None = None,
) -> range:
    """Frames of one object to recompute after a prompt changed: up to, not including, its nearest anchors.

    Args:
        seeds: Prompted frames of each object, after the change.
        changed: Object and frame whose prompt was added, altered or removed; the frame itself is included.
        frame_range: Frames that can be recomputed.
        locked: Accepted frames of each object.
    """
    object_id, frame = changed
    anchors = {*seeds.get(object_id, ()), *(locked or {}).get(object_id, ())} - {frame}
    before = max((anchor for anchor in anchors if anchor < frame), default=frame_range.start - 1)
    after = min((anchor for anchor in anchors if anchor > frame), default=frame_range.stop)
    return range(max(before + 1, frame_range.start), min(after, frame_range.stop))


def restrict_passes(passes: Iterable[Pass], keep: Mapping[int, Iterable[int]]) -> tuple[Pass, ...]:
    """Keep only some frames of each object, for example those a correction affects; objects not named keep none."""
    kept = {object_id: frozenset(frames) for object_id, frames in keep.items()}
    schedules: dict[tuple[int, bool], list[int]] = {}
    for one in passes:
        for object_id in one.object_ids:
            frames = [frame for frame in one.frames if frame in kept.get(object_id, ())]
            schedules.setdefault((object_id, one.reverse), []).extend(frames)
    return _group(schedules)


def nearness(anchors: Sequence[int], frame: int) -> float:
    """How near a frame between two anchors is to the earlier one: 1 there, 0 at the later one."""
    before = frame - max(anchor for anchor in anchors if anchor < frame)
    after = min(anchor for anchor in anchors if anchor > frame) - frame
    return after / (before + after)


def count_repeats(passes: Iterable[Pass]) -> int:
    """How many frames are visited in both directions, for one object or for several."""
    forward, backward = set(), set()
    for one in passes:
        (backward if one.reverse else forward).update(one.frames)
    return len(forward & backward)


def _check_seeds(object_id: int, starts: list[int], frame_range: FrameRange, limits: range) -> None:
    """Raise PromptError unless the object has a start and all lie in the range and within the object's ends."""
    if not starts:
        msg = f"Object {object_id} has no prompt and no locked frame to start from. Give it a prompt."
        raise PromptError(msg)
    for frame in starts:
        if frame not in frame_range:
            msg = (
                f"Object {object_id}: the prompt on frame {frame} is outside of frames {frame_range}. Widen the range."
            )
            raise PromptError(msg)
        if frame not in limits:
            msg = (
                f"Object {object_id}: the prompt on frame {frame} lies beyond the end of the object. Move one of them."
            )
            raise PromptError(msg)


def _split(starts: list[int], anchors: set[int], limits: range, direction: Direction) -> tuple[list[int], list[int]]:
    """The frames within the limits that the forward and the backward run visit, both in ascending order."""
    free = [frame for frame in limits if frame not in anchors]
    if direction is Direction.FORWARD:
        return [frame for frame in free if frame > starts[0]], []
    if direction is Direction.BACKWARD:
        return [], [frame for frame in free if frame < starts[-1]]
    return [frame for frame in free if frame > min(anchors)], [frame for frame in free if frame < max(anchors)]


def _group(schedules: Mapping[tuple[int, bool], list[int]]) -> tuple[Pass, ...]:
    """Join equal schedules into passes, forward ones first, then by their smallest object."""
    groups: dict[tuple[bool, tuple[int, ...]], list[int]] = {}
    for (object_id, reverse), frames in sorted(schedules.items(), key=lambda item: item[0]):
        if frames:
            groups.setdefault((reverse, tuple(frames)), []).append(object_id)
    passes = [Pass(tuple(object_ids), frames, reverse) for (reverse, frames), object_ids in groups.items()]
    return tuple(sorted(passes, key=lambda one: (one.reverse, one.object_ids)))
