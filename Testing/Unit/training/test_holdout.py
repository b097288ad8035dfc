"""Held-out clips are the same every time, and a model's score on them can be read."""

import torch

from DDSAM2SlicerLib.training import cli
from DDSAM2SlicerLib.training.clips import Clip
from DDSAM2SlicerLib.training.holdout import holdout_clips, score_clips


class StayingPredictor:
    """Finds the object where it was given, on all frames."""

    def open(self, frames):
        self.num_frames = frames.num_frames
        return self

    def set_prompts(self, prompts):
        (self.mask,) = [prompt.mask for prompt in prompts.prompts.values()]

    def propagate(self):
        for frame in range(self.num_frames):
            yield type("Result", (), {"frame": frame, "masks": self.mask[None]})


def test_held_out_clips_are_the_same_every_time_and_of_the_kind_asked_for():
    one, other = (holdout_clips(1.0, 2, 3) for _ in range(2))
    assert all(torch.equal(a.frames, b.frames) for a, b in zip(one, other, strict=True))
    assert not torch.equal(one[0].frames, holdout_clips(0.0, 1, 3)[0].frames)


def test_scores_are_of_the_tracked_frames_and_of_those_without_the_object():
    frames, masks = torch.zeros(4, 16, 16, dtype=torch.uint8), torch.zeros(4, 16, 16, dtype=torch.bool)
    masks[:3, 4:8, 4:8] = True
    score = score_clips(StayingPredictor(), [Clip(frames, masks, step=0.0)])
    assert score.dice == score.median == score.copied == 2 * 32 / (48 + 32)
    assert (score.absent, score.empty) == (1, 0.0)


def test_the_default_model_is_scored_from_the_command_line(capsys):
    for only, kinds in ((), ["time", "slices"]), (("--only", "time"), ["time"]):
        assert cli.main(["score", "--clips", "1", "--frames", "3", *only]) == 0
        assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == kinds
