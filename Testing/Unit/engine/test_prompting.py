"""A click is answered from the window in which the answer is surest."""

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


@pytest.fixture
def make_prompter():
    """A prompter over an empty frame; with a refiner, an answer is as sure as its window is given here."""

    def make(sure_at=None):
        spec = replace(ARCHITECTURES["hiera_nano"].with_image_size(SIZE), refiner=sure_at is not None)
        network = Network(build_model(spec), EngineSettings(), torch.device("cpu"))
        policy = CropPolicy(SIDE, SIDE, 1.0, EngineSettings())
        prompter = Prompter(network, FrameCache(network, TimeFrames(np.zeros((2, SIDE, SIDE), np.uint8))), policy)
        seen, answer_in = [], prompter._answer_in

        def note(crop, index, prompt):
            seen.append(crop)
            answer = answer_in(crop, index, prompt)
            iou = torch.full((1,), 0.9 if crop.width == sure_at else 0.1)
            return replace(answer, mask=np.zeros((SIDE, SIDE), bool), decoded=replace(answer.decoded, iou=iou))

        prompter._answer_in = note
        return prompter, seen

    return make


def test_the_surest_of_three_windows_is_kept(make_prompter):
    prompter, seen = make_prompter(sure_at=100)
    with torch.no_grad():
        answer = prompter.answer(0, FramePrompt(points=(Point(60, 70),)))
    assert [crop.width for crop in seen[:3]] == [200, 100, 50]
    assert answer.crop == Crop(10, 20, 100, 100)


def test_windows_hold_every_click(make_prompter):
    prompter, seen = make_prompter(sure_at=200)
    with torch.no_grad():
        prompter.answer(0, FramePrompt(points=(Point(60, 70), Point(100, 70, positive=False))))
    assert [crop.width for crop in seen[:2]] == [200, 100]
    assert all(crop.x <= 60 and crop.x + crop.width > 100 for crop in seen)


def test_a_model_that_does_not_refine_looks_once(make_prompter):
    prompter, seen = make_prompter()
    with torch.no_grad():
        prompter.answer(0, FramePrompt(points=(Point(60, 70),)))
    assert [crop.width for crop in seen] == [200]
