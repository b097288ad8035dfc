"""A stream of generated clips and the pool that reuses them (layer: training)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .clips import MIN_PROMPT_PX, Clip, make_clips
from .config import Stage
from .prompts import Batch, join_clips

SEED_STRIDE = 1_000_003
"""Distance between the seeds of two scenes, so that streams of different recipes do not overlap by accident."""


class ClipStream(IterableDataset):
    """Endless clips; the n-th scene depends on the seed and n alone, however many workers draw."""

    def __init__(self, stage: Stage, seed: int, first_scene: int) -> None:
        """Start at scene ``first_scene``."""
        super().__init__()
        self.stage, self.seed, self.first_scene = stage, seed, first_scene

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, float]]:
        """Yield the parts of clips: frames (T, S, S) uint8, masks (T, S, S) bool, step."""
        torch.set_num_threads(1)
        worker = get_worker_info()
        number, step = (worker.id, worker.num_workers) if worker else (0, 1)
        scene = self.first_scene + number
        while True:
            for clip in make_clips(self.seed + scene * SEED_STRIDE, self.stage.clip):
                yield clip.frames, clip.masks, clip.step
            scene += step


class Pool:
    """Draws batches from the most recent clips of a stream; every step replaces the oldest ones."""

    def __init__(self, stage: Stage, seed: int, first_scene: int, num_workers: int, rank: int = 0) -> None:
        """Open the stream and fill a quarter of the pool, so that training can begin.

        Processes of different rank see different clips, but agree on the kind of every batch: no one waits long.
        """
        stream = ClipStream(stage, seed + rank, first_scene)
        self.stage = stage
        self.generator = torch.Generator().manual_seed(seed + rank + first_scene)
        self._kinds = torch.Generator().manual_seed(seed + first_scene)
        prefetch = {"prefetch_factor": 16} if num_workers else {}
        self._fresh = iter(DataLoader(stream, batch_size=None, num_workers=num_workers, **prefetch))
        self._clips: list[Clip] = []
        self._refill(max(stage.pool // 4, stage.clips_per_step))

    def _refill(self, count: int) -> None:
        """Take ``count`` new clips and forget as many old ones as do not fit."""
        self._clips.extend(Clip(*next(self._fresh)) for _ in range(count))
        del self._clips[: max(len(self._clips) - self.stage.pool, 0)]

    def draw(self) -> Batch:
        """Take new clips in and draw a batch, of clips or of as many single images; all share a kind of prompt."""
        self._refill(self.stage.fresh_per_step)
        is_images = torch.rand((), generator=self._kinds).item() < self.stage.image_share
        count = self.stage.clips_per_step * (self.stage.clip.num_frames if is_images else 1)
        picks = torch.randint(len(self._clips), (count,), generator=self.generator).tolist()
        clips = [self._clips[pick] for pick in picks]
        if is_images:
            clips = [self._one_frame(clip) for clip in clips]
        clips = [vary(clip, self.generator) for clip in clips]
        kinds, weights = zip(*(self.stage.image_prompts if is_images else self.stage.prompts).items(), strict=True)
        kind = kinds[int(torch.multinomial(torch.tensor(weights), 1, generator=self._kinds))]
        return join_clips(clips, kind)

    def _one_frame(self, clip: Clip) -> Clip:
        """Keep one random frame that shows the object."""
        shown = (clip.masks.sum(dim=(1, 2)) >= MIN_PROMPT_PX).nonzero()[:, 0]
        index = int(shown[int(torch.randint(len(shown), (), generator=self.generator))])
        return replace(clip, frames=clip.frames[index : index + 1], masks=clip.masks[index : index + 1])


def vary(clip: Clip, generator: torch.Generator) -> Clip:
    """Turn, mirror, re-tone and perhaps reverse a clip, so that reuse is not repetition."""
    draws = torch.rand(6, generator=generator).tolist()
    frames, masks = clip.frames, clip.masks
    dims = [dim for dim, draw in ((1, draws[0]), (2, draws[1])) if draw < 0.5]
    frames, masks = frames.flip(dims), masks.flip(dims)
    if draws[2] < 0.5:
        frames, masks = frames.transpose(1, 2), masks.transpose(1, 2)
    # a clip that tapers stays as it is: it is to begin where the object is largest
    if draws[3] < 0.5 and int(masks[-1].sum()) >= max(0.9 * int(masks[0].sum()), MIN_PROMPT_PX):
        frames, masks = frames.flip(0), masks.flip(0)
    gamma = 2.0 ** (draws[4] - 0.5)
    tones = (torch.arange(256) / 255.0) ** gamma * 255.0
    if draws[5] < 0.15:
        tones = 255.0 - tones
    return replace(clip, frames=tones.round().to(torch.uint8)[frames.long()], masks=masks)
