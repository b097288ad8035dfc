"""What a run asks of the worker, stack by stack: everything, or only what is missing or changed (layer: logic).

A volume or clip is one job. In a 3D+t series the prompts first spread through the slices of their own time point, then
every slice position is followed through time; a correction on a time point that is already filled changes its own
slice position only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.plan import Direction, FrameRange, Pass, affected_frames, count_repeats, plan_passes, restrict_passes
from ..core.prompts import PromptSet
from .notebook import Ends, Key, Notebook, group

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..core.frames import FrameSource

ReadMask = Callable[[int, int], "NDArray"]  # object, frame of the input


@dataclass(frozen=True)
class RunOptions:
    """What the user chose.

    Attributes:
        direction: Where to run from the prompts; in 3D+t through time.
        first: First frame (in 3D+t: time point) to visit; None for the beginning.
        last: Last one, included; None for the end.
        is_update: Keep what is done and still holds; else compute everything afresh.
    """

    direction: Direction = Direction.BOTH
    first: int | None = None
    last: int | None = None
    is_update: bool = False

    def frame_range(self, count: int) -> FrameRange:
        """The range among so many frames; limits beyond the end are cut."""
        first = max(self.first or 0, 0)
        last = count - 1 if self.last is None else min(self.last, count - 1)
        return FrameRange.from_inclusive(first, last)


@dataclass(frozen=True, eq=False)
class Job:
    """One request to the worker.

    Attributes:
        name: Which stack: jobs of one name can share a session.
        source: Its frames.
        prompts: In frames of the source.
        arguments: Of ``WorkerSession.start_propagation``.
        to_input: Frame of the input for each frame of the source.
        expected: Keys it will bring, in frames of the input.
        num_repeats: How many frames it will visit in both directions.
        twice: Keys of which better masks may follow, in frames of the source.
        given: Keys whose masks were given to it; results for them are dropped.
        is_kept: Whether the session is worth keeping for corrections.
    """

    name: str
    source: FrameSource
    prompts: PromptSet
    arguments: Mapping[str, object]
    to_input: Callable[[int], int]
    expected: frozenset[Key]
    num_repeats: int = 0
    twice: frozenset[Key] = frozenset()
    given: frozenset[Key] = frozenset()
    is_kept: bool = True


@dataclass
class Plan:
    """Jobs in order; later ones may depend on the masks of earlier ones, so they are made one by one.

    Attributes:
        jobs: To be worked through; None stands for a pause.
        total: Frames to do, those that come twice counted twice as soon as their job begins.
        stale: Keys that do not hold any more.
        settled: Changes that the run takes into account.
        beyond: Masks to clear at once: the user has said that the object ends before.
        leftover: Masks of earlier runs to clear at the end: the object is not there any more.
    """

    jobs: Iterator[Job | None]
    total: int
    stale: frozenset[Key]
    settled: frozenset[Key]
    beyond: frozenset[Key] = frozenset()
    leftover: set[Key] = field(default_factory=set)


@dataclass(frozen=True)
class Line:
    """What is known about one row of frames, in its own frame numbers.

    Attributes:
        prompts: Prompts on it.
        locked: Accepted frames of each object.
        ends: First and last frame of each object.
        done: Computed masks that still hold.
        pending: Changes to take into account.
        direction: Where to run.
        frames: Range.
    """

    prompts: PromptSet
    locked: Mapping[int, frozenset[int]]
    ends: Mapping[int, Ends]
    done: frozenset[Key]
    pending: frozenset[Key]
    direction: Direction
    frames: FrameRange

    @property
    def seeds(self) -> dict[int, tuple[int, ...]]:
        """Prompted frames that show the object, for objects that have a start."""
        seeds = {}
        for one in self.prompts.object_ids:
            seeds[one] = tuple(f for f in self.prompts.frames(one) if self.prompts.get(one, f).shows_object)
        return {one: own for one, own in seeds.items() if own or self.locked.get(one)}

    def stale(self) -> frozenset[Key]:
        """Keys that the pending changes affect."""
        seeds = self.seeds
        return frozenset(
            (one, index)
            for one, frame in self.pending
            if one in seeds
            for index in affected_frames(seeds, (one, frame), self.frames, self.locked)
        )

    def wanted(self) -> frozenset[Key]:
        """Every key that a complete run brings."""
        visited = {(one, frame) for each in self._passes() for one in each.object_ids for frame in each.frames}
        return frozenset(visited | self._prompted())

    def repeats(self, missing: frozenset[Key]) -> tuple[int, frozenset[Key]]:
        """How many frames are visited in both directions for these keys, and the keys that are."""
        passes = restrict_passes(self._passes(), group(missing))
        visits = Counter((one, frame) for each in passes for one in each.object_ids for frame in each.frames)
        return count_repeats(passes), frozenset(key for key, count in visits.items() if count > 1)

    def arguments(self, read_mask: ReadMask) -> tuple[dict[str, object], frozenset[Key]]:
        """Arguments for the worker, and the keys it will bring; no key if there is nothing to do."""
        wanted = self.wanted()
        missing = wanted - (self.done - self.stale())
        locked = {one: set(own) for one, own in self.locked.items() if one in self.seeds}
        changed = None
        if missing != wanted:
            neighbours = {(one, frame + step) for one, frame in missing for step in (-1, 1)}
            for one, frame in (neighbours & self.done) - missing - self._prompted():
                locked.setdefault(one, set()).add(frame)
            changed = sorted(missing | {key for key in self.pending if key[0] in self.seeds})
        masks = {one: {frame: read_mask(one, frame) for frame in sorted(own)} for one, own in locked.items()}
        arguments = {
            "direction": self.direction,
            "frame_range": self.frames,
            "locked": masks,
            "ends": {one: ends for one, ends in self.ends.items() if one in self.seeds},
            "changed": changed,
        }
        return arguments, missing

    def _passes(self) -> tuple[Pass, ...]:
        return plan_passes(self.seeds, self.frames, self.direction, self.locked, self.ends)

    def _prompted(self) -> set[Key]:
        return {
            (one, frame) for one, own in self.seeds.items() for frame in own if frame not in self.locked.get(one, ())
        }


def plan_run(stack, notes: Notebook, read_mask: ReadMask, options: RunOptions) -> Plan:
    """Plan a run over the input.

    Raises:
        PromptError: If prompts do not fit the range.
        SettingsError: If the range is empty.
    """
    if stack.num_slices is None:
        return _plan_line(stack, notes, read_mask, options)
    from .series_runs import plan_series

    return plan_series(stack, notes, read_mask, options)


def _plan_line(stack, notes: Notebook, read_mask: ReadMask, options: RunOptions) -> Plan:
    """One job for a volume or a clip."""
    notes.prompts.validate(stack.num_frames, stack.frames.height, stack.frames.width)
    results, frames = notes.results, options.frame_range(stack.num_frames)
    prompts, given = keep_in_range(notes, frames, read_mask, options.direction)
    line = Line(
        prompts,
        notes.locked_frames(),
        notes.ends,
        (results.done if options.is_update else frozenset()) | given,
        frozenset(key for key in results.pending if key[1] in frames),
        options.direction,
        frames,
    )
    prompts.validate(stack.num_frames, stack.frames.height, stack.frames.width, frames)
    arguments, missing = line.arguments(read_mask)
    job = Job("input", stack.frames, prompts, arguments, lambda frame: frame, missing, *line.repeats(missing), given)
    beyond = frozenset(key for key in results.done - notes.locked if is_beyond(notes.ends, *key))
    total = len({frame for _, frame in missing})
    return Plan(iter([job] if missing else []), total, missing | beyond, line.pending, beyond)


def keep_in_range(
    notes: Notebook, frames: FrameRange, read_mask: ReadMask, direction: Direction
) -> tuple[PromptSet, frozenset[Key]]:
    """Prompts within a range; an object without any there starts from its mask at the range's border.

    Returns:
        The prompts, and the keys among them that are such masks.
    """
    known = notes.results.done | notes.locked
    prompts = PromptSet({key: prompt for key, prompt in notes.prompts.prompts.items() if key[1] in frames})
    border = frames.stop - 1 if direction is Direction.BACKWARD else frames.start
    given = set()
    for one in set(notes.prompts.object_ids) - set(prompts.object_ids):
        mask = read_mask(one, border) if (one, border) in known else None
        if mask is not None and mask.any():
            prompts = prompts.with_mask(one, border, mask)
            given.add((one, border))
    return prompts, frozenset(given)


def is_beyond(ends: Mapping[int, Ends], object_id: int, frame: int) -> bool:
    """Whether a frame lies before the first or behind the last one of an object."""
    first, last = ends.get(object_id, (None, None))
    return (first is not None and frame < first) or (last is not None and frame > last)
