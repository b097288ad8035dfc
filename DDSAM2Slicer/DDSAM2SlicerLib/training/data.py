"""A stream of generated clips and the pool, on the training device, that reuses them (layer: training)."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from ..core.errors import SettingsError
from .atlas import find_label_maps
from .clips import MIN_PROMPT_PX, ClipSettings, make_clips
from .config import Stage
from .prompts import Batch, join_clips
from .variation import vary

LOG = logging.getLogger(__name__)
SEED_STRIDE = 1_000_003
"""Distance between the seeds of two scenes, so that streams of different recipes do not overlap by accident."""
NO_END = 2**31
"""More scenes than any training draws."""
MOST_EMPTY = 200
"""After so many scenes without a clip, one after the other, none is to be expected."""
FIRST_CLIPS = 1000
"""Training begins when a quarter of the pool is there, or this many clips."""


class Scenes(Dataset):
    """Clips by the number of their scene, which with the seed decides everything about them."""

    def __init__(self, settings: ClipSettings, seed: int, stride: int) -> None:
        """Scene n is drawn from ``seed + n * stride``.

        Raises:
            SettingsError: If there are no label maps where the settings say so.
        """
        if settings.label_maps:  # said here, before processes are started that would each fail at it
            find_label_maps(settings.label_maps)
        self.settings, self.seed, self.stride = settings, seed, stride

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """Frames, masks and steps as in ``Batch`` of the clips of one scene; None if it has none or its file is bad."""
        try:
            clips = make_clips(self.seed + number * self.stride, self.settings)
        except SettingsError as error:  # one file among hundreds ends no run of hours
            LOG.warning("%s", error)
            return None
        if not clips:
            return None
        return join_clips(clips, "mask").tensors


def scene_batches(
    settings: ClipSettings, seed: int, stride: int = 1, first: int = 0, num_workers: int = 0
) -> Iterator[Batch]:
    """Yield the clips of scene after scene, drawn ahead by so many processes; their number changes nothing.

    Raises:
        SettingsError: If scene after scene gives none.
    """
    prefetch = {"prefetch_factor": 16} if num_workers else {}
    numbers = range(first, NO_END)
    loader = DataLoader(
        Scenes(settings, seed, stride), batch_size=None, sampler=numbers, num_workers=num_workers, **prefetch
    )
    num_empty = 0
    for parts in loader:
        num_empty = num_empty + 1 if parts is None else 0
        if num_empty == MOST_EMPTY:
            msg = (
                f"{MOST_EMPTY} scenes in a row gave no clip. If the warnings before this name files, take these out of "
                f"{settings.label_maps or 'the label maps'}; otherwise ask for larger objects."
            )
            raise SettingsError(msg)
        if parts is not None:
            yield Batch(*parts, "mask")


class Pool:
    """Draws batches from the most recent clips of a stream; every step replaces the oldest ones."""

    def __init__(
        self,
        stage: Stage,
        seed: int,
        first_scene: int,
        num_workers: int,
        rank: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        """Open the stream and take in the first clips, so that training can begin.

        Processes of different rank see different clips, but agree on the kind of every batch: no one waits long.
        """
        self.stage = stage
        self.generator = torch.Generator().manual_seed(seed + rank + first_scene)
        self._kinds = torch.Generator().manual_seed(seed + first_scene)
        self._fresh = scene_batches(stage.clip, seed + rank, SEED_STRIDE, first_scene, num_workers)
        clip = stage.clip
        shape = stage.pool, clip.num_frames, clip.size, clip.size
        self._frames = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._masks = torch.zeros(shape, dtype=torch.bool, device=device)
        self._steps = torch.zeros(stage.pool, 1, 1, 1, device=device)
        self._shown = torch.zeros(shape[:2])  # on the CPU: whether a frame shows enough of its object
        self._taken = 0
        self._owed = 0
        self._refill(max(min(stage.pool // 4, FIRST_CLIPS), stage.clips_per_step))

    def _refill(self, count: int) -> None:
        """Take ``count`` new clips, scene by scene, and forget as many old ones as do not fit."""
        self._owed += count
        while self._owed > 0:
            new = next(self._fresh)
            count = len(new.frames)
            slots = torch.arange(self._taken, self._taken + count) % self.stage.pool
            self._shown[slots] = (new.masks.sum(dim=(2, 3)) >= MIN_PROMPT_PX).float()
            slots = slots.to(self._frames.device)
            for kept, part in ((self._frames, new.frames), (self._masks, new.masks), (self._steps, new.steps)):
                kept[slots] = part.to(kept.device)
            self._taken, self._owed = self._taken + count, self._owed - count

    def draw(self) -> Batch:
        """Take new clips in and draw a batch, of clips or of as many single images; all share a kind of prompt."""
        self._refill(self.stage.fresh_per_step)
        stage = self.stage
        is_images = torch.rand((), generator=self._kinds).item() < stage.image_share
        kinds, weights = zip(*(stage.image_prompts if is_images else stage.prompts).items(), strict=True)
        kind = kinds[int(torch.multinomial(torch.tensor(weights), 1, generator=self._kinds))]
        images = stage.images_per_step or stage.clips_per_step * stage.clip.num_frames
        available = min(self._taken, stage.pool)
        picks = torch.randint(available, (images if is_images else stage.clips_per_step,), generator=self.generator)
        frame = slice(None)
        if is_images:
            picks, frame = picks[:, None], torch.multinomial(self._shown[picks], 1, generator=self.generator)
            frame = frame.to(self._frames.device)
        rows = picks.to(self._frames.device)
        batch = Batch(self._frames[rows, frame], self._masks[rows, frame], self._steps[rows.flatten()], kind)
        return vary(batch, self.generator)
