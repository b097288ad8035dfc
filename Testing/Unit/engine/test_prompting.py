"""A click is looked for in several windows and answered in the one where that is surest."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from DDSAM2SlicerLib.core.frames import TimeFrames
from DDSAM2SlicerLib.core.prompts import FramePrompt, Point
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine.crop import Crop, CropPolicy
from DDSAM2SlicerLib.engine.network import FrameCache, Network
from DDSAM2SlicerLib.engine.prompting import Prompter
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


@pytest.fixture
def make_prompter():
    """A prompter over an empty frame, and the crops that it decodes under."""

    def make(refiner=None):
        model = build_model(replace(ARCHITECTURES["hiera_nano"].with_image_size(SIZE), refiner=False))
        network = Network(model, EngineSettings(), torch.device("cpu"))
        network.model.refiner = refiner
        policy = CropPolicy(SIDE, SIDE, 1.0, EngineSettings())
        cache = FrameCache(network, TimeFrames(np.zeros((2, SIDE, SIDE), np.uint8)))
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
