"""Run the engine over volumes, clips and 3D+t series, and collect what it finds (layer: cli)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.plan import Direction, FrameRange, count_repeats, plan_passes
from ..core.prompts import PromptSet
from ..core.results import FrameScore
from ..core.review import Track, best_correction
from . import console
from .labels import Labels
from .prompting import SeedMask
from .stack import Stack

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Plan:
    """What to propagate.

    Attributes:
        prompts: Prompts on frames of one time point, or on frames of a clip.
        frame_range: Frames to visit.
        direction: Where to run from the prompts.
        time: Time point the prompts belong to.
    """

    prompts: PromptSet
    frame_range: FrameRange
    direction: Direction = Direction.BOTH
    time: int = 0


@dataclass(frozen=True)
class Measured:
    """One object on one frame of one time point, as found."""

    object_id: int
    time: int
    frame: int
    score: FrameScore


@dataclass(frozen=True, eq=False)
class Outcome:
    """Everything a propagation found.

    Attributes:
        stack: The frames.
        plan: What was asked for.
        labels: Masks on the grid of ``stack.image``.
        measured: One entry per object, frame and time point, sorted by them.
        was_stopped: Whether the user stopped it before the end.
    """

    stack: Stack
    plan: Plan
    labels: Labels
    measured: tuple[Measured, ...]
    was_stopped: bool = False

    def is_prompted(self, time: int, frame: int, object_id: int | None = None) -> bool:
        """Whether the user prompted an object, or any, on a frame of a time point."""
        is_there = self.stack.axis is None or time == self.plan.time
        return is_there and frame in self.plan.prompts.frames(object_id)

    def next_to_check(self) -> int | None:
        """The frame (of the prompted time point) on which one more prompt would help most; None if all have one."""
        measured = [one for one in self.measured if self.stack.axis is None or one.time == self.plan.time]
        tracks = [
            Track(
                {one.frame: one.score for one in measured if one.object_id == object_id},
                self.plan.prompts.frames(object_id),
                [self.plan.frame_range],
            )
            for object_id in self.plan.prompts.object_ids
        ]
        return best_correction(tracks, {one.frame for one in measured} - set(self.plan.prompts.frames()))


@dataclass
class _Collector:
    """Takes results as they come."""

    stack: Stack
    masks: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    found: dict[tuple[int, int, int], Measured] = field(default_factory=dict)

    def add(self, result: Any, time: int, frame: int) -> None:
        """Store the masks of one frame; what comes again replaces what was there."""
        shape = (self.stack.image.num_times, *self.stack.image.geometry.shape_kji)
        if self.stack.axis is None:
            time = frame
        for object_id, mask, score in zip(result.object_ids, result.masks, result.scores, strict=True):
            whole = self.masks.setdefault(object_id, np.zeros(shape, bool))
            self.stack.view(whole, time, frame)[...] = mask
            self.found[object_id, time, frame] = Measured(object_id, time, frame, score)

    def finish(self, plan: Plan, seed: SeedMask | None, was_stopped: bool) -> Outcome:
        """Wrap everything up; objects that were not reached before a stop are empty."""
        shape = (self.stack.image.num_times, *self.stack.image.geometry.shape_kji)
        masks = {one: self.masks.get(one, np.zeros(shape, bool)) for one in plan.prompts.object_ids}
        labels = Labels(self.stack.image, masks, *((seed.names, seed.colours) if seed else ()))
        measured = tuple(self.found[key] for key in sorted(self.found))
        return Outcome(self.stack, plan, labels, measured, was_stopped)


def track(
    stack: Stack,
    plan: Plan,
    predictor: Any,
    is_stopped: Callable[[], bool] = lambda: False,
    seed: SeedMask | None = None,
) -> Outcome:
    """Propagate over a volume or a clip, or over both axes of a 3D+t series.

    Args:
        stack: The frames.
        plan: Prompts, range and direction.
        predictor: The engine's, or anything with its ``open``.
        is_stopped: Asked before every frame; when true, what was finished is returned.
        seed: Gives names and colours to the objects.
    """
    collector = _Collector(stack)
    session = predictor.open(stack.source(plan.time))
    session.set_prompts(plan.prompts)
    seeds = {one: plan.prompts.frames(one) for one in plan.prompts.object_ids}
    progress = console.Progress(
        len(plan.frame_range) + count_repeats(plan_passes(seeds, plan.frame_range, plan.direction))
    )
    latest = None
    for result in session.propagate(plan.direction, plan.frame_range, cancel=is_stopped):
        collector.add(result, plan.time, result.frame)
        progress.advance(result.frame != latest)
        latest = result.frame
    progress.finish()
    if stack.image.is_series and not is_stopped():
        _track_through_time(collector, plan, predictor, is_stopped)
    return collector.finish(plan, seed, is_stopped())


def _track_through_time(collector: _Collector, plan: Plan, predictor: Any, is_stopped: Callable[[], bool]) -> None:
    """Follow the masks of one time point, slice by slice, through all the others."""
    stack = collector.stack
    slices = {}
    for frame in plan.frame_range:
        prompts = PromptSet.empty()
        for object_id, masks in collector.masks.items():
            mask = stack.view(masks, plan.time, frame)
            prompts = prompts.with_mask(object_id, plan.time, mask.copy()) if mask.any() else prompts
        if prompts.prompts:
            slices[frame] = prompts
    progress = console.Progress(len(slices) * (stack.image.num_times - 1))
    for frame, prompts in slices.items():
        session = predictor.open(stack.series.at_slice(frame))
        session.set_prompts(prompts)
        seen = {plan.time}
        for result in session.propagate(Direction.BOTH, cancel=is_stopped):
            if result.frame == plan.time:
                continue  # keeps the scores of the pass through the slices
            collector.add(result, result.frame, frame)
            if result.frame not in seen:
                seen.add(result.frame)
                progress.advance()
        if is_stopped():
            break
    progress.finish()


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a request to stop after the frame at hand; a second one interrupts at once."""
    pressed = []

    def remember(number: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)
        console.note("\nStopping after this frame; press Ctrl-C again to give up at once.")

    try:
        before = signal.signal(signal.SIGINT, remember)
    except ValueError:  # not the main thread: nobody can press Ctrl-C here
        yield lambda: False
        return
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
