"""A click is looked for in several windows and answered in the surest, with a side look at the slices beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sessions import count_encoder_calls

from DDSAM2SlicerLib.core.frames import IntensityMapping, TimeFrames, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.core.prompts import Box, FramePrompt, Point
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine.crop import Crop, CropPolicy
from DDSAM2SlicerLib.engine.network import FrameCache, Network
from DDSAM2SlicerLib.engine.prompting import NEIGHBOUR_SHARE, Prompter
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model

SIDE, SIZE = 200, 64


class FakeRefiner(torch.nn.Module):
    """Finds the object everywhere, but is sure of it in one of the windows it is shown together only."""

    def __init__(self, sure_of):
        """Be sure in the window of this index."""
        super().__init__()
        self.sure_of, self.counts = sure_of, []

    def forward(self, clues):
        count = len(clues.image)
        self.counts.append(count)
        logits = torch.full((count, 1, SIZE, SIZE), 0.1)
        logits[self.sure_of if count > 1 else 0] = 8.0
        return logits


class BrightnessRefiner(torch.nn.Module):
    """As sure of every pixel as a frame is bright."""

    def forward(self, clues):
        return (5 * clues.image.mean(dim=(1, 2, 3), keepdim=True)).expand(-1, 1, SIZE, SIZE)


def draw_slices(*brightness):
    """Slices of one grey each, in 0..1."""
    frames = np.stack([np.full((SIDE, SIDE), round(255 * one), np.uint8) for one in brightness])
    return VolumeFrames(frames, VolumeGeometry(frames.shape, np.eye(4)), Axis.K, IntensityMapping(0.0, 255.0))


@pytest.fixture
def make_prompter():
    """A prompter over empty frames or others, and the crops that it answers under."""

    def make(refiner=None, frames=None, **settings):
        model = build_model(replace(ARCHITECTURES["hiera_nano"].with_image_size(SIZE), refiner=False))
        network = Network(model, EngineSettings(precision="fp32", **settings), torch.device("cpu"))
        network.model.refiner = refiner
        policy = CropPolicy(SIDE, SIDE, 1.0, EngineSettings())
        cache = FrameCache(network, frames or TimeFrames(np.zeros((2, SIDE, SIDE), np.uint8)))
        prompter = Prompter(network, cache, policy)
        seen, answer_in = [], prompter._answer_in

        def note(crop, index, prompt):
            seen.append(crop)
            return answer_in(crop, index, prompt)

        prompter._answer_in = note
        return prompter, seen

    return make


@pytest.mark.parametrize(("sure_of", "crop"), [(0, Crop(0, 0, 200, 200)), (1, Crop(10, 20, 100, 100))])
def test_the_surest_of_three_windows_is_decoded_and_no_other(make_prompter, sure_of, crop):
    refiner = FakeRefiner(sure_of)
    prompter, seen = make_prompter(refiner)
    with torch.no_grad():
        answer = prompter.answer(0, FramePrompt(points=(Point(60, 70),)))
    assert seen == [answer.crop] == [crop]
    assert refiner.counts == [3, 1]


def test_windows_hold_every_click_and_every_click_is_replayed(make_prompter):
    refiner = FakeRefiner(sure_of=0)
    prompter, seen = make_prompter(refiner)
    with torch.no_grad():
        prompter.answer(0, FramePrompt(points=(Point(60, 70), Point(100, 70, positive=False))))
    assert refiner.counts == [2, 2, 1, 1]  # the quarter would lose a click
    assert [crop.width for crop in seen] == [200]


def test_a_model_that_does_not_refine_looks_once(make_prompter):
    prompter, seen = make_prompter()
    with torch.no_grad():
        prompter.answer(0, FramePrompt(points=(Point(60, 70),)))
    assert [crop.width for crop in seen] == [200]


CLICK, BOX = FramePrompt(points=(Point(60, 70),)), FramePrompt(box=Box(20, 20, 180, 180))


@pytest.mark.parametrize(
    ("prompt", "index", "expected"),
    [
        (CLICK, 1, (2 + NEIGHBOUR_SHARE * (1 + 5)) / (1 + 2 * NEIGHBOUR_SHARE)),
        (CLICK, 0, (1 + NEIGHBOUR_SHARE * 2) / (1 + NEIGHBOUR_SHARE)),
        (BOX, 1, 2),
    ],
)
def test_what_a_click_finds_beside_its_slice_has_a_say(make_prompter, prompt, index, expected):
    prompter, _ = make_prompter(BrightnessRefiner(), draw_slices(0.2, 0.4, 1.0))
    with torch.no_grad():
        answer = prompter.answer(index, prompt)
    assert float(answer.decoded.low_res.mean()) == pytest.approx(expected, abs=0.02)


def test_in_time_a_click_is_about_its_own_frame(make_prompter):
    frames = np.stack([np.full((SIDE, SIDE), one, np.uint8) for one in (0, 102, 255)])
    prompter, _ = make_prompter(BrightnessRefiner(), TimeFrames(frames, mapping=IntensityMapping(0.0, 255.0)))
    with torch.no_grad():
        answer = prompter.answer(1, CLICK)
    assert float(answer.decoded.low_res.mean()) == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize(("use", "encoded"), [("auto", 0), ("never", 0), ("always", 1)])
def test_the_refiner_answers_prompts_alone_unless_the_network_is_always_wanted(
    make_prompter, monkeypatch, use, encoded
):
    calls = count_encoder_calls(monkeypatch)
    prompter, _ = make_prompter(BrightnessRefiner(), memory_use=use)
    with torch.no_grad():
        prompter.answer(0, BOX)
    assert len(calls) == encoded
