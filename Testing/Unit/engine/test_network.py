"""Frames under a window, as the network gets to see them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from DDSAM2SlicerLib.core.frames import TimeFrames, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine.crop import Crop
from DDSAM2SlicerLib.engine.network import FrameCache, Network
from DDSAM2SlicerLib.model.architectures import ARCHITECTURES, build_model


@pytest.fixture(scope="module")
def network():
    model = build_model(replace(ARCHITECTURES["hiera_nano"].with_image_size(64), refiner=False))
    return Network(model, EngineSettings(), torch.device("cpu"))


def test_the_step_between_slices_is_a_share_of_the_window_and_nothing_in_time(network):
    voxels = np.zeros((3, 20, 20), np.uint8)
    slices = VolumeFrames(voxels, VolumeGeometry(voxels.shape, np.diag([0.5, 0.5, 2.0, 1.0])), Axis.K)
    window = Crop(0, 0, 10, 10)  # 5 mm wide
    assert float(FrameCache(network, slices).step(window)) == pytest.approx(2 / 5)
    assert float(FrameCache(network, TimeFrames(voxels)).step(window)) == 0


@pytest.fixture
def sharing():
    """A network on two cores: the next frame is prepared beside the present one."""
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    model = build_model(replace(ARCHITECTURES["hiera_nano"].with_image_size(64), refiner=False))
    yield Network(model, EngineSettings(), torch.device("cpu"))
    torch.set_num_threads(count)


def test_a_frame_prepared_beside_other_work_is_the_same(sharing):
    """Its encoding and its motion."""
    voxels = np.random.default_rng(5).integers(0, 256, (2, 40, 40), np.uint8)
    window = Crop(0, 0, 40, 40)
    ahead, plain = (FrameCache(sharing, TimeFrames(voxels)) for _ in range(2))
    with sharing.computing(), sharing.sharing_cores():
        ahead.prepare(1, [0], window)
        found, wanted = ahead.get(1, window), plain.get(1, window)
        embeddings = found.features.embedding, wanted.features.embedding
        flows = ahead.motion(0, 1, window).flow, plain.motion(0, 1, window).flow
    assert torch.allclose(*embeddings, atol=1e-5)
    assert torch.allclose(*flows, atol=1e-5)


def test_what_fails_beside_other_work_is_told_where_the_frame_is_needed(sharing, monkeypatch):
    """Not lost in a thread of its own; after it the frame can be had again."""
    frames = FrameCache(sharing, TimeFrames(np.zeros((2, 40, 40), np.uint8)))
    window = Crop(0, 0, 40, 40)
    with sharing.computing():
        frames.get(0, window)
        with monkeypatch.context() as patch:
            patch.setattr(sharing.encoder, "encode", lambda image: 1 / 0)
            frames.prepare(1, [0], window)
            with pytest.raises(ZeroDivisionError):
                frames.get(1, window)
        assert frames.get(1, window).index == 1


def test_all_cores_are_given_back(sharing):
    """Half of them are the helper's for as long as it is wanted."""
    with sharing.sharing_cores():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
