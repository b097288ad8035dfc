"""What is kept of earlier frames for a batch of objects: never more than a fixed number (layer: engine)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F

from . import memory_rules
from .crop import Crop
from .memory_rules import LongTerm, MemoryView

MAX_CONDITIONING = 8
"""Conditioning frames a frame attends to at most: the nearest ones."""


@dataclass(eq=False)
class Entry:
    """Memory of one frame for a batch of B objects."""

    frame: int
    crop: Crop
    low_res: torch.Tensor  # (B, 1, h, w) mask logits, fp32
    object_score: torch.Tensor  # (B, 1) logits
    iou: torch.Tensor  # (B,)
    # what the network knows of it; None where the refiner followed alone
    pointer: torch.Tensor | None = None  # (B, C)
    tokens: torch.Tensor | None = None  # (B, h*w, Cm), storage format
    summary: torch.Tensor | None = None  # (D,) coarse image embedding of the frame, unit length
    trend: torch.Tensor | None = None  # (B, 1, h, w) how the mask differed from the moved one before it
    carried: torch.Tensor | None = None  # (B, 3, h, w) from the last given or corrected mask; None: from this
    is_conditioning: bool = False
    keys: list[torch.Tensor] | None = None  # per attention layer (B, h*w, C), made when first read

    def select(self, rows: torch.Tensor) -> Entry:
        """The same memory for some of the objects."""
        keys = None if self.keys is None else [key[rows] for key in self.keys]
        names = ("low_res", "object_score", "iou", "pointer", "tokens", "trend", "carried")
        found = {name: getattr(self, name) for name in names}
        return replace(self, keys=keys, **{name: one if one is None else one[rows] for name, one in found.items()})


@dataclass(eq=False)
class Selection:
    """What some objects of the batch attend to on one frame."""

    rows: list[int]
    spatial: list[tuple[int, Entry]]  # (t_pos, memory of the whole batch)


@dataclass(eq=False)
class MemoryBank:
    """Memories of objects that share their conditioning frames and their schedule."""

    rule: str
    num_maskmem: int
    max_pointers: int
    reverse: bool
    num_objects: int
    conditioning: dict[int, Entry] = field(default_factory=dict)
    recent: dict[int, Entry] = field(default_factory=dict)
    pointers: dict[int, torch.Tensor] = field(default_factory=dict)
    long_term: list[LongTerm] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start with empty long-term memories."""
        self.long_term = [LongTerm() for _ in range(self.num_objects)]

    def add(self, entry: Entry) -> None:
        """Store a tracked frame and forget what no later frame can read."""
        self.recent[entry.frame] = entry
        if entry.tokens is not None:
            self.pointers[entry.frame] = entry.pointer
            if self.rule == "diverse":
                self._note_diverse(entry)
        keep = {frame for state in self.long_term for frame in (*state.candidates, *state.chosen)}
        reach = (self.num_maskmem - 1) * (memory_rules.CONFIDENT_WINDOW if self.rule == "confident" else 1)
        for frame in [frame for frame in self.recent if abs(entry.frame - frame) >= reach and frame not in keep]:
            del self.recent[frame]
        for frame in [frame for frame in self.pointers if abs(entry.frame - frame) >= self.max_pointers - 1]:
            del self.pointers[frame]

    def select_conditioning(self, anchors: Sequence[int], frame: int, build: Callable[[int], Entry]) -> None:
        """Hold the memories of the nearest anchors of a frame; missing ones are built, distant ones forgotten."""
        nearest = nearest_anchors(anchors, frame)
        self.conditioning = {
            anchor: self.conditioning[anchor] if anchor in self.conditioning else build(anchor) for anchor in nearest
        }

    def entries(self) -> list[Entry]:
        """All memories that the network can read: conditioning ones, then tracked ones as they were visited."""
        return [one for one in (*self.conditioning.values(), *self.recent.values()) if one.tokens is not None]

    def replace_recent(self, convert: Callable[[Entry], Entry]) -> None:
        """Exchange every tracked memory, for example when the crop has moved; conditioning ones are to be rebuilt."""
        self.recent = {frame: convert(entry) for frame, entry in self.recent.items()}
        self.conditioning = {}

    def neighbour(self, frame: int, distance: int = 1) -> Entry | None:
        """The memory of the frame visited just before, or so many before, if it is held."""
        previous = frame + distance if self.reverse else frame - distance
        return self.recent.get(previous) or self.conditioning.get(previous)

    def nearest_conditioning(self, frame: int) -> Entry:
        """The memory of the anchor in use that lies nearest."""
        return min(self.conditioning.values(), key=lambda entry: abs(entry.frame - frame))

    def select_spatial(self, frame: int, summary: torch.Tensor) -> list[Selection]:
        """Apply the memory rule to every object; objects with equal outcome share one selection."""
        entries = self.entries()
        places: dict[tuple[int, ...], list[int]] = {}
        if self.rule == "recent":
            places[self._usual(entries, frame)] = list(range(self.num_objects))
        else:
            for row in range(self.num_objects):
                places.setdefault(self._apply_rule(entries, row, summary), []).append(row)
        return [
            Selection(rows, [(self._time_position(entries[index], frame), entries[index]) for index in indices])
            for indices, rows in places.items()
        ]

    def select_pointers(self, frame: int) -> list[tuple[float, torch.Tensor]]:
        """Pairs (signed distance, (B, C)): conditioning frames behind this one, then the latest tracked frames."""
        sign = -1 if self.reverse else 1
        behind = [
            ((frame - anchor) * sign, entry.pointer)
            for anchor, entry in self.conditioning.items()
            if (frame - anchor) * sign >= 0
        ]
        tracked = [((frame - other) * sign, pointer) for other, pointer in self.pointers.items()]
        return behind + [(distance, pointer) for distance, pointer in tracked if 0 < distance < self.max_pointers]

    def keep_rows(self, rows: list[int]) -> None:
        """Forget all objects but some."""
        self.num_objects = len(rows)
        self.long_term = [self.long_term[row] for row in rows]
        index = torch.tensor(rows, dtype=torch.long)
        for store in (self.conditioning, self.recent):
            for frame in store:
                store[frame] = store[frame].select(index.to(store[frame].iou.device))
        self.pointers = {frame: pointer[index.to(pointer.device)] for frame, pointer in self.pointers.items()}

    def _usual(self, entries: list[Entry], frame: int) -> tuple[int, ...]:
        """SAM 2's choice: conditioning frames and those within reach."""
        reach = self.num_maskmem - 1
        return tuple(
            index for index, one in enumerate(entries) if one.is_conditioning or abs(one.frame - frame) <= reach
        )

    def _apply_rule(self, entries: list[Entry], row: int, summary: torch.Tensor) -> tuple[int, ...]:
        """Indices of the memories that one object attends to."""
        is_similarity_read = self.rule == "confident"
        views = [_view(entry, row, float(entry.summary @ summary) if is_similarity_read else 0.0) for entry in entries]
        if self.rule == "diverse":
            return memory_rules.diverse(views, self.num_maskmem, self.long_term[row])
        rules = {
            "short": memory_rules.short,
            "pruned": memory_rules.pruned,
            "split_pruned": memory_rules.split_pruned,
            "confident": memory_rules.confident,
        }
        return rules[self.rule](views, self.num_maskmem)

    def _time_position(self, entry: Entry, frame: int) -> int:
        """Index of the temporal encoding; long-term memories are treated like conditioning ones."""
        distance = abs(entry.frame - frame)
        if entry.is_conditioning or (self.rule == "diverse" and distance >= self.num_maskmem):
            return 0
        return memory_rules.time_position(distance, self.num_maskmem)

    def _note_diverse(self, entry: Entry) -> None:
        """Update each object's long-term memory with a new frame."""
        for row, state in enumerate(self.long_term):

            def find(frame: int, row: int = row) -> MemoryView:
                latest = list(self.conditioning.values())[-1] if frame < 0 else self.recent[frame]
                return _view(latest, row)

            self.long_term[row] = memory_rules.update_long_term(state, _view(entry, row), find)


