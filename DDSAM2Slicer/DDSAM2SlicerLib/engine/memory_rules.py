"""Which stored frames condition the next one: pure functions over one object's memories (layer: engine).

Every rule takes the object's memories in the order conditioning frames, then oldest to newest, and returns the
indices to use, in order. Sources, re-implemented from their descriptions, per object instead of summed over the batch:

* ``pruned``: efficient frame pruning, Surgical SAM 2 (arXiv 2408.07931);
* ``split_pruned``: memory splitting, TSMS-SAM2 (arXiv 2508.05829), with its index slip corrected;
* ``diverse``: the long-term memory of ReSurgSAM2 (arXiv 2505.08581) and SAM2S (arXiv 2511.16618);
* ``short``: the fewest memories that still show motion, our own rule, for speed;
* ``confident``: retrieval by similarity and confidence, after SAMed-2 (arXiv 2507.03698).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

DIVERSE_IOU = 0.95
"""Predicted IoU above which a frame is a candidate for the long-term memory."""
DIVERSE_STREAK = 5
"""Candidates collected before one of them is chosen."""
DIVERSE_CAPACITY = 4
CONFIDENT_WINDOW = 2
"""``confident`` chooses among this many times the usual number of recent frames."""
PRUNED_COUNT = 2
SHORT_COUNT = 2
"""Recent frames that ``short`` reads."""


@dataclass(frozen=True, eq=False)
class MemoryView:
    """What a rule may look at: one frame's memory of one object."""

    frame: int
    features: torch.Tensor  # (tokens, channels)
    iou: float
    is_conditioning: bool
    similarity: float = 0.0
    """Cosine between the image of this frame and the one to be segmented; only ``confident`` reads it."""


@dataclass(frozen=True)
class LongTerm:
    """Frames that ``diverse`` keeps for one object: candidates of the current streak, and those chosen."""

    candidates: tuple[int, ...] = ()
    chosen: tuple[int, ...] = ()


def recent(memories: Sequence[MemoryView], num_maskmem: int) -> tuple[int, ...]:
    """SAM 2: all conditioning frames and the newest ``num_maskmem - 1`` others."""
    conditioning, others = _split(memories)
    return (*conditioning, *others[len(others) - min(len(others), num_maskmem - 1) :])


def short(memories: Sequence[MemoryView], num_maskmem: int) -> tuple[int, ...]:
    """All conditioning frames and the newest ``SHORT_COUNT`` others."""
    return recent(memories, min(SHORT_COUNT + 1, num_maskmem))


def pruned(memories: Sequence[MemoryView], num_maskmem: int) -> tuple[int, ...]:
    """Drop the two memories most like the newest once the bank is full; conditioning frames and the newest stay."""
    kept = recent(memories, num_maskmem)
    if len(kept) < num_maskmem:
        return kept
    newest = memories[kept[-1]].features
    prunable = [index for index in kept[:-1] if not memories[index].is_conditioning]
    ranked = sorted(prunable, key=lambda index: -_token_similarity(memories[index].features, newest))
    return tuple(index for index in kept if index not in ranked[:PRUNED_COUNT])


def split_pruned(memories: Sequence[MemoryView], num_maskmem: int) -> tuple[int, ...]:
    """Drop one of the older half (most like the first frame) and one of the newer half (most like the newest)."""
    kept = recent(memories, num_maskmem)
    if len(kept) < num_maskmem:
        return kept
    prunable = [index for index in kept[:-1] if not memories[index].is_conditioning]
    middle = len(prunable) // 2
    dropped = set()
    for half, reference in ((prunable[:middle], kept[0]), (prunable[middle:], kept[-1])):
        if half:
            target = memories[reference].features
            dropped.add(max(half, key=lambda index: _map_similarity(memories[index].features, target)))
    return tuple(index for index in kept if index not in dropped)


def diverse(memories: Sequence[MemoryView], num_maskmem: int, long_term: LongTerm) -> tuple[int, ...]:
    """The recent memories, and the long-term ones that are not among them."""
    kept = recent(memories, num_maskmem)
    older = [index for index, memory in enumerate(memories) if memory.frame in long_term.chosen and index not in kept]
    conditioning = [index for index in kept if memories[index].is_conditioning]
    return (*conditioning, *older, *kept[len(conditioning) :])


def confident(memories: Sequence[MemoryView], num_maskmem: int) -> tuple[int, ...]:
    """Conditioning frames, the newest, and the others with the highest sum of image similarity and predicted IoU."""
    conditioning, others = _split(memories)
    *rest, newest = others or [None]
    ranked = sorted(rest, key=lambda index: -(max(memories[index].similarity, 0.0) + memories[index].iou))
    chosen = sorted(ranked[: num_maskmem - 2])
    return (*conditioning, *chosen, *([] if newest is None else [newest]))


def update_long_term(state: LongTerm, newest: MemoryView, find: Callable[[int], MemoryView]) -> LongTerm:
    """Take note of a new frame; after a streak of sure ones, keep the candidate least like the latest long-term frame.

    Args:
        state: What was kept so far.
        newest: The frame just segmented.
        find: Returns the stored memory of a frame; frame -1 is the latest conditioning frame.
    """
    if newest.iou <= DIVERSE_IOU:
        return replace(state, candidates=())
    candidates = (*state.candidates, newest.frame)
    if len(candidates) < DIVERSE_STREAK:
        return replace(state, candidates=candidates)
    reference = find(state.chosen[-1] if state.chosen else -1).features
    views = {frame: newest if frame == newest.frame else find(frame) for frame in candidates}
    chosen = min(candidates, key=lambda frame: _token_similarity(views[frame].features, reference))
    return LongTerm((), (*state.chosen, chosen)[-DIVERSE_CAPACITY:])


def time_position(distance: int, num_maskmem: int) -> int:
    """Index of the temporal encoding of a tracked frame: the neighbour has ``num_maskmem - 1``, the oldest known 1."""
    return max(num_maskmem - distance, 1)


def _split(memories: Sequence[MemoryView]) -> tuple[list[int], list[int]]:
    """Indices of conditioning frames and of the others."""
    conditioning = [index for index, memory in enumerate(memories) if memory.is_conditioning]
    return conditioning, [index for index, memory in enumerate(memories) if not memory.is_conditioning]


def _token_similarity(one: torch.Tensor, other: torch.Tensor) -> float:
    """Cosine over channels at each token, averaged."""
    return float(F.cosine_similarity(one.float(), other.float(), dim=1).mean())


def _map_similarity(one: torch.Tensor, other: torch.Tensor) -> float:
    """Cosine over tokens for each channel, averaged."""
    return float(F.cosine_similarity(one.float(), other.float(), dim=0).mean())
