"""An engine without a network: quick, numpy only, and able to misbehave on demand (layer: testing).

It finds an object again by its grey value near the previous frame's mask, which is enough for the phantoms. Faults are
asked for in the model's name, as in ``fake?memory_at=5``: after five results memory runs out. See ``FaultPlan``.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import numpy as np

from ..core.errors import PromptError, SettingsError, WeightsError, suggest
from ..core.masks import largest_component
from ..core.plan import Direction, FrameRange, affected_frames, plan_passes, restrict_passes
from ..core.prompts import PromptSet
from ..core.results import FrameResult, FrameScore
from ..core.settings import EngineSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from ..core.frames import FrameSource
    from ..core.prompts import FramePrompt

    Masks = Mapping[int, Mapping[int, NDArray]]

GREY_TOLERANCE = 25.0
REACH_PX = 3
"""An object moves or grows by at most so much from frame to frame."""
POINT_RADIUS_PX = 6.0


@dataclass(frozen=True)
class FaultPlan:
    """What goes wrong, and after how many results; -1 is never.

    Attributes:
        delay_s: Time that each frame takes.
        memory_at: Memory runs out.
        error_at: An error that nobody expected.
        print_at: Something is printed, from Python and past it.
    """

    delay_s: float = 0.0
    memory_at: int = -1
    error_at: int = -1
    print_at: int = -1

    @classmethod
    def from_name(cls, name: str) -> FaultPlan:
        """Read "fake?delay_s=0.1&memory_at=5"."""
        values = dict(parse_qsl(name.partition("?")[2]))
        for key in values:
            if key not in cls.__dataclass_fields__:
                msg = f"The fake engine has no fault {key!r}. {suggest(key, cls.__dataclass_fields__)}"
                raise SettingsError(msg)
        return cls(**{key: float(text) if key == "delay_s" else int(text) for key, text in values.items()})

    def meet(self, num_results: int) -> None:
        """Do what is due after so many results."""
        time.sleep(self.delay_s)
        if num_results == self.print_at:
            os.write(1, b"printed past Python\n")
            sys.stdout.write("printed\n")
            sys.stdout.flush()
        if num_results == self.memory_at:
            raise MemoryError
        if num_results == self.error_at:
            msg = "the fake engine was told to fail"
            raise RuntimeError(msg)


class FakeEngine:
    """Stands in for ``engine.predictor.Predictor``."""

    def __init__(self, settings: EngineSettings | None = None, faults: FaultPlan | None = None) -> None:
        """Nothing to load."""
        self.settings = settings or EngineSettings()
        self.faults = faults or FaultPlan()

    def open(self, frames: FrameSource) -> FakeSession:
        """Begin to segment a stack."""
        return FakeSession(frames, self.faults, self.settings)


def load_predictor(
    name: str, device: str = "auto", settings: EngineSettings | None = None, adapters: str = ""
) -> FakeEngine:
    """Stand in for ``engine.predictor.load_predictor``; there is only the model "fake", and any file is an adapter.

    Raises:
        WeightsError: If another name is given, or the adapters are no file.
    """
    if adapters and not Path(adapters).is_file():
        msg = f"{adapters} cannot be read. Give the path of an existing model file."
        raise WeightsError(msg)
    if name.partition("?")[0] != "fake":
        msg = f"There is no model file {name}. Give the path of an existing file, or a name of the model list."
        raise WeightsError(msg)
    return FakeEngine(settings, FaultPlan.from_name(name))


class FakeSession:
    """Follows grey values from frame to frame (an EngineSession)."""

    def __init__(
        self, frames: FrameSource, faults: FaultPlan | None = None, settings: EngineSettings | None = None
    ) -> None:
        """Begin without prompts; of the settings only ``keep_largest`` counts."""
        self._frames = frames
        self._settings = settings or EngineSettings()
        self._faults = faults or FaultPlan()
        self._prompts = PromptSet.empty()
        self._tracked: dict[tuple[int, int], NDArray] = {}  # what clicks correct

    def set_prompts(self, prompts: PromptSet) -> None:
        """Take all prompts as they are now.

        Raises:
            PromptError: If they do not fit the stack.
        """
        prompts.validate(self._frames.num_frames, self._frames.height, self._frames.width)
        self._prompts = prompts

    def preview(self, frame: int) -> FrameResult:
        """Segment the objects prompted on a frame, there only.

        Raises:
            PromptError: If there is none.
        """
        ids = [one for one, own in self._seeds().items() if frame in own]
        if not ids:
            msg = f"Frame {frame} has no prompt that shows an object. Give a positive point, a box or a mask there."
            raise PromptError(msg)
        self._faults.meet(0)
        return _to_result(frame, {one: (self._seed_mask(one, frame), None) for one in ids})

    def propagate(
        self,
        direction: Direction | str = Direction.BOTH,
        frame_range: FrameRange | None = None,
        locked: Masks | None = None,
        ends: Mapping[int, tuple[int | None, int | None]] | None = None,
        changed: tuple[int, int] | Iterable[tuple[int, int]] | None = None,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Iterator[FrameResult]:
        """Yield masks frame by frame, arguments as in EngineSession.

        Raises:
            PromptError: If the prompts do not fit the range.
        """
        frames = frame_range or FrameRange(0, self._frames.num_frames)
        locked = locked or {}
        seeds = self._seeds()
        self._prompts.validate(self._frames.num_frames, self._frames.height, self._frames.width, frames)
        passes = plan_passes(seeds, frames, Direction(direction), locked, ends)
        given = {(one, f): self._seed_mask(one, f) for one, own in seeds.items() for f in own}
        given.update(
            {(one, frame): np.asarray(mask, bool) for one, own in locked.items() for frame, mask in own.items()}
        )
        shown = [(one, frame) for one, own in seeds.items() for frame in own if frame not in locked.get(one, ())]
        if changed is not None:
            keys = [changed] if isinstance(changed, tuple) else list(changed)
            keep: dict[int, set[int]] = {}
            for key in keys:
                keep.setdefault(key[0], set()).update(affected_frames(seeds, key, frames, locked))
            passes = restrict_passes(passes, keep)
            shown = [key for key in shown if key in keys]
        return self._run([((one,), (frame,), False) for one, frame in shown], passes, given, cancel)

    def _run(self, shown: list, passes: Iterable, given: dict, cancel: Callable[[], bool]) -> Iterator[FrameResult]:
        """Yield the prompted frames, then pass after pass; what two directions reach is what both have found."""
        plans = [*shown, *((one.object_ids, one.frames, one.reverse) for one in passes)]
        sides, num_results = {False: dict(given), True: dict(given)}, 0
        for object_ids, frames, reverse in plans:
            step = -1 if reverse else 1
            for frame in frames:
                if cancel():
                    return
                self._faults.meet(num_results)
                found = {one: self._follow(one, frame, step, sides[reverse]) for one in object_ids}
                sides[reverse].update({(one, frame): mask for one, (mask, _) in found.items()})
                if reverse:
                    ahead = {one: sides[False].get((one, frame), mask) for one, (mask, _) in found.items()}
                    found = {one: (mask & ahead[one], before) for one, (mask, before) in found.items()}
                self._tracked.update(
                    {(one, frame): mask for one, (mask, _) in found.items() if (one, frame) not in given}
                )
                yield _to_result(frame, found)
                num_results += 1

    def _follow(self, object_id: int, frame: int, step: int, masks: Mapping) -> tuple[NDArray, NDArray | None]:
        """Find an object on a frame from the nearest mask behind it; also returns that mask."""
        if (object_id, frame) in masks:
            return masks[object_id, frame], None
        last = frame - step
        while (object_id, last) not in masks:
            last -= step
        before = masks[object_id, last]
        if not before.any():
            return before, before
        grey = self._grey(last)[before].mean()
        return (np.abs(self._grey(frame) - grey) <= GREY_TOLERANCE) & _dilate(before), before

    def _seeds(self) -> dict[int, tuple[int, ...]]:
        return {
            one: tuple(
                frame
                for frame in self._prompts.frames(one)
                if self._prompts.get(one, frame).shows_object or (one, frame) in self._tracked
            )
            for one in self._prompts.object_ids
        }

    def _seed_mask(self, object_id: int, frame: int) -> NDArray[np.bool_]:
        """The mask itself, the box filled, or discs around points."""
        prompt: FramePrompt = self._prompts.get(object_id, frame)
        if prompt.mask is not None:
            return prompt.mask.copy()
        y, x = np.mgrid[: self._frames.height, : self._frames.width]
        box = prompt.box
        mask = self._tracked.get((object_id, frame), np.zeros(x.shape, bool))
        if box is not None:
            mask = (x >= box.x0) & (x <= box.x1) & (y >= box.y0) & (y <= box.y1)
        for point in prompt.points:
            disc = np.hypot(x - point.x, y - point.y) <= POINT_RADIUS_PX
            mask = mask | disc if point.positive else mask & ~disc
        return largest_component(mask) if self._settings.keep_largest else mask

    def _grey(self, frame: int) -> NDArray[np.float64]:
        pixels = self._frames.frame(frame).astype(np.float64)
        return pixels if pixels.ndim == 2 else pixels.mean(axis=2)


def _dilate(mask: NDArray) -> NDArray:
    """Grow a mask by the reach in a diamond."""
    for _ in range(REACH_PX):
        padded = np.pad(mask, 1)
        mask = mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return mask


def _to_result(frame: int, found: Mapping[int, tuple[NDArray, NDArray | None]]) -> FrameResult:
    """Masks with scores: the overlap is true, the others only say whether there is a mask."""
    scores = []
    for mask, before in found.values():
        union = 0 if before is None else np.count_nonzero(mask | before)
        overlap = np.count_nonzero(mask & before) / union if union else 1.0
        scores.append(FrameScore(overlap, float(mask.any()), overlap, area=np.count_nonzero(mask)))
    return FrameResult(frame, tuple(found), np.stack([mask for mask, _ in found.values()]), tuple(scores))
