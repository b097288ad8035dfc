"""Objects followed as one batch: what was seen of each, how surely, and whether it has ended (layer: engine)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.plan import Pass
from .anchors import AnchorView
from .lineage import Lineage
from .memory_bank import MemoryBank
from .scores import FrameResult, FrameScore

LEAST_USUAL = 0.8
"""An object's usual certainty is taken to be at least this share of its prompt's: what is absent at once has none."""
ENDED = FrameScore(iou=0.0, object_score=0.0, overlap=1.0, ended=True)


@dataclass(frozen=True)
class HideRule:
    """Which masks are not sure enough to be shown."""

    share: float
    """They have less than this share of ``min_certainty`` times the object's usual certainty and its prompt's."""
    settling: int
    """Number of frames behind an anchor whose least certainty is the object's usual one."""
    inertia: float
    """Weight of earlier frames in the mean certainty: one bad frame among good ones is shown, one lucky one is not."""


WITH_MEMORY = HideRule(share=1.0, settling=1, inertia=0.3)
ALONE = HideRule(share=0.89, settling=2, inertia=0.5)
"""Where the refiner follows alone its certainty wavers more: from the second frame on its answers can disagree."""


@dataclass(eq=False)
class Group:
    """Objects that share schedule and anchors, so that they form one batch."""

    object_ids: list[int]
    frames: tuple[int, ...]
    anchors: tuple[int, ...]
    bank: MemoryBank
    masks: dict[int, NDArray] = field(default_factory=dict)  # latest mask of each object
    empty_frames: dict[int, int] = field(default_factory=dict)  # frames in a row without the object
    ended: list[int] = field(default_factory=list)
    views: dict[int, AnchorView] = field(default_factory=dict)  # of anchors, by frame
    lineage: Lineage = field(default_factory=Lineage)  # in time
    certainty: dict[int, tuple[float, float, int]] = field(default_factory=dict)  # usual, latest, frames of each object

    def note_certainty(self, object_id: int, certainty: float, start: float, rule: HideRule, wanted: float) -> bool:
        """Note how sure an object's next mask is (0 to 1); return whether of late it has the wanted share of the usual.

        Usual is what the first frames behind the anchor have, but no more than the anchor's own, ``start``: what begins
        with an unsure answer to a box or a click can hardly be surer, and thin objects never are as sure as round ones.
        Such an answer's certainty also wavers more, so that less is wanted of it.
        """
        usual, latest, count = self.certainty.get(object_id, (start, certainty, 0))
        if count < rule.settling:
            usual = min(usual, max(certainty, LEAST_USUAL * start))
        latest += (1 - rule.inertia) * (certainty - latest)
        self.certainty[object_id] = usual, latest, count + 1
        return latest >= rule.share * wanted * start * usual

    def end_objects(self, limit: int) -> None:
        """Take objects out of the batch that have been gone for so many frames; 0 keeps all."""
        for object_id, mask in self.masks.items():
            self.empty_frames[object_id] = 0 if mask.any() else self.empty_frames[object_id] + 1
        kept = [row for row, one in enumerate(self.object_ids) if not 0 < limit <= self.empty_frames[one]]
        if len(kept) < len(self.object_ids):
            self.ended += [one for row, one in enumerate(self.object_ids) if row not in kept]
            self.object_ids = [self.object_ids[row] for row in kept]
            self.masks = {one: self.masks[one] for one in self.object_ids}
            self.bank.keep_rows(kept)
            self.views.clear()

    def ended_result(self, frame: int, height: int, width: int) -> FrameResult:
        """Empty masks (B, height, width), in pixels of the frame, of the objects that have ended."""
        masks = np.zeros((len(self.ended), height, width), bool)
        return FrameResult(frame, tuple(self.ended), masks, (ENDED,) * len(self.ended))


def form_batches(one: Pass, anchors: Mapping[int, tuple[int, ...]]) -> list[tuple[list[int], tuple[int, ...]]]:
    """Split the objects of a pass into those with equal anchors."""
    batches: dict[tuple[int, ...], list[int]] = {}
    for object_id in one.object_ids:
        batches.setdefault(tuple(anchors[object_id]), []).append(object_id)
    return [(ids, own) for own, ids in batches.items()]
