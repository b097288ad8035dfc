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