def nearest_anchors(anchors: Sequence[int], frame: int) -> list[int]:
    """The nearest anchor on either side, then the next nearest, ``MAX_CONDITIONING`` in all, in ascending order."""
    first = anchors_around(anchors, frame)
    rest = sorted((anchor for anchor in anchors if anchor not in first), key=lambda anchor: abs(anchor - frame))
    return sorted([*first, *rest][:MAX_CONDITIONING])


def anchors_around(anchors: Sequence[int], frame: int) -> list[int]:
    """The nearest anchor before a frame, if there is one, and the nearest at or behind it."""
    before = [anchor for anchor in anchors if anchor < frame]
    after = [anchor for anchor in anchors if anchor >= frame]
    return [*([max(before)] if before else []), *([min(after)] if after else [])]


def summarise(embedding: torch.Tensor) -> torch.Tensor:
    """Coarse unit vector of an image embedding (1, C, h, w), to compare frames with."""
    pooled = F.adaptive_avg_pool2d(embedding.float(), 4).flatten()
    return F.normalize(pooled - pooled.mean(), dim=0)


def _view(entry: Entry, row: int, similarity: float = 0.0) -> MemoryView:
    """One object's side of a memory."""
    return MemoryView(entry.frame, entry.tokens[row], float(entry.iou[row]), entry.is_conditioning, similarity)
