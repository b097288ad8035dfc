"""From which earlier frame each next one of a time series follows: one that looks like it (layer: engine).

Masks that follow from frame to frame drift, a little with every step. But hearts beat and lungs breathe: what was seen
a beat ago is seen again. A frame that looks like the present one spares all steps between them, so every frame lies
few steps from a given mask, however long the series. Where nothing comes again it is the neighbour that looks most
like it. That the frames worth remembering are not always the latest ones is also what the memories of SAM2S (diverse)
and SAMed-2 (confident) are about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from .crop import Crop
from .memory_bank import Entry

SKETCH_SIZE = 32
"""Side, in pixels, of the images that tell how alike frames are."""
COMMON_SHARE = 0.5
"""Windows have at least so much of the one in common, or nothing can be said about how alike they are."""
MAX_MASKS = 512
"""So many masks are kept, the latest ones, of all objects together: 65 KB each."""
LOGIT_STEP = 1 / 8
"""Kept logits are multiples of this, in 8 bits: up to twice what counts of a moved mask."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """A frame under a crop in few pixels."""

    crop: Crop
    grey: torch.Tensor  # (1, 1, s, s) in 0..1, s = 2 * SKETCH_SIZE: other crops are sampled from it


@dataclass(eq=False)
class Lineage:
    """The frames that one batch of objects was followed through since its latest given mask."""

    entries: dict[int, Entry] = field(default_factory=dict)
    """Masks by frame, in 8 bits: see ``recall``."""
    lengths: dict[int, float] = field(default_factory=dict)
    """How far each frame lies from a given mask: the sum of ``differences`` from step to step."""
    sources: dict[int, int] = field(default_factory=dict)
    """The frame that each followed from."""
    sketches: dict[int, Sketch] = field(default_factory=dict)

    def choose(
        self, frame: int, neighbour: int, anchors: Iterable[int], crop: Crop, look: Callable[[int], torch.Tensor]
    ) -> int:
        """Find the frame that another follows from: at least as like it as its neighbour, nearest to a given mask.

        Args:
            frame: The frame that is to be segmented.
            neighbour: The frame visited just before.
            anchors: The frames with given masks on either side.
            crop: The present crop.
            look: Returns a frame's grey values (1, 1, R, R) under it.
        """
        if frame in self.sketches and self.sketches[frame].crop == crop:  # asked for before, ahead of its use
            return self.sources[frame]
        fresh = {frame, neighbour, *anchors}
        self.sketches.update((one, Sketch(crop, F.adaptive_avg_pool2d(look(one), 2 * SKETCH_SIZE))) for one in fresh)
        known = sorted((fresh | self.entries.keys()) & self.sketches.keys() - {frame})
        found = differences(self.sketches[frame], [self.sketches[one] for one in known])
        difference = dict(zip(known, found, strict=True))
        lengths = {
            one: self.lengths.get(one, 0.0) + difference[one]
            for one in known
            if difference[one] <= difference[neighbour]
        }
        best = self.sources[frame] = min(lengths, key=lengths.__getitem__)
        self.lengths[frame] = lengths[best]
        return best

    def recall(self, frame: int) -> Entry:
        """The masks that were kept of a frame."""
        entry = self.entries[frame]
        carried = None if entry.carried is None else LOGIT_STEP * entry.carried
        return replace(entry, low_res=LOGIT_STEP * entry.low_res, carried=carried)

    def add(self, entry: Entry) -> None:
        """Keep a mask, without what only the network reads."""
        self.entries[entry.frame] = replace(
            entry,
            low_res=_pack(entry.low_res),
            carried=None if entry.carried is None else _pack(entry.carried),
            trend=None,  # of a step between neighbours
            pointer=None,
            tokens=None,
            summary=None,
            keys=None,
        )
        if len(self.entries) * len(entry.iou) > MAX_MASKS:
            oldest = next(iter(self.entries))
            for kept in self._stores:
                kept.pop(oldest, None)

    def clear(self) -> None:
        """Begin anew at a given mask."""
        for kept in self._stores:
            kept.clear()

    @property
    def _stores(self) -> tuple[dict, ...]:
        """Everything that is known by frame."""
        return self.entries, self.lengths, self.sources, self.sketches


def _pack(logits: torch.Tensor) -> torch.Tensor:
    """Logits of any shape as whole numbers of LOGIT_STEP, int8."""
    return (logits / LOGIT_STEP).round().clamp(-127, 127).to(torch.int8)


def differences(one: Sketch, others: Sequence[Sketch]) -> list[float]:
    """Mean squared difference, greys in 0..1, of a sketch to others where both show the frame; inf if little."""
    found, wanted = torch.full((len(others),), torch.inf), F.adaptive_avg_pool2d(one.grey, SKETCH_SIZE)
    for crop in {other.crop for other in others}:
        rows = [row for row, other in enumerate(others) if other.crop == crop]
        affine = one.crop.affine_in(crop)[None].to(wanted.device)
        grid = F.affine_grid(affine, (1, 1, SKETCH_SIZE, SKETCH_SIZE), align_corners=False)
        is_common = (grid.abs() <= 1).all(-1)
        if is_common.float().mean() >= COMMON_SHARE:
            images = torch.cat([others[row].grey for row in rows], dim=1)  # as channels, they share the grid
            squared = (F.grid_sample(images, grid, align_corners=False) - wanted).square()[:, :, is_common[0]]
            found[rows] = squared.mean(2)[0].cpu()
    return found.tolist()
