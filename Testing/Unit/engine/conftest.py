"""Fixtures of the engine's tests; helper modules beside this file are importable."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from sessions import SIZE
from upstream import build_lively_model, draw_frames

from DDSAM2SlicerLib.model.architectures import ARCHITECTURES


@pytest.fixture(autouse=True)
def _one_thread():
    """Small networks on shared cores run fastest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def a_model():
    return build_lively_model(ARCHITECTURES["hiera_nano"].with_image_size(SIZE))


@pytest.fixture(scope="module")
def a_blind_model():
    model = build_lively_model(ARCHITECTURES["hiera_nano"].with_image_size(SIZE))
    torch.nn.init.constant_(model.refiner.out.bias, -1000.0)
    return model


@pytest.fixture(scope="module")
def a_scene():
    return draw_frames(12, SIZE)
