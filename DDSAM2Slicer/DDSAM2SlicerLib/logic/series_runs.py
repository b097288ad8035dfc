"""Runs over a 3D+t series: through the slices of prompted time points, then every slice through time (layer: logic).

End marks are slices here: where in space an object begins and ends. A correction on a time point whose masks came
through time changes its own slice position only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ..core.plan import Direction, FrameRange, affected_frames
from ..core.prompts import PromptSet
from .notebook import Ends, Key, Notebook, group
from .runs import Job, Line, Plan, ReadMask, RunOptions, is_beyond

if TYPE_CHECKING:
    from .stacks import SeriesStack


def plan_series(stack: SeriesStack, notes: Notebook, read_mask: ReadMask, options: RunOptions) -> Plan:
    """Plan a run over all time points and slices.

    Raises:
        PromptError: If a prompt is outside of the series, or an object has none that shows it.
    """
    first = stack.frames.at_time(0)
    notes.prompts.validate(stack.num_frames, first.height, first.width)
    planner = _Planner(stack, notes, read_mask, options.direction, options.frame_range(stack.num_times))
    done = notes.results.done
    stale = planner.stale_keys() if options.is_update else done - notes.locked
    beyond = frozenset(key for key in done - notes.locked if is_beyond(notes.ends, key[0], key[1] % stack.num_slices))
    total = sum(len(planner.frames_to_do(index, done - stale)) for index in range(stack.num_slices))
    plan = Plan(iter(()), total, stale | beyond, notes.results.pending, beyond)
    plan.jobs = planner.jobs(plan)
    return plan


@dataclass(frozen=True)
class _Planner:
    """Makes the jobs one by one; reads notes and masks as they are when a job's turn comes."""

    stack: SeriesStack
    notes: Notebook
    read_mask: ReadMask
    direction: Direction
    times: FrameRange

    def stale_keys(self) -> frozenset[Key]:
        """Keys that pending changes affect."""
        stale: set[Key] = set()
        for one, frame in self.notes.results.pending:
            time, index = divmod(frame, self.stack.num_slices)
            slices = [index]
            if not self._is_followed(one, time):
                prompted = {one: self._prompts_at(time).frames(one)}
                locked = group((at, each % self.stack.num_slices) for at, each in self._locked_at(time))
                slices = affected_frames(prompted, (one, index), FrameRange(0, self.stack.num_slices), locked)
            for each in slices:
                stale |= self._affected_in_time(one, time, each)
        return frozenset(stale)

    def frames_to_do(self, index: int, done: frozenset[Key]) -> set[int]:
        """Frames of a slice position where some object has no mask that holds."""
        objects = self.notes.prompts.object_ids
        frames = (self._frame(time, index) for time in self.times)
        return {frame for frame in frames if any((one, frame) not in done | self.notes.locked for one in objects)}

    def jobs(self, plan: Plan) -> Iterator[Job | None]:
        """First through slices, then through time; None gives the event loop a turn."""
        for time in self.times:
            job = self._spread(time)
            if job is not None:
                yield job
        for index in range(self.stack.num_slices):
            job = self._through_time(index)
            if job is None:
                plan.total -= len(self.frames_to_do(index, self.notes.results.done))
                if self.direction is Direction.BOTH:
                    plan.leftover |= {key for key in plan.stale if key[1] % self.stack.num_slices == index}
            yield job

    def _spread(self, time: int) -> Job | None:
        """Fill a time point slice by slice from its prompts."""
        prompts = self._prompts_at(time)
        for one in prompts.object_ids:
            if self._is_followed(one, time):
                prompts = prompts.without(one)
        to_input = partial(self._frame, time)
        line = self._line(prompts, FrameRange(0, self.stack.num_slices), Direction.BOTH, self.notes.ends, to_input)
        for one in line.seeds:
            self.notes.note_spread(one, time)
        return self._job(f"time {time}", partial(self.stack.frames.at_time, time), line, to_input)

    def _through_time(self, index: int) -> Job | None:
        """Follow one slice position through time."""
        prompts, given = self._anchors(index)
        for one in prompts.object_ids:
            if is_beyond(self.notes.ends, one, index):
                prompts = prompts.without(one)
        line = self._line(prompts, self.times, self.direction, {}, self._through(index))
        open_source = partial(self.stack.frames.at_slice, index)
        return self._job(f"slice {index}", open_source, line, self._through(index), given)

    def _job(
        self,
        name: str,
        open_source: Callable,
        line: Line,
        to_input: Callable[[int], int],
        given: frozenset[Key] = frozenset(),
    ) -> Job | None:
        """The job of one row of frames; None if nothing is to be done there."""
        if not line.seeds:
            return None
        arguments, missing = line.arguments(lambda one, frame: self.read_mask(one, to_input(frame)))
        if not missing:
            return None
        expected = frozenset((one, to_input(frame)) for one, frame in missing)
        repeats = line.repeats(missing)
        return Job(name, open_source(), line.prompts, arguments, to_input, expected, *repeats, given, is_kept=not given)

    def _line(
        self,
        prompts: PromptSet,
        frames: FrameRange,
        direction: Direction,
        ends: dict[int, Ends],
        to_input: Callable[[int], int],
    ) -> Line:
        """What the notes say about one row of frames."""
        where = {to_input(frame): frame for frame in frames}
        locked = group((one, where[frame]) for one, frame in self.notes.locked if frame in where)
        done = frozenset((one, where[frame]) for one, frame in self.notes.results.done if frame in where)
        return Line(prompts, locked, ends, done, frozenset(), direction, frames)

    def _anchors(self, index: int) -> tuple[PromptSet, frozenset[Key]]:
        """Prompts on one slice position through time; where a time point was filled slice by slice, its masks.

        Returns:
            The prompts, in time points, and the keys (of the input) that are such masks.
        """
        own = {}
        for (one, frame), prompt in self.notes.prompts.prompts.items():
            time, at = divmod(frame, self.stack.num_slices)
            if at == index and time in self.times:
                own[one, time] = prompt
        prompts, given = PromptSet(own), set()
        for one, times in self.notes.results.spread.items():
            for time in times:
                key = one, self._frame(time, index)
                if time not in self.times or key not in self.notes.results.done:
                    continue
                mask = self.read_mask(*key)
                if mask.any():
                    prompts = prompts.with_mask(one, time, mask)
                    given.add(key)
        return prompts, frozenset(given)

    def _affected_in_time(self, one: int, time: int, index: int) -> set[Key]:
        """What a change at one place affects through time: up to the nearest anchors."""
        spread = set(self.notes.results.spread.get(one, ()))
        line = self._line(PromptSet(), FrameRange(0, self.stack.num_times), self.direction, {}, self._through(index))
        prompted = {
            frame // self.stack.num_slices
            for at, frame in self.notes.prompts.prompts
            if at == one and frame % self.stack.num_slices == index
        }
        affected = affected_frames({one: sorted(spread | prompted)}, (one, time), line.frames, line.locked)
        return {(one, self._frame(each, index)) for each in affected}

    def _is_followed(self, one: int, time: int) -> bool:
        """Whether the masks of an object at a time point came through time, not slice by slice."""
        if time in self.notes.results.spread.get(one, ()):
            return False
        prompted = self.notes.prompts.prompts
        return any(
            key[0] == one and key[1] // self.stack.num_slices == time and key not in prompted
            for key in self.notes.results.done
        )

    def _prompts_at(self, time: int) -> PromptSet:
        """Prompts of a time point, by slice."""
        prompts = self.notes.prompts.prompts.items()
        num_slices = self.stack.num_slices
        return PromptSet(
            {(one, frame % num_slices): prompt for (one, frame), prompt in prompts if frame // num_slices == time}
        )

    def _locked_at(self, time: int) -> list[Key]:
        return [key for key in self.notes.locked if key[1] // self.stack.num_slices == time]

    def _through(self, index: int) -> Callable[[int], int]:
        return lambda time: self._frame(time, index)

    def _frame(self, time: int, index: int) -> int:
        return time * self.stack.num_slices + index
