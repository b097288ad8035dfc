"""One sweep over a stack: every frame is encoded once, all its objects are segmented together (layer: engine).

Longer than most files, since every step of a sweep works under its one present crop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.masks import fill_holes, largest_component
from ..core.plan import Pass
from ..core.prompts import FramePrompt
from ..core.settings import EngineSettings
from ..model import steps
from ..model.certainty import agreement
from ..model.prior import Moved
from ..model.refiner import Clues, carried_from, trend_of
from .anchors import AnchorView, draw_anchor, view_anchor
from .crop import Box, Crop, CropPolicy, bounding_box, join_boxes
from .group import ALONE, WITH_MEMORY, Group, form_batches
from .memory_bank import Entry, MemoryBank, anchors_around, summarise
from .network import Frame, FrameCache, Network
from .prompting import Context, Prompted, Prompter
from .rows import join, put_row
from .scores import FrameResult, FrameScore, overlap_of


@dataclass(frozen=True, eq=False)
class Workshop:
    """What every sweep of a session works with."""

    network: Network
    cache: FrameCache
    policy: CropPolicy
    prompter: Prompter
    settings: EngineSettings
    num_frames: int
    anchor: Callable[[int, int], Prompted]
    """Returns the given or prompted mask of (object, frame)."""
    corrections: Mapping[tuple[int, int], FramePrompt]
    """Clicks on frames that are no anchors: they refine what was tracked."""


class Sweep:
    """All passes of one direction, run together frame by frame."""

    def __init__(
        self, shop: Workshop, passes: list[Pass], anchors: Mapping[int, tuple[int, ...]], max_pointers: int
    ) -> None:
        """Form batches; ``anchors`` are the seeded and locked frames of every object, ascending."""
        self._shop = shop
        self.reverse = passes[0].reverse
        self._groups = [
            self._make_group(ids, one.frames, own, max_pointers)
            for one in passes
            for ids, own in form_batches(one, anchors)
        ]
        self.frames = sorted({frame for one in passes for frame in one.frames}, reverse=self.reverse)
        self._following = dict(pairwise(self.frames))
        self._crop: Crop | None = None
        self._been: Box | None = None  # around all masks so far
        self._looks_back = shop.cache.is_in_time and shop.network.prior is not None

    def step(self, frame: int) -> list[FrameResult]:
        """Segment one frame for all groups that visit it."""
        self._revive(frame)
        groups, policy = [group for group in self._groups if frame in group.frames], self._shop.policy
        results = [group.ended_result(frame, policy.height, policy.width) for group in groups if group.ended]
        active = [group for group in groups if group.object_ids]
        if active:
            with self._shop.network.computing(), self._shop.network.sharing_cores():
                self._start_groups(active, frame)
                self._move_crop(active)
                seen = self._shop.cache.get(frame, self._crop)
                if (following := self._following.get(frame)) is not None:
                    self._shop.cache.prepare(following, self._sources(active, following), self._crop)
                results += [self._segment(group, seen) for group in active]
        return results

    def recall(self, seen: Frame, previous: torch.Tensor) -> Context:
        """What the anchors of the only object, and a mask (1, 1, h, w) tracked earlier, tell of a frame."""
        self._crop = seen.crop
        (group,) = self._groups
        group.bank.select_conditioning(group.anchors, seen.index, lambda anchor: self._encode_anchor(group, anchor))
        return self._make_context(group, seen, 0, previous)

    def to_masks(self, crop: Crop, low_res: torch.Tensor) -> NDArray[np.bool_]:
        """Masks (B, H, W) in frame pixels, cleaned as the settings ask."""
        settings, policy = self._shop.settings, self._shop.policy
        logits = crop.to_pixels(low_res)
        window = logits > 0
        if settings.non_overlap and len(logits) > 1:
            window &= logits.argmax(0, keepdim=True) == torch.arange(len(logits), device=logits.device)[:, None, None]
        masks = crop.place(window.cpu().numpy(), policy.height, policy.width)
        for row in range(len(masks)):
            if settings.fill_holes_px:
                masks[row] = fill_holes(masks[row], settings.fill_holes_px)
            if settings.keep_largest:
                masks[row] = largest_component(masks[row])
        return masks

    def _make_group(
        self, ids: list[int], frames: tuple[int, ...], anchors: tuple[int, ...], max_pointers: int
    ) -> Group:
        """Start a batch with an empty bank."""
        model = self._shop.network.model
        rule = self._shop.settings.memory_rule
        bank = MemoryBank(rule, model.num_maskmem, max_pointers, self.reverse, len(ids))
        return Group(ids, frames, anchors, bank, empty_frames=dict.fromkeys(ids, 0))

    def _revive(self, frame: int) -> None:
        """Track ended objects again behind an anchor, where the user says that they are."""
        previous = self._previous(frame)
        for group in [group for group in self._groups if group.ended and previous in group.anchors]:
            self._groups.append(self._make_group(group.ended, group.frames, group.anchors, group.bank.max_pointers))
            group.ended = []

    def _start_groups(self, groups: list[Group], frame: int) -> None:
        """Give groups that begin, or have just passed an anchor, the anchor's masks to follow."""
        previous = self._previous(frame)
        for group in groups:
            if group.masks and previous not in group.anchors:
                continue
            source = previous if previous in group.anchors else min(group.anchors, key=lambda one: abs(one - frame))
            group.masks = {object_id: self._shop.anchor(object_id, source).mask for object_id in group.object_ids}
            group.certainty.clear()
            group.lineage.clear()

    def _move_crop(self, groups: list[Group]) -> None:
        """Let the crop follow the objects; when it moves, all memories are encoded again under the new one."""
        box = join_boxes([bounding_box(mask) for group in groups for mask in group.masks.values()])
        self._been = join_boxes([self._been, box])
        if self._shop.cache.is_in_time:  # what is gone is looked for wherever it has been
            box = box or self._been
        policy = self._shop.policy
        crop = policy.choose(box) if self._crop is None else policy.follow(self._crop, box)
        if crop != self._crop:
            self._crop = crop
            for group in self._groups:
                group.bank.replace_recent(self._encode_again)

    def _sources(self, groups: list[Group], frame: int) -> set[int]:
        """Frames whose masks will be moved to this one."""
        if self._looks_back:
            return {self._choose_source(group, frame) for group in groups if frame in group.frames}
        back = 1 if self.reverse else -1
        near = (frame + back * distance for distance in range(1, self._shop.cache.reach + 1))
        return {one for one in near if 0 <= one < self._shop.num_frames}

    def _choose_source(self, group: Group, frame: int) -> int:
        """The frame whose masks are moved to this one; in time any since the latest anchor, see ``Lineage.choose``."""
        previous = self._previous(frame)
        if not self._looks_back or previous not in {*group.lineage.lengths, *group.anchors}:
            return previous
        around = anchors_around(group.anchors, frame)
        return group.lineage.choose(frame, previous, around, self._crop, self._look)

    def _look(self, frame: int) -> torch.Tensor:
        """Grey values (1, 1, R, R) of a frame under the present crop."""
        return self._shop.cache.get(frame, self._crop).grey

    def _previous(self, frame: int) -> int:
        """The frame before one in the order of the sweep."""
        return frame + 1 if self.reverse else frame - 1

    def _segment(self, group: Group, seen: Frame) -> FrameResult:
        """Segment one frame for one batch and remember it."""
        bank = group.bank
        bank.select_conditioning(group.anchors, seen.index, lambda anchor: self._encode_anchor(group, anchor))
        moved = self._move_source(group, seen)
        decoded, corrected = self._apply_corrections(group, seen, self._follow(group, seen, moved))
        if seen.index != group.frames[-1]:  # what is seen last, nobody reads
            entry = self._remember(seen, decoded, is_prompted=bool(corrected))
            if moved is not None and not corrected:  # a click's change is no trend
                entry.trend, entry.carried = trend_of(entry.low_res, moved.logits), moved.carried
            bank.add(entry)
            if self._looks_back:
                group.lineage.add(entry)
        return self._report(group, seen, decoded, corrected)

    def _follow(self, group: Group, seen: Frame, moved: Moved | None) -> steps.Decoded:
        """Find the objects by the network's memory and the refiner, or by the refiner alone."""
        network = self._shop.network
        if moved is not None and network.follows_alone:
            answers = self._draw_alone(group, seen, moved)
            logits = self._unless_strange(group, seen, torch.stack(answers).mean(0), moved)
            decoded = steps.draw(network.model, logits)
            return replace(decoded, iou=decoded.iou * agreement(answers[0], answers[-1]))
        prior = None if moved is None else moved.logits
        decoded = steps.decode(
            network.model,
            self._attend(group.bank, seen),
            seen.features.expand(len(group.object_ids)),
            mask_logits=prior,
            prior=prior,
            multimask=network.uses_multimask(0, is_tracking=True),
        )
        if network.model.refiner is None:
            return decoded
        clues = self._gather_clues(group, seen)
        if moved is None:
            return network.refine(decoded, clues)
        decoded = network.refine(decoded, clues.with_moved(moved))
        logits = self._unless_strange(group, seen, decoded.low_res, moved)
        return decoded if logits is decoded.low_res else steps.redraw(network.model, decoded, logits)

    def _draw_alone(self, group: Group, seen: Frame, moved: Moved) -> list[torch.Tensor]:
        """Mask logits (B, 1, R, R) of the refiner: what follows from the last frame, from the one before it, ..."""
        network, bank, clues = self._shop.network, group.bank, self._gather_clues(group, seen)
        answers = [network.glance(clues.with_moved(moved))]
        if bank.neighbour(seen.index).carried is None:  # beside a given mask nothing earlier counts
            return answers
        for distance in range(2, self._shop.cache.reach + 1):
            if (earlier := bank.neighbour(seen.index, distance)) is not None:
                farther = replace(clues, step=distance * clues.step)
                answers.append(network.glance(farther.with_moved(self._move(earlier, seen))))
        return answers

    def _attend(self, bank: MemoryBank, seen: Frame) -> torch.Tensor:
        """Condition a frame on the memories that the rule selects for each object: (B, C, h, w)."""
        reader = self._shop.network.reader
        for entry in bank.entries():
            if entry.keys is None:
                entry.keys = reader.keys(entry.tokens)
        pointers = bank.select_pointers(seen.index)
        selections = bank.select_spatial(seen.index, summarise(seen.features.embedding))
        parts: dict[int, torch.Tensor] = {}
        for selection in selections:
            rows = selection.rows
            spatial = [
                (t_pos, entry.tokens[rows], [key[rows] for key in entry.keys])
                if len(selections) > 1
                else (t_pos, entry.tokens, entry.keys)
                for t_pos, entry in selection.spatial
            ]
            own = [(distance, pointer[rows]) for distance, pointer in pointers]
            output = reader.read(seen.features, spatial, own, self._shop.num_frames)
            parts.update(zip(rows, output, strict=True))
        return torch.stack([parts[row] for row in range(bank.num_objects)])

    def _move_source(self, group: Group, seen: Frame) -> Moved | None:
        """Motion-compensated masks of the frame that this one follows from, if the model has learned to use them."""
        if self._shop.network.prior is None:
            return None
        source = self._choose_source(group, seen.index)
        if source == self._previous(seen.index):
            entry = group.bank.neighbour(seen.index)
        else:
            entry = group.bank.conditioning.get(source) or group.lineage.recall(source)
        if entry is None:
            return None
        return self._move(entry if entry.crop == self._crop else self._encode_again(entry), seen)

    def _move(self, entry: Entry, seen: Frame) -> Moved:
        """Mask and clues of an earlier frame, moved as the image moved."""
        carried = entry.carried
        if carried is None:
            carried = carried_from(self._shop.cache.get(entry.frame, self._crop).grey, entry.low_res)
        motion = self._shop.cache.motion(entry.frame, seen.index, self._crop)
        return self._shop.network.prior(motion, entry.low_res, entry.trend, carried)

    def _gather_clues(self, group: Group, seen: Frame) -> Clues:
        """What the refiner shall know of a frame besides its neighbour: the nearest anchor."""
        anchor, step = self._view_anchor(group, seen), self._shop.cache.step(self._crop)
        return Clues(seen.grey, step=step, anchor_image=anchor.grey, anchor_logits=anchor.logits)

    def _view_anchor(self, group: Group, seen: Frame) -> AnchorView:
        """The nearest anchor in a window of its own: the present one may have left its masks behind."""
        shop, index = self._shop, group.bank.nearest_conditioning(seen.index).frame
        if index not in group.views:
            answers = [shop.anchor(object_id, index) for object_id in group.object_ids]
            group.views[index] = view_anchor(shop.network, shop.cache, shop.policy, index, answers)
        return group.views[index]

    def _unless_strange(self, group: Group, seen: Frame, logits: torch.Tensor, moved: Moved) -> torch.Tensor:
        """Logits (B, 1, R, R), but objects that the refiner does not know go where the image goes, not redrawn."""
        is_familiar = self._view_anchor(group, seen).is_familiar
        if is_familiar.all():
            return logits
        moved_on = steps.resize(moved.logits, self._shop.network.mask_side)
        return torch.where(is_familiar[:, None, None, None], logits, moved_on)

    def _apply_corrections(self, group: Group, seen: Frame, decoded: steps.Decoded) -> tuple[steps.Decoded, list[int]]:
        """Refine tracked masks with the clicks of their frame; returns also which objects had any."""
        corrected = []
        for row, object_id in enumerate(group.object_ids):
            prompt = self._shop.corrections.get((object_id, seen.index))
            if prompt is not None:
                context = self._make_context(group, seen, row, decoded.low_res[row : row + 1])
                decoded = put_row(decoded, row, self._shop.prompter.correct(seen, prompt, context))
                corrected.append(object_id)
        return decoded, corrected

    def _make_context(self, group: Group, seen: Frame, row: int, previous: torch.Tensor) -> Context:
        """What is known of one object of a batch on a frame, for its clicks."""
        one, clues = slice(row, row + 1), self._gather_clues(group, seen)
        clues = replace(clues, anchor_logits=clues.anchor_logits[one])
        embedding = None if self._shop.network.follows_alone else self._attend(group.bank, seen)[one]
        return Context(previous, clues, embedding)

    def _remember(self, seen: Frame, decoded: steps.Decoded, is_prompted: bool, is_anchor: bool = False) -> Entry:
        """Encode a frame with its masks, if the network had a part in them."""
        entry = Entry(
            frame=seen.index,
            crop=seen.crop,
            low_res=decoded.low_res.float(),
            object_score=decoded.object_score.float(),
            iou=decoded.iou.float(),
            is_conditioning=is_anchor,
        )
        if decoded.pointer is not None:
            entry.pointer = decoded.pointer.float()
            entry.tokens = self._shop.network.remember(
                seen.features, decoded.high_res, decoded.object_score, decoded.pointer, is_prompted
            )
            entry.summary = summarise(seen.features.embedding)
        return entry

    def _encode_anchor(self, group: Group, index: int) -> Entry:
        """Encode a seeded or locked frame under the present crop."""
        seen = self._shop.cache.get(index, self._crop)
        parts = [self._decode_anchor(self._shop.anchor(object_id, index), seen) for object_id in group.object_ids]
        return self._remember(seen, join(parts), is_prompted=True, is_anchor=True)

    def _decode_anchor(self, prompted: Prompted, seen: Frame) -> steps.Decoded:
        """Bring the answer to a prompt, or a given mask, under the present crop, with what the network says of it."""
        network = self._shop.network
        decoded = draw_anchor(network, prompted, seen)
        if decoded.pointer is not None or network.follows_alone:
            return decoded
        pointer = steps.point_at(network.model, seen.features, (decoded.high_res > 0).float())
        coarse = steps.resize(decoded.low_res, network.size)  # what sam2 remembers of a given mask
        return replace(decoded, pointer=pointer, high_res=coarse)

    def _encode_again(self, entry: Entry) -> Entry:
        """Encode a tracked frame again under the present crop; its pointers stay."""
        network, tokens = self._shop.network, None
        high_res = entry.crop.transfer(entry.low_res, self._crop, network.size)
        if entry.tokens is not None:
            features = self._shop.cache.get(entry.frame, self._crop).features
            tokens = network.remember(features, high_res, entry.object_score, entry.pointer, is_prompted=False)
        carried = None if entry.carried is None else entry.crop.transfer(entry.carried, self._crop, network.mask_side)
        return replace(
            entry,
            crop=self._crop,
            low_res=steps.resize(high_res, network.mask_side),
            tokens=tokens,
            trend=None,
            carried=carried,
            keys=None,
        )

    def _report(self, group: Group, seen: Frame, decoded: steps.Decoded, corrected: list[int]) -> FrameResult:
        """Turn logits into masks and scores, and see which objects have ended; unsure masks are not shown."""
        masks = self.to_masks(seen.crop, decoded.low_res)
        followed = dict(zip(group.object_ids, masks, strict=True))
        if self._shop.network.model.refiner is not None:
            starts = group.bank.nearest_conditioning(seen.index).iou.tolist()
            rule, wanted = ALONE if self._shop.network.follows_alone else WITH_MEMORY, self._shop.settings.min_certainty
            is_shown = [
                object_id in corrected or group.note_certainty(object_id, certainty, start, rule, wanted)
                for object_id, certainty, start in zip(group.object_ids, decoded.iou.tolist(), starts, strict=True)
            ]
            masks = masks & np.array(is_shown)[:, None, None]
        probability = torch.sigmoid(decoded.object_score.float()).flatten().tolist()
        scores = tuple(
            FrameScore(iou, score, overlap_of(mask, group.masks[object_id]), area=np.count_nonzero(mask))
            for iou, score, mask, object_id in zip(
                decoded.iou.tolist(), probability, masks, group.object_ids, strict=True
            )
        )
        result = FrameResult(
            seen.index, tuple(group.object_ids), masks, scores, decoded.low_res[:, 0].float().cpu().numpy(), seen.crop
        )
        group.masks = followed
        if not self._shop.cache.is_in_time:  # where what is gone may come back
            group.end_objects(self._shop.settings.stop_after_empty)
        return result
