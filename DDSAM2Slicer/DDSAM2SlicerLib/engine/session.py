"""One stack being segmented: prompts in, masks out, frame by frame (layer: engine)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.errors import InputError, PromptError, SettingsError
from ..core.frames import FrameSource
from ..core.plan import Direction, FrameRange, Pass, affected_frames, plan_passes, restrict_passes
from ..core.prompts import FramePrompt, PromptSet
from ..core.settings import EngineSettings
from ..model import steps
from .crop import Crop, CropPolicy, bounding_box, join_boxes
from .joining import Sides
from .network import Frame, FrameCache, Network
from .prompting import Context, Prompted, Prompter
from .propagate import Sweep, Workshop
from .scores import FrameResult, FrameScore

ROOM = 1.14
"""Where the refiner follows alone from slice to slice windows are so much wider: registration gains by what it sees."""
LOGIT_STEP = 0.25
"""Tracked logits are kept for later corrections in steps of this size, in 8 bits, compressed."""

Masks = Mapping[int, Mapping[int, NDArray]]


class Session:
    """Segments the objects of one stack; holds prompts and their answers and a few encoded frames."""

    def __init__(self, network: Network, source: FrameSource, settings: EngineSettings) -> None:
        """Begin without prompts; no frame is read yet."""
        column_mm, row_mm = source.pixel_spacing_mm
        self._network = network
        self._source = source
        self._settings = settings
        self._policy = CropPolicy(source.height, source.width, row_mm / column_mm if column_mm else 1.0, settings)
        self._cache = FrameCache(network, source)
        self._follow_policy = replace(self._policy, room=ROOM) if self._cache.reach > 1 else self._policy
        self._prompter = Prompter(network, self._cache, self._policy)
        self._prompts = PromptSet.empty()
        self._answers: dict[tuple[int, int], Prompted] = {}
        self._tracked: dict[tuple[int, int], tuple[Crop, tuple[int, int], bytes]] = {}
        self._locked: Masks = {}

    def set_prompts(self, prompts: PromptSet) -> None:
        """Take the prompts as they are now; answers to unchanged ones are kept.

        Raises:
            PromptError: If a prompt lies outside the stack, or an object has none that shows it.
        """
        prompts.validate(self._source.num_frames, self._source.height, self._source.width)
        for key in prompts.changed_since(self._prompts):
            self._answers.pop(key, None)
        self._prompts = prompts
        self._tracked = {key: kept for key, kept in self._tracked.items() if key[0] in prompts.object_ids}

    def preview(self, frame: int) -> FrameResult:
        """Segment the objects prompted on a frame, there only.

        Raises:
            PromptError: If nothing is prompted on that frame.
        """
        ids = [one for one in self._prompts.object_ids if self._is_seed(one, frame)]
        if not ids:
            msg = f"Frame {frame} has no prompt that shows an object. Give a positive point, a box or a mask there."
            raise PromptError(msg)
        return self._report_anchors(frame, ids)

    def propagate(
        self,
        direction: Direction | str = Direction.BOTH,
        frame_range: FrameRange | None = None,
        locked: Masks | None = None,
        ends: Mapping[int, tuple[int | None, int | None]] | None = None,
        changed: tuple[int, int] | Iterable[tuple[int, int]] | None = None,
        cancel: Callable[[], bool] = lambda: False,
    ) -> Iterator[FrameResult]:
        """Yield masks frame by frame, in the order they are found: forward first, then backward.

        Prompted frames are part of it. A frame can come more than once, with other objects, or with better masks: what
        lies between two given frames is reached from both. Locked frames condition the others and are not yielded: they
        stay what they are.

        Args:
            direction: Where to run from the prompts.
            frame_range: Frames to visit; all if None.
            locked: Accepted masks, {object: {frame: (H, W) mask}}.
            ends: First and last frame on which an object exists.
            changed: (object, frame) of one changed prompt, or several: only what they affect is computed.
            cancel: Asked before every frame; when true, the iteration ends.

        Raises:
            PromptError: If there is no prompt, or one lies outside the range.
            SettingsError: If the range reaches beyond the stack.
            InputError: If a locked mask does not fit the stack.
            DeviceError: If the device runs out of memory.
        """
        frames = frame_range or FrameRange(0, self._source.num_frames)
        self._check(frames, locked or {})
        self._locked = locked or {}
        ids = sorted({*self._prompts.object_ids, *self._locked})
        seeds = {one: tuple(f for f in self._prompts.frames(one) if self._is_seed(one, f)) for one in ids}
        passes = plan_passes(seeds, frames, Direction(direction), self._locked, ends)
        shown = {(one, frame) for one, own in seeds.items() for frame in own if frame not in self._locked.get(one, ())}
        if changed is not None:
            keys = [changed] if isinstance(changed, tuple) else list(changed)
            passes = restrict_passes(passes, self._affected(seeds, keys, frames))
            shown &= set(keys)
        return self._run(passes, seeds, shown, cancel)

    def _check(self, frames: FrameRange, locked: Masks) -> None:
        """Raise unless range, prompts and locked masks fit the stack."""
        count, shape = self._source.num_frames, (self._source.height, self._source.width)
        if frames.stop > count:
            msg = f"Frames {frames} reach beyond the stack, which has frames 0 to {count - 1}. Narrow the range."
            raise SettingsError(msg)
        if self._prompts.prompts or not any(locked.values()):
            self._prompts.validate(count, *shape, frames)
        for object_id, masks in locked.items():
            for frame, mask in masks.items():
                if not 0 <= frame < count or np.shape(mask) != shape:
                    msg = (
                        f"Object {object_id}: the locked mask of frame {frame} has shape {np.shape(mask)}; "
                        f"it must be {shape} on one of the frames 0 to {count - 1}. Unlock it."
                    )
                    raise InputError(msg)

    def _run(
        self,
        passes: tuple[Pass, ...],
        seeds: Mapping[int, tuple[int, ...]],
        shown: set[tuple[int, int]],
        cancel: Callable[[], bool],
    ) -> Iterator[FrameResult]:
        """Run the forward sweep with all seeds to be shown, then the backward sweep."""
        anchors = {one: tuple(sorted({*own, *self._locked.get(one, ())})) for one, own in seeds.items()}
        shop = self._make_workshop(seeds)
        max_pointers = min(self._source.num_frames, self._network.model.max_obj_ptrs_in_encoder)
        waiting: dict[int, list[int]] = {}
        for object_id, frame in sorted(shown):
            waiting.setdefault(frame, []).append(object_id)
        sides = Sides(anchors, self._find_logits)
        halves = [[one for one in passes if one.reverse is reverse] for reverse in (False, True)]
        for own in [half for half in halves if half] or [[]]:
            sweep = Sweep(shop, own, anchors, max_pointers) if own else None
            visited = set(sweep.frames if sweep else ())
            for frame in sorted({*visited, *waiting}, reverse=bool(own) and own[0].reverse):
                if cancel():
                    return
                if frame in waiting:
                    yield self._report_anchors(frame, waiting.pop(frame))
                if frame in visited:
                    for found in sweep.step(frame):
                        result = sides.join(found, sweep.to_masks) if sweep.reverse else sides.note(found)
                        if result is not None:
                            self._keep_logits(result)
                            yield result

    def _make_workshop(self, seeds: Mapping[int, tuple[int, ...]]) -> Workshop:
        """Gather what sweeps need; clicks on frames that are no seeds become corrections."""
        corrections = {key: prompt for key, prompt in self._prompts.prompts.items() if key[1] not in seeds[key[0]]}
        return Workshop(
            self._network,
            self._cache,
            self._follow_policy,
            self._prompter,
            self._settings,
            self._source.num_frames,
            self._anchor,
            corrections,
        )

    def _affected(
        self, seeds: Mapping[int, tuple[int, ...]], changed: list[tuple[int, int]], frames: FrameRange
    ) -> dict[int, set[int]]:
        """Frames of every object that changed prompts affect."""
        affected: dict[int, set[int]] = {}
        for key in changed:
            affected.setdefault(key[0], set()).update(affected_frames(seeds, key, frames, self._locked))
        return affected

    def _is_seed(self, object_id: int, frame: int) -> bool:
        """Whether a prompt can start from its own frame: it shows the object, or corrects a mask tracked before."""
        prompt = self._prompts.get(object_id, frame)
        return prompt is not None and (prompt.shows_object or (object_id, frame) in self._tracked)

    def _anchor(self, object_id: int, frame: int) -> Prompted:
        """The mask of a locked or prompted frame; locked ones win, since the user has accepted them."""
        given = self._locked.get(object_id, {}).get(frame)
        if given is not None:
            return Prompted(np.asarray(given).astype(bool))
        key = object_id, frame
        if key not in self._answers:
            with self._network.computing():
                self._answers[key] = self._answer(object_id, frame, self._prompts.prompts[key])
        return self._answers[key]

    def _answer(self, object_id: int, frame: int, prompt: FramePrompt) -> Prompted:
        """Segment a prompted frame: clicks on a tracked frame correct what was found, other prompts start afresh."""
        key = object_id, frame
        prompted = {one for one in self._prompts.frames(object_id) if (object_id, one) not in self._tracked}
        accepted = {one for one, mask in self._locked.get(object_id, {}).items() if np.any(mask)}
        others = sorted((prompted | accepted) - {frame})
        if key not in self._tracked or prompt.mask is not None or prompt.box is not None or not others:
            return self._prompter.answer(frame, prompt)
        clicks = [(point.x, point.y, point.x, point.y) for point in prompt.points]
        crop = self._policy.choose(join_boxes([bounding_box(self._prompter.to_mask(*self._unpack(key))[0]), *clicks]))
        seen = self._cache.get(frame, crop)
        context = self._recall(object_id, others, seen, self._find_logits(key, crop))
        decoded = self._prompter.correct(seen, prompt, context)
        return Prompted(self._prompter.to_mask(crop, decoded.low_res)[0], crop, decoded)

    def _recall(self, object_id: int, anchors: list[int], seen: Frame, previous: torch.Tensor) -> Context:
        """What an object's other anchors tell of a frame, see ``Sweep.recall``."""
        shop = self._make_workshop(dict.fromkeys(self._prompts.object_ids, ()))
        one = Pass((object_id,), (seen.index,), seen.index < anchors[0])
        return Sweep(shop, [one], {object_id: tuple(anchors)}, 2).recall(seen, previous)

    def _report_anchors(self, frame: int, object_ids: list[int]) -> FrameResult:
        """The answers to prompts on one frame."""
        answers = [self._anchor(object_id, frame) for object_id in object_ids]
        return FrameResult(
            frame,
            tuple(object_ids),
            np.stack([one.mask for one in answers]),
            tuple(_score(one) for one in answers),
        )

    def _find_logits(self, key: tuple[int, int], crop: Crop) -> torch.Tensor:
        """Logits tracked before for (object, frame), brought under a crop: (1, 1, h, w)."""
        old_crop, logits = self._unpack(key)
        if crop == old_crop:
            return logits
        return steps.resize(old_crop.transfer(logits, crop, self._network.size), self._network.mask_side)

    def _unpack(self, key: tuple[int, int]) -> tuple[Crop, torch.Tensor]:
        """The crop and the logits (1, 1, h, w) that ``_keep_logits`` kept."""
        crop, shape, packed = self._tracked[key]
        steps_of_logit = np.frombuffer(zlib.decompress(packed), np.int8).reshape(1, 1, *shape)
        return crop, torch.from_numpy(steps_of_logit.astype(np.float32) * LOGIT_STEP).to(self._network.device)

    def _keep_logits(self, result: FrameResult) -> None:
        """Keep tracked logits, a few kilobytes each, so that a later click can correct them."""
        for row, object_id in enumerate(result.object_ids):
            key = object_id, result.frame
            if result.logits is None:
                self._tracked.pop(key, None)
                continue
            limited = np.clip(result.logits[row] / LOGIT_STEP, -127, 127)
            rounded = np.where(limited > 0, np.rint(limited).clip(1), np.rint(limited))  # what is inside stays inside
            packed = zlib.compress(rounded.astype(np.int8).tobytes(), level=1)
            self._tracked[key] = result.crop, result.logits[row].shape, packed


def _score(answer: Prompted) -> FrameScore:
    """Scores of an answer; a given mask is taken for true."""
    iou = object_score = 1.0
    if answer.decoded is not None:
        iou, object_score = float(answer.decoded.iou[0]), float(torch.sigmoid(answer.decoded.object_score.float())[0])
    return FrameScore(iou, object_score, overlap=1.0, area=np.count_nonzero(answer.mask))
