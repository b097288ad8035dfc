"""How sure masks are, and on which frame a correction helps most (layer: core)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .results import FrameScore


@dataclass(frozen=True, eq=False)
class Track:
    """The masks of one object.

    Attributes:
        scores: Of the masks, by frame.
        given: Frames whose masks the user has given or accepted.
        rows: Frames in the order in which masks follow one another; a frame may be in several rows.
    """

    scores: Mapping[int, FrameScore]
    given: Collection[int]
    rows: Sequence[Sequence[int]]


def certainty(score: FrameScore) -> float:
    """How sure a mask is, 0 to 1: that it is right and the object there, or, where it is empty, that this is not so."""
    belief = score.iou * score.object_score
    return belief if score.area else 1 - belief


def best_correction(tracks: Iterable[Track], frames: Iterable[int]) -> int | None:
    """Of these frames the one whose correction would put most right, the first if there are several; None if none."""
    gains = expected_gains(tracks)
    return min(frames, key=lambda frame: (-gains.get(frame, 0.0), frame), default=None)


def expected_gains(tracks: Iterable[Track]) -> dict[int, float]:
    """What a correction on each frame would put right, as a share of the objects' sizes.

    A mask is expected to be wrong by its area (an empty one by a pixel) times the doubt about it. Errors add up from
    frame to frame, so a correction takes as much of a mask's error away as it is nearer than the nearest frame given
    before: all of its own, half of that of a mask to which it halves the distance.
    """
    gains: dict[int, float] = {}
    for track in tracks:
        size = max(sum(score.area for score in track.scores.values()), 1)
        for row in track.rows:
            for frame, gain in zip(row, _gains_in_row(track, row), strict=True):
                gains[frame] = gains.get(frame, 0.0) + gain / size
    return gains


def _gains_in_row(track: Track, row: Sequence[int]) -> list[float]:
    """The same in pixels, for the frames of one row."""
    places = np.arange(len(row))
    given = np.array([place for place, frame in enumerate(row) if frame in track.given])
    gains = np.zeros(len(row))
    for place, frame in enumerate(row):
        score = track.scores.get(frame)
        if score is not None and frame not in track.given:
            reach = int(np.abs(given - place).min()) if given.size else len(row)
            near = slice(max(place - reach, 0), place + reach)
            gains[near] += (1 - certainty(score)) * max(score.area, 1) * (1 - np.abs(places[near] - place) / reach)
    return gains.tolist()
