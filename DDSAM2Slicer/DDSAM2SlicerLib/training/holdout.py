"""A model on generated clips that no training has seen, run by the engine as a user would (layer: training)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.frames import FrameSource, IntensityMapping, TimeFrames, VolumeFrames
from ..core.geometry import Axis, VolumeGeometry
from ..core.metrics import dice
from ..core.prompts import PromptSet
from .clips import Clip, ClipSettings, make_clips

if TYPE_CHECKING:
    from ..engine.predictor import Predictor

HOLDOUT_SEED = 2**41
"""Beyond the seeds of training and of the validation clips."""
KINDS = {"time": 1.0, "slices": 0.0}
OBJECT = 1


@dataclass(frozen=True)
class Score:
    """How well clips were followed from the mask of their first frame."""

    dice: float
    """Mean over clips of the Dice pooled over the tracked frames."""
    median: float
    """Median of the same: some clips show an object that cannot be seen."""
    copied: float
    """The same of the first mask left where it was."""
    absent: int
    """Tracked frames without the object."""
    empty: float
    """Share of those on which nothing was found."""


def holdout_clips(time_share: float, count: int, num_frames: int) -> list[Clip]:
    """Draw the fixed clips: one of every scene from HOLDOUT_SEED on."""
    settings = ClipSettings(num_frames=num_frames, time_share=time_share, distant=0.0)
    clips: list[Clip] = []
    seed = HOLDOUT_SEED
    while len(clips) < count:
        clips.extend(make_clips(seed, settings)[:1])
        seed += 1
    return clips


def follow(predictor: Predictor, clip: Clip) -> np.ndarray:
    """Masks (T - 1, S, S) of all frames but the first, whose mask is given."""
    session = predictor.open(_as_stack(clip))
    session.set_prompts(PromptSet.empty().with_mask(OBJECT, 0, clip.masks[0].numpy()))
    found = {result.frame: result.masks[0] for result in session.propagate()}
    return np.stack([found[index] for index in range(1, len(clip.frames))])


def _as_stack(clip: Clip) -> FrameSource:
    """Frames in time, or slices as far apart as they were drawn."""
    frames, as_drawn = clip.frames.numpy(), IntensityMapping(0.0, 255.0)
    if not clip.step:
        return TimeFrames(frames, mapping=as_drawn)
    ijk_to_ras = np.diag([1.0, 1.0, clip.step * frames.shape[-1], 1.0])
    return VolumeFrames(frames, VolumeGeometry(frames.shape, ijk_to_ras), Axis.K, as_drawn)


def score_clips(predictor: Predictor, clips: list[Clip]) -> Score:
    """Follow every clip and compare."""
    scores, copied, empty = [], [], []
    for clip in clips:
        truth, found = clip.masks[1:].numpy(), follow(predictor, clip)
        scores.append(dice(found, truth))
        copied.append(dice(np.broadcast_to(clip.masks[0].numpy(), truth.shape), truth))
        empty += [not mask.any() for mask, real in zip(found, truth, strict=True) if not real.any()]
    return Score(
        dice=float(np.mean(scores)),
        median=float(np.median(scores)),
        copied=float(np.mean(copied)),
        absent=len(empty),
        empty=float(np.mean(empty)) if empty else 1.0,
    )


def describe_scores(model: str, count: int, num_frames: int, only: str | None = None) -> Iterator[str]:
    """Score a model (name or file) on both kinds of clips, or on one; one sentence each."""
    from ..engine.predictor import load_predictor

    predictor = load_predictor(model)
    for name in [only] if only else KINDS:
        score = score_clips(predictor, holdout_clips(KINDS[name], count, num_frames))
        yield (
            f"{name}: {count} clips of {num_frames} frames, mean Dice {score.dice:.3f}, median {score.median:.3f} "
            f"(copied {score.copied:.3f}); "
            f"{score.absent} frames without the object, {score.empty:.1%} of them empty"
        )
